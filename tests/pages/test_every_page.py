"""Every page of the built book, on a desktop and on a phone, in both themes."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_list import PAGES

AXE = {"resultTypes": ["violations"], "preload": False}  # preloading asks for style sheets at wrong places
OUTSIDE_FORMULAS = {"exclude": [["mjx-math"]]}  # hidden from screen readers, which get MathML beside it
PROBLEMS = """() => {
  const problems = [], name = e => e.outerHTML.slice(0, 160);
  const page = document.documentElement, article = document.querySelector("article");
  for (const e of [page, article]) if (e && e.scrollWidth > e.clientWidth) {
    problems.push(`${e.scrollWidth} pixels wide in ${e.clientWidth}`);
    const wide = [...e.querySelectorAll("*")].filter(x => x.getBoundingClientRect().right > innerWidth + 1);
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
  return problems;
}"""


def violations(page, **options):
    """Serious and critical ones that axe-core finds, with the places."""
    found = Axe().run(page, context=OUTSIDE_FORMULAS, options={**AXE, **options}).response["violations"]
    return [
        f"{v['id']} ({v['impact']}): {v['help']}: " + " | ".join(n["html"][:160] for n in v["nodes"][:4])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


def check(seen):
    """All that holds of any page, opened in dark on a phone; then it is turned to light on a desktop."""
    found = seen.page.evaluate(PROBLEMS) + violations(seen.page)
    seen.page.set_viewport_size({"width": 1280, "height": 900})
    seen.page.evaluate("document.documentElement.dataset.theme = 'light'")
    found += [f"desktop: {problem}" for problem in seen.page.evaluate(PROBLEMS)]
    # Another theme and width change the colours and the places; what has a name keeps it.
    found += [f"light: {violation}" for violation in violations(seen.page, runOnly=["color-contrast"])]
    assert not found + seen.errors
    assert not seen.elsewhere


@pytest.mark.parametrize("name", PAGES)
def test_a_page(visit, name):
    check(visit(f"{name}.html", "dark", 390))


def test_the_pages_that_are_not_in_the_table_of_contents(book, visit):
    others = {path.relative_to(book).as_posix() for path in book.rglob("*.html")}
    others -= {f"{name}.html" for name in PAGES}
    others.remove("index.html")  # it sends the reader to the first page
    others = [name for name in sorted(others) if not name.startswith("_")]
    assert "search.html" in others
    for name in others:
        check(visit(name, "dark", 390))
