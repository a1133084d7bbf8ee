"""Selection on many processes: simulated in threads, alone in a real process group, and under torchrun."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from brute_force import brute_force
from distributed_worker import in_two_rounds, instance, on_neurons, on_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_tutorial import TwoLayerNet, greedy_forward_selection, select_neurons
from gfs_tutorial.distributed import (
    Communicator,
    estimate,
    greedy_forward_selection_distributed,
    greedy_forward_selection_two_round,
    process_group,
    select_data_sharded,
    select_neurons_sharded,
    select_two_round,
    sent_by_all,
    simulate,
)
from gfs_tutorial.distributed.__main__ import main

both = pytest.mark.parametrize("with_replacement", [True, False])
exact = pytest.mark.parametrize("shard", [on_rows, on_neurons])
worlds = st.integers(1, 5)


def uneven_shares(count, world, seed):
    """Cuts 0..count into ``world`` parts of at least one each."""
    order = torch.randperm(count - 1, generator=torch.Generator().manual_seed(seed))
    cuts = [0, *sorted((order[: world - 1] + 1).tolist()), count]
    return [slice(*ends) for ends in pairwise(cuts)]


def select_sharded(shard, world, data, size, seed=0, **options):
    """The path that all simulated processes agree on, and their communicators."""
    hidden, output_weights, targets = data
    parts = uneven_shares(len(hidden) if shard is on_rows else len(output_weights), world, seed)

    def one(communicator):
        part = parts[communicator.rank]
        if shard is on_rows:
            own = hidden[part], output_weights, targets[part]
            return select_data_sharded(*own, size, communicator=communicator, **options)
        own = hidden[:, part], output_weights[part], targets
        function = select_neurons_sharded if shard is on_neurons else select_two_round
        return function(*own, size, communicator=communicator, **options)

    paths, communicators = simulate(world, one)
    assert all(torch.equal(path.indices, paths[0].indices) for path in paths)
    assert all(torch.equal(path.losses, paths[0].losses) for path in paths)
    return paths[0], communicators


def assert_exact(path, data, size, with_replacement):
    expected = select_neurons(*data, size, with_replacement=with_replacement)
    assert path.indices.tolist() == expected.indices.tolist()
    torch.testing.assert_close(path.losses, expected.losses, rtol=1e-10, atol=1e-28)
    assert path.dense_loss == pytest.approx(expected.dense_loss, rel=1e-10)
    assert path.variance == pytest.approx(expected.variance, rel=1e-9, abs=1e-12)
    assert (path.num_neurons, path.with_replacement) == (expected.num_neurons, with_replacement)
    return expected


@both
@exact
@settings(max_examples=60, deadline=None)
@given(
    world=worlds,
    N=st.integers(5, 14),
    m=st.integers(5, 12),
    C=st.sampled_from([1, 3]),
    seed=st.integers(0, 10**6),
)
def test_any_number_of_processes_picks_what_brute_force_picks(shard, with_replacement, world, N, m, C, seed):
    data, size = instance(N, m, C, seed), 20 if with_replacement else N
    path, _ = select_sharded(shard, world, data, size, seed, with_replacement=with_replacement)
    assert_exact(path, data, size, with_replacement)
    indices, losses = brute_force(*data, size, with_replacement)
    assert path.indices.tolist() == indices
    torch.testing.assert_close(path.losses.tolist(), losses, rtol=1e-10, atol=1e-28)


@both
@exact
@settings(max_examples=40, deadline=None)
@given(world=worlds, seed=st.integers(0, 10**6), copies=st.integers(1, 3))
def test_ties_go_to_the_lowest_index_wherever_it_lies(shard, with_replacement, world, seed, copies):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randint(-1, 2, (6, 5), generator=generator).double().repeat(1, copies)
    targets = torch.randint(-1, 2, (6, 1), generator=generator).double()
    data, size = (hidden, torch.ones(5 * copies, 1).double(), targets), 5 * copies
    path, _ = select_sharded(shard, world, data, size, seed, with_replacement=with_replacement)
    assert path.indices.tolist() == brute_force(*data, size, with_replacement)[0]


@exact
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_picks_what_float64_picks(shard, dtype):
    for seed in range(3):
        data = instance(150, 200, 2, seed, dtype)
        path, _ = select_sharded(shard, 3, data, 80)
        double = select_neurons(*(tensor.double() for tensor in data), 80)
        assert path.indices.tolist() == double.indices.tolist()
        torch.testing.assert_close(path.losses, double.losses, rtol=1e-9, atol=0)


@exact
def test_near_ties_in_float32_are_told_apart(shard):
    """Pairs of neurons that differ by less than float32 scores resolve, the better one second."""
    hidden, output_weights, targets = instance(40, 300, 1, 0, torch.float32)
    hidden = torch.stack([hidden, hidden * (1 + 2**-20)], 2).flatten(1)  # (m, 2 N)
    data = hidden, output_weights.repeat_interleave(2, 0), targets
    path, communicators = select_sharded(shard, 4, data, 60)
    double = select_neurons(*(tensor.double() for tensor in data), 60)
    assert path.indices.tolist() == double.indices.tolist()
    assert communicators[0].ledger.calls["ties"] > 0
    assert set(path.indices.remainder(2).tolist()) == {0, 1}


@both
@settings(max_examples=40, deadline=None)
@given(world=worlds, seed=st.integers(0, 10**6), first_size=st.integers(3, 9))
def test_two_rounds_select_among_what_each_process_selected(with_replacement, world, seed, first_size):
    data = hidden, output_weights, targets = instance(15, 9, 2, seed)
    size = 12 if with_replacement else 3
    path, _ = select_sharded(
        in_two_rounds, world, data, size, seed, first_size=first_size, with_replacement=with_replacement
    )
    candidates = []
    for part in uneven_shares(15, world, seed):
        picks = min(first_size, part.stop - part.start) if not with_replacement else first_size
        first = select_neurons(
            hidden[:, part], output_weights[part], targets, picks, with_replacement=with_replacement
        )
        candidates += sorted((first.distinct(picks) + part.start).tolist())
    among = hidden[:, candidates], output_weights[candidates], targets
    second = select_neurons(*among, size, with_replacement=with_replacement)
    assert path.finalists.tolist() == candidates
    assert path.indices.tolist() == [candidates[i] for i in second.indices]
    assert torch.equal(path.losses, second.losses)
    assert float(path.weights(size).sum()) == pytest.approx(1)
    for k in range(1, size + 1):
        assert path.bound(k) == second.bound(k) >= path.losses[k - 1] * (1 - 1e-9)
    assert path.bound_components(size) == second.bound_components(size)
    whole = select_neurons(*data, 1)
    assert path.dense_loss == pytest.approx(whole.dense_loss, rel=1e-10)
    assert path.variance == pytest.approx(whole.variance, rel=1e-9)


def test_one_process_in_two_rounds_loses_nothing_when_all_neurons_are_candidates():
    data = instance(12, 20, 1, 4)
    path, _ = select_sharded(in_two_rounds, 1, data, 12, with_replacement=False)
    assert path.indices.tolist() == select_neurons(*data, 12, with_replacement=False).indices.tolist()


@exact
def test_a_neuron_that_is_picked_again_is_not_sent_again(shard):
    hidden = torch.tensor([[1.0, 5.0], [1.0, -5.0]]).double()
    data = hidden, torch.ones(2, 1).double(), torch.ones(2, 1).double()
    path, communicators = select_sharded(shard, 2, data, 8)
    calls = communicators[0].ledger.calls
    assert path.indices.tolist() == [0] * 8
    assert calls["column" if shard is on_rows else "features"] == 1
    assert calls["best"] == (0 if shard is on_rows else 8)


@pytest.mark.parametrize("shard", [on_rows, on_neurons, in_two_rounds])
@settings(max_examples=25, deadline=None)
@given(world=worlds, N=st.integers(5, 40), m=st.integers(5, 40), seed=st.integers(0, 10**6))
def test_messages_carry_exactly_the_bytes_of_the_ledger(shard, world, N, m, seed):
    _, communicators = select_sharded(shard, world, instance(N, m, 2, seed, torch.float32), 6, seed)
    for purpose, sent in communicators[0].ledger.sent.items():
        assert sum(communicator.bytes_sent[purpose] for communicator in communicators) == sent
    assert set(communicators[0].bytes_sent) <= set(communicators[0].ledger.sent)


@pytest.mark.parametrize("shard", ["data", "neurons"])
@pytest.mark.parametrize("world", [2, 4, 8])
def test_the_estimate_is_what_the_simulation_sends_and_takes(shard, world):
    N, m, C, size = 64, 48, 2, 10
    data = instance(N, m, C, 0, torch.float32)
    function = on_rows if shard == "data" else on_neurons
    network = {"bandwidth": 1e6, "latency": 1e-3}
    paths, communicators = simulate(
        world, lambda one: function(one, *data, size, with_replacement=False), **network
    )
    expected = estimate(shard, neurons=N, rows=m, outputs=C, world=world, **network)
    step = ("column",) if shard == "data" else ("best", "features")
    sent = sum(one.bytes_sent[purpose] for one in communicators for purpose in step)
    seconds = max(sum(one.seconds_for[purpose] for purpose in step) for one in communicators)
    assert len(paths[0].distinct(size)) == size
    assert sent / world / size == pytest.approx(expected.bytes_sent, rel=1e-12)
    # Less where the end of a broadcast overlaps with the next step, more where a sum over ties came before.
    assert 0.7 * expected.seconds_sending <= seconds / size <= 1.01 * expected.seconds_sending
    assert expected.bytes_held == data[0].nbytes / world


def test_simulated_collectives_compute_what_they_should():
    tensors = [torch.arange(7.0) * (rank + 1) for rank in range(5)]

    def one(communicator):
        own = tensors[communicator.rank]
        return [
            *(communicator.all_reduce(own, "", op=op) for op in ("sum", "min", "max")),
            communicator.all_gather(own, ""),
            communicator.broadcast(own, "", source=3),
            communicator.gather(own, ""),
        ]

    answers, _ = simulate(5, one)
    stack = torch.stack(tensors)
    for rank, answer in enumerate(answers):
        expected = [stack.sum(0), stack.amin(0), stack.amax(0), stack, stack[3], stack if rank == 0 else None]
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(answer, expected))


def test_a_simulated_process_that_fails_stops_the_others():
    def one(communicator):
        if communicator.rank == 2:
            raise KeyError("broken")
        communicator.all_reduce(torch.zeros(1), "")

    start = time.perf_counter()
    with pytest.raises(KeyError, match="broken"):
        simulate(4, one)
    assert time.perf_counter() - start < 10


def errors_of(world, function):
    """The error of each simulated process, by rank."""

    def one(communicator):
        try:
            function(communicator)
        except Exception as error:
            return error

    return simulate(world, one)[0]


def call(communicator, select=select_data_sharded, size=3, dtype=torch.float64, **changes):
    hidden, output_weights, targets = instance(6, 5, 1, 0, dtype)
    arguments = {"hidden": hidden, "output_weights": output_weights, "targets": targets, **changes}
    return select(**arguments, size=size, communicator=communicator)


NOT_A_NUMBER = instance(6, 5, 1, 0)[0].index_fill(0, torch.tensor([2]), float("nan"))
everywhere = pytest.mark.parametrize(
    "select", [select_data_sharded, select_neurons_sharded, select_two_round]
)


@everywhere
@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"hidden": NOT_A_NUMBER}, "hidden holds 6 NaN"),
        ({"hidden": None}, "hidden must be a torch.Tensor"),
        ({"size": 0}, "size must be at least 1"),
        ({"targets": torch.ones(4, 1).double()}, "targets"),
        ({"targets": torch.ones(5, 1)}, "share a dtype"),
    ],
)
def test_bad_arguments_on_one_process_end_all_with_an_error(select, wrong, error):
    first, second, third = errors_of(3, lambda one: call(one, select, **(wrong if one.rank == 1 else {})))
    assert isinstance(second, (TypeError, ValueError)) and error in str(second)
    for other in (first, third):
        assert isinstance(other, RuntimeError) and "rank(s) [1]" in str(other)


@everywhere
@pytest.mark.parametrize(
    "other, name",
    [
        ({"size": 4}, "size"),
        ({"with_replacement": False}, "with_replacement"),
        ({"dtype": torch.float32}, "dtype"),
        ({"output_weights": torch.ones(6, 2).double(), "targets": torch.ones(5, 2).double()}, "outputs"),
    ],
)
def test_processes_that_disagree_all_get_an_error_that_names_the_argument(select, other, name):
    for error in errors_of(2, lambda one: call(one, select, **(other if one.rank == 1 else {}))):
        assert isinstance(error, ValueError) and name in str(error)


def test_what_all_processes_need_must_be_the_same_to_the_last_bit():
    def own_weights(one):
        call(one, output_weights=torch.ones(6, 1).double() + one.rank * 1e-15)

    def own_targets(one):
        call(one, select_neurons_sharded, targets=torch.ones(5).double() + one.rank * 1e-15)

    def own_function(one):
        call(one, select_neurons_sharded if one.rank else select_data_sharded)

    def own_network(one):
        net = TwoLayerNet(2, 6, generator=torch.Generator().manual_seed(one.rank))
        greedy_forward_selection_distributed(
            net, torch.ones(4, 2), torch.ones(4), 2, shard="data", communicator=one
        )

    cases = {own_weights: "output_weights", own_targets: "targets", own_function: "same function"}
    for function, words in {**cases, own_network: "net"}.items():
        assert all(isinstance(e, ValueError) and words in str(e) for e in errors_of(2, function))


@pytest.mark.parametrize(
    "select, words", [(select_data_sharded, "6 neurons"), (select_neurons_sharded, "12 neurons")]
)
def test_more_picks_than_neurons_without_replacement(select, words):
    for error in errors_of(2, lambda one: call(one, select, size=13, with_replacement=False)):
        assert isinstance(error, ValueError) and words in str(error)


def test_shares_that_are_too_small():
    short = {"size": 5, "first_size": 2, "with_replacement": False}
    for error in errors_of(2, lambda one: call(one, select_two_round, **short)):
        assert isinstance(error, ValueError) and "raise first_size" in str(error)
    net, X = TwoLayerNet(2, 2), torch.ones(4, 2)
    for error in errors_of(
        3, lambda one: greedy_forward_selection_two_round(net, X, X[:, 0], 1, communicator=one)
    ):
        assert isinstance(error, ValueError) and "start fewer" in str(error)


def test_arguments_that_make_no_sense():
    sizes = {"neurons": 10, "rows": 10, "outputs": 1, "world": 2}
    for function in (
        lambda: estimate("rows", **sizes),
        lambda: estimate("data", **{**sizes, "world": 0}),
        lambda: sent_by_all("reduce", 8, 2),
        lambda: simulate(0, print),
        lambda: simulate(1, print, bandwidth=0),
        lambda: process_group(timeout=0).__enter__(),
    ):
        with pytest.raises(ValueError, match=r"shard|world|collective|bandwidth|timeout"):
            function()


def test_without_torchrun_the_error_says_how_to_start(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RuntimeError, match="torchrun"), process_group():
        pass
    with pytest.raises(RuntimeError, match="torchrun"):
        Communicator()
    with pytest.raises(RuntimeError, match="process group"):
        select_data_sharded(*instance(3, 3, 1, 0), 2)


@pytest.fixture
def alone(monkeypatch):
    """The environment that torchrun gives the only process of a job."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    variables = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": port}
    for name, value in {**variables, "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, str(value))


def test_a_process_group_of_one(alone):
    data = instance(20, 10, 2, 0)
    expected = select_neurons(*data, 15)
    with process_group("gloo") as device:
        assert device == torch.device("cpu")
        for select in (select_data_sharded, select_neurons_sharded):
            assert select(*data, 15).indices.tolist() == expected.indices.tolist()
        with pytest.raises(RuntimeError, match="already"), process_group():
            pass
    assert not torch.distributed.is_initialized()


def test_an_error_leaves_no_process_group_behind(alone):
    with pytest.raises(KeyError), process_group("gloo"):
        raise KeyError
    assert not torch.distributed.is_initialized()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_nccl_without_a_gpu(alone):
    with pytest.raises(ValueError, match="use gloo"), process_group("nccl"):
        pass


def test_processes_that_never_come_are_not_waited_for(alone, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    start = time.perf_counter()
    with pytest.raises(Exception, match=r"(?i)time|client"), process_group("gloo", timeout=1):
        pass
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize("shard", ["data", "neurons"])
def test_the_command_line_example(alone, capsys, shard):
    main(["--shard", shard, "--width", "40", "--images", "100", "--size", "6"])
    printed = capsys.readouterr().out
    assert f"1 processes on cpu, {shard} sharded" in printed or torch.cuda.is_available()
    assert "one process alone picks the same: True" in printed


@both
def test_networks_on_simulated_processes(with_replacement):
    generator = torch.Generator().manual_seed(0)
    net = TwoLayerNet(3, 30, 2, generator=generator).double()
    X = torch.randn(20, 3, generator=generator).double()
    y = X[:, :2].sin()
    expected = greedy_forward_selection(net, X, y, 15, with_replacement=with_replacement)
    options = {"shard": "neurons", "with_replacement": with_replacement}
    paths, _ = simulate(
        4, lambda one: greedy_forward_selection_distributed(net, X, y, 15, communicator=one, **options)
    )
    assert paths[0].indices.tolist() == expected.indices.tolist()
    assert torch.equal(paths[0].subnetwork(7)(X), expected.subnetwork(7)(X))


JOBS = {2: "stalled", 3: "killed"}  # processes: how the job ends, after it has compared


@pytest.fixture(scope="module")
def jobs():
    """Exit code and output of the worker under torchrun; both jobs at the same time."""
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    worker = str(root / "tests" / "distributed_worker.py")
    with contextlib.ExitStack() as stack:
        started = {}
        for processes, ending in JOBS.items():
            command = [*launcher, str(processes), worker, ending]
            job = subprocess.Popen(command, env=environment, start_new_session=True, **streams)
            stack.enter_context(job)
            stack.callback(end, job)
            started[processes] = job
        # Without the error they would wait for ten minutes.
        outputs = {processes: job.communicate(timeout=200)[0] for processes, job in started.items()}
        yield {processes: (job.returncode, outputs[processes]) for processes, job in started.items()}


def end(job):
    """Kill the job and its processes, if they are still there."""
    if job.poll() is None:
        os.killpg(job.pid, signal.SIGKILL)


@pytest.mark.parametrize("processes", JOBS)
def test_under_torchrun_all_is_as_on_one_process(jobs, processes):
    _, output = jobs[processes]
    for rank in range(processes):
        assert f"rank {rank} of {processes} is done" in output, output


@pytest.mark.parametrize("processes, words", [(3, "SIGKILL"), (2, "RuntimeError")])
def test_a_process_that_is_killed_or_hangs_ends_the_job_with_an_error(jobs, processes, words):
    code, output = jobs[processes]
    assert code != 0
    assert "four steps done" in output and words in output
    assert "selected to the end" not in output
