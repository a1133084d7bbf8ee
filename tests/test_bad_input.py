"""Wrong arguments: which error each one raises, and that its message names the argument and the way out."""

import math
import re
import warnings

import numpy as np
import pytest
import torch

from gfs_tutorial import TwoLayerNet, greedy_forward_selection, load_mnist, select_neurons, train_sgd
from gfs_tutorial.data import balanced_subset
from gfs_tutorial.theory import certificate, certificate_closed_form

pytestmark = pytest.mark.usefixtures("offline")

NUM_ROWS, NUM_NEURONS = 6, 5


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def spoilt(tensor, value):
    tensor = tensor.clone()
    tensor.flatten()[1] = value
    return tensor


NET, X, Y = TwoLayerNet(3, NUM_NEURONS), normal(NUM_ROWS, 3), normal(NUM_ROWS)
HIDDEN, OUTPUT, TARGETS = normal(NUM_ROWS, NUM_NEURONS), normal(NUM_NEURONS, 2), normal(NUM_ROWS, 2)
PATH = greedy_forward_selection(NET, X, Y, 4)
BARE_PATH = select_neurons(HIDDEN, OUTPUT, TARGETS, 4)


def train(net=NET, X=X, y=Y, **changes):
    settings = {"iterations": 3, "batch_size": 2, "lr": 0.1, "progress": False}
    return train_sgd(net, X, y, **{**settings, **changes})


def greedy(net=NET, X=X, y=Y, size=2, **changes):
    return greedy_forward_selection(net, X, y, size, **changes)


def select(hidden=HIDDEN, output_weights=OUTPUT, targets=TARGETS, size=2, **changes):
    return select_neurons(hidden, output_weights, targets, size, **changes)


def load(**changes):
    arguments = {"source": "embedded", "train_size": 10, "test_size": 10, "verbose": False}
    return load_mnist(**{**arguments, **changes})


def bounded(dense_loss=1.0, variance=1.0, size=2, **changes):
    return certificate(dense_loss, variance, size, **changes)


def indices(*values):
    return torch.tensor(values)


def data_cases():
    """What both functions that take ``X`` and ``y`` must refuse."""
    two_columns = normal(NUM_ROWS, 2)
    for name, call in (("train_sgd", train), ("greedy_forward_selection", greedy)):
        for case, arguments, error, message in [
            ("X-shorter-than-y", {"X": X[:4]}, ValueError, "X and y must have the same length.*4 rows.*6"),
            ("y-shorter-than-X", {"y": Y[:4]}, ValueError, "X and y must have the same length.*6 rows.*4"),
            ("X-1d", {"X": X[0]}, ValueError, r"X must have shape \(m, features\).*1 dim"),
            ("X-3d", {"X": X[None]}, ValueError, r"X must have shape \(m, features\).*3 dim"),
            ("y-3d", {"y": Y[:, None, None]}, ValueError, r"y must have shape \(m,\) or \(m, outputs\)"),
            ("y-0d", {"y": Y[0]}, ValueError, r"y must have shape \(m,\) or \(m, outputs\)"),
            ("X-integer", {"X": X.long()}, TypeError, r"X must have a floating.*int64.*\.float\(\)"),
            ("y-integer", {"y": Y.long()}, TypeError, r"y must have a floating.*int64.*\.float\(\)"),
            ("y-boolean", {"y": Y > 0}, TypeError, r"y must have a floating.*bool.*\.float\(\)"),
            ("X-list", {"X": X.tolist()}, TypeError, "X must be a torch.Tensor, got list: use torch.as_t"),
            ("y-list", {"y": Y.tolist()}, TypeError, "y must be a torch.Tensor, got list: use torch.as_t"),
            ("X-numpy", {"X": X.numpy()}, TypeError, "X must be a torch.Tensor, got ndarray"),
            ("X-nan", {"X": spoilt(X, math.nan)}, ValueError, "X holds 1 NaN or infinite.*clean"),
            ("X-inf", {"X": spoilt(X, math.inf)}, ValueError, "X holds 1 NaN or infinite.*clean"),
            ("y-nan", {"y": spoilt(Y, math.nan)}, ValueError, "y holds 1 NaN or infinite.*clean"),
            ("y-inf", {"y": spoilt(Y, -math.inf)}, ValueError, "y holds 1 NaN or infinite.*clean"),
            ("X-y-empty", {"X": X[:0], "y": Y[:0]}, ValueError, "X is empty"),
            ("X-without-features", {"X": X[:, :0]}, ValueError, "X is empty"),
            ("X-too-few-features", {"X": X[:, :2]}, ValueError, r"X must have shape \(m, 3\).*\(6, 2\)"),
            ("y-too-many-columns", {"y": two_columns}, ValueError, r"y has 2 column.*network has 1 output"),
            ("X-y-dtypes", {"y": Y.double()}, TypeError, "X and y must have the same dtype.*convert"),
            (
                "net-dtype",
                {"X": X.double(), "y": Y.double()},
                TypeError,
                r"X is torch.float64 but the network is torch.float32: use",
            ),
            ("net-foreign", {"net": torch.nn.Linear(3, 1)}, TypeError, "net must be a TwoLayerNet"),
        ]:
            yield pytest.param(call, arguments, error, message, id=f"{name}-{case}")
        if torch.cuda.is_available():
            device_message = "(X|y).* is on cuda.*move one"
            yield pytest.param(call, {"X": X.cuda()}, ValueError, device_message, id=f"{name}-X-cuda")
            yield pytest.param(call, {"y": Y.cuda()}, ValueError, device_message, id=f"{name}-y-cuda")


