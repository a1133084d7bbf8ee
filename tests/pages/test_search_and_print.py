"""Search finds the words of the glossary, and a page can be printed."""

import re
import zlib

import pytest
from bs4 import BeautifulSoup
from page_list import PAGES, ROOT

GLOSSARY = "book/glossary"


def terms(book):
    page = BeautifulSoup((book / f"{GLOSSARY}.html").read_text(encoding="utf-8"), "html.parser")
    found = page.select("dl.glossary > dt")
    for term in found:
        for link in term.select("a.headerlink"):
            link.decompose()
    return [term.get_text(" ", strip=True) for term in found]


def test_a_reader_searches_and_follows_the_first_result(visit):
    seen = visit("search.html?q=convex+hull")
    found = seen.page.locator("#search-results ul.search li a")
    found.first.wait_for()
    seen.page.wait_for_function("document.querySelectorAll('#search-results li a').length > 2")
    assert any("convex hull" in title.lower() for title in found.all_inner_texts())
    found.first.click()
    seen.page.wait_for_url(re.compile(r"/book/.*\.html"))
    assert not seen.errors and not seen.elsewhere


def test_search_finds_every_term_of_the_glossary(visit, book):
    if GLOSSARY not in PAGES:
        assert not (ROOT / f"{GLOSSARY}.md").exists(), "book/glossary.md is not in _toc.yml"
        pytest.fail("no glossary in _toc.yml")
    seen = visit("search.html")
    seen.page.wait_for_function("typeof Search !== 'undefined' && Search.hasIndex()")
    find = "term => Search._performSearch(...Search._parseQuery(term)).map(result => result[0])"
    results = {term: seen.page.evaluate(find, term) for term in terms(book)}
    assert len(results) > 20
    assert not [term for term, names in results.items() if GLOSSARY not in names]


def test_the_search_button_opens_a_field_that_takes_what_is_typed(visit):
    seen = visit("book/certificate.html")
    seen.page.keyboard.press("Control+k")
    field = seen.page.locator("input[name=q]:visible")
    field.fill("pruning")
    field.press("Enter")
    seen.page.wait_for_url(re.compile("search.html"))
    seen.page.locator("#search-results ul.search li a").first.wait_for()


def pdf_text_operators(pdf):
    """How many strings the streams of a PDF show."""
    count = 0
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            count += len(re.findall(rb"T[jJ]\b", zlib.decompress(stream)))
        except zlib.error:  # a picture, or a font that is stored as it is
            continue
    return count


@pytest.mark.parametrize("name", ["book/certificate", "book/greedy-forward-selection"])
def test_a_page_prints(visit, name):
    pdf = visit(f"{name}.html").page.pdf()
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 2
    assert pdf_text_operators(pdf) > 300


def test_in_print_the_text_is_there_and_the_navigation_is_not(visit):
    page = visit("book/greedy-forward-selection.html", theme="dark").page
    page.emulate_media(media="print")
    assert page.locator("article p").first.is_visible() and page.locator("h1:visible").count()
    assert not page.locator(".bd-sidebar-primary").is_visible()
    assert not page.locator(".bd-header-article").first.is_visible()
    ink, paper = page.evaluate(
        """() => [getComputedStyle(document.querySelector("article p")).color,
                  getComputedStyle(document.body).backgroundColor]"""
    )
    assert lightness(ink) < 120  # dark on white, whatever the theme
    assert paper == "rgba(0, 0, 0, 0)" or lightness(paper) > 230


def lightness(color):
    return sum(map(float, re.findall(r"[\d.]+", color)[:3])) / 3
