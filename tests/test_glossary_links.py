"""The first use of a term on a page becomes a link to the glossary."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
from docutils import nodes

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "book" / "_extensions"))

# They lie beside the book, where Python looks only now.
import glossary_links  # noqa: E402

ANCHORS = {
    "loss": "term-loss",
    "batch norm": "term-batch-norm",
    "layer": "term-layer",
    "two-layer network": "term-two-layer-network",
    "MAC": "term-MAC",
    "mini-batch": "term-mini-batch",
}


def page(*parts):
    document = nodes.document(None, None)
    document += parts
    return document


def linked(document):
    """Words and anchors of the links on a page."""
    glossary_links.link_first_uses(document, ANCHORS, "glossary.html")
    return [(link.astext(), link["refuri"].split("#")[1]) for link in document.findall(nodes.reference)]


def say(*words):
    return nodes.paragraph("", "", *(nodes.Text(word) if isinstance(word, str) else word for word in words))


def test_the_first_use_is_linked_and_the_text_stays_the_same():
    document = page(say("Less loss, and a loss again."), say("The loss."))
    before = document.astext()
    assert linked(document) == [("loss", "term-loss")]
    assert document.astext() == before
    assert document[0].children[1].astext() == "loss"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("Two-layer networks", ["Two-layer networks"]),  # the longest term, not the layer in it
        ("Losses of two\nlayer networks", ["Losses", "two\nlayer networks"]),
        ("MACs, and a mac", ["MACs"]),
        ("a lossless multi-layer thing", []),
        ("mini-batches", ["mini-batches"]),
        ("the network's loss's root", ["loss"]),
    ],
)
def test_forms_of_a_word(words, found):
    assert [text for text, _ in linked(page(say(words)))] == found


def test_a_link_of_the_author_counts_and_a_later_one_stays():
    made = nodes.reference("", "the loss", refuri="glossary.html#term-loss")
    assert linked(page(say(made), say("a loss"))) == [("the loss", "term-loss")]
    made = nodes.reference("", "the loss", refuri="glossary.html#term-loss")
    assert [text for text, _ in linked(page(say("a loss"), say(made)))] == ["loss", "the loss"]


def test_titles_code_formulas_links_and_outputs_are_left_alone():
    other = nodes.reference("", "on the loss", refuri="other.html")
    output = nodes.container("", say("loss"), classes=["cell"])
    document = page(
        nodes.title("", "Loss"),
        say(nodes.literal("", "loss")),
        say(nodes.math("", "loss")),
        say(other),
        output,
    )
    glossary_links.link_first_uses(document, ANCHORS, "glossary.html")
    assert [link["refuri"] for link in document.findall(nodes.reference)] == ["other.html"]


def test_words_with_other_meanings_are_terms():
    """A word that no longer stands in the glossary does not stay on the list of exceptions."""
    glossary = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8").splitlines()
    assert set(glossary) >= glossary_links.AMBIGUOUS
