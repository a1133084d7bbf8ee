"""Sphinx extension: every page has one place to search from.

The theme shows a second button in a bar on top, and on the page with the results one more beside the field.
It also loads the index and the scripts that search it with every page, where only that page uses them.
"""

import re
from pathlib import Path

SCRIPTS = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>')
DIALOG = re.compile(r'(<dialog id="pst-search-dialog">).*?(</dialog>)', re.DOTALL)
WITHOUT_BUTTON = ["navbar-logo.html", "icon-links.html", "sbt-sidebar-nav.html"]


def drop_buttons(app, config):
    """Before the theme fills in its own; options in _config.yml would replace all of Jupyter Book's."""
    config.html_theme_options.setdefault("navbar_persistent", [])
    config.html_sidebars.setdefault("search", WITHOUT_BUTTON)


def trim(text: str, name: str) -> str:
    """A page without the scripts, or the page with the results without a second field in a dialog."""
    return DIALOG.sub(r"\1\2", text) if name == "search.html" else SCRIPTS.sub("", text)


def trim_all(app, exception):
    if exception or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        page.write_text(trim(page.read_text("utf-8"), page.name), "utf-8")


def setup(app):
    app.connect("config-inited", drop_buttons)
    app.connect("build-finished", trim_all, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