def size_cases():
    """What both selections must refuse as their size."""
    for name, call in (("greedy_forward_selection", greedy), ("select_neurons", select)):
        for case, arguments, error, message in [
            ("0", {"size": 0}, ValueError, "size must be at least 1, got 0"),
            ("negative", {"size": -3}, ValueError, "size must be at least 1, got -3"),
            ("float", {"size": 2.0}, TypeError, r"size must be a whole number, got 2.0 \(float\)"),
            ("text", {"size": "2"}, TypeError, r"size must be a whole number, got '2' \(str\)"),
            ("True", {"size": True}, TypeError, r"size must be a whole number, got True"),
            ("None", {"size": None}, TypeError, r"size must be a whole number, got None"),
            (
                "beyond-N",
                {"size": NUM_NEURONS + 1, "with_replacement": False},
                ValueError,
                "size is 6 but there are only 5 neurons.*lower size, or set with_replacement=True",
            ),
        ]:
            yield pytest.param(call, arguments, error, message, id=f"{name}-size-{case}")


def named(name, call, error, cases):
    """Cases that share a function and an error."""
    return [pytest.param(call, a, error, message, id=f"{name}-{case}") for case, a, message in cases]


TRAINING = [
    *named(
        "train_sgd",
        train,
        ValueError,
        [
            ("no-iterations", {"iterations": 0}, "iterations must be at least 1, got 0"),
            ("no-batch", {"batch_size": 0}, "batch_size must be at least 1, got 0"),
            ("batch-beyond-m", {"batch_size": 7}, "batch_size is 7 but X has only 6 rows: lower it"),
            ("late-checkpoint", {"checkpoints": [0, 4]}, "checkpoint 4 lies beyond the last iteration, 3"),
            ("early-checkpoint", {"checkpoints": [-1]}, "checkpoints must be at least 0, got -1"),
            ("negative-lr", {"lr": -0.1}, "lr must be finite and not negative, got -0.1"),
            ("half-negative-lr", {"lr": (0.1, -0.1)}, "lr must be finite and not negative"),
            ("nan-lr", {"lr": math.nan}, "lr must be finite and not negative, got nan"),
            ("inf-lr", {"lr": math.inf}, "lr must be finite and not negative, got inf"),
        ],
    ),
    *named(
        "train_sgd",
        train,
        TypeError,
        [
            ("float-iterations", {"iterations": 3.0}, r"iterations must be a whole number, got 3.0"),
            ("float-batch", {"batch_size": 2.0}, r"batch_size must be a whole number, got 2.0"),
            ("text-lr", {"lr": "0.1"}, "lr must be a number or a pair of numbers.*'0.1'"),
            ("triple-lr", {"lr": (0.1, 0.1, 0.1)}, "lr must be a number or a pair of numbers"),
            ("boolean-lr", {"lr": True}, "lr must be a number or a pair of numbers.*True"),
            ("float-checkpoint", {"checkpoints": [1.5]}, "checkpoints must be a whole number, got 1.5"),
            ("bare-checkpoint", {"checkpoints": 3}, "checkpoints must be.*got 3"),
            ("seed-as-generator", {"generator": 0}, "generator must be a torch.Generator"),
        ],
    ),
    *named(
        "history.at",
        lambda t: train(TwoLayerNet(3, 2), checkpoints=[0, 2]).at(t),
        ValueError,
        [("unknown", {"t": 1}, "no checkpoint at iteration 1: those kept are 0, 2")],
    ),
    *named(
        "history.at",
        lambda t: train(TwoLayerNet(3, 2)).at(t),
        ValueError,
        [("none-kept", {"t": 0}, "no checkpoint at iteration 0: those kept are none")],
    ),
]

