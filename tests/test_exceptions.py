"""An exception from a check of style, types or spelling says why it is there, and there are few."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("gfs_tutorial", "tools", "benchmarks", "book/_extensions")
MARK = re.compile(r"#\s*(?:noqa|type:\s*ignore|mypy:)[^(#]*(?P<reason>.*)")


def exceptions():
    """Every line with an exception: where, its reason in the line, and the two lines before."""
    listed = subprocess.run(
        ["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in (name for name in listed.stdout.split() if name.endswith(".py")):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if found := MARK.search(line):
                yield f"{name}:{number + 1}", found["reason"], "\n".join(lines[max(0, number - 2) : number])


def test_an_exception_in_a_line_gives_its_reason():
    found = list(exceptions())
    assert 0 < len(found) <= 10, "few exceptions: is this one needed?"
    assert not [place for place, reason, before in found if len(reason) < 10 and "# " not in before]


def table(text, name):
    """The lines of a table of a TOML file, with the comment above it."""
    before, _, rest = text.partition(f"[{name}]\n")
    assert rest, name
    above = re.search(r"((?:^#.*\n)*)\Z", before, re.MULTILINE)[1]
    return above, rest.split("\n[")[0]


def test_rules_that_ruff_leaves_out_say_why():
    _, lint = table((ROOT / "pyproject.toml").read_text(encoding="utf-8"), "tool.ruff.lint")
    ignored = re.search(r"^ignore = \[\n(.*?)^\]", lint, re.MULTILINE | re.DOTALL)[1].splitlines()
    assert ignored and all(re.search(r"#\s\S.{8,}", line) for line in ignored)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("pyproject.toml", "tool.ruff.lint.per-file-ignores"),
        ("pyproject.toml", "[tool.mypy.overrides]"),
        ("typos.toml", "files"),
        ("typos.toml", "default"),
        ("typos.toml", "default.extend-words"),
        ("typos.toml", "type.tests"),
        ("typos.toml", "type.md"),
        ("typos.toml", "type.ipynb"),
    ],
)
def test_a_table_of_exceptions_says_why(file, name):
    above, lines = table((ROOT / file).read_text(encoding="utf-8"), name)
    commented = [line for line in lines.splitlines() if line and not line.startswith("#")]
    assert above or "\n#" in f"\n{lines}" or all("# " in line for line in commented)
