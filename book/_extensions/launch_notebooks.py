"""Sphinx extension: launch buttons on notebooks only.

A Markdown page that runs a cell while it is built gets one, too, from the theme; Colab opens no Markdown.
"""

from pathlib import Path


def drop_launch(app, pagename, templatename, context, doctree):
    """Remove the button where the source of the page is no notebook."""
    if doctree is not None and Path(app.env.doc2path(pagename)).suffix != ".ipynb":
        buttons = context.get("header_buttons", [])
        context["header_buttons"] = [each for each in buttons if each.get("label") != "launch-buttons"]


def setup(app):
    app.connect("html-page-context", drop_launch, priority=900)  # after the theme added it
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
