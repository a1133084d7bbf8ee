"""The experiments of the theory on small instances: their rows against runs by hand, their scripts."""

import math

import pytest
import torch

from gfs_tutorial import greedy_forward_selection, load_mnist, results, theory
from gfs_tutorial.experiments import pretraining, slopes, untrained
from gfs_tutorial.experiments.script import run_as_script
from gfs_tutorial.experiments.teacher import random_net, teacher_data
from gfs_tutorial.networks import TwoLayerNet
from gfs_tutorial.training import half_squared_error

TEACHER = slopes.Case("teacher", 12, 30, 5, (2, 4), more_sizes=(40,), lr=(1.0, 1.0), batch_size=None)
DIGITS = slopes.Case("digits", 20, 25, 5, (2, 4), batch_size=10)
FOLLOWED = pretraining.PretrainingSettings((10, 20), (30,), (0, 1, 5, 20), 8, (0, 1))
UNTRAINED = untrained.UntrainedSettings((15,), (10, 40), (2, 12), (0,))


def test_the_teacher_sets_the_scale_and_the_seed_the_data():
    X, y = teacher_data(500, label_std=0.3, generator=torch.Generator().manual_seed(1))
    assert X.shape == (500, 20) and y.shape == (500, 1)
    assert float(y.std()) == pytest.approx(0.3, rel=1e-5)
    assert torch.equal(X, teacher_data(500, generator=torch.Generator().manual_seed(1))[0])


def test_the_random_net_has_standard_normal_first_layer():
    net = random_net(20, 20_000, 0.5, generator=torch.Generator().manual_seed(0))
    for weights, std in ((net.input_weights, 1), (net.input_biases, 1), (net.output_weights, 0.5)):
        assert float(weights.std().detach()) == pytest.approx(std, rel=0.02)


@pytest.fixture(scope="module")
def slope_study():
    return slopes.run(slopes.SlopeSettings((TEACHER, DIGITS), (0, 1)), progress=False)


def test_slope_rows_are_those_of_a_run_by_hand(slope_study):
    net, X, y = slopes.trained_net(DIGITS, seed=1)
    path = greedy_forward_selection(net, X, y, 4)
    sizes, losses = slopes.losses_of(slope_study["rows"], "digits", "forward")
    assert sizes == [2, 4]
    assert losses[1] == pytest.approx([float(path.losses[1]), float(path.losses[3])])
    small, X, y = slopes.trained_net(DIGITS, seed=1, width=4)
    loss = float(half_squared_error(small(X), y).detach())
    sizes, losses = slopes.losses_of(slope_study["rows"], "digits", "scratch")
    assert losses[1][sizes.index(4)] == pytest.approx(loss, rel=1e-5)


def test_all_methods_see_the_same_data_and_stay_above_the_minimum(slope_study):
    assert len(slope_study["networks"]) == 4
    for network in slope_study["networks"]:
        for method in ("forward", "backward"):
            rows = [row for row in slope_study["rows"] if row["method"] == method]
            mine = [row for row in rows if (row["case"], row["seed"]) == (network["case"], network["seed"])]
            assert all(row["loss"] >= network["minimum"] - network["duality_gap"] - 1e-12 for row in mine)
    assert slopes.losses_of(slope_study["rows"], "teacher", "forward")[0] == [2, 4, 40]
    torch.testing.assert_close(slopes.trained_net(TEACHER, 0)[1], slopes.trained_net(TEACHER, 0, width=3)[1])
    with pytest.raises(ValueError, match="no rows"):
        slopes.losses_of(slope_study["rows"], "teacher", "sideways")


def test_the_followed_run_is_that_of_train_sgd():
    rows = pretraining.follow(FOLLOWED, m=20, N=30, seed=1)
    assert [row["t"] for row in rows] == [0, 1, 5, 20]
    data = load_mnist(train_size=20, seed=1, source="embedded", verbose=False)
    net = TwoLayerNet(784, 30, generator=torch.Generator().manual_seed(1))
    features, target = theory.network_features(net, data.X_train, data.y_train)
    start = theory.anchor(features, target)
    assert rows[0]["dense_loss"] == pytest.approx(start.loss)
    assert rows[0]["variance"] == pytest.approx(start.variance)
    assert 0 < rows[0]["kernel_rho"] < 1


