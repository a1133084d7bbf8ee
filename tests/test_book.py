"""The book as a text: how chapters open and close, what their links find, where their figures come from."""

import importlib
import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest
import yaml

pytest.importorskip("sphinx")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_extensions"))

import cards  # noqa: E402
import chapter_links  # noqa: E402
import figure_table  # noqa: E402

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PARTS = [part for part in TOC["parts"] if part["caption"] != "Back matter"]
CHAPTERS = [c["file"] for part in PARTS for c in part["chapters"] if "/exercises-" not in c["file"]]
PAGES = figure_table.chapters()
NOTEBOOKS = [page for page in PAGES if (ROOT / f"{page}.ipynb").exists()]


def text(page):
    """The prose of a page; of a notebook, its Markdown cells."""
    notebook = ROOT / f"{page}.ipynb"
    if not notebook.exists():
        return (ROOT / f"{page}.md").read_text(encoding="utf-8")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def terms():
    """The terms of the glossary, by the names that links use."""
    lines = text("book/glossary").split(":::{glossary}")[1].splitlines()
    names = [line for line in lines if line and line[0] not in " :"]
    return {f"term-{identifier(name)}": name for name in names}


def identifier(name):
    """What Sphinx makes of a name: letters and digits of ASCII, hyphens between words."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._]+", "-", plain)


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_opens_with_what_you_will_learn_and_what_you_need(page):
    opening = re.split(r"^## ", text(page), maxsplit=1, flags=re.MULTILINE)[0]
    assert "**You will learn**" in opening
    assert "**You need**" in opening


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_ends_with_a_summary_and_what_to_read_next(page):
    _, _, ending = text(page).partition("\n## Summary\n")
    assert ending, "no summary"
    assert re.search(r"\*\*Next:\*\* .*\]\(", ending), "no link to what to read next"


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_a_figure_has_alt_text_and_a_caption_that_stands_alone(page):
    cells = json.loads((ROOT / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())):
            markup = cell["metadata"]["mystnb"]
            assert len(markup["image"]["alt"]) > 40
            assert len(markup["figure"]["caption"]) > 20
            assert markup["figure"]["name"].startswith("fig-")


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_links_in_notebooks_have_words_of_their_own(page):
    assert "[](" not in text(page), "Sphinx fills in the title of the page, Colab and GitHub show nothing"


def test_values_of_a_card_carry_the_headings_of_their_columns():
    table = "<table class='t'><thead><tr><th>claim</th><th><p>what came out</p></th></tr></thead>"
    table += "<tbody><tr><td>one</td><td>two</td></tr></tbody></table>"
    page = f'<div class="cell tag_cards docutils"><div>{table}</div></div><div class="cell">{table}</div>'
    context = {"body": page}
    cards.label_tables(None, "page", None, context, None)
    first, second = context["body"].split('<div class="cell">')
    assert 'class="t cards"' in first and '<td data-label="what came out">two</td>' in first
    assert second == page.split('<div class="cell">')[1]


def test_names_of_figures_are_used_once():
    names = [figure.name for figure in figure_table.figures() if figure.name]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("page", PAGES)
def test_links_to_the_glossary_find_their_terms(page):
    known = terms()
    assert set(re.findall(r"glossary(?:\.md)?#([\w.-]+)", text(page))) <= set(known)
    names = re.findall(r"\{term\}`(?:[^`<]*<)?([^`<>]+)>?`", text(page))
    assert {name.lower() for name in names} <= {name.lower() for name in known.values()}


def test_every_term_of_the_glossary_is_linked_from_a_page():
    others = "\n".join(text(page) for page in PAGES if page != "book/glossary")
    linked = re.findall(r"glossary\.md#([\w.-]+)", others)
    linked += [f"term-{name}" for name in re.findall(r"\{term\}`(?:[^`<]*<)?([^`<>]+)>?`", others)]
    found = {identifier(name.lower()) for name in linked}
    inside = text("book/glossary").lower()
    missing = [
        name
        for key, name in terms().items()
        if key.lower() not in found
        and f"<{name.lower()}>`" not in inside
        and f"{{term}}`{name.lower()}`" not in inside
    ]
    assert not missing, f"link these where a reader meets them first: {missing}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "book/notation"])
def test_letters_mean_what_the_table_of_symbols_says(page):
    assert "h_{ij}" not in text(page), "activations are h_{ji}: row j, neuron i"
    assert not re.search(r"(?<![\w\\])z_i\b", text(page)), (
        "z_k is the sum of k picks; a shifted neuron is zeta_i"
    )


def test_every_result_file_is_used_on_a_page_or_named():
    files = {path.name for path in (ROOT / "results").glob("*.json")}
    missing = files - set(figure_table.uses()) - set(figure_table.ELSEWHERE)
    assert not missing, f"use {sorted(missing)} on a page, or say in figure_table.ELSEWHERE what they are for"


def test_every_result_file_says_how_it_was_made():
    for path in (ROOT / "results").glob("*.json"):
        for record in figure_table.records(path.name):
            assert {"command", "settings", "versions", "hardware", "date"} <= set(record), path.name


def test_the_table_holds_every_figure_and_every_result_file():
    table, files = "\n".join(figure_table.table({})), "\n".join(figure_table.file_table())
    assert all(f"(#{figure.name})" in table for figure in figure_table.figures() if figure.name)
    assert all(f"`{path.name}`" in files for path in (ROOT / "results").glob("*.json"))
    assert "/tmp" not in files


def test_result_files_are_followed_through_the_cells(tmp_path):
    sources = [
        "import json\nstudy = results.stored('a.json')",
        "def rows(key):\n    return [row[key] for row in study['rows']]",
        "found = {}\nfor name in ('x', 'y'):\n    found.setdefault(name, []).append(rows(name))",
        "plot(found)",
        "study = 3\nplot(study)",
        "%time plot([row for row in other])",
    ]
    cells = [{"cell_type": "code", "source": [source], "metadata": {}} for source in sources]
    notebook = tmp_path / "page.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    reached = [files for _, files in figure_table.cells_with_files(notebook)]
    assert reached == [{"a.json"}, {"a.json"}, {"a.json"}, {"a.json"}, set(), set()]


def packages():
    """Packages that have public names of their own."""
    folders = [
        path.parent for path in (ROOT / "gfs_tutorial").rglob("__init__.py") if "__all__" in path.read_text()
    ]
    return sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)


@pytest.mark.parametrize("package", packages())
def test_the_api_reference_has_every_package_with_a_chapter_for_each_name(package):
    pages = "\n".join(text(page) for page in PAGES if "/api/" in page)
    assert re.search(rf"automodule:: {re.escape(package)}$", pages, re.MULTILINE)
    module = importlib.import_module(package)
    for name in module.__all__:
        thing = getattr(module, name)
        if callable(thing):
            lines = (thing.__doc__ or "").split("\n")
            chapter_links.add_links(None, "function", f"{package}.{name}", thing, None, lines)
            assert ":doc:`" in "\n".join(lines), f"{package}.{name} names no chapter, nor does its module"
