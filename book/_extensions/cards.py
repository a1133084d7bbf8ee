"""Sphinx extension: a wide table of words becomes a list of cards on a phone, each value with its heading.

Which tables: those of a notebook's cell with the tag ``cards`` and those in a container of that class. Here
the cells get their headings as attributes; ``book.css`` does the rest, on narrow screens only.
"""

import re

from bs4 import BeautifulSoup

CHOSEN = re.compile(
    r'(<div class="[^"]*\b(?:tag_)?cards\b[^"]*">(?:(?!<table).)*)(<table.*?</table>)', re.DOTALL
)


def labelled(table):
    """A table whose cells carry their column's heading as ``data-label``, if there is anything in them."""
    soup = BeautifulSoup(table, "html.parser")
    headings = [heading.get_text(" ", strip=True) for heading in soup.select("thead th")]
    for row in soup.select("tbody tr"):
        for heading, cell in zip(headings, row.find_all("td")):
            if cell.get_text(strip=True):
                cell["data-label"] = heading
    soup.table["class"] = [*soup.table.get("class", ()), "cards"]
    return str(soup)


def label_tables(app, pagename, templatename, context, doctree):
    if "body" in context:
        context["body"] = CHOSEN.sub(lambda found: found[1] + labelled(found[2]), context["body"])


def setup(app):
    app.connect("html-page-context", label_tables, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
