"""Checkpoints: a pruning run killed anywhere and started again ends with the same model, to the bit."""

import contextlib
import multiprocessing
import os
import signal

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gfs_tutorial.cnn import storage
from gfs_tutorial.cnn.checkpoint import Checkpoint, fingerprint
from gfs_tutorial.cnn.models.resnet_cifar import ResNetCifar
from gfs_tutorial.cnn.prune import prune

RUNS = {
    "default": {"macs": 0.6},
    "pruned": {"macs": 0.6, "inputs": "pruned"},
    "loss": {"macs": 0.6, "method": "loss", "refit": False, "recalibrate": True},
    "local": {"ratio": 0.5, "method": "local", "refit": False, "with_replacement": True},
    "own": {"macs": 0.6, "importance": lambda unit: torch.arange(unit.size).cos()},
}


def problem():
    """A small residual net with random weights, and labelled batches."""
    torch.manual_seed(0)
    model = ResNetCifar(1, (4, 6, 8)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model, [(torch.randn(6, 3, 12, 12), torch.randint(10, (6,))) for _ in range(3)]


class Interrupt(TorchFunctionMode):
    """Counts calls into torch, and raises at a given one; what ends a ``no_grad`` must run, as it would."""

    def __init__(self, at=None):
        super().__init__()
        self.at, self.calls = at, 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not torch._C._set_grad_enabled:
            self.calls += 1
            if self.calls == self.at:
                raise KeyboardInterrupt
        return func(*args, **(kwargs or {}))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


@pytest.mark.parametrize("run", RUNS)
def test_a_run_interrupted_anywhere_ends_with_the_same_model(run, tmp_path):
    model, batches = problem()
    with Interrupt() as counter:
        whole, expected = prune(model, batches, **RUNS[run])
    generator, path = torch.Generator().manual_seed(0), tmp_path / "run.pt"
    for point in torch.rand(5, generator=generator).tolist():
        for attempt in range(3):  # it may well be interrupted again, sooner or later
            at = max(1, int(point * counter.calls) // (attempt + 1))
            with contextlib.suppress(KeyboardInterrupt), Interrupt(at):
                prune(model, batches, checkpoint=path, **RUNS[run])
            torch.rand(3)  # what else the process draws does not matter
        resumed, report = prune(model, batches, checkpoint=path, **RUNS[run])
        assert same(resumed.state_dict(), whole.state_dict())
        assert same(report.kept, expected.kept) and report.errors == expected.errors
        assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
        path.unlink()


def test_what_was_found_is_not_looked_for_again(tmp_path):
    model, batches = problem()
    with Interrupt() as whole:
        prune(model, batches, macs=0.6, checkpoint=tmp_path / "run.pt")
    with Interrupt() as again:
        prune(model, batches, macs=0.6, checkpoint=tmp_path / "run.pt")
    assert again.calls < 0.5 * whole.calls  # finding units and counting MACs is most of what is left


def killed_in_its_sixth_save(path):
    save, saves = torch.save, iter(range(99))

    def killed(content, file):
        if next(saves) == 5:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(content, file)

    storage.torch.save = killed
    prune(*problem(), checkpoint=path, **RUNS["default"])


def test_a_process_killed_while_it_writes_leaves_a_run_that_goes_on(tmp_path):
    child = multiprocessing.get_context("fork").Process(
        target=killed_in_its_sixth_save, args=(tmp_path / "run.pt",)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    model, batches = problem()
    assert len(torch.load(tmp_path / "run.pt", weights_only=True)["found"]) == 5
    whole, _ = prune(model, batches, **RUNS["default"])
    resumed, _ = prune(model, batches, checkpoint=tmp_path / "run.pt", **RUNS["default"])
    assert same(resumed.state_dict(), whole.state_dict())


def test_a_checkpoint_of_another_run_is_refused_and_named(tmp_path):
    model, batches = problem()
    images, labels = batches[0]
    path = tmp_path / "run.pt"
    options = {"ratio": 0.5, "method": "loss", "checkpoint": path}
    prune(model, batches[:1], **options)
    other = ResNetCifar(1, (4, 6, 8)).eval()
    for changed, difference in (
        ({"ratio": 0.6}, "ratio"),
        ({"seed": 3, "scaling": "unit"}, "scaling, seed"),
        ({"model": other}, "weights"),
        ({"batches": [(images + 1, labels)]}, "images"),
        ({"batches": [(images, labels.flip(0))]}, "labels"),
        ({"batches": [(images[:4], labels[:4]), (images[4:], labels[4:])]}, "batches, labels"),
        ({"importance": lambda unit: torch.ones(unit.size)}, "own_scores, importance"),
    ):
        arguments = {"model": model, "batches": batches[:1], **options, **changed}
        with pytest.raises(ValueError, match=f"run.pt is of a run with other {difference}: remove it"):
            prune(**arguments)


@pytest.mark.parametrize(
    "content",
    [b"", b"half of it", bytes(range(256)), {"format": "gfs-tutorial pruned model 1"}, torch.ones(2)],
)
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "run.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=r"run\.pt is no file of prune"):
        Checkpoint(path, "prune 1", {})


def test_findings_are_kept_once_and_read_back(tmp_path):
    path, calls = tmp_path / "new" / "run.pt", []

    def find():
        calls.append(1)
        return {"x": torch.arange(3)}

    for _ in range(2):
        stored = Checkpoint(path, "prune 1", {"seed": 0})
        assert same(stored.once("a", find), {"x": torch.arange(3)})
        assert same(stored.once("a", find), {"x": torch.arange(3)})
    assert len(calls) == 1
    assert Checkpoint(None, "prune 1", {}).once("a", lambda: 3) == 3


def test_the_fingerprint_is_that_of_names_shapes_and_values():
    x = torch.randn(2, 4, 3, 3)
    state = {"x": x, "count": torch.tensor(3)}
    strided = {"x": x.contiguous(memory_format=torch.channels_last), "count": torch.tensor(3)}
    assert fingerprint(state) == fingerprint(strided)
    others = [
        {"y": x, "count": torch.tensor(3)},
        {**state, "x": x.view(4, 2, 3, 3)},
        {**state, "x": x.double()},
        {**state, "count": torch.tensor(4)},
        {"x": x},
    ]
    assert len({fingerprint(other) for other in [state, *others]}) == 6
