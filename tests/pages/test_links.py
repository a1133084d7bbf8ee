"""What a page points to is there: pages, anchors, pictures, notebooks, neighbours."""

import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup
from page_list import NOTEBOOKS, PAGES, ROOT

pytestmark = pytest.mark.xdist_group("links")  # in one process, which parses every page once
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
REPOSITORY = CONFIG["repository"]


@cache
def parsed(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> set[str]:
    return {tag.get("id") or tag.get("name") for tag in parsed(path).find_all(id=True)}


def addresses(page: BeautifulSoup):
    for tag, key in (("a", "href"), ("link", "href"), ("img", "src"), ("script", "src"), ("source", "src")):
        yield from (found[key] for found in page.find_all(tag, **{key: True}))


@pytest.mark.parametrize("name", PAGES)
def test_every_link_inside_the_book_leads_somewhere(book, name):
    here = book / f"{name}.html"
    broken = []
    for address in addresses(parsed(here)):
        if urlsplit(address).scheme or address.startswith("//"):
            continue
        path, anchor = urldefrag(address)
        target = (here.parent / unquote(path.partition("?")[0])).resolve() if path else here
        if not target.is_file() or (
            anchor and target.suffix == ".html" and unquote(anchor) not in anchors(target)
        ):
            broken.append(address)
    assert not broken


@pytest.mark.parametrize("name", PAGES)
def test_links_have_a_name_and_pictures_an_alt_text(book, name):
    page = parsed(book / f"{name}.html")
    assert not [str(image)[:200] for image in page.find_all("img") if not image.get("alt", "").strip()]
    nameless = [
        str(link)[:200]
        for link in page.find_all("a", href=True)
        if not (
            link.get_text(strip=True)
            or link.get("aria-label")
            or link.get("title")
            or link.find("img", alt=True)
        )
    ]
    assert not nameless


def test_previous_and_next_lead_through_the_whole_book(book):
    for before, after in pairwise(PAGES):
        forward = parsed(book / f"{before}.html").select_one("a.right-next")
        back = parsed(book / f"{after}.html").select_one("a.left-prev")
        assert ((book / before).parent / forward["href"]).resolve() == (book / f"{after}.html").resolve()
        assert ((book / after).parent / back["href"]).resolve() == (book / f"{before}.html").resolve()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_launch_button_opens_this_notebook_on_colab(book, name):
    links = [a["href"] for a in parsed(book / f"{name}.html").find_all("a", href=re.compile("colab"))]
    repository = REPOSITORY["url"].removeprefix("https://github.com/")
    wanted = f"https://colab.research.google.com/github/{repository}/blob/{REPOSITORY['branch']}/{name}.ipynb"
    assert wanted in links
    assert (ROOT / f"{name}.ipynb").is_file()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_opened_elsewhere_leads_to_its_page_which_does_not_show_that(book, name):
    cells = json.loads((ROOT / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    (text,) = ("".join(cell["source"]) for cell in cells if cell["id"] == "in-the-book")
    (link,) = re.findall(r"\]\((.+?)\)", text)
    assert link == f"{CONFIG['html']['baseurl']}{name}.html"
    page = parsed(book / f"{name}.html")
    assert "this page in the book" in text and "this page in the book" not in page.select_one("article").text


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_download_is_the_notebook(book, name):
    page = book / f"{name}.html"
    (link,) = parsed(page).select("a.btn-download-source-button")
    assert link["href"].endswith(".ipynb")
    downloaded = (page.parent / link["href"]).resolve()
    assert downloaded.read_bytes() == (ROOT / f"{name}.ipynb").read_bytes()


def test_pages_without_code_offer_their_source_but_no_launch(book):
    for name in set(PAGES) - set(NOTEBOOKS):
        page = parsed(book / f"{name}.html")
        assert page.select_one("a.btn-download-source-button")["href"].endswith(".md")
        assert "colab.research" not in str(page)
