"""Run every notebook as Colab would: ``python tools/colab.py``, under a Python that Colab has (3.12, 3.13).

A virtual environment stands for Colab's machine: torch and its company are there, this repository is not.
Each notebook is copied into an empty folder and run from top to bottom; the first finds the package missing
and installs it by its set-up cell, from the last commit here instead of from GitHub. Nothing that was there
before may have changed version in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import address

ROOT = Path(__file__).parents[1]
# Of what Colab ships, what the book needs or what draws it; nbclient to run the notebooks.
PREINSTALLED = ["torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "matplotlib", "tqdm"]
PREINSTALLED += ["ipykernel", "ipywidgets", "nbclient", "setuptools"]


def environment(folder: Path) -> Path:
    """The Python of the stand-in for Colab's machine, made if it is not there, without the book's package."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    # Each time, as an interrupted run leaves half of an environment: where all is there, this takes seconds.
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PREINSTALLED], check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "gfs-tutorial"], check=True)
    return python


def versions(python: Path) -> dict[str, str]:
    """Version of every installed package."""
    command = [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {package["name"].lower(): package["version"] for package in json.loads(listed)}


def run(notebook: Path, python: Path, source: str, timeout: int) -> str:
    """Run a copy of one notebook alone in a folder; returns what its set-up cell said.

    Raises:
        RuntimeError: a cell failed, or the set-up cell named no device.
    """
    folder = Path(tempfile.mkdtemp(prefix="colab-"))
    copy = folder / notebook.name
    text = notebook.read_text(encoding="utf-8")
    copy.write_text(text.replace(f"git+{address.current()}", f"git+{source}"), encoding="utf-8")
    hidden = ("PYTHONPATH", "GFS_DATA_ROOT", "VIRTUAL_ENV")
    clean = {key: value for key, value in os.environ.items() if key not in hidden}
    clean["PATH"] = f"{python.parent}{os.pathsep}{clean['PATH']}"
    command = [python.parent / "jupyter-execute", "--inplace", f"--timeout={timeout}", copy.name]
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    first = next(cell for cell in cells if cell["cell_type"] == "code")
    said = "".join("".join(output.get("text", "")) for output in first["outputs"])
    if "Device: " not in said:
        raise RuntimeError(f"the set-up cell named no device, it said: {said!r}")
    shutil.rmtree(folder)
    return said[said.index("Device: ") :].strip()


def main() -> int:
    """Run them all; how many failed, or 1 if a package changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all of book/")
    parser.add_argument("--venv", type=Path, default=ROOT / ".colab", help="made if it is not there")
    parser.add_argument("--timeout", type=int, default=600, help="seconds for one cell")
    options = parser.parse_args()
    notebooks = [path.resolve() for path in options.notebooks] or sorted((ROOT / "book").rglob("*.ipynb"))
    python = environment(options.venv.resolve())
    before = versions(python)
    print(f"{before['torch']=} {before['torchvision']=} {before['numpy']=}", flush=True)
    failed = 0
    for notebook in notebooks:
        begin = time.perf_counter()
        try:
            said = run(notebook, python, f"file://{ROOT}", options.timeout)
        except RuntimeError as error:
            said, failed = f"FAILED\n{error}", failed + 1
        print(f"{notebook.stem:28s} {time.perf_counter() - begin:6.0f} s  {said}", flush=True)
    after = versions(python)
    changed = {name: (old, after.get(name)) for name, old in before.items() if after.get(name) != old}
    print("installed by the set-up cell:", *sorted(set(after) - set(before)))
    print("changed of what was there:", changed or "nothing")
    return failed + bool(changed)


if __name__ == "__main__":
    sys.exit(main())
