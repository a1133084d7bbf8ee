"""Sphinx extension: links to terms of the glossary, those that authors write and those that readers expect.

Plain Markdown links such as ``glossary.md#term-neuron`` lead to terms: notebooks cannot use the role
``term``, which Colab and GitHub would show raw. Markdown links find headings only, so the terms are entered
among the headings of their page once it has been read.

In the built book, the first use of a term on a page is a link even where the author wrote none.
"""

import re

from docutils import nodes
from sphinx import addnodes

# Words that mean other things, too: a unit vector, the rate of learning, one process after another.
AMBIGUOUS = {"face", "norm", "process", "rate", "slope", "spread", "teacher", "unit", "walk"}
# Where a link would disturb: in links, titles, code, formulas, in what a cell printed, in tables of files.
SKIP = (nodes.reference, nodes.title, nodes.literal, nodes.math, nodes.citation, addnodes.desc)
SKIP_CLASSES = {"cell", "figure-table"}


def enter_terms(app, doctree):
    """Add the terms of a page to the targets that Markdown links find."""
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for term in doctree.findall(addnodes.glossary):
        for node in term.findall(lambda node: node.tagname == "term"):
            slugs.update({name: (node.line, name, node.astext()) for name in node["ids"]})


def pattern(terms):
    """An expression that finds any of the terms, the longest first, one or many; case counts in acronyms."""

    def words(term):
        spaced = re.sub(r"(?:\\ |\\-)", r"[\\s-]+", re.escape(term))
        return spaced if term[1:] != term[1:].lower() else f"(?i:{spaced})"

    longest_first = sorted(terms, key=len, reverse=True)
    names = "|".join(f"(?P<t{terms.index(term)}>{words(term)})" for term in longest_first)
    return re.compile(rf"(?<![\w-])(?:{names})(?:e?s)?(?![\w-])")


def in_prose(text):
    """Whether a text stands in a paragraph, outside of everything that is no place for a link."""
    node, paragraph = text.parent, False
    while node is not None:
        if isinstance(node, SKIP) or SKIP_CLASSES & set(getattr(node, "attributes", {}).get("classes", ())):
            return False
        paragraph = paragraph or isinstance(node, nodes.paragraph)
        node = node.parent
    return paragraph


def link_first_uses(doctree, anchors, glossary):
    """Turn the first use of every term into a link, unless the author made one before.

    Args:
        doctree: A page, with its links resolved.
        anchors: The terms, as ``{"dense network": "term-dense-network"}``.
        glossary: The address of the glossary as seen from the page.
    """
    names = list(anchors)
    find, linked = pattern(names), set()
    for node in list(doctree.findall(lambda node: isinstance(node, nodes.Text | nodes.reference))):
        if isinstance(node, nodes.reference):
            linked.add(node.get("refuri", "").rpartition("#")[2])
        elif in_prose(node):
            node.parent.replace(node, list(pieces(node, find, names, anchors, linked, glossary)))


def pieces(text, find, names, anchors, linked, glossary):
    """A text cut at the terms that are not linked yet; notes in ``linked`` those that are now."""
    words, end = text.astext(), 0
    for found in find.finditer(words):
        anchor = anchors[names[int(found.lastgroup[1:])]]
        if anchor not in linked:
            linked.add(anchor)
            yield nodes.Text(words[end : found.start()])
            yield nodes.reference(
                "", found[0], refuri=f"{glossary}#{anchor}", internal=True, classes=["first-use"]
            )
            end = found.end()
    yield nodes.Text(words[end:])


def link_page(app, doctree, docname):
    """Link the first uses on a page, unless it is the glossary or belongs to the API reference."""
    terms = [entry for entry in app.env.get_domain("std").get_objects() if entry[2] == "term"]
    pages = {document for _, _, _, document, _, _ in terms}
    if app.builder.format != "html" or "/api/" in docname or docname in pages or not pages:
        return
    anchors = {name: anchor for name, _, _, _, anchor, _ in terms if name.lower() not in AMBIGUOUS}
    link_first_uses(doctree, anchors, app.builder.get_relative_uri(docname, pages.pop()))


def setup(app):
    app.connect("doctree-read", enter_terms)
    app.connect("doctree-resolved", link_page)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