NETWORKS = [
    *named(
        "TwoLayerNet",
        lambda in_features=3, width=5, **rest: TwoLayerNet(in_features, width, **rest),
        ValueError,
        [
            ("no-width", {"width": 0}, "width must be at least 1, got 0"),
            ("no-inputs", {"in_features": 0}, "in_features must be at least 1, got 0"),
            ("no-outputs", {"out_features": 0}, "out_features must be at least 1, got 0"),
            ("activation", {"activation": "gelu"}, "unknown activation 'gelu': choose one of 'tanh', 'sig"),
        ],
    ),
    *named(
        "TwoLayerNet",
        lambda in_features=3, width=5, **rest: TwoLayerNet(in_features, width, **rest),
        TypeError,
        [
            ("float-width", {"width": 2.5}, r"width must be a whole number, got 2.5 \(float\)"),
            ("True-width", {"width": True}, r"width must be a whole number, got True \(bool\)"),
            ("seed-as-generator", {"generator": 0}, "generator must be a torch.Generator"),
        ],
    ),
    *named(
        "net(X)",
        NET,
        ValueError,
        [
            ("features", {"X": X[:, :2]}, r"X must have shape \(m, 3\), got \(6, 2\)"),
            ("1d", {"X": X[0]}, r"X must have shape \(m, 3\), got \(3,\)"),
            ("device", {"X": X.to("meta")}, "X is on meta but the network is on cpu: move one of them"),
        ],
    ),
    *named(
        "net(X)",
        NET,
        TypeError,
        [
            ("dtype", {"X": X.double()}, r"X is torch.float64 but the network is torch.float32: use X.to"),
            ("list", {"X": X.tolist()}, "X must be a torch.Tensor, got list: use torch.as_tensor"),
        ],
    ),
    *named(
        "subset",
        NET.subset,
        ValueError,
        [
            ("empty", {"indices": indices().long()}, "indices.*empty"),
            ("beyond-N", {"indices": indices(0, 9)}, "indices.*(0 to 4|below 5|5 neurons)"),
            ("negative", {"indices": indices(0, -1)}, "indices.*(0 to 4|below 5|5 neurons)"),
            ("2d", {"indices": indices([0], [1])}, "indices must have shape"),
            ("one-weight", {"indices": indices(0, 1), "weights": torch.ones(1)}, "weights.*2"),
            ("three-weights", {"indices": indices(0, 1), "weights": torch.ones(3)}, "weights.*2"),
        ],
    ),
    *named(
        "subset",
        NET.subset,
        TypeError,
        [
            ("list", {"indices": [0, 1]}, "indices must be.*[Tt]ensor"),
            ("mask", {"indices": indices(True, False, False, False, False)}, "indices must.*int64"),
            ("floats", {"indices": indices(0.0, 1.0)}, "indices must.*int64"),
        ],
    ),
]

