"""Every entry of the API reference leads to its source and to a chapter."""

import re

import pytest
from bs4 import BeautifulSoup
from page_list import PAGES

REFERENCE = [name for name in PAGES if "/api/" in name and not name.endswith("/index")]
CHAPTER = re.compile(r"^\.\./(?!api/)[\w-]+\.html")  # beside the folder of the reference


@pytest.mark.parametrize("name", REFERENCE)
def test_an_entry_leads_to_its_source_and_to_a_chapter(book, name):
    page = BeautifulSoup((book / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    entries = page.select("dl.py.function, dl.py.class, dl.py.exception")
    assert entries
    for entry in entries:
        title, text = entry.find("dt"), entry.find("dd")
        if entry.find_parent("dl", class_="class"):
            continue  # a method: its class leads there
        links = [link["href"] for link in title.select("a[href]")]
        assert any("_modules/" in link for link in links), f"{title['id']} has no link to its source"
        assert any(CHAPTER.match(link["href"]) for link in text.select("a[href]")), title["id"]
