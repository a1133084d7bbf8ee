"""CNNs on many processes: like one process, and like a run that nobody disturbed."""

import contextlib
import copy
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from cnn_distributed_worker import (
    EVERY,
    LOOK,
    RECIPE,
    Dropped,
    Photographs,
    calibration_images,
    network,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from gfs_tutorial.cnn import prune, select_by_loss
from gfs_tutorial.cnn.augmentation import normalize
from gfs_tutorial.cnn.distributed import (
    PreemptedError,
    Recipe,
    evaluate_dataset,
    prune_shared,
    prune_to_budgets,
    train,
)
from gfs_tutorial.cnn.distributed.step_batches import Drawn, StepBatches
from gfs_tutorial.cnn.distributed.sums import add_up, moved
from gfs_tutorial.cnn.distributed.updates import Updates
from gfs_tutorial.cnn.moments import Moments
from gfs_tutorial.cnn.units import find_units
from gfs_tutorial.distributed import simulate
from gfs_tutorial.distributed.alone import Alone
from gfs_tutorial.distributed.content import broadcast_content


def recipe(**changes):
    return Recipe(**{**RECIPE.__dict__, **changes})


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


# Which images a step sees


@settings(max_examples=50, deadline=None)
@given(
    world=st.integers(1, 4),
    accumulate=st.integers(1, 3),
    share=st.integers(1, 3),
    spare=st.integers(0, 7),
    start=st.integers(0, 5),
    seed=st.integers(0, 100),
)
def test_a_step_sees_the_same_images_on_any_number_of_processes_from_any_start(
    world, accumulate, share, spare, start, seed
):
    batch = world * accumulate * share
    images = range(2 * batch + spare)
    alone = [set(part) for part in StepBatches(images, batch, 6, seed=seed)]
    every = [
        list(
            StepBatches(images, batch, 6, start=start, seed=seed, rank=r, world=world, accumulate=accumulate)
        )
        for r in range(world)
    ]
    assert all(len(parts) == (6 - start) * accumulate for parts in every)
    for step in range(start, 6):
        parts = slice((step - start) * accumulate, (step - start + 1) * accumulate)
        seen = [item for own in every for part in own[parts] for item in part]
        assert len(seen) == batch and set(seen) == alone[step]
    length = len(images) // batch  # steps of a pass, in which no image is seen twice
    for first in range(0, 6, length):
        counts = Counter(index for part in alone[first : first + length] for index, _ in part)
        assert set(counts.values()) <= {1}


def test_transforms_depend_on_the_image_and_the_pass_alone():
    photographs = Drawn(Photographs(), seed=3)
    random.seed(1)
    torch.manual_seed(1)
    before, drawn = photographs[5, 0][0], (random.random(), torch.rand(1))
    random.seed(1)
    torch.manual_seed(1)
    assert drawn == (random.random(), torch.rand(1))
    assert torch.equal(photographs[5, 0][0], before)
    assert len({photographs[5, passed][0].sum(dim=(0, 1)).tolist()[0] for passed in range(8)}) == 2


@pytest.mark.parametrize(
    "change, message",
    [
        ({"batch_size": 29}, "only 28 images"),
        ({"batch_size": 9, "accumulate": 2}, "multiple of 2"),
        ({"norms": "synced"}, "unknown norms"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"optimizer": "lamb"}, "unknown optimizer"),
    ],
)
def test_settings_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        train(network(), Photographs(), recipe(**change), **LOOK, progress=False)


# Training in one process


def trained(model=None, changes=None, **options):
    model = network() if model is None else model
    history = train(model, Photographs(), recipe(**(changes or {})), **LOOK, **{"progress": False, **options})
    return model, history


def test_gradients_of_parts_add_up_and_workers_change_nothing():
    whole, history = trained()
    parts, of_parts = trained(changes={"accumulate": 2, "workers": 1})
    torch.testing.assert_close(of_parts.losses, history.losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state(parts), state(whole), rtol=1e-3, atol=1e-4)


def test_a_teacher_takes_the_place_of_labels():
    teacher = network(1)
    model, history = trained(changes={"lr": 0.0}, teacher=teacher)
    assert_same(state(teacher), state(network(1)))
    batch = next(iter(StepBatches(Photographs(), 8, 1)))
    images = torch.stack([Drawn(Photographs())[item][0] for item in batch])
    with torch.no_grad():
        distance = model.eval()(normalize(images, **LOOK)) - teacher(normalize(images, **LOOK))
    assert float(history.losses[0]) == pytest.approx(float(distance.square().sum(1).mean() / 2), rel=1e-4)


