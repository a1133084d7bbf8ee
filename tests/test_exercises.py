"""The exercises on the Markdown pages: enough of them, each with a folded solution, and its code is right."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

BOOK = Path(__file__).parents[1] / "book"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("*.md"))}
TITLES = {
    re.search(r"# ([^\\\n]*)", path.read_text(encoding="utf-8"))[1]: path.stem
    for path in sorted([*BOOK.glob("*.md"), *BOOK.glob("*.ipynb")])
}
EXERCISE = re.compile(r":::\{exercise\}[^\n]*\n:label: (\S+)\n")
SOLUTION = re.compile(r":::\{solution\} (\S+)\n:class: dropdown\n(.*?)\n:::\n", re.DOTALL)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
SOLUTIONS = {label: body for text in TEXTS.values() for label, body in SOLUTION.findall(text + "\n")}
PROGRAMS = {label: "".join(CODE.findall(body)) for label, body in SOLUTIONS.items() if CODE.search(body)}
# What asks for a measurement and ends with no check runs here on fewer images, neurons and iterations than on
# the page: that it runs is the point, and a minute is not needed to see it.
FEWER = {
    "exercise-patience": {"width=1000": "width=100", '"iterations": 1000': '"iterations": 200'},
    "exercise-research-split": {"width=1000": "width=100", '"iterations": 430': '"iterations": 43'},
    "exercise-research-work": {"784, width=1000": "784, width=200", "60 * 1000 // k": "60 * 100 // k"},
    "exercise-research-width": {"range(5)": "range(2)", '"iterations": 100': '"iterations": 20'},
    "exercise-research-one-class": {"[:200]": "[:40]"},
    "exercise-research-noise": {"[:200]": "[:40]"},
    "exercise-research-scratch": {
        '"iterations": (60,)': '"iterations": (6,)',
        '"fine_tuning": 100': '"fine_tuning": 10',
    },
}


def fewer(label):
    """The program of a solution, made quick."""
    program = PROGRAMS[label]
    for of_the_page, here in FEWER.get(label, {}).items():
        assert of_the_page in program, f"{label} has no {of_the_page} any more: change FEWER"
        program = program.replace(of_the_page, here)
    return program


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


@pytest.mark.parametrize("page", ["exercises-foundations", "exercises-experiments", "exercises-networks"])
def test_a_chapter_has_four_exercises_or_more_on_the_page_of_its_part(page):
    for section in TEXTS[page].split("\n## ")[1:]:
        title = re.match(r"On \*(.*)\*\n", section)[1]
        assert title in TITLES
        assert section.count(":::{exercise}") >= 4, title


def test_every_chapter_has_exercises():
    """A notebook that measures what the page before it proves shares the exercises of that page."""
    toc = yaml.safe_load((BOOK.parent / "_toc.yml").read_text(encoding="utf-8"))
    parts = [part["chapters"] for part in toc["parts"] if part["caption"] != "Back matter"]
    chapters = {Path(chapter["file"]).stem for part in parts for chapter in part}
    measured = {"convex-hull-checks", "slopes-measured", "untrained-measured", "pretraining-measured"}
    sections = re.findall(r"^## On \*(.*)\*$", "\n".join(TEXTS.values()), re.MULTILINE)
    own = {page for page, text in TEXTS.items() if EXERCISE.search(text)}
    assert chapters - measured == own | {TITLES[title] for title in sections}


def test_notebooks_hold_no_directives_which_show_raw_on_colab():
    for path in BOOK.glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            assert not re.search(r"^(:::|```\{)", "".join(cell["source"]), re.MULTILINE), path.name


@pytest.mark.parametrize("label", PROGRAMS)
def test_the_code_of_a_solution_runs_and_passes_the_check_that_it_calls(label, capsys):
    exec(compile(fewer(label), label, "exec"), {"__name__": label})
    said = capsys.readouterr().out
    assert "✗" not in said
    assert ("✓" in said) == ("coursework" in PROGRAMS[label])
