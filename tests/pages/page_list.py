"""Which pages there are, by the table of contents."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def entries(node):
    """All files below a node of the table of contents."""
    found = [node["file"]] if "file" in node else []
    for key in ("parts", "chapters", "sections"):
        for child in node.get(key, []):
            found += entries(child)
    return found


TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *entries(TOC)]
NOTEBOOKS = [page for page in PAGES if (ROOT / f"{page}.ipynb").exists()]
