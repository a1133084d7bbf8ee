"""Figures: what they draw is what they were given."""

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


def test_candidates_of_every_step_are_drawn_beside_all_neurons(monkeypatch):
    for limit in ("SMALLEST", "SHORTEST"):  # bounds pay for larger networks only
        monkeypatch.setattr(f"gfs_tutorial.selection.bounds.{limit}", 0)
    generator = torch.Generator().manual_seed(0)
    hidden, weights = torch.randn(600, 500, generator=generator), torch.randn(500, 1, generator=generator)
    path = select_neurons(hidden, weights, torch.ones(600, 1), 60)
    everyone, computed = plots.candidates(path).lines
    assert set(everyone.get_ydata()) == {500}
    assert computed.get_ydata().tolist() == list(path.candidates) and len(path.candidates) == 60


def test_a_path_without_bounds_has_no_candidates_to_draw():
    path = select_neurons(torch.ones(3, 2), torch.ones(2, 1), torch.ones(3, 1), 2)
    with pytest.raises(ValueError, match="path has no candidates"):
        plots.candidates(path)


def test_the_heat_map_writes_every_number_readably():
    ax = plots.heatmap(
        [[1.0, 10.0], [100.0, 1000.0]], [1, 2], [3, 4], xlabel="", ylabel="", label="", log=True
    )
    assert [text.get_text() for text in ax.texts] == ["1", "10", "1e+02", "1e+03"]
    assert ax.texts[0].get_color() == "white" and ax.texts[3].get_color() == "black"


def test_long_numbers_are_short_on_axes():
    assert [plots.style.short(n) for n in (250, 8000, 15_000, 15_001)] == ["250", "8,000", "15k", "15,001"]


def test_study_curves_draw_means_over_seeds():
    ax = plots.against_iterations(rows(), {"loss": "L"}, of=lambda row: row["m"] == 100)
    assert ax.lines[0].get_ydata()[0] == pytest.approx((1 + 1.02) / 2)
    ax = plots.against_size(rows(), "accuracy", times=(0, 20))
    assert [line.get_ydata()[0] for line in ax.lines] == pytest.approx([0.5, 0.7])
    ax = plots.study_heatmap(rows(), "loss", label="loss")
    assert len(ax.texts) == 6


def test_a_mean_threshold_is_drawn_only_where_every_seed_reaches_the_level():
    ax = plots.thresholds(rows(), "loss", levels=(0.1,))  # m = 200, seed 1 ends at 0.115
    markers, mean = ax.lines
    assert len(markers.get_ydata()) == 3
    assert mean.get_ydata()[0] == pytest.approx(np.mean(markers.get_ydata()[:2]))
    assert np.isnan(mean.get_ydata()[1])


def test_fitted_laws_are_drawn_through_the_thresholds():
    table = [
        {"seed": 0, "m": m, "t": t, "loss": 0.5 * (m / 100) / (1 + t)}
        for m in (100, 200, 400, 800)
        for t in (0, 1000)
    ]
    markers, power, logarithm = plots.thresholds(table, "loss", levels=(0.01,), laws=True).lines
    assert power.get_ydata()[0] == pytest.approx(markers.get_ydata()[0], rel=0.05)
    assert not np.allclose(power.get_ydata(), logarithm.get_ydata(), rtol=0.05)


def test_the_dense_network_is_drawn_beside_its_subnetworks():
    table = [
        {"seed": 0, "t": t, "k": k, "dense_loss": 0.1 / (t + 1), "subnetwork_loss": 1 / k}
        for t in (0, 10)
        for k in (2, 5)
    ]
    dense, small, large = plots.dense_and_sizes(table, "loss", sizes=(2, 5)).lines
    assert list(dense.get_ydata()) == pytest.approx([0.1, 0.1 / 11])
    assert list(small.get_ydata()) == [0.5, 0.5] and list(large.get_ydata()) == [0.2, 0.2]


def test_studies_are_drawn_side_by_side_with_two_lines_each():
    rows = [{"t": t, "dense_loss": 1 / (1 + t), "subnetwork_loss": 0.5 / (1 + t)} for t in (0, 10, 20)]
    twice = [{**row, "dense_loss": 2 * row["dense_loss"]} for row in rows]
    ax = plots.side_by_side({"squared": rows, "logistic": twice}, "loss")
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
    assert list(drawn) == ["dense, squared", "subnetwork, squared", "dense, logistic", "subnetwork, logistic"]
    assert drawn["dense, logistic"] == [2 * value for value in drawn["dense, squared"]]
    assert drawn["subnetwork, squared"][0] == 0.5


def test_groups_have_a_line_each():
    ax = plots.groups(rows(), "accuracy", over="t", group="m", lines={100: "few", 200: "many"})
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["few", "many"]
    assert list(ax.lines[0].get_ydata()) == pytest.approx([0.5, 0.6, 0.7])


def test_a_stamp_names_the_run_the_data_and_the_machine():
    record = {
        "command": "python -m gfs_tutorial mnist --preset laptop",
        "data": "MNIST, 60,000 training and 10,000 test images, sha256 123",
        "hardware": "a processor, 2 cores",
        "date": "2026-11-22T14:00:00+00:00",
    }
    figure = plt.figure()
    assert plots.stamp(figure.add_subplot(), record).figure is figure
    images = "MNIST, 60,000 training and 10,000 test images"
    assert figure.get_supxlabel() == f"mnist --preset laptop | {images} | a processor, 2 cores | 2026-11-22"


def test_a_long_stamp_makes_no_picture_wider():
    record = {"command": "run", "data": "words " * 40, "hardware": "a processor", "date": "2026-11-22"}
    figure = plt.figure(figsize=(5, 3))
    plots.stamp(figure.add_subplot(), record)
    figure.canvas.draw()
    assert figure.get_tightbbox(figure.canvas.get_renderer()).width <= 5


def test_grids_of_channels_that_share_their_axes_begin_with_the_same_unit():
    panels = plt.subplots(1, 2, sharey=True)[1]
    for ax in panels:
        plots.which_channels({"first": [0], "last": [1]}, {"first": 2, "last": 2}, ax=ax)
    assert all(ax.yaxis_inverted() for ax in panels)


def test_a_method_without_a_point_in_a_panel_is_not_in_its_legend_and_keeps_its_marker():
    row = {"m": 100, "t": 10, "before": 0.3, "after": 0.4}
    rows = [{**row, "method": "one"}, {**row, "method": "two", "before": None}, {**row, "method": "three"}]
    names = {"one": "A", "two": "B", "three": "C"}
    before, after = (plots.methods(rows, key, names) for key in ("before", "after"))
    assert [text.get_text() for text in before.get_legend().get_texts()] == ["A", "C"]
    assert before.lines[-1].get_marker() == after.lines[-1].get_marker()


def test_digits_are_drawn_with_their_titles():
    figure = plots.show_digits(torch.rand(12, 784), [str(i) for i in range(12)])
    assert [ax.get_title() for ax in figure.axes[:12]] == [str(i) for i in range(12)]


def test_rate_curves_show_the_geometric_mean_and_guides_of_the_right_slope():
    curves = {"forward": ([10, 100], [[1.0, 0.01], [4.0, 0.04]])}
    ax = plots.rate_curves(curves, guides={"slope −2": (10, 3.0, -2)})
    line, guide = ax.lines
    assert list(line.get_ydata()) == pytest.approx([2.0, 0.02])
    x, y = guide.get_xdata(), guide.get_ydata()
    assert np.log(y[1] / y[0]) / np.log(x[1] / x[0]) == pytest.approx(-2)
    assert ax.get_xscale() == ax.get_yscale() == "log"
