"""The set-up cell: the first code cell of every notebook, the same in all of them."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["CELL", "first_cell", "stamp"]

# On Colab, pip installs the package beside the torch that is there. A plain install, not an editable one:
# the running kernel would not find that.
CELL = """\
# Installs the book's package where it is missing (on Colab, say), and picks the GPU if there is one.
try:
    import gfs_tutorial
except ImportError:
    %pip install --quiet git+{address}
    import gfs_tutorial

device = gfs_tutorial.pick_device()"""


def first_cell(notebook: Path) -> str:
    """The source of the first code cell."""
    return "".join(_first_cell(json.loads(notebook.read_text(encoding="utf-8")))["source"])


def stamp(notebook: Path, address: str) -> bool:
    """Write the set-up cell into a notebook; whether that changed it.

    Raises:
        ValueError: the first code cell is no set-up cell, old or new.
    """
    before = notebook.read_text(encoding="utf-8")
    content = json.loads(before)
    cell = _first_cell(content)
    if "import gfs_tutorial" not in "".join(cell["source"]) or "%pip" not in "".join(cell["source"]):
        raise ValueError(f"{notebook}: the first code cell must be the set-up cell of tools/setup_cell.py")
    cell["source"] = CELL.format(address=address).splitlines(keepends=True)
    after = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if after != before:
        notebook.write_text(after, encoding="utf-8")
    return after != before


def _first_cell(content: dict) -> dict:
    return next(cell for cell in content["cells"] if cell["cell_type"] == "code")
