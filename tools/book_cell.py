"""The cell that leads from a notebook to its page in the book, where every link and reference works.

Colab finds neighbouring notebooks by relative links, but no Markdown page, no term of the glossary and no
reference to a paper. The cell stands before the set-up cell; its tag keeps it out of the book itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["CELL", "TAG", "book_cell", "expected", "stamp"]

CELL = (
    "*In a notebook, on Colab for instance, some links and references to papers do not work. "
    "All of them do on [this page in the book](https://{site}/{page}.html).*"
)
TAG = "remove-cell"  # Jupyter Book leaves such cells out
ID = "in-the-book"


def expected(notebook: Path, site: str, root: Path) -> dict[str, Any]:
    """The cell that a notebook should have.

    Args:
        notebook: Its path.
        site: Where the book is published, without ``https://``.
        root: Of the repository: the book has its folders.
    """
    page = notebook.relative_to(root).with_suffix("").as_posix()
    source = CELL.format(site=site, page=page)
    return {"cell_type": "markdown", "id": ID, "metadata": {"tags": [TAG]}, "source": [source]}


def book_cell(notebook: Path) -> dict[str, Any] | None:
    """The cell as it is, ``None`` where it is missing or does not stand right before the first code cell."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = _first_code(cells)
    return cells[code - 1] if code and cells[code - 1].get("id") == ID else None


def stamp(notebook: Path, site: str, root: Path) -> bool:
    """Write the cell into a notebook; whether that changed it."""
    cell = expected(notebook, site, root)
    if book_cell(notebook) == cell:
        return False
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cells = [each for each in content["cells"] if each.get("id") != ID]
    cells.insert(_first_code(cells), cell)
    content["cells"] = cells
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return True


def _first_code(cells: list[dict[str, Any]]) -> int:
    return next(place for place, cell in enumerate(cells) if cell["cell_type"] == "code")
