"""Atomic writing: whatever goes wrong, the old file stays and nothing else is left behind."""

import multiprocessing
import os
import signal
import stat

import pytest

from gfs_tutorial import files
from gfs_tutorial.files import atomic_write


def content(folder):
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_file_appears_whole_at_the_end_with_its_folder(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with atomic_write(path) as file:
        file.write(b"one")
        file.flush()
        assert not path.exists()
    assert content(tmp_path) == {"a.bin": b"one"}
    with atomic_write(str(path)) as file:
        file.write(b"two")
        file.flush()
        assert path.read_bytes() == b"one"
    assert content(tmp_path) == {"a.bin": b"two"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_while_writing_keeps_the_old_file(tmp_path, error):
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(error), atomic_write(tmp_path / "a.bin") as file:
        file.write(b"half of")
        raise error
    assert content(tmp_path) == {"a.bin": b"old"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch, step):
    (tmp_path / "a.bin").write_bytes(b"old")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, step, no_space)
    with pytest.raises(OSError, match="No space"), atomic_write(tmp_path / "a.bin") as file:
        file.write(b"new")
    assert content(tmp_path) == {"a.bin": b"old"}


def killed_while_it_writes(path):
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_keeps_the_old_file(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")
    child = multiprocessing.get_context("fork").Process(
        target=killed_while_it_writes, args=(tmp_path / "a.bin",)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / "a.bin").read_bytes() == b"old"
