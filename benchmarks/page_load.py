"""The built book: how large it is, and how long a page takes on a slow connection.

Run: make book, then python benchmarks/page_load.py [--save results/benchmark-page-load.json]

A phone of 390 pixels opens every page in a headless Chromium, first with an empty cache, then again with
what that visit left there. The connection is slowed down by the browser's own emulation; text is sent
compressed, as GitHub Pages sends it.
"""

import argparse
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from gfs_tutorial import results

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "pages"))  # where the two lie, hence E402: found only now
from local_site import OPTIONS, Packing, chromium, served  # noqa: E402
from page_list import PAGES  # noqa: E402

SETTINGS = {"megabits_per_second": 1.6, "round_trip_ms": 150, "width": 390, "pages": "all of _toc.yml"}
MEASURES = """() => (window.MathJax?.startup?.promise ?? Promise.resolve()).then(() => {
  const [loaded] = performance.getEntriesByType("navigation"), seconds = ms => Math.round(ms) / 1000;
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return {
    first_paint_s: seconds(paint.startTime),
    load_s: seconds(loaded.loadEventEnd),
    formulas_s: seconds(performance.now()),
  };
})"""


def site_size(folder: Path) -> dict[str, float]:
    """Megabytes of the whole site and of its parts, and the number of files."""
    files = [path for path in folder.rglob("*") if path.is_file()]

    def megabytes(start: Path) -> float:
        return round(sum(path.stat().st_size for path in files if path.is_relative_to(start)) / 1e6, 2)

    parts = {"pages": "book", "pictures": "_images", "sources": "_sources", "scripts and styles": "_static"}
    return {"all": megabytes(folder), "files": len(files)} | {
        name: megabytes(folder / part) for name, part in parts.items()
    }


def slowed(page) -> tuple[object, list[int]]:
    """Slow the connection of ``page`` down; the list collects the bytes of every answer."""
    session, received = page.context.new_cdp_session(page), []
    session.on("Network.loadingFinished", lambda event: received.append(int(event["encodedDataLength"])))
    session.send("Network.enable")
    bytes_per_second = SETTINGS["megabits_per_second"] * 1e6 / 8
    limits = {"downloadThroughput": bytes_per_second, "uploadThroughput": bytes_per_second}
    session.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": SETTINGS["round_trip_ms"], **limits},
    )
    return session, received


def visit(browser, site: str, name: str) -> dict[str, object]:
    """Times and kilobytes of one page, cold and warm."""
    context = browser.new_context(viewport={"width": SETTINGS["width"], "height": 844})
    row: dict[str, object] = {"page": name}
    for state in ("cold", "warm"):
        page = context.new_page()
        _, received = slowed(page)
        page.goto(f"{site}{name}.html", wait_until="load")
        measured = page.evaluate(MEASURES)
        row |= {f"{state}_{key}": value for key, value in measured.items()}
        row |= {f"{state}_kilobytes": round(sum(received) / 1e3), f"{state}_requests": len(received)}
        page.close()
    context.close()
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--book", type=Path, default=ROOT / "_build" / "html", help="the built book")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    if not (arguments.book / "index.html").exists():
        sys.exit(f"no book in {arguments.book}: run `make book` first")
    begin = time.perf_counter()
    with sync_playwright() as playwright, served(arguments.book, Packing) as site:
        browser = playwright.chromium.launch(executable_path=chromium(), args=OPTIONS)
        version = browser.version
        rows = []
        for name in PAGES:
            rows.append(visit(browser, site, name))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
        browser.close()
    size = site_size(arguments.book)
    print("megabytes:", size)
    if arguments.save:
        seconds = round(time.perf_counter() - begin, 1)
        record = results.provenance(
            "python benchmarks/page_load.py", SETTINGS, browser=f"Chromium {version}", seconds=seconds
        )
        results.write(arguments.save, {**record, "megabytes": size, "rows": rows})


if __name__ == "__main__":
    main()
