"""Every page of the built book, on a desktop and on a phone, in both themes."""

from functools import partial

import pytest
from axe import violations
from page_list import PAGES

PROBLEMS = """() => {
  const problems = [], name = e => e.outerHTML.slice(0, 160);
  const page = document.documentElement, article = document.querySelector("article");
  for (const e of [page, article]) if (e && e.scrollWidth > e.clientWidth) {
    problems.push(`${e.scrollWidth} pixels wide in ${e.clientWidth}`);
    const clipped = x => x.parentElement && x.parentElement !== e &&
      (getComputedStyle(x.parentElement).overflowX !== "visible" || clipped(x.parentElement));
    const wide = [...e.querySelectorAll("*")].filter(x =>
      x.getBoundingClientRect().right > innerWidth && !clipped(x));
    problems.push(...wide.slice(0, 3).map(x => "too wide: " + name(x)));
  }
  for (const e of document.querySelectorAll(".math"))
    if (!e.querySelector("mjx-container")) problems.push("formula not set: " + name(e));
  for (const e of document.querySelectorAll("mjx-merror")) problems.push("wrong formula: " + name(e));
  for (const e of document.images) {
    if (e.closest(".still")) continue; // shown in print only
    if (!e.complete || !e.naturalWidth) problems.push("picture not loaded: " + name(e));
    if (!e.alt.trim()) problems.push("picture without alt text: " + name(e));
  }
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
  const twice = new Set(ids.filter((id, i) => ids.indexOf(id) < i));
  if (twice.size) problems.push("not unique: " + [...twice].join(" "));
  const fields = [...document.querySelectorAll(".bd-search, .search-button-field")];
  const shown = fields.filter(e => e.checkVisibility());
  if (shown.length > 1) problems.push("searched at two places: " + shown.map(name).join(" | "));
  return problems;
}"""


# The theme's script follows a change of width 300 milliseconds after the event, which comes with a frame: a
# longer wait that begins after that frame ends after the script has run, however busy the machine is.
SETTLED = """() => new Promise(done =>
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 350))))"""


LOOKS = ("light", 1280), ("dark", 1280), ("dark", 390), ("light", 390)


def turned(page, theme, width):
    """Give the page another theme and width, without loading it again."""
    same_width = page.viewport_size["width"] == width
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    if not same_width:
        page.evaluate(SETTLED)


def check(seen):
    """All that holds of any page, in both themes on a desktop and on a phone."""
    found = []
    desktop, dark, phone, bright = (partial(turned, seen.page, *look) for look in LOOKS)
    for change in (desktop, dark, phone, bright):
        change()
        found += seen.page.evaluate(PROBLEMS)
    found += violations(seen.page, (phone, desktop))
    assert not found + seen.errors
    assert not seen.elsewhere


@pytest.mark.parametrize("name", PAGES)
def test_a_page(visit, name):
    check(visit(f"{name}.html"))


def test_the_pages_that_are_not_in_the_table_of_contents(book, visit):
    others = {path.relative_to(book).as_posix() for path in book.rglob("*.html")}
    others -= {f"{name}.html" for name in PAGES}
    others.remove("index.html")  # it sends the reader to the first page
    others = [name for name in sorted(others) if not name.startswith("_")]
    assert "search.html" in others
    for name in others:
        check(visit(name))
