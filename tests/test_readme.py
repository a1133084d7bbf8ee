"""What the README tells a new user to type works: its Python in small, its commands by name."""

import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gfs_tutorial.cnn.models.resnet_cifar import ResNetCifar
from gfs_tutorial.experiments.command import STUDIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL))
SMALLER = {
    "load_mnist()": "digits",
    "width=1000": "width=40",
    "iterations=1000": "iterations=3",
    "size=200": "size=6",
    "(200)": "(6)",
    "steps=10_000": "steps=1, batch_size=4",
    "macs=0.5": "macs=0.8",
}


@pytest.fixture
def things():
    """Digits, a network and images in the place of the reader's own."""
    torch.manual_seed(0)
    images = torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8)
    pairs = [(image, number % 5) for number, image in enumerate(images)]
    model = ResNetCifar(1, (4, 6, 8), num_classes=5).eval()
    return {
        "digits": SimpleNamespace(X_train=torch.rand(300, 784), y_train=torch.randn(300, 1).sign()),
        "model": model,
        "batches": [images / 255.0],
        "dataset": [image / 255.0 for image in images],
        "photographs": pairs,
        "mean": (0.5,) * 3,
        "std": (0.2,) * 3,
    }


@pytest.mark.parametrize("number", range(3))
def test_its_python_runs(number, things, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 3
    code = BLOCKS[number]
    for written, smaller in SMALLER.items():
        code = code.replace(written, smaller)
    names = dict(things)
    exec(compile(code, f"README.md, block {number + 1}", "exec"), names)
    assert isinstance(names["small"], torch.nn.Module)
    assert names["small"] is not names.get("model")


def test_its_modules_and_functions_exist():
    for dotted in re.findall(r"`(gfs_tutorial(?:\.\w+)+)`", README):
        module, _, name = dotted.rpartition(".")
        assert hasattr(importlib.import_module(module), name) or importlib.import_module(dotted)
    cnn = importlib.import_module("gfs_tutorial.cnn")
    assert all(hasattr(cnn, name) for name in re.findall(r"`cnn\.(\w+)`", README))


def test_its_experiments_and_presets_exist():
    named = re.findall(r"-m gfs_tutorial (?!-)(\w+)(?: --preset (\S+))?", COMMANDS)
    assert len(named) >= 4
    for study, preset in named:
        STUDIES[study].preset(preset or "quick")
    others = re.search(r"--help +# the others: (.*)", COMMANDS)[1].split(", ")
    assert set(STUDIES) == {study for study, _ in named} | set(others)


def test_without_make_the_same_checks_run():
    """The commands for those without make are those of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    plain = README.split("Without make:")[1].split("```")[1]
    for command in ("jupyter-book build --all -W -n --keep-going .", "ruff check .", "typos", "mypy"):
        assert command in plain and command in makefile
    options = re.search(r"--nbval-lax.*(?= book$)", plain, re.MULTILINE)[0].split()
    assert len(options) == 3 and all(option in makefile for option in options)
