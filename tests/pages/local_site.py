"""The built book on a server of this machine, and the browser that visits it."""

import gzip
import os
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = [
    "--no-sandbox",  # it needs rights that containers lack, and the pages are ours
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # no request leaves this machine
    "--disable-background-networking",
    "--disable-component-update",
]
PACKED = {".html", ".css", ".js", ".json", ".svg", ".ipynb", ".md"}


def chromium() -> str | None:
    """The path of a Chromium or Chrome: ``GFS_CHROMIUM``, or the first of the usual names."""
    return os.environ.get("GFS_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)


class Quiet(SimpleHTTPRequestHandler):
    """Keeps its log to itself; the browser may keep connections and files, as with GitHub Pages."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def end_headers(self):
        self.send_header("Cache-Control", "max-age=600")
        super().end_headers()


class Packing(Quiet):
    """Compresses text, as GitHub Pages does."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if path.suffix not in PACKED or not path.is_file():
            return super().do_GET()
        content = gzip.compress(path.read_bytes(), mtime=0)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def served(folder: Path, handler: type = Quiet):
    """Serve ``folder`` on 127.0.0.1; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
