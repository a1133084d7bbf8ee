"""Sphinx extension: every entry of the API reference links to the chapter that derives it.

Docstrings name a chapter by its title, in italics: *A certificate*. In the built book that becomes a link.
An entry that names none gets the chapter of its module, or else of its package.

References in docstrings name objects where they are defined; they link to the public name.
"""

import importlib
import inspect
import re
import sys
from functools import cache
from pathlib import Path

import yaml
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

ROOT = Path(__file__).parents[2]
ITALIC = re.compile(r"(?<!\*)\*([^*\n][^*]*?)\*(?!\*)")
NAMED = re.compile(r"[Cc]hapters?\s+\*([^*]+)\*(?:\s+and\s+\*([^*]+)\*)?")


@cache
def titles():
    """The pages of the book by their titles, as ``{"A certificate": "book/certificate"}``."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    pages = [toc["root"], *(page["file"] for c in chapters for page in (c, *c.get("sections", ())))]
    return {title_of(page): page for page in pages}


def title_of(page):
    """The first heading of a page or notebook."""
    path = next(path for end in (".md", ".ipynb") if (path := ROOT / f"{page}{end}").exists())
    return re.search(r'^\s*"?# (.+?)(?:\\n",?|",?)?$', path.read_text(encoding="utf-8"), re.MULTILINE)[1]


def named_chapters(text):
    """Titles of the chapters that a docstring names after the word *chapter*, spaces made single."""
    return [" ".join(title.split()) for found in NAMED.findall(text) for title in found if title]


def inherited(module_name):
    """The chapters that a module names, or else the packages that hold it, from the inside out."""
    while module_name:
        module = sys.modules.get(module_name)
        if module is not None and (found := named_chapters(inspect.getdoc(module) or "")):
            return found
        module_name = module_name.rpartition(".")[0]
    return []


def link(title):
    return f":doc:`{title} </{titles()[title]}>`"


def add_links(app, what, name, thing, options, lines):
    """Turn titles of chapters into links, in place; add the inherited chapter where there is none."""
    text = "\n".join(lines)
    for title in named_chapters(text):
        if title not in titles():
            logging.getLogger(__name__).warning("%s names the chapter %r, which is not there", name, title)

    def linked(match):
        title = " ".join(match[1].split())
        return link(title) if title in titles() else match[0]

    found = ITALIC.sub(linked, text)
    if what in ("function", "class", "exception") and ":doc:`" not in found:
        chapters = [title for title in inherited(thing.__module__) if title in titles()]
        found += f"\n\n.. rubric:: Chapter\n\n{', '.join(map(link, chapters))}\n" if chapters else ""
    lines[:] = found.split("\n")


def public_name(app, env, node, contnode):
    """Resolve a reference to where an object is defined: link to its public name, which is documented.

    Objects that exist and are not public stay plain text; those that do not exist are still reported.
    """
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("gfs_tutorial"):
        return None
    thing = existing(target)
    domain = env.get_domain("py")
    for name in domain.objects if thing is not None else ():
        if name.rpartition(".")[2] == target.rpartition(".")[2] and existing(name) is thing:
            document = domain.objects[name].docname
            return make_refnode(app.builder, node["refdoc"], document, name, contnode, name)
    return contnode if thing is not None else None


@cache
def existing(name):
    """The module or object of that dotted name, ``None`` if there is none."""
    try:
        return importlib.import_module(name)
    except ImportError:
        module, _, last = name.rpartition(".")
        return getattr(existing(module), last, None) if module else None


def setup(app):
    app.connect("autodoc-process-docstring", add_links, priority=100)  # before Napoleon adds markup
    app.connect("missing-reference", public_name)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
