"""The house itself: notebooks as committed, the table of contents, a quick import."""

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def pages():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *(page["file"] for c in chapters for page in (c, *c.get("sections", ())))]


def test_every_page_is_in_the_table_of_contents_and_every_entry_exists():
    files = {
        path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "book").rglob("*.[im][pd]*")
    }
    assert files == set(pages())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_as_run_in_order_without_errors(path):
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert "error" not in kinds
    assert not [output for cell in cells for output in cell["outputs"] if output.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_has_alt_text(path):
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            assert len(cell["metadata"]["mystnb"]["image"]["alt"]) > 40


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_defines_nothing_that_the_package_has(path):
    import gfs_tutorial

    source = "\n".join("".join(cell["source"]) for cell in code_cells(path))
    assert not [name for name in gfs_tutorial.__all__ if f"def {name}" in source or f"class {name}" in source]


def test_all_notebooks_begin_with_the_same_set_up_cell_that_leaves_torch_alone():
    first = {"".join(code_cells(path)[0]["source"]) for path in NOTEBOOKS}
    assert len(first) == 1
    (setup,) = first
    assert "except ImportError" in setup and "torch" not in setup


def test_every_folder_with_code_is_packaged():
    listed = re.findall(r'^  "(gfs_tutorial[\w.]*)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "gfs_tutorial").rglob("__init__.py")}
    data = {"gfs_tutorial.stored_results", "gfs_tutorial.cnn.weights"}
    assert {".".join(folder.parts) for folder in folders} == set(listed) - data


def test_the_import_is_light():
    code = "import sys, gfs_tutorial, gfs_tutorial.baselines; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"torchvision", "torch_pruning", "matplotlib", "mlxtend", "scipy", "sklearn"} & set(
        done.stdout.split()
    )


def test_the_readme_says_of_the_built_pages_what_was_measured():
    measured = json.loads((ROOT / "results" / "benchmark-page-load.json").read_text(encoding="utf-8"))
    rows, text = measured["rows"], (ROOT / "README.md").read_text(encoding="utf-8")
    paint, cold, warm = (
        statistics.median(row[f"{key}_s"] for row in rows)
        for key in ("cold_first_paint", "cold_load", "warm_load")
    )
    slowest = max(row["cold_load_s"] for row in rows)
    assert f"The built book has {measured['megabytes']['all']:.1f} MB" in text
    assert f"within {paint:.1f} s and are loaded within {cold:.1f} s at the first visit, {warm:.1f} s" in text
    assert f"the slowest takes {slowest:.1f} s" in text


def test_the_readme_says_of_its_two_commands_what_was_measured():
    measured = json.loads((ROOT / "results" / "benchmark-gate.json").read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    book, test = (row["minutes"] for row in measured["rows"])
    assert f"`make book` takes {book:.1f} minutes" in text
    assert f"`make test` {test:.1f} minutes" in text
