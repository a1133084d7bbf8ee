"""A figure with sliders as Colab shows it: alone in a frame, without the styles of the book."""

import html
import json

import pytest
from page_list import ROOT

PLACES = {"walk": "greedy-forward-selection", "bound": "convex-hull-checks", "thresholds": "mnist"}
MOVE = """slider => {
  slider.value = +slider.value < +slider.max ? slider.max : slider.min;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def output(kind):
    """The HTML that the committed notebook holds as the output of the cell."""
    notebook = json.loads((ROOT / "book" / f"{PLACES[kind]}.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    shown = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    return next(text for text in shown if f'id="gfs-{kind}-' in text)


def framed(tmp_path, kind, sandbox):
    """A page whose frame has another origin, as the frames have in which Colab runs outputs."""
    page = tmp_path / "colab.html"
    frame = (
        f'<iframe sandbox="{sandbox}" width="700" height="900" srcdoc="{html.escape(output(kind))}"></iframe>'
    )
    page.write_text(f"<!doctype html><title>Colab</title>{frame}", encoding="utf-8")
    return page.as_uri()


@pytest.mark.parametrize("kind", PLACES)
def test_it_moves_alone_in_a_frame(visit, tmp_path, kind):
    seen = visit(framed(tmp_path, kind, "allow-scripts"))
    shown = seen.page.frame_locator("iframe").locator(".gfs-figure")
    assert shown.locator(".live").is_visible() and not shown.locator(".still").is_visible()
    for slider in shown.locator("input[type=range]").all():
        before = shown.locator(".live").inner_html()
        slider.evaluate(MOVE)
        assert shown.locator(".live").inner_html() != before
    assert not seen.errors and not seen.elsewhere


@pytest.mark.parametrize("kind", PLACES)
def test_where_no_script_may_run_the_still_picture_is_seen(visit, tmp_path, kind):
    """As on GitHub, or in a notebook that is not trusted."""
    seen = visit(framed(tmp_path, kind, ""))
    shown = seen.page.frame_locator("iframe").locator(".gfs-figure")
    assert shown.locator(".still img").is_visible() and not shown.locator(".live").is_visible()
