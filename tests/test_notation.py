"""One notation: every letter of a formula is in the table of symbols, for the whole book or for its page."""

import json
import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
COUNTERS = {"i", "j", "l"}
GREEK = "alpha beta gamma delta Delta epsilon varepsilon zeta eta theta Theta kappa lambda Lambda mu nu xi"
GREEK += " Xi pi Pi rho sigma Sigma tau upsilon phi varphi Phi chi psi Psi omega Omega ell"
LETTER = re.compile(rf"\\(?:{GREEK.replace(' ', '|')})(?![A-Za-z])|(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])")
WORDS = re.compile(r"\\(?:text|operatorname|mathrm|mathbb|begin|end)\s*(?:\{[^}]*\}|[A-Z])|\\mathbb\s*[A-Z]")


def prose(page):
    """The text of a page without code; of a notebook, its Markdown cells."""
    notebook = BOOK / f"{page}.ipynb"
    if notebook.exists():
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    else:
        text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    return re.sub(r"```python.*?```|`[^`\n]*`", " ", text, flags=re.DOTALL)


def letters(text):
    """The letters of its formulas; words and names of sets are none."""
    formulas = [whole or short for whole, short in re.findall(r"\$\$(.*?)\$\$|\$([^$]+)\$", text, re.DOTALL)]
    return {letter for formula in formulas for letter in LETTER.findall(WORDS.sub(" ", formula))}


def tables():
    """The letters of the whole book, and those of single pages."""
    everywhere, _, pages = prose("notation").partition("\n## Letters that have another meaning")
    assert pages
    rows = re.findall(r"^\| \[\]\(([\w-]+)\) \| (.*) \|$", pages, re.MULTILINE)
    return letters(everywhere), {page: letters(words) for page, words in rows}


PAGES = sorted({path.stem for path in BOOK.iterdir() if path.suffix in {".md", ".ipynb"}} - {"notation"})


@pytest.mark.parametrize("page", PAGES)
def test_every_letter_stands_in_the_table_of_symbols(page):
    everywhere, own = tables()
    assert letters(prose(page)) <= everywhere | own.get(page, set()) | COUNTERS


def test_letters_of_single_pages_are_used_there():
    everywhere, own = tables()
    for page, named in own.items():
        assert named <= letters(prose(page)) | everywhere, page
        assert named & letters(prose(page)), page


def test_letters_are_found():
    text = r"$\rho_q = \text{rest}$ and $x \in \mathbb R^d$. $$\begin{aligned} A &= \tfrac12 w\end{aligned}$$"
    assert letters(text) == {r"\rho", "q", "x", "d", "A", "w"}