@pytest.mark.parametrize("at", [4, 9])
def test_a_job_that_is_asked_to_end_goes_on_where_it_was(tmp_path, monkeypatch, at):
    expected, history = trained(Dropped(), {"norms": "local"})
    real = Updates.step

    def step(self, number, batches):
        if number == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, number, batches)

    options = {"changes": {"norms": "local"}, "checkpoint": tmp_path / "run.pt", "every": 100}
    with monkeypatch.context() as patch:
        patch.setattr(Updates, "step", step)
        with (
            pytest.raises(PreemptedError, match="after step 5 of 10") if at == 4 else contextlib.nullcontext()
        ):
            trained(Dropped(), **options)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    model, again = trained(Dropped(), **options)
    assert_same(state(model), state(expected))
    assert torch.equal(again.losses, history.losses)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run.pt"
    trained(checkpoint=path)
    with pytest.raises(ValueError, match="other lr"):
        trained(changes={"lr": 0.01}, checkpoint=path)
    with pytest.raises(ValueError, match="other weights"):
        trained(network(1), checkpoint=path)
    path.write_bytes(b"PK broken")
    with pytest.raises(ValueError, match="damaged"):
        trained(checkpoint=path)


# Evaluation


@pytest.mark.parametrize("world", [1, 3])
def test_every_image_counts_once(world):
    draw = torch.Generator().manual_seed(0)
    X = torch.randint(0, 256, (20, 3, 16, 16), generator=draw, dtype=torch.uint8)
    y, data = torch.arange(20) % 10, None
    data, model = TensorDataset(X, y), torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 10))
    found, _ = simulate(
        world,
        lambda one: evaluate_dataset(
            copy.deepcopy(model), data, **LOOK, communicator=one, precision="float32", batch_size=3
        ),
    )
    with torch.no_grad():
        order = model(normalize(X, **LOOK)).argsort(1, descending=True)
    right = order == y[:, None]
    for one in found:
        assert one.images == 20
        assert one.top1 == pytest.approx(float(right[:, 0].double().mean()))
        assert one.top5 == pytest.approx(float(right[:, :5].any(1).double().mean()))
    assert found[0].standard_error == pytest.approx((found[0].top1 * (1 - found[0].top1) / 20) ** 0.5)


# Selection and pruning, simulated


