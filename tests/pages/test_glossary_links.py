"""In the built book, a reader who meets a term on a page finds a link to the glossary there."""

import re
import sys
from functools import cache

import pytest
from bs4 import BeautifulSoup
from page_list import PAGES, ROOT

sys.path.insert(0, str(ROOT / "book" / "_extensions"))

from glossary_links import AMBIGUOUS

CHAPTERS = [
    name for name in PAGES if "/api/" not in name and not name.endswith(("/glossary", "/bibliography"))
]
ELSEWHERE = ".cell, .figure-table, pre, code, .math, h1, h2, h3, h4, .caption, figcaption, .admonition-title"


@cache
def anchors(book):
    """The terms of the glossary and where they stand."""
    page = BeautifulSoup((book / "book/glossary.html").read_text(encoding="utf-8"), "html.parser")
    return {term.find(string=True).strip(): term["id"] for term in page.select("dl.glossary > dt")}


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_term_is_linked_where_it_is_used_first(book, name):
    page = BeautifulSoup((book / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    article = page.select_one("article")
    for each in article.select(ELSEWHERE):
        each.decompose()
    terms = {term: anchor for term, anchor in anchors(book).items() if term not in AMBIGUOUS}
    assert len(terms) > 60
    linked, missing = set(), []
    for text in article.find_all(string=True):
        link = text.find_parent("a", href=True)
        if link:
            linked.add(link["href"].rpartition("#")[2])
        elif text.find_parent("p"):
            words = set(re.findall(r"(?<![\w-])(?:" + "|".join(map(re.escape, terms)) + r")(?![\w-])", text))
            missing += [(term, str(text)) for term in words if terms[term] not in linked]
    assert not missing
