"""What pip builds from a clone: nothing that the notebooks need is missing, and no complaint is heard."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked(*folders):
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in listed.splitlines() if (ROOT / path).is_file()]


def build(kind, source, target):
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "deprecated" not in said.lower() and "absent from" not in said, said
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An sdist of the files that git has, and a wheel of what that sdist holds."""
    clone, out = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("dist")
    for path in tracked("pyproject.toml", "README.md", "LICENSE", "gfs_tutorial", "results"):
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, clone / path)
    sdist = build("sdist", clone, out)
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
        files = {name.partition("/")[2] for name in archive.getnames()}
    wheel = build("wheel", out / sdist.name.removesuffix(".tar.gz"), out)
    return files, zipfile.ZipFile(wheel)


def test_code_weights_results_pages_and_lists_travel(built):
    sdist, wheel = built
    needed = set(tracked("gfs_tutorial", "results"))
    assert {Path(path).suffix for path in needed} >= {".py", ".pt", ".json", ".html", ".txt"}
    assert needed <= sdist
    in_wheel = {path.replace("results/", "gfs_tutorial/stored_results/", 1) for path in needed}
    assert {path for path in in_wheel if path.startswith("gfs_tutorial/")} <= set(wheel.namelist())


def test_the_wheel_holds_nothing_else_and_names_its_licence(built):
    names = built[1].namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gfs_tutorial"}
    (metadata,) = (name for name in names if name.endswith("/METADATA"))
    text = built[1].read(metadata).decode()
    assert "License-Expression: MIT\n" in text and "License-File: LICENSE\n" in text