SELECTION = [
    *named(
        "select_neurons",
        select,
        ValueError,
        [
            ("hidden-1d", {"hidden": HIDDEN[0]}, r"hidden must have shape \(m, N\)"),
            ("hidden-nan", {"hidden": spoilt(HIDDEN, math.nan)}, "hidden holds 1 NaN or infinite.*clean"),
            ("hidden-inf", {"hidden": spoilt(HIDDEN, math.inf)}, "hidden holds 1 NaN or infinite.*clean"),
            ("output-1d", {"output_weights": OUTPUT[:, 0]}, r"output_weights must have shape \(N, C\)"),
            ("output-nan", {"output_weights": spoilt(OUTPUT, math.nan)}, "output_weights holds 1 NaN"),
            ("output-inf", {"output_weights": spoilt(OUTPUT, math.inf)}, "output_weights holds 1 NaN"),
            ("targets-nan", {"targets": spoilt(TARGETS, math.nan)}, "targets holds 1 NaN or infinite"),
            ("targets-inf", {"targets": spoilt(TARGETS, math.inf)}, "targets holds 1 NaN or infinite"),
            ("targets-3d", {"targets": TARGETS[None]}, r"targets must have shape \(m,\) or \(m, C\)"),
            ("hidden-empty", {"hidden": HIDDEN[:0]}, r"hidden is empty: its shape is \(0, 5\)"),
            ("hidden-transposed", {"hidden": HIDDEN.T}, r"hidden is \(m, N\) = \(5, 6\), so output_weights"),
            ("output-short", {"output_weights": OUTPUT[:3]}, r"output_weights must be \(5, C\).*\(3, 2\)"),
            ("targets-short", {"targets": TARGETS[:3]}, r"targets \(6, C\).*\(3, 2\)"),
            ("targets-1d", {"targets": TARGETS[:, 0]}, r"targets \(6, C\).*\(6, 1\)"),
        ],
    ),
    *named(
        "select_neurons",
        select,
        TypeError,
        [
            ("hidden-dtype", {"hidden": HIDDEN.double()}, "must share a dtype.*float64.*float32.*float32"),
            ("targets-dtype", {"targets": TARGETS.double()}, "must share a dtype.*float32.*float64"),
            ("hidden-integer", {"hidden": HIDDEN.long()}, r"hidden must have a floating.*\.float\(\)"),
            ("targets-integer", {"targets": TARGETS.long()}, r"targets must have a floating.*\.float\(\)"),
            ("hidden-list", {"hidden": HIDDEN.tolist()}, "hidden must be a torch.Tensor, got list"),
            ("output-list", {"output_weights": OUTPUT.tolist()}, "output_weights must be a torch.Tensor"),
            ("targets-list", {"targets": TARGETS.tolist()}, "targets must be a torch.Tensor, got list"),
        ],
    ),
    *[
        case
        for method in ("weights", "distinct", "subnetwork", "bound")
        for call in [getattr(PATH, method)]
        for case in [
            *named(f"path.{method}", call, ValueError, [("0", {"k": 0}, "k must be at least 1, got 0")]),
            *named(f"path.{method}", call, ValueError, [("minus", {"k": -1}, "k must be at least 1")]),
            *named(
                f"path.{method}",
                call,
                ValueError,
                [("beyond", {"k": 5}, "k is 5 but the path has only 4 steps: select a larger size")],
            ),
            *named(f"path.{method}", call, TypeError, [("float", {"k": 1.0}, "k must be a whole number")]),
        ]
    ],
    *named(
        "path-of-bare-tensors.subnetwork",
        BARE_PATH.subnetwork,
        ValueError,
        [("any", {"k": 2}, r"bare tensors: .*greedy_forward_selection\(net, ...\).*weights\(k\)")],
    ),
    pytest.param(
        lambda net: greedy(net),
        {"net": TwoLayerNet(3, 2).requires_grad_(False).apply(lambda m: m.output_weights.fill_(math.nan))},
        ValueError,
        "net holds 2 NaN or infinite",
        id="greedy_forward_selection-net-nan",
    ),
]

DATA = [
    *named(
        "load_mnist",
        load,
        ValueError,
        [
            ("labels", {"labels": "ternary"}, "unknown labels 'ternary': choose one of 'binary', 'one-hot'"),
            ("source", {"source": "web"}, "unknown source 'web': choose one of 'auto', 'embedded'"),
            ("no-training", {"train_size": 0}, "train_size must be at least 1, got 0"),
            ("no-test", {"test_size": 0}, "test_size must be at least 1, got 0"),
            ("big-training", {"train_size": 4001}, "train_size is 4001 but .* only 4000 .*: lower it"),
            ("big-test", {"test_size": 1001}, "test_size is 1001 but .* only 1000 .*: lower it"),
        ],
    ),
    *named(
        "load_mnist",
        load,
        TypeError,
        [
            ("float-size", {"train_size": 10.0}, "train_size must be a whole number, got 10.0"),
            ("float-seed", {"seed": 0.5}, "seed must be a whole number, got 0.5"),
            ("text-seed", {"seed": "a"}, "seed must be a whole number, got 'a'"),
            ("integer-dtype", {"dtype": torch.int64}, "dtype must be a floating.*int64"),
        ],
    ),
    *named(
        "balanced_subset",
        balanced_subset,
        ValueError,
        [
            ("0", {"labels": torch.zeros(4), "size": 0}, "size must be at least 1, got 0"),
            ("beyond-m", {"labels": torch.zeros(4), "size": 5}, "size is 5 .* only 4 rows: lower it"),
            ("2d", {"labels": torch.zeros(4, 2), "size": 2}, r"labels must have shape \(m,\)"),
        ],
    ),
    *named(
        "balanced_subset",
        balanced_subset,
        TypeError,
        [("list", {"labels": [0, 1], "size": 1}, "labels must be a torch.Tensor, got list")],
    ),
]

