"""Print, check or set the address of the repository, for a fork: ``make address URL=https://github.com/you/name``.

The address stands in ``pyproject.toml``, under ``[project.urls]``. Every other place that needs it (set-up
cells and the links to the book before them, launch buttons, badges, CITATION.cff, links) is rewritten from
there; a test fails if one disagrees.
Standard library only, so that it runs before anything is installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import book_cell
import setup_cell

__all__ = ["current", "disagreements", "forms", "set_address"]

ROOT = Path(__file__).parents[1]
NAME = "gfs-tutorial"  # of the project: a repository of this name, whoever owns it, is taken for this one
URL = re.compile(r"https://github\.com/([\w-]+)/([\w.-]+?)(?:\.git)?/?")
SUFFIXES = {".cff", ".html", ".ipynb", ".md", ".py", ".toml", ".txt", ".yaml", ".yml"}
# Not followed by more of a name: the address of o/r is not a part of that of o/r-2.
END = r"(?=\.git\b|(?![\w-]|\.\w))"


def current(root: Path = ROOT) -> str:
    """The address, from the one place where it stands."""
    found = re.search(r'^Repository = "(.+)"$', (root / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    if not found:
        raise ValueError('pyproject.toml must have a line Repository = "..." under [project.urls]')
    return found[1]


def forms(address: str) -> list[str]:
    """The ways in which an address is written: repository, Colab, raw files, published pages."""
    found = URL.fullmatch(address)
    if not found:
        raise ValueError(f"the address must look like https://github.com/owner/name, got {address!r}")
    owner, name = found.groups()
    site = f"{owner.lower()}.github.io"
    return [
        f"github.com/{owner}/{name}",
        f"colab.research.google.com/github/{owner}/{name}",
        f"raw.githubusercontent.com/{owner}/{name}",
        site if name.lower() == site else f"{site}/{name}",
    ]


def set_address(address: str, root: Path = ROOT) -> list[Path]:
    """Rewrite every file that has the address; returns those that changed.

    Raises:
        ValueError: not the address of a GitHub repository.
    """
    new = forms(address)
    address = f"https://{new[0]}"
    pairs = [(re.compile(re.escape(old) + END), to) for old, to in zip(forms(current(root)), new)]
    changed = []
    for path in _files(root):
        before = after = path.read_text(encoding="utf-8")
        for old, to in pairs:
            after = old.sub(to, after)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    stamped = [path for path in _notebooks(root) if setup_cell.stamp(path, address)]
    stamped += [path for path in _notebooks(root) if book_cell.stamp(path, new[-1], root)]
    return sorted({*changed, *stamped})


def disagreements(root: Path = ROOT) -> list[str]:
    """What does not agree with the address, one line each: file and what is wrong there."""
    address = current(root)
    repository, *_, site = forms(address)
    owner, name = repository.split("/")[1:]
    wrong = []
    for path in (root / name for name in ("_config.yml", "CITATION.cff")):
        if f": {address}\n" not in path.read_text(encoding="utf-8"):
            wrong.append(f"{path.name} does not have {address}")
    for path in _notebooks(root):
        if setup_cell.first_cell(path) != setup_cell.CELL.format(address=address):
            wrong.append(f"{path.name}: the set-up cell is not that of tools/setup_cell.py")
        if book_cell.book_cell(path) != book_cell.expected(path, site, root):
            wrong.append(f"{path.name}: the cell before it is not that of tools/book_cell.py")
    ours = "|".join({re.escape(name), re.escape(NAME)})
    repositories = re.compile(
        rf"(?:(?:github|raw\.githubusercontent)\.com|colab\.research\.google\.com/github)/([\w-]+)/({ours}){END}"
    )
    pages = re.compile(rf"(?<![\w-])([\w-]+)\.github\.io/({ours}){END}")
    for path in _files(root):
        text = path.read_text(encoding="utf-8")
        for match in repositories.finditer(text):
            if (match[1], match[2]) != (owner, name):
                wrong.append(f"{path.relative_to(root)}: {match[0]}")
        wrong += [f"{path.relative_to(root)}: {m[0]}" for m in pages.finditer(text) if m[0] != site]
    return wrong


def _notebooks(root: Path) -> list[Path]:
    return sorted((root / "book").rglob("*.ipynb"))


def _files(root: Path) -> list[Path]:
    """The text files that are or could be committed, without the tests, which name other addresses."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    paths = [root / line for line in listed.splitlines() if not line.startswith("tests/")]
    return [path for path in paths if path.suffix in SUFFIXES and path.is_file()]


def main(arguments: list[str]) -> int:
    """Set the address if one is given, and the cells of the notebooks anyway; print what was done."""
    try:
        changed = set_address(arguments[0] if arguments else current())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(current())
    for path in changed:
        print("  changed", path.relative_to(ROOT))
    wrong = disagreements()
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
