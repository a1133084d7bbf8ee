"""Figures with sliders, as far as Python goes; what they do in a browser is tested in tests/pages."""

import base64
import io
import json
import re

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from gfs_tutorial import plots, results, select_neurons
from gfs_tutorial.plots.image import compact_png
from gfs_tutorial.plots.interactive import interactive_figure


@pytest.fixture(autouse=True)
def fresh_figures():
    plt.close("all")
    plots.use_style()
    yield
    plt.close("all")


def data_of(figure):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', figure.html, re.DOTALL)[1])


def random_paths(pairs=((5, 0), (5, 9), (8, 0), (8, 9)), size=12, **options):
    torch.manual_seed(0)
    return {
        (N, t): select_neurons(torch.randn(6, N), torch.randn(N, 1), torch.randn(6, 1), size, **options)
        for N, t in pairs
    }


def figures():
    walk = plots.interactive_hull_walk(torch.rand(5, 2), torch.tensor([0.5, 0.5]), steps=7)
    bound = plots.interactive_bound(random_paths())
    return [walk, bound, plots.interactive_thresholds(results.stored("mnist-quick.json"))]


def test_every_figure_is_whole_and_asks_nobody_for_anything():
    for figure in figures():
        html = figure._repr_html_()
        assert not re.search(r"https?://|\{\{|@import|url\(|fetch\(", html)
        picture = base64.b64decode(re.search(r'src="data:image/png;base64,([^"]+)"', html)[1])
        assert Image.open(io.BytesIO(picture)).width > 500
        assert len(re.search(r'<img [^>]*alt="([^"]+)"', html)[1]) > 40
        assert "Where scripts run" in html and "Where scripts run" in repr(figure)
        assert not plt.get_fignums()  # the still picture is not shown a second time


def test_the_same_data_give_the_same_html():
    points, target = torch.rand(5, 2), torch.tensor([0.5, 0.5])
    first, second = (plots.interactive_hull_walk(points, target) for _ in range(2))
    assert first.html == second.html


def test_the_walk_carries_its_points_exactly():
    points, target = torch.rand(5, 2, dtype=torch.float64), torch.tensor([0.5, 0.25])
    data = data_of(plots.interactive_hull_walk(points, target, steps=7))
    assert data == {"points": points.tolist(), "target": [0.5, 0.25], "steps": 7}


def test_text_cannot_break_out_of_the_html():
    still = plt.figure()
    figure = interactive_figure("bound", {"a": "</script>"}, still, label='"><b>', words="a < b {{data}}")
    assert "</script>" not in figure.html.split("application/json")[1].split("</script>")[0]
    assert "&quot;&gt;&lt;b&gt;" in figure.html and "a &lt; b {{data}}" in figure.html


@pytest.mark.parametrize(
    ("points", "target", "steps", "message"),
    [
        (torch.rand(5, 3), torch.rand(2), 5, "points"),
        (torch.rand(2, 2), torch.rand(2), 5, "points"),
        (torch.rand(5, 2), torch.rand(3), 5, "target"),
        (torch.rand(5, 2), torch.rand(2), 0, "steps"),
    ],
)
def test_the_walk_refuses_what_it_cannot_draw(points, target, steps, message):
    with pytest.raises(ValueError, match=message):
        plots.interactive_hull_walk(points, target, steps=steps)


def test_the_bound_carries_what_the_paths_say():
    paths = random_paths(size=200)
    data = data_of(plots.interactive_bound(paths))
    assert (data["widths"], data["times"]) == ([5, 8], [0, 9])
    assert data["sizes"][0] == 1 and data["sizes"][-1] == 200
    for net in data["nets"]:
        path = paths[net["N"], net["t"]]
        assert (net["loss"], net["variance"]) == (path.dense_loss, path.variance)
        expected = [float(path.losses[k - 1]) for k in data["sizes"]]
        assert net["losses"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({}, "missing: all"),
        (random_paths(((5, 0), (5, 9), (8, 0))), r"missing: \[\(8, 9\)\]"),
        ({**random_paths(((5, 0),)), **random_paths(((8, 0),), size=3)}, r"one size, got \[3, 12\]"),
        (random_paths(((5, 0),), size=4, with_replacement=False), "with replacement"),
    ],
)
def test_the_bound_refuses_what_it_cannot_draw(paths, message):
    with pytest.raises(ValueError, match=message):
        plots.interactive_bound(paths)


def test_the_thresholds_carry_every_run():
    record = results.stored("mnist-laptop.json")
    data = data_of(plots.interactive_thresholds(record))
    row = next(r for r in record["rows"] if (r["m"], r["k"], r["seed"], r["t"]) == (2000, 50, 1, 130))
    place = (data["picks"].index(50), data["sizes"].index(2000), 1, data["times"].index(130))
    for goal, key in zip(data["goals"], ("loss", "train_accuracy", "test_accuracy")):
        k, m, seed, t = place
        assert goal["values"][k][m][seed][t] == pytest.approx(row[f"subnetwork_{key}"], rel=1e-3)
        assert goal["dense"][m][seed][t] == pytest.approx(row[f"dense_{key}"], rel=1e-3)


def test_the_thresholds_refuse_a_study_with_holes_and_one_of_several_widths():
    record = results.stored("mnist-quick.json")
    with pytest.raises(ValueError, match="lacks the run"):
        plots.interactive_thresholds({**record, "rows": record["rows"][1:]})
    wider = [{**row, "N": 2 * row["N"]} for row in record["rows"]]
    with pytest.raises(ValueError, match="one width"):
        plots.interactive_thresholds({**record, "rows": record["rows"] + wider})


def shades():
    names = {"xlabel": "", "ylabel": "", "label": ""}
    values = np.random.default_rng(0).random((8, 6)) + 0.01
    return plots.heatmap(values, range(8), range(6), log=False, fmt="{:.2f}", **names).figure


def lines():
    figure, ax = plt.subplots()
    ax.plot(np.random.default_rng(0).random(20), "o-")
    return figure


@pytest.mark.parametrize(("draw", "share"), [(lines, 0.5), (shades, 0.5)])
def test_a_compact_picture_is_smaller_and_looks_the_same(draw, share):
    figure = draw()
    figure.savefig(io.BytesIO(), dpi=figure.dpi, bbox_inches="tight")  # settles the layout
    figure.savefig(full := io.BytesIO(), dpi=figure.dpi, bbox_inches="tight")
    small = compact_png(figure)
    assert len(small) < share * len(full.getvalue())
    pictures = [Image.open(io.BytesIO(content)).convert("RGB") for content in (full.getvalue(), small)]
    difference = np.abs(np.subtract(*(np.asarray(picture, dtype=int) for picture in pictures)))
    assert pictures[0].size == pictures[1].size and difference.max() <= 24