def test_moments_about_another_origin_are_those_of_the_shifted_rows():
    draw = torch.Generator().manual_seed(0)
    A, Z = (torch.randn(30, n, generator=draw).double() for n in (4, 3))
    origin = (torch.randn(4, generator=draw).double(), torch.randn(3, generator=draw).double())
    expected = Moments.about(origin)
    expected.add(A, Z)
    parts = [Moments.of_rows(A[:10], Z[:10]), Moments.of_rows(A[10:], Z[10:])]
    for found in (moved(Moments.of_rows(A, Z), origin), moved(add_up(parts, parts[0], Alone()), origin)):
        assert found.count == 30
        for name in ("input_sum", "output_sum", "inputs", "cross", "K", "B", "T", "energy"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("inputs", ["dense", "pruned"])
def test_any_number_of_processes_prunes_like_one(inputs):
    images = calibration_images()[0].double()[..., :8, :8]  # 64 positions at most: none is left out
    options = {"macs": 0.6, "inputs": inputs, "seed": 1}
    expected, report = prune(network().double(), [images], **options)

    def one(communicator):
        return prune_shared(network().double(), images, **options, communicator=communicator)

    for world in (1, 3, 5):
        for small, found in simulate(world, one)[0]:
            assert_same(found.kept, report.kept)
            assert (found.macs, found.parameters) == (report.macs, report.parameters)
            torch.testing.assert_close(state(small), state(expected), rtol=1e-4, atol=1e-6)


def test_sampled_positions_are_the_same_for_any_number_of_processes(tmp_path):
    images = torch.randn(70, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "prune.pt"
    budgets = list(prune_to_budgets(network(), images, [0.7, 0.4], checkpoint=path))

    def one(communicator):
        return list(prune_to_budgets(network(), images, [0.7, 0.4], communicator=communicator))

    for found in (
        list(prune_to_budgets(network(), images, [0.7, 0.4], checkpoint=path)),
        simulate(2, one)[0][1],
    ):
        for (small, report), (expected, before) in zip(found, budgets):
            assert_same(report.kept, before.kept)
            torch.testing.assert_close(state(small), state(expected), rtol=1e-3, atol=1e-4)


def selected(communicator=None, batches=None, model=None):
    model = network() if model is None else model
    unit = find_units(model, calibration_images()[0][:1])[3]
    if batches is None:
        batches = [tuple(t[i : i + 8] for t in calibration_images()) for i in range(0, 32, 8)]
    draw = torch.Generator().manual_seed(communicator.rank if communicator is not None else 0)
    options = {"candidates": 3, "generator": draw, "communicator": communicator}
    return select_by_loss(model, unit, batches, 4, **options)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_candidates_shared_out_give_the_picks_and_losses_of_one_process(world):
    expected = selected()
    for found in simulate(world, selected)[0]:
        assert torch.equal(found.picks, expected.picks) and torch.equal(found.errors, expected.errors)


def error_of(world, function):
    def one(communicator):
        with pytest.raises(ValueError) as caught:
            function(communicator)
        return str(caught.value)

    return simulate(world, one)[0]


def test_processes_that_see_different_things_are_told():
    def other_images(communicator):
        selected(communicator, [(torch.randn(4, 3, 16, 16), torch.zeros(4, dtype=torch.int64))])

    assert all("batches differ" in words for words in error_of(2, other_images))
    assert all("model" in words for words in error_of(2, lambda one: selected(one, model=network(one.rank))))


def test_content_reaches_all_processes():
    content = {"x": torch.arange(3), "words": ["a", None], "share": 0.5}
    arrived = simulate(3, lambda one: broadcast_content(one, content if one.rank == 0 else None, "test"))[0]
    for found in arrived:
        assert torch.equal(found.pop("x"), content["x"])
        assert found == {"words": ["a", None], "share": 0.5}


def test_the_loss_needs_another_function():
    with pytest.raises(ValueError, match="select_by_loss"):
        prune_shared(network(), calibration_images()[0], method="loss")


# Two processes under torchrun, one of which is asked to end and then killed


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The folder of what the processes have saved, and what they printed."""
    folder, root = tmp_path_factory.mktemp("job"), Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    worker = [str(root / "tests" / "cnn_distributed_worker.py"), str(folder)]
    streams = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
        "start_new_session": True,
    }
    with subprocess.Popen([*launcher, "--max-restarts", "2", *worker], env=environment, **streams) as running:
        try:
            output = running.communicate(timeout=500)[0]
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 0, output
    return folder, output


def saved(job, name):
    return [torch.load(job[0] / f"{name}-{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes_select_and_prune_like_one(job):
    expected = selected()
    _, report = prune(network(), [calibration_images()[0]], macs=0.6, inputs="pruned")
    first, second = saved(job, "selected")
    assert_same(first["state"], second["state"])
    for found in (first, second):
        assert torch.equal(found["picks"], expected.picks) and torch.equal(found["errors"], expected.errors)
        assert_same(found["kept"], report.kept)
        assert found["images"] == 28


def test_two_processes_train_like_one(job):
    model, history = trained()
    first, second = saved(job, "undisturbed-frozen")
    assert_same(first["state"], second["state"])
    torch.testing.assert_close(first["losses"], history.losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first["state"], state(model), rtol=1e-3, atol=1e-4)


def test_after_a_notice_and_a_kill_the_outcome_is_that_of_an_undisturbed_run(job):
    for undisturbed, restarted in zip(saved(job, "undisturbed-local"), saved(job, "restarted")):
        assert_same(restarted["state"], undisturbed["state"])
        assert torch.equal(restarted["losses"], undisturbed["losses"])


def test_no_more_is_lost_than_the_interval(job):
    lines = re.findall(r"life (\d) rank (\d) step (\d+)", job[1])
    steps = {life: [int(step) for was, rank, step in lines if (was, rank) == (life, "0")] for life in "012"}
    assert steps["0"][0] == 1 and steps["0"][-1] == 5  # asked to end in step 5: it is finished and kept
    assert steps["1"][0] == 6 and steps["1"][-1] in (8, 9)  # killed in step 9
    assert steps["2"] == list(range(2 * EVERY + 1, 11))
