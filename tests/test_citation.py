"""The citation file says of the release and of the papers what the changelog and the bibliography say."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_date_is_that_of_the_changelog_and_an_unreleased_version_has_none():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    state = re.search(r"^## \S+, (\S+)$", changelog, re.MULTILINE)[1]
    assert CITATION.get("date-released") == (None if state == "unreleased" else state)


def test_the_two_papers_are_cited_as_in_the_bibliography():
    entries = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    for key, paper in zip(("ye2020good", "wolfe2024how"), CITATION["references"], strict=True):
        entry = re.search(rf"@\w+\{{{key},(.*?)\n\}}", entries, re.DOTALL)[1]
        plain = re.sub(r"[{}]", "", entry).lower()
        assert paper["title"].rstrip("?").lower() in plain and str(paper["year"]) in plain
        assert all(author["family-names"].lower() in plain for author in paper["authors"])


def test_licences_are_those_of_the_files():
    assert CITATION["license"] == ["MIT", "CC-BY-4.0"]
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert "CC BY 4.0" in (ROOT / "LICENSE-text").read_text(encoding="utf-8")