def test_the_thresholds_are_in_order_and_mean_what_they_say():
    study = pretraining.run(FOLLOWED, progress=False)
    assert len(study["rows"]) == 2 * 2 * 4
    for m in (10, 20):
        rows = [row for row in study["rows"] if row["m"] == m and row["seed"] == 0]
        found = pretraining.summary(rows, FOLLOWED.size)
        thresholds = [found[key] for key in ("achieved", "certified", "predicted")]
        seen = [math.inf if t is None else t for t in thresholds]
        assert seen == sorted(seen)  # each condition implies the one before
        for row in rows:
            if row["t"] >= seen[2]:
                assert row["subnetwork_loss"] <= 2 * row["variance"] / FOLLOWED.size


def test_the_hull_of_a_wider_untrained_net_is_no_smaller():
    rows = untrained.run(UNTRAINED, progress=False)["rows"]
    assert len(rows) == 3 + 4  # without replacement, ten neurons cannot be picked twelve times
    narrow, wide = (next(row for row in rows if row["N"] == N) for N in (10, 40))
    assert wide["minimum"] <= narrow["minimum"] + 1e-12
    assert all(row["loss"] >= row["minimum"] - 1e-12 for row in rows)
    assert all(row["distinct"] == row["k"] for row in rows if not row["with_replacement"])


def test_a_script_writes_its_result(tmp_path, capsys):
    def run(settings, preset):
        return {"rows": [settings, preset], "seconds": 1.0}

    run_as_script("some", run, {"quick": 7}, ["--out", str(tmp_path / "out.json")])
    assert results.read(tmp_path / "out.json")["rows"] == [7, "quick"]
    assert "2 rows" in capsys.readouterr().out


@pytest.mark.parametrize("module", [pretraining, slopes, untrained])
def test_presets_are_there_and_unknown_ones_are_refused(module):
    assert module.preset("quick").seeds
    with pytest.raises(ValueError, match="laptop"):
        module.preset("huge")


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus"])
def test_the_tangent_kernel_is_what_a_small_step_does(activation):
    """Against training itself: the change of the outputs in one step, as the learning rates go to 0."""
    from gfs_tutorial import train_sgd

    generator = torch.Generator().manual_seed(0)
    X, y = (torch.randn(6, n, generator=generator).double() for n in (4, 1))
    net = TwoLayerNet(4, 50, 1, activation, generator=generator).double()
    lr = (1e-5, 3e-5)
    kernel = theory.tangent_kernel(net, X, lr)
    before = (net(X) - y).detach()
    train_sgd(net, X, y, iterations=1, batch_size=6, lr=lr, progress=False)
    change = (net(X) - y).detach() - before
    torch.testing.assert_close(change, -kernel @ before, rtol=1e-3, atol=1e-9)


def test_the_output_layer_alone_contracts_as_the_kernel_says():
    from gfs_tutorial import train_sgd

    generator = torch.Generator().manual_seed(0)
    X, y = (torch.randn(6, n, generator=generator).double() for n in (4, 1))
    net = TwoLayerNet(4, 50, generator=generator).double()
    rho = theory.kernel_contraction(net, X, (0.0, 0.5))
    history = train_sgd(net, X, y, iterations=60, batch_size=6, lr=(0.0, 0.5), progress=False)
    bound = history.losses[0] * (1 - rho) ** torch.arange(60.0, dtype=torch.float64)
    assert rho > 0 and bool((history.losses <= bound * (1 + 1e-9)).all())
    with pytest.raises(ValueError, match="one output"):
        theory.tangent_kernel(TwoLayerNet(4, 5, 2).double(), X, (0.1, 0.1))
