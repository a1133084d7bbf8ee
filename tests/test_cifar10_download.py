"""CIFAR-10 from servers on 127.0.0.1 that misbehave: whole or not at all, and once."""

import multiprocessing
import re
import threading
import time

import pytest

from gfs_tutorial.data import cifar10_sources, downloads
from gfs_tutorial.data.images import load_cifar10

BAD_SERVERS = {
    "forbidden": "403",
    "cut": "checksum|IncompleteRead",
    "wrong": "checksum",
    "reset": "reset",
    "stall": "timed out",
    "slow": r"slow \(\d+ kB/s\)",
}
LABELS = [0, 1, 2, 3] * 5


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Time limits that suit a test; a few hundred bytes come within them, or they never will."""
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(downloads, "PATIENCE_SECONDS", 0.2)


def load(**arguments):
    return load_cifar10(verbose=False, **arguments)


def files_in(folder):
    """All that lies there but the lock, which stays."""
    return [path for path in folder.rglob("*") if path.name != ".cifar10.lock"]


def test_a_good_server_fills_the_cache_and_is_not_asked_again(cifar10_mirrors, offline, capfd):
    (server,) = cifar10_mirrors("good")
    images = load_cifar10()
    line = capfd.readouterr().out
    assert line == f"CIFAR-10 from {offline} (just downloaded or unpacked): 20 training and 4 test images\n"
    assert images.y_train.tolist() == LABELS and images.X_test[:, 0, 0, 0].tolist() == [50, 51, 52, 53]
    assert {path.parent for path in files_in(offline)} == {offline, offline / "cifar-10-batches-py"}
    asked = len(server.requests)
    assert load().y_train.tolist() == LABELS and len(server.requests) == asked


def test_the_download_goes_to_the_data_root_where_there_is_one(cifar10_mirrors, offline, tmp_path):
    cifar10_mirrors("good")
    (tmp_path / "root").mkdir()
    assert load(root=tmp_path / "root").y_train.tolist() == LABELS
    assert (tmp_path / "root" / "cifar-10-batches-py" / "test_batch").is_file() and not offline.exists()


@pytest.mark.parametrize("behaviour", BAD_SERVERS)
def test_a_bad_server_means_digits_a_reason_a_remedy_and_no_file(cifar10_mirrors, offline, capfd, behaviour):
    cifar10_mirrors(behaviour)
    load_cifar10(train_size=10, test_size=10)
    line = capfd.readouterr().out
    assert line.startswith("Coloured digits in place of CIFAR-10") and re.search(BAD_SERVERS[behaviour], line)
    assert "put cifar-10-python.tar.gz there, or set GFS_DATA_ROOT" in line and str(offline) in line
    assert files_in(offline) == []


@pytest.mark.parametrize("behaviour", [*BAD_SERVERS, "hang"])
def test_the_mirror_helps_out(cifar10_mirrors, offline, behaviour):
    cifar10_mirrors(behaviour, "good")
    assert load().y_train.tolist() == LABELS
    assert {path.name for path in files_in(offline) if path.is_dir()} == {"cifar-10-batches-py"}


@pytest.mark.parametrize("behaviour", ["cut", "wrong"])
def test_after_a_bad_server_a_good_one_succeeds(cifar10_mirrors, behaviour):
    cifar10_mirrors(behaviour)
    assert load().classes[0] == "0"
    cifar10_mirrors("good")
    assert load().y_train.tolist() == LABELS


def test_without_a_network_the_digits_come_and_nothing_is_made(offline):
    start = time.perf_counter()
    assert cifar10_sources.provide(offline) == "no network"
    assert time.perf_counter() - start < 2 * downloads.PROBE_SECONDS
    assert "no network" in load(train_size=10).source and not offline.exists()


def test_an_archive_that_lies_in_the_data_root_is_unpacked_without_a_network(
    tmp_path, offline, small_cifar10
):
    archive = tmp_path / cifar10_sources.ARCHIVE
    archive.write_bytes(small_cifar10)
    assert load(root=tmp_path).y_train.tolist() == LABELS
    assert archive.read_bytes() == small_cifar10  # it is the reader's


def test_a_truncated_archive_is_an_error_with_its_path(tmp_path, offline, small_cifar10):
    archive = tmp_path / cifar10_sources.ARCHIVE
    archive.write_bytes(small_cifar10[:-1])
    with pytest.raises(ValueError, match=f"{re.escape(str(archive))}.*truncated"):
        load(root=tmp_path)
    assert not (tmp_path / "cifar-10-batches-py").exists()


def test_a_folder_that_cannot_be_written_means_digits_and_a_reason(cifar10_mirrors, offline):
    cifar10_mirrors("good")
    offline.parent.mkdir(parents=True, exist_ok=True)
    offline.write_text("a file where a folder should be")
    assert "the download failed" in load(train_size=10).source


def provide_in_a_child(folder, mirrors, md5, problems):
    from torchvision.datasets import CIFAR10

    cifar10_sources.MIRRORS, CIFAR10.tgz_md5 = mirrors, md5
    problems.put(cifar10_sources.provide(folder))


def test_processes_that_start_together_download_once(cifar10_mirrors, offline):
    from torchvision.datasets import CIFAR10

    (server,) = cifar10_mirrors("good")
    children = multiprocessing.get_context("fork")
    problems = children.SimpleQueue()
    arguments = (offline, [server.url], CIFAR10.tgz_md5, problems)
    together = [children.Process(target=provide_in_a_child, args=arguments) for _ in range(3)]
    for child in together:
        child.start()
    assert [problems.get() for _ in together] == [None] * 3
    for child in together:
        child.join()
    assert [method for method, _ in server.requests].count("GET") == 1


def test_a_killed_download_leaves_nothing_that_passes_for_cifar10(cifar10_mirrors, offline):
    from torchvision.datasets import CIFAR10

    (server,) = cifar10_mirrors("stall")
    children = multiprocessing.get_context("fork")
    arguments = (offline, [server.url], CIFAR10.tgz_md5, children.SimpleQueue())
    child = children.Process(target=provide_in_a_child, args=arguments)
    child.start()
    asked = threading.Event()
    while not asked.wait(0.01) and child.is_alive():
        if ("GET", f"/{cifar10_sources.ARCHIVE}") in server.requests:
            asked.set()
    child.kill()
    child.join()
    assert asked.is_set() and not cifar10_sources.is_there(offline)
    cifar10_mirrors("good")
    assert load().y_train.tolist() == LABELS
