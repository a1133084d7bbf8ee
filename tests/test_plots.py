"""Figures: what they draw is what they were given."""

import json
import re

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from gfs_tutorial import TwoLayerNet, baselines, plots, select_neurons, train_sgd
from gfs_tutorial.plots.hull import walk_points


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def rows():
    return [
        {"seed": seed, "m": m, "t": t, "loss": m / 100 / (t + 1) + seed / 50, "accuracy": 0.5 + t / 100}
        for seed in (0, 1)
        for m in (100, 200)
        for t in (0, 10, 20)
    ]


def test_colors_differ_in_lightness_so_that_they_survive_greyscale():
    grey = sorted(np.dot(matplotlib.colors.to_rgb(c), [0.299, 0.587, 0.114]) for c in plots.COLORS.values())
    assert min(np.diff(grey)) > 0.03


def test_the_walk_is_the_running_average_of_the_picks():
    points = torch.tensor([[0.0, 0.0], [1.0, 3.0], [2.0, 0.0]]).double()
    expected = torch.tensor([[1.0, 3.0], [1.5, 1.5], [1.0, 1.0]]).double()
    assert torch.allclose(walk_points(points, torch.tensor([1, 2, 0])), expected)
    ax = plots.hull_walk(points, torch.tensor([1.0, 1.0]), torch.tensor([1, 2, 0]))
    assert np.allclose(ax.lines[0].get_xydata(), expected)


def test_the_selection_curve_draws_losses_below_bounds():
    torch.manual_seed(0)
    path = select_neurons(torch.randn(20, 30), torch.randn(30, 1), torch.randn(20, 1), 15)
    bound, loss, dense = plots.loss_against_size(path).lines
    assert np.allclose(loss.get_ydata(), path.losses)
    assert (np.asarray(loss.get_ydata()) <= np.asarray(bound.get_ydata())).all()
    assert dense.get_ydata()[0] == path.dense_loss


def test_rivals_are_drawn_against_their_distinct_neurons():
    torch.manual_seed(0)
    data = torch.randn(20, 9), torch.randn(9, 1), torch.randn(20, 1)
    greedy, backward = select_neurons(*data, 30), baselines.backward_elimination(*data, 9)
    ax = plots.losses_against_neurons({"greedy": greedy, "backward": backward})
    first, second, dense = ax.lines
    sizes = [len(greedy.distinct(k)) for k in range(1, 31)]
    assert len(set(sizes)) < 30  # some neuron was picked again
    last = [max(k for k in range(30) if sizes[k] == n) for n in sorted(set(sizes))]
    assert list(first.get_xdata()) == sorted(set(sizes))
    assert np.allclose(first.get_ydata(), greedy.losses[last])
    assert list(second.get_xdata()) == list(range(1, 10))
    assert dense.get_ydata()[0] == backward.dense_loss
    with pytest.raises(ValueError, match="paths is empty"):
        plots.losses_against_neurons({})


def test_more_rivals_than_colours_stay_apart():
    data = torch.randn(20, 9), torch.randn(9, 1), torch.randn(20, 1)
    path = baselines.random_selection(*data, 9)
    lines = plots.losses_against_neurons({str(i): path for i in range(8)}).lines[:-1]
    looks = {
        (line.get_color(), str(line.get_linestyle()), line.get_marker(), line.get_markerfacecolor())
        for line in lines
    }
    assert len(looks) == 8


def test_the_training_curve_draws_every_batch_and_a_running_mean():
    X = torch.randn(30, 3)
    net = TwoLayerNet(3, 10)
    history = train_sgd(net, X, X[:, 0], iterations=12, batch_size=10, lr=0.01, progress=False)
    each, mean = plots.training_curve(history, window=4).lines
    assert len(each.get_ydata()) == 12
    assert mean.get_ydata()[0] == pytest.approx(float(history.losses[:4].mean()))


def test_the_heat_map_writes_every_number_readably():
    ax = plots.heatmap(
        [[1.0, 10.0], [100.0, 1000.0]], [1, 2], [3, 4], xlabel="", ylabel="", label="", log=True
    )
    assert [text.get_text() for text in ax.texts] == ["1", "10", "1e+02", "1e+03"]
    assert ax.texts[0].get_color() == "white" and ax.texts[3].get_color() == "black"


def test_study_curves_draw_means_over_seeds():
    ax = plots.against_iterations(rows(), {"loss": "L"}, of=lambda row: row["m"] == 100)
    assert ax.lines[0].get_ydata()[0] == pytest.approx((1 + 1.02) / 2)
    ax = plots.against_size(rows(), "accuracy", times=(0, 20))
    assert [line.get_ydata()[0] for line in ax.lines] == pytest.approx([0.5, 0.7])
    ax = plots.study_heatmap(rows(), "loss", label="loss")
    assert len(ax.texts) == 6


def test_a_mean_threshold_is_drawn_only_where_every_seed_reaches_the_level():
    ax = plots.thresholds(rows(), "loss", levels=(0.1,))  # m = 200, seed 1 ends at 0.115
    markers, mean = ax.lines[0], ax.lines[-1]
    assert list(markers.get_ydata()) == [10, 20]
    assert mean.get_ydata()[0] == 15 and np.isnan(mean.get_ydata()[1])


def test_digits_are_drawn_with_their_titles():
    figure = plots.show_digits(torch.rand(12, 784), [str(i) for i in range(12)])
    assert [ax.get_title() for ax in figure.axes[:12]] == [str(i) for i in range(12)]


def test_the_interactive_walk_carries_its_data_and_no_address():
    points, target = torch.rand(5, 2), torch.tensor([0.5, 0.5])
    figure = plots.interactive_hull_walk(points, target, steps=7)
    data = json.loads(re.search(r"data-walk='([^']*)'", figure._repr_html_()).group(1))
    assert np.allclose(data["points"], points, atol=1e-4) and data["steps"] == 7
    assert "http" not in figure.html.replace("http://www.w3.org", "")
    assert figure.html == plots.interactive_hull_walk(points, target, steps=7).html
    assert "5 neurons" in repr(figure)


@pytest.mark.parametrize(
    ("points", "target", "steps", "message"),
    [
        (torch.rand(5, 3), torch.rand(2), 5, "points"),
        (torch.rand(2, 2), torch.rand(2), 5, "points"),
        (torch.rand(5, 2), torch.rand(3), 5, "target"),
        (torch.rand(5, 2), torch.rand(2), 0, "steps"),
    ],
)
def test_the_interactive_walk_refuses_what_it_cannot_draw(points, target, steps, message):
    with pytest.raises(ValueError, match=message):
        plots.interactive_hull_walk(points, target, steps=steps)


def test_rate_curves_show_the_geometric_mean_and_guides_of_the_right_slope():
    curves = {"forward": ([10, 100], [[1.0, 0.01], [4.0, 0.04]])}
    ax = plots.rate_curves(curves, guides={"slope −2": (10, 3.0, -2)})
    line, guide = ax.lines
    assert list(line.get_ydata()) == pytest.approx([2.0, 0.02])
    x, y = guide.get_xdata(), guide.get_ydata()
    assert np.log(y[1] / y[0]) / np.log(x[1] / x[0]) == pytest.approx(-2)
    assert ax.get_xscale() == ax.get_yscale() == "log"
