"""What each process in tests/test_cnn_distributed.py does: torchrun ... cnn_distributed_worker.py FOLDER."""

import copy
import functools
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset
from torchvision.transforms import RandomHorizontalFlip

from gfs_tutorial.cnn import select_by_loss
from gfs_tutorial.cnn.distributed import Recipe, evaluate_dataset, prune_shared, train
from gfs_tutorial.cnn.distributed.updates import Updates
from gfs_tutorial.cnn.models import build
from gfs_tutorial.cnn.units import find_units
from gfs_tutorial.distributed import Communicator, process_group

LOOK = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
RECIPE = Recipe(10, 8, 0.05, precision="float32")  # two and a half passes over the images below
EVERY = 3


class Photographs(Dataset):
    """28 images of noise (3, 16, 16) uint8 of two classes, flipped at random."""

    def __init__(self):
        draw = torch.Generator().manual_seed(1)
        self.X = torch.randint(0, 256, (28, 3, 16, 16), generator=draw, dtype=torch.uint8)
        self.flip = RandomHorizontalFlip()

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        return self.flip(self.X[index]), index % 2


class Dropped(nn.Module):
    """A small ResNet-20 with dropout, whose draws must be the same after a restart."""

    def __init__(self):
        super().__init__()
        self.net, self.dropout = build("resnet20", 2, widths=(4, 4, 8), seed=0), nn.Dropout(0.2)

    def forward(self, x):
        return self.dropout(self.net(x))


def network(seed=0):
    """A small ResNet-20 with lively statistics, the same in every thread."""
    return copy.deepcopy(drawn(seed))


@functools.cache
def drawn(seed):
    """Drawn once, for threads share the random numbers of initialisation."""
    model, draw = build("resnet20", 2, widths=(6, 6, 8), seed=seed), torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1, generator=draw)
            module.running_var.uniform_(0.5, 1.5, generator=draw)
    return model.eval()


def calibration_images():
    """70 images (3, 16, 16) and their labels."""
    draw = torch.Generator().manual_seed(2)
    return torch.randn(70, 3, 16, 16, generator=draw), torch.randint(0, 2, (70,), generator=draw)


def save(folder, name, **content):
    torch.save(content, folder / f"{name}.pt")


def select(folder, communicator):
    """Candidates shared out, and calibration images shared out."""
    model = network()
    unit = find_units(model, calibration_images()[0][:1])[3]
    batches = [tuple(t[i : i + 8] for t in calibration_images()) for i in range(0, 32, 8)]
    draw = torch.Generator().manual_seed(communicator.rank)  # rank 0's must count
    options = {"candidates": 3, "generator": draw, "communicator": communicator}
    chosen = select_by_loss(model, unit, batches, 4, **options)
    small, report = prune_shared(model, calibration_images()[0], macs=0.6, inputs="pruned")
    accuracies = evaluate_dataset(small, Photographs(), **LOOK)
    found = {"picks": chosen.picks, "errors": chosen.errors, "kept": report.kept, "state": small.state_dict()}
    save(folder, f"selected-{communicator.rank}", **found, top1=accuracies.top1, images=accuracies.images)


def killed_and_asked_to_end(communicator):
    """Rank 1 is asked to end in step 5, in the middle of a pass; at the next start it is killed in step 9."""
    life, real = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), Updates.step

    def step(self, number, batches):
        if communicator.rank == 1 and (life, number) in ((0, 4), (1, 8)):
            os.kill(os.getpid(), signal.SIGTERM if life == 0 else signal.SIGKILL)
        print(f"life {life} rank {communicator.rank} step {number + 1}", flush=True)
        return real(self, number, batches)

    Updates.step = step


def main(folder):
    with process_group("gloo", timeout=60):
        communicator = Communicator()
        if not (folder / "selected-0.pt").exists():
            select(folder, communicator)
        for norms in ("frozen", "local"):
            model = network() if norms == "frozen" else Dropped()
            recipe = Recipe(**{**RECIPE.__dict__, "norms": norms})
            undisturbed = folder / f"undisturbed-{norms}-{communicator.rank}.pt"
            if not undisturbed.exists():
                history = train(model, Photographs(), recipe, **LOOK)
                torch.save({"state": model.state_dict(), "losses": history.losses}, undisturbed)
        killed_and_asked_to_end(communicator)
        model = Dropped()
        history = train(model, Photographs(), recipe, **LOOK, checkpoint=folder / "run.pt", every=EVERY)
        save(folder, f"restarted-{communicator.rank}", state=model.state_dict(), losses=history.losses)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
