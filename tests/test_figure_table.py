"""The table of figures: those with sliders too, and a time with the machine that took it."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_extensions"))

# They lie beside the book, where Python looks only now.
import figure_table  # noqa: E402

NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


def shown(cell):
    """How many figures a cell shows: pictures, and figures with sliders."""
    outputs = [output.get("data", {}) for output in cell.get("outputs", ())]
    return sum("image/png" in data or "gfs-figure" in "".join(data.get("text/html", "")) for data in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_that_shows_a_figure_is_in_the_table(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    listed = [figure for figure in figure_table.figures() if figure.page == f"book/{path.stem}"]
    assert len(listed) == sum(shown(cell) > 0 for cell in cells)


def test_figures_with_sliders_name_what_they_are_drawn_from():
    moving = {f.page: f for f in figure_table.figures() if f.caption.startswith("With sliders")}
    assert set(moving) == {
        f"book/{name}" for name in ("greedy-forward-selection", "convex-hull-checks", "mnist")
    }
    assert moving["book/mnist"].files == ("mnist-laptop.json",)
    assert "With sliders – walk of greedy forward selection" in "\n".join(figure_table.table({}))


def test_the_time_of_a_page_stands_beside_the_machine_that_took_it(monkeypatch):
    monkeypatch.setattr(figure_table, "hardware", lambda: "some machine, 3 cores")
    lines = figure_table.table({"book/two-layer-net": 75.0})
    timed = [line for line in lines if "page, 75 s" in line]
    assert timed and all("| some machine, 3 cores |" in line for line in timed)
    assert not [line for line in lines if "| any |" in line and "page, " in line]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"seconds": 61.0, "rows": [{"seconds": 5}]}, "61 s"),
        ({"rows": [{"seconds": 100.0}, {"seconds": 200.0}]}, "the timed parts 5 min"),
        ({"rows": [{"ms": 3}]}, "not recorded"),
        ({}, "not recorded"),
    ],
)
def test_a_time_that_was_not_noted_is_not_made_up(record, words):
    assert figure_table.taken(record) == words
