"""The exercises on the Markdown pages: enough of them, each with a folded solution, and its code is right."""

import re
from collections import Counter
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[1] / "book"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("*.md"))}
EXERCISE = re.compile(r":::\{exercise\}[^\n]*\n:label: (\S+)\n")
SOLUTION = re.compile(r":::\{solution\} (\S+)\n:class: dropdown\n(.*?)\n:::\n", re.DOTALL)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
SOLUTIONS = {label: body for text in TEXTS.values() for label, body in SOLUTION.findall(text + "\n")}
PROGRAMS = {label: "".join(CODE.findall(body)) for label, body in SOLUTIONS.items() if CODE.search(body)}


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if EXERCISE.search(text)])
def test_every_exercise_has_one_solution_that_is_folded_away(page):
    labels = EXERCISE.findall(TEXTS[page])
    assert labels == [label for label, _ in SOLUTION.findall(TEXTS[page] + "\n")]
    assert TEXTS[page].count(":::{exercise}") == TEXTS[page].count(":::{solution}") == len(labels)


def test_labels_are_unique():
    counts = Counter(label for text in TEXTS.values() for label in EXERCISE.findall(text))
    assert max(counts.values()) == 1


@pytest.mark.parametrize("page", ["certificate", "convex-hull", "slopes", "untrained", "pretraining"])
def test_a_chapter_of_theory_has_four_exercises_or_more(page):
    assert len(EXERCISE.findall(TEXTS[page])) >= 4


@pytest.mark.parametrize("page", ["exercises-foundations", "exercises-experiments"])
def test_a_notebook_has_four_exercises_or_more_with_those_at_its_end(page):
    for section in TEXTS[page].split("\n## ")[1:]:
        title = re.match(r"On \*(.*)\*\n", section)[1]
        (notebook,) = (
            text
            for path in BOOK.glob("*.ipynb")
            if f'"# {title}\\n"' in (text := path.read_text(encoding="utf-8"))
        )
        assert section.count(":::{exercise}") + notebook.count(":::{exercise}") >= 4, title


@pytest.mark.parametrize("label", PROGRAMS)
def test_the_code_of_a_solution_runs_and_passes_the_check_that_it_calls(label, capsys):
    exec(compile(PROGRAMS[label], label, "exec"), {"__name__": label})
    said = capsys.readouterr().out
    assert "✗" not in said
    assert ("✓" in said) == ("coursework" in PROGRAMS[label])
