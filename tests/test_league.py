"""The league table: means, intervals, order and leaders."""

import numpy as np
import pytest

from gfs_tutorial import plots, results
from gfs_tutorial.experiments import league

NET = "resnet20-cifar10"


def rows(**accuracies):
    for variant, values in accuracies.items():
        for seed, (before, after) in enumerate(values):
            row = {"network": NET, "macs": 0.5, "variant": variant, "seed": seed, "accuracy": before}
            yield row | ({"accuracy + labels": after} if after is not None else {})


ROWS = list(
    rows(
        **{
            "default": [(0.8, 0.84), (0.82, 0.86)],
            "l1, standard": [(0.7, 0.9), (0.7, 0.9)],
            "fpgm, standard": [(0.75, None)],
            "l1, ours": [(0.79, 0.85)],
        }
    )
)


def test_the_table_is_sorted_and_has_means_intervals_and_gaps():
    lines = league.league_table(ROWS, NET, 0.5).splitlines()
    assert lines[0] == "| method | seeds | before fine-tuning | after, on labels |"
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| **default**", "| l1, ours", "| fpgm, standard", "| l1, standard",
    ]  # fmt: skip
    assert lines[2].startswith("| **default** | 2 | 0.810 ± 0.02") and lines[4].endswith("± 0.008 |  |")
    assert len({line.count("|") for line in lines}) == 1


def test_the_interval_covers_a_simulated_truth_about_as_often_as_it_says():
    draw, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        right = draw.binomial(10_000, 0.8) / 10_000
        hits += abs(right - 0.8) <= league.half_width([right], 10_000)
    assert 0.93 < hits / 2000 < 0.97
    assert league.half_width([0.7, 0.9], 10_000) > 10 * league.half_width([0.8, 0.8], 10_000)


def test_leaders_of_each_kind_before_and_after():
    assert league.leaders(ROWS, NET, 0.5) == {
        "ours": "default 0.810", "standard": "fpgm, standard 0.750", "with ours": "l1, ours 0.790",
    }  # fmt: skip
    assert league.leaders(ROWS, NET, 0.5, "accuracy + labels")["standard"] == "l1, standard 0.900"


def test_leaders_and_cells_as_tables():
    lines = league.leaders_table(ROWS).splitlines()
    assert lines[2:] == [
        f"| {NET} | 50% | before fine-tuning | default 0.810 | fpgm, standard 0.750 | l1, ours 0.790 |",
        f"| {NET} | 50% | after, on labels | default 0.850 | l1, standard 0.900 | l1, ours 0.850 |",
    ]
    row = {"m": 4000, "t": 60, "method": "re-initialised", "macs": 0.51, "before": None, "after": 0.25}
    assert league.cells_table([row]).splitlines()[2] == "| 4,000 | 60 | re-initialised | 51% |  | 0.250 |"


def test_what_was_not_run_is_an_error_that_says_so():
    with pytest.raises(ValueError, match=r"no row of resnet20-cifar10 at macs = 0\.1: run benchmarks"):
        league.league_table(ROWS, NET, 0.1)


def test_the_committed_benchmark_fits_the_table():
    stored = results.stored("benchmark-channels.json")["rows"]
    for network, macs in {(row["network"], row["macs"]) for row in stored if row["macs"] < 1}:
        assert "standard" in league.league_table(stored, network, macs)
        assert {"ours", "standard", "with ours"} <= league.leaders(stored, network, macs).keys()


def test_methods_are_drawn_at_their_cells():
    cells = [(50, 1, 0.5), (50, 2, 0.6), (100, 1, 0.7)]
    rows = [{"m": m, "t": t, "method": "gfs", "before": None, "after": a} for m, t, a in cells]
    ax = plots.methods(rows, "after", {"gfs": "the papers'"})
    (dots,) = ax.get_lines()
    assert list(zip(dots.get_ydata(), dots.get_xdata())) == [(0, 0.5), (1, 0.6), (2, 0.7)]
    assert [label.get_text() for label in ax.get_yticklabels()][2] == "m = 100, t = 1"
    with pytest.raises(ValueError, match="no row of gfs has 'before'"):
        plots.methods(rows, "before", {"gfs": "the papers'"})


def test_kept_channels_are_drawn_where_they_are():
    ax = plots.which_channels({"a": [0, 2], "b": [1]}, {"a": 3, "b": 2})
    grid = np.asarray(ax.collections[0].get_array()).reshape(2, 3)
    assert grid[0].tolist() == [1, 0, 1] and grid[1, :2].tolist() == [0, 1] and np.isnan(grid[1, 2])
    with pytest.raises(ValueError, match="channels of b must lie between 0 and 1"):
        plots.which_channels({"b": [2]}, {"b": 2})
    with pytest.raises(ValueError, match="kept is empty"):
        plots.which_channels({}, {})
