"""The built book, and a Chromium that may talk to nobody but its server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock
from local_site import OPTIONS, chromium, served
from page_list import ROOT

BUILT = Path(os.environ.get("GFS_BOOK") or ROOT / "_build" / "html")


def fresh(built):
    """Whether the book was built after its pages were last changed (of another folder, the user knows)."""
    index = built / "index.html"
    files = (path for path in (ROOT / "book").rglob("*") if path.is_file())
    pages = (path for path in files if path.suffix != ".pyc")
    sources = [*pages, ROOT / "_config.yml", ROOT / "_toc.yml"]
    if "GFS_BOOK" in os.environ:
        return True
    return index.exists() and index.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """The folder of the built book: that of ``make book``, or one built here from the committed outputs."""
    if fresh(BUILT):
        return BUILT
    own = tmp_path_factory.getbasetemp()  # of this process, in a folder of all that share the tests
    place = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "book"
    with FileLock(f"{place}.lock"):  # whoever comes first builds it
        return built_in(place)


def built_in(place):
    """The book in ``place``, from the committed outputs, unless it is there already."""
    built = place / "_build" / "html"
    if (place / "finished").exists():
        return built
    place.mkdir(exist_ok=True)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    config["execute"]["execute_notebooks"] = "off"
    local = config["sphinx"]["local_extensions"]  # found from where the configuration lies
    config["sphinx"]["local_extensions"] = {name: str(ROOT / folder) for name, folder in local.items()}
    (place / "config.yml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "jupyter_book", "build", "--all", "-n", "--keep-going", str(ROOT)]
    command += ["--config", str(place / "config.yml"), "--path-output", str(place)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not (built / "index.html").exists():
        pytest.fail(f"the book does not build, see `make book`:\n{(done.stdout + done.stderr)[-3000:]}")
    (place / "finished").touch()
    return built


@pytest.fixture(scope="session")
def site(book):
    """The address of the book on a server of this machine."""
    with served(book) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    path = chromium()
    if path is None:
        missing = "no Chromium or Chrome: install one, or set GFS_CHROMIUM to its path"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


class Visit:
    """A page in the browser, with what went wrong while it was open.

    Attributes:
        page: Playwright's page.
        errors: Errors of its console and scripts, and requests that failed or were answered by an error.
        elsewhere: Addresses on other machines that it asked for (and could not reach, see ``OPTIONS``).
    """

    def __init__(self, page, home):
        self.home = home, "data:", "blob:"
        self.page, self.errors, self.elsewhere = page, [], []
        self.listeners = {
            "console": lambda said: said.type == "error" and self.errors.append(said.text),
            "pageerror": lambda error: self.errors.append(str(error)),
            "requestfailed": lambda request: self.errors.append(f"failed: {request.url}"),
            "response": self.answered,
            "request": self.asked,
        }
        for event, listener in self.listeners.items():
            page.on(event, listener)

    def asked(self, request):
        if not request.url.startswith(self.home):
            self.elsewhere.append(request.url)

    def answered(self, response):
        if response.status >= 400:
            self.errors.append(f"{response.status}: {response.url}")

    def go(self, address):
        """Open ``address`` and wait until everything is loaded and the formulas are set."""
        self.page.goto(address, wait_until="load")
        self.page.evaluate("() => window.MathJax?.startup?.promise.then(() => true)")
        return self

    def end(self):
        """Leave the page as it was found, for the next visit."""
        for event, listener in self.listeners.items():
            self.page.remove_listener(event, listener)
        self.page.emulate_media(media="null")


@pytest.fixture(scope="session")
def tabs(browser):
    """``tabs(theme, **options)``: a context and its tabs that nobody uses, which are faster than new ones."""
    contexts, idle = {}, {}

    def free(theme, **options):
        key = (theme, *sorted(options.items()))
        if key not in contexts:
            contexts[key], idle[key] = browser.new_context(**{"reduced_motion": "reduce", **options}), []
            contexts[key].set_default_timeout(120_000)  # machines that test are busy
            for name in ("mode", "theme"):
                contexts[key].add_init_script(
                    f"try {{ localStorage.setItem('{name}', '{theme}') }} catch {{}}"
                )
        return contexts[key], idle[key]

    yield free
    for each in contexts.values():
        each.close()


@pytest.fixture
def visit(tabs, site):
    """``visit(address, theme, width)`` opens a page of the book; the address may be of a file, too."""
    visits = []

    def open_page(address, theme="light", width=1280, **options):
        local = address.startswith("file:")
        context, idle = tabs(theme, **options)
        seen = Visit(idle.pop() if idle else context.new_page(), "file:" if local else site)
        visits.append((seen, idle))
        seen.page.set_viewport_size({"width": width, "height": 900})
        return seen.go(address if local else site + address)

    yield open_page
    for seen, idle in visits:
        seen.end()
        idle.append(seen.page)
