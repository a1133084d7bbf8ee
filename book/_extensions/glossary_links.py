"""Sphinx extension: plain Markdown links such as ``glossary.md#term-neuron`` lead to terms of the glossary.

Notebooks cannot use the role ``term``, which Colab and GitHub would show raw. Markdown links find headings
only, so the terms are entered among the headings of their page once it has been read.
"""

from sphinx import addnodes


def enter_terms(app, doctree):
    """Add the terms of a page to the targets that Markdown links find."""
    slugs = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for term in doctree.findall(addnodes.glossary):
        for node in term.findall(lambda node: node.tagname == "term"):
            slugs.update({name: (node.line, name, node.astext()) for name in node["ids"]})


def setup(app):
    app.connect("doctree-read", enter_terms)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