THEORY = [
    *named(
        "certificate",
        bounded,
        ValueError,
        [
            ("negative-loss", {"dense_loss": -1.0}, "dense_loss must be finite and not negative, got -1"),
            ("nan-loss", {"dense_loss": math.nan}, "dense_loss must be finite and not negative, got nan"),
            ("inf-variance", {"variance": math.inf}, "variance must be finite and not negative, got inf"),
            ("negative-variance", {"variance": -1.0}, "variance must be finite and not negative, got -1"),
            ("no-size", {"size": 0}, "size must be at least 1, got 0"),
            ("no-width", {"with_replacement": False}, "width must be at least size = 2, got None"),
            (
                "small-width",
                {"with_replacement": False, "width": 1},
                "width must be at least size = 2, got 1",
            ),
        ],
    ),
    *named(
        "certificate",
        bounded,
        TypeError,
        [
            ("float-size", {"size": 2.0}, "size must be a whole number, got 2.0"),
            ("float-width", {"with_replacement": False, "width": 2.5}, "width must be a whole number"),
        ],
    ),
    *named(
        "certificate_closed_form",
        lambda dense_loss=1.0, variance=1.0, k=1: certificate_closed_form(dense_loss, variance, k),
        ValueError,
        [
            ("negative-loss", {"dense_loss": -1.0}, "dense_loss must be finite and not negative, got -1"),
            ("negative-variance", {"variance": -1.0}, "variance must be finite and not negative, got -1"),
            ("k-0", {"k": 0}, "k must be at least 1"),
            ("k-tensor-0", {"k": torch.tensor([0, 1])}, "k must be at least 1"),
        ],
    ),
]

CASES = [*data_cases(), *size_cases(), *TRAINING, *NETWORKS, *SELECTION, *DATA, *THEORY]


@pytest.mark.parametrize(("call", "arguments", "error", "message"), CASES)
def test_a_wrong_argument_is_named_and_leaves_the_net_alone(call, arguments, error, message):
    before = [p.detach().clone() for p in NET.parameters()]
    with pytest.raises(error) as raised:
        call(**arguments)
    assert raised.type is error
    assert re.search(message, str(raised.value), re.DOTALL)
    assert all(torch.equal(p, old) for p, old in zip(NET.parameters(), before))


# What must not be refused


def test_the_arguments_that_the_cases_start_from_are_fine():
    train(TwoLayerNet(3, 5))
    assert len(greedy()) == len(select()) == len(bounded()) == 2
    assert len(load().X_train) == 10


def test_numpy_numbers_are_numbers():
    assert len(greedy(size=np.int64(2))) == 2
    by_numpy = train(PATH.subnetwork(4), iterations=np.int32(3), batch_size=np.int64(6), lr=np.float32(0.5))
    by_python = train(PATH.subnetwork(4), iterations=3, batch_size=6, lr=0.5)
    torch.testing.assert_close(by_numpy.losses, by_python.losses)


def test_without_replacement_all_neurons_may_be_asked_for_and_with_replacement_more():
    assert len(greedy(size=NUM_NEURONS, with_replacement=False)) == NUM_NEURONS
    assert len(greedy(size=2 * NUM_NEURONS)) == 2 * NUM_NEURONS


def test_large_finite_values_whose_sum_overflows_are_fine():
    large = torch.full((NUM_ROWS, 3), 1e38)
    assert len(greedy(X=large)) == 2


def test_tensors_that_carry_gradients_are_selected_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = select(hidden=NET.hidden(X), output_weights=NET.output_weights, targets=Y)
    assert path.indices.tolist() == greedy().indices.tolist()
