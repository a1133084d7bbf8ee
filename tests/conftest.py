"""Shared fixtures: the devices at hand, fake MNIST files, and web servers on 127.0.0.1 that misbehave."""

import contextlib
import gzip
import hashlib
import io
import pickle
import socket
import struct
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, MNIST

from gfs_tutorial.data import cifar10_sources, mnist_sources
from gfs_tutorial.data.images import CIFAR10_CLASSES

torch.set_num_threads(1)  # the tensors are small, and on busy cores OpenMP's threads wait for each other

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = mnist_sources.SIZES


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def device(request):
    return request.param


def image_header(count):
    return struct.pack(">IIII", 2051, count, 28, 28)


def label_file(count):
    return struct.pack(">II", 2049, count) + bytes(i % 10 for i in range(count))


def idx_files(train_size, test_size, shade=0):
    """The four files of a fake MNIST: image i is one flat shade of grey, its label is i modulo 10."""

    def images(count):
        return image_header(count) + b"".join(bytes([(i + shade) % 256]) * 784 for i in range(count))

    return {
        TRAIN_IMAGES: images(train_size),
        TRAIN_LABELS: label_file(train_size),
        TEST_IMAGES: images(test_size),
        TEST_LABELS: label_file(test_size),
    }


def write_root(root, files):
    """Lay ``files`` out below ``root`` as torchvision does; returns the folder that holds them."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    return raw


@pytest.fixture
def closed_port():
    """The address of a local port where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"


@pytest.fixture
def offline(monkeypatch, tmp_path, closed_port):
    """No data root, an empty cache, no proxy, and no mirror that answers. Returns the cache folder."""
    monkeypatch.delenv("GFS_DATA_ROOT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(MNIST, "mirrors", [closed_port])
    monkeypatch.setattr(cifar10_sources, "MIRRORS", [closed_port])
    return tmp_path / "cache" / "gfs_tutorial"


@pytest.fixture
def small_mnist(monkeypatch):
    """Makes 40 + 20 fake images pass for the whole of MNIST; returns the unpacked and the packed files."""
    files = idx_files(40, 20)
    packed = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()}
    monkeypatch.setattr(mnist_sources, "SIZES", {name: len(content) for name, content in files.items()})
    checksums = [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()]
    monkeypatch.setattr(MNIST, "resources", checksums)
    return files, packed


class Mirror:
    """A web server on 127.0.0.1 that serves ``files`` the way ``behaviour`` says.

    Behaviours: ``"good"``; ``"forbidden"`` answers 403; ``"cut"`` closes the connection in the middle of a
    file, ``"reset"`` breaks it there; ``"wrong"`` sends other bytes; ``"hang"`` never answers;
    ``"stall"`` answers a HEAD and then hangs; ``"slow"`` sends a byte at a time.
    """

    def __init__(self, files, behaviour):
        self.files, self.behaviour = files, behaviour
        self.requests, self.stop = [], threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                mirror.answer(self, body=False)

            def do_GET(self):
                mirror.answer(self, body=True)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.server.handle_error = lambda *args: None  # clients that hang up early are no news
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, handler, body):
        self.requests.append((handler.command, handler.path))
        if self.behaviour == "hang" or (self.behaviour == "stall" and body):
            self.stop.wait(30)
            return
        if self.behaviour == "forbidden":
            handler.send_error(403)
            return
        content = self.files.get(handler.path.strip("/"), b"the front page")
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if self.behaviour in ("cut", "reset"):
            content = content[: len(content) // 2]
        elif self.behaviour == "wrong":
            content = content[::-1]
        if not body:
            return
        if self.behaviour == "slow":
            for i in range(len(content)):
                handler.wfile.write(content[i : i + 1])
                if self.stop.wait(0.02):
                    return
        handler.wfile.write(content)
        if self.behaviour == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.server.shutdown_request = self.server.close_request  # no farewell before the close

    def close(self):
        self.stop.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirrors(monkeypatch, offline, small_mnist):
    """``mirrors(*behaviours)`` starts that many servers and makes them torchvision's mirrors."""
    with contextlib.ExitStack() as running:

        def start(*behaviours):
            started = [Mirror(small_mnist[1], behaviour) for behaviour in behaviours]
            for mirror in started:
                running.callback(mirror.close)
            monkeypatch.setattr(MNIST, "mirrors", [mirror.url for mirror in started])
            return started

        yield start


def cifar10_files(each=4):
    """The files of a fake CIFAR-10: image i of file f has shade 10f + i and label i."""
    files = {}
    for f, name in enumerate([*(f"data_batch_{f}" for f in range(1, 6)), "test_batch"]):
        pixels = np.repeat(np.arange(each, dtype=np.uint8)[:, None] + 10 * f, 3072, axis=1)
        files[name] = pickle.dumps({"data": pixels, "labels": list(range(each))})
    return {**files, "batches.meta": pickle.dumps({"label_names": list(CIFAR10_CLASSES)})}


@pytest.fixture
def small_cifar10(monkeypatch):
    """Makes 20 + 4 fake images pass for the whole of CIFAR-10; returns the packed archive."""
    files, packed = cifar10_files(), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{cifar10_sources.BATCHES}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    batches = [[name, sums[name]] for name in sums if name != "batches.meta"]
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    for name, value in (("train_list", batches[:5]), ("test_list", batches[5:]), ("meta", meta)):
        monkeypatch.setattr(CIFAR10, name, value)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(packed.getvalue()).hexdigest())
    return packed.getvalue()


@pytest.fixture
def cifar10_mirrors(monkeypatch, offline, small_cifar10):
    """``cifar10_mirrors(*behaviours)`` starts that many servers of CIFAR-10 and makes them its mirrors."""
    with contextlib.ExitStack() as running:

        def start(*behaviours):
            files = {cifar10_sources.ARCHIVE: small_cifar10}
            started = [Mirror(files, behaviour) for behaviour in behaviours]
            for mirror in started:
                running.callback(mirror.close)
            monkeypatch.setattr(cifar10_sources, "MIRRORS", [mirror.url for mirror in started])
            return started

        yield start
