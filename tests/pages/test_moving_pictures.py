"""The pictures with sliders: they move, by keyboard too, compute what the package computes, and fall back."""

import itertools
import json
import re

import pytest
import torch

from gfs_tutorial import results, select_neurons, theory
from gfs_tutorial.experiments.thresholds import thresholds

WALK, BOUND, THRESHOLDS = "book/greedy-forward-selection", "book/convex-hull-checks", "book/mnist"
MOVE = """(slider, value) => {
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}"""
PLACES = {"walk": WALK, "bound": BOUND, "thresholds": THRESHOLDS}


def figure(page, kind):
    return page.locator(f".gfs-figure[id^=gfs-{kind}-]")


def set_slider(shown, name, value):
    """Move a slider as a pointer does: the value, then the event."""
    shown.locator(f"[data-name={name}]").evaluate(MOVE, str(value))


def data_of(shown):
    return json.loads(shown.locator("script[type='application/json']").text_content())


@pytest.fixture(params=["server", "file"])
def address(request, book):
    """The page as a server sends it, and as it lies on the disk."""
    if request.param == "server":
        return lambda name: f"{name}.html"
    return lambda name: (book / f"{name}.html").as_uri()


@pytest.mark.parametrize("kind", PLACES)
def test_every_slider_moves_the_picture_and_says_where_it_is(visit, address, kind):
    seen = visit(address(PLACES[kind]))
    shown = figure(seen.page, kind)
    sliders = shown.locator("input[type=range]")
    assert sliders.count() >= 3
    for slider in sliders.all():
        assert slider.evaluate("slider => slider.labels.length") == 1
        before = shown.locator(".live").inner_html()
        slider.focus()
        at = float(slider.input_value())
        highest = float(slider.get_attribute("max"))
        for _ in range(3):
            slider.press("ArrowRight" if at < highest else "ArrowLeft")
        assert shown.locator(".live").inner_html() != before
        spoken = slider.get_attribute("aria-valuetext")
        assert spoken and spoken == slider.locator("xpath=../output").inner_text()
    assert not seen.errors and not seen.elsewhere


@pytest.mark.parametrize("kind", PLACES)
def test_without_scripts_and_in_print_a_still_picture_takes_its_place(visit, kind):
    scriptless = visit(f"{PLACES[kind]}.html", java_script_enabled=False).page
    live, still = (figure(scriptless, kind).locator(part) for part in (".live", ".still"))
    assert still.is_visible() and not live.is_visible()
    picture = still.locator("img")
    assert picture.bounding_box()["height"] > 150 and len(picture.get_attribute("alt")) > 40
    page = visit(f"{PLACES[kind]}.html").page
    live, still = (figure(page, kind).locator(part) for part in (".live", ".still"))
    assert live.is_visible() and not still.is_visible()
    page.emulate_media(media="print")
    assert still.is_visible() and not live.is_visible()


@pytest.mark.parametrize("kind", PLACES)
def test_it_fits_a_phone_and_follows_the_theme(visit, kind):
    page = visit(f"{PLACES[kind]}.html", "light", 390).page
    box = figure(page, kind).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        paper = figure(page, kind).evaluate("e => getComputedStyle(e).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", paper)[:3])) / 3 > 128) == (theme == "light")


def test_the_walk_picks_what_the_package_picks(visit):
    page = visit(f"{WALK}.html").page
    shown = figure(page, "walk")
    data = data_of(shown)
    points = torch.tensor(data["points"], dtype=torch.float64)
    for N, k, target in (
        (7, 40, data["target"]),
        (7, 40, [0.1, -0.4]),
        (4, 25, [2.0, 0.5]),
        (3, 30, [-1.0, 1.0]),
    ):
        set_slider(shown, "n", N)
        set_slider(shown, "x", target[0])
        set_slider(shown, "y", target[1])
        set_slider(shown, "k", k)
        aim = [float(shown.locator(f"[data-name={axis}]").input_value()) for axis in "xy"]
        goal = torch.tensor(aim, dtype=torch.float64)
        features = points[:N].T * 2**0.5  # select_neurons divides by the root of m = 2
        path = select_neurons(features, torch.ones(N, 1).double(), goal[:, None] * 2**0.5, k)
        assert shown.get_attribute("data-picks") == " ".join(map(str, path.indices.tolist()))


def test_the_target_follows_a_click_and_a_drag(visit):
    page = visit(f"{WALK}.html").page
    shown = figure(page, "walk")
    shown.scroll_into_view_if_needed()
    x = shown.locator("[data-name=x]")
    box = shown.locator("svg").bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.click(*middle)
    at = float(x.input_value())
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1], steps=4)
    page.mouse.up()
    assert float(x.input_value()) > at


def test_play_plays_unless_the_reader_wants_no_motion(visit):
    still = visit(f"{WALK}.html", reduced_motion="reduce").page
    assert not figure(still, "walk").locator("button.play").is_visible()
    page = visit(f"{WALK}.html", reduced_motion="no-preference").page
    shown = figure(page, "walk")
    play = shown.locator("button.play")
    play.click()
    page.wait_for_function(f"+document.querySelector('#{shown.get_attribute('id')} [data-name=k]').value > 2")
    play.click()
    assert play.inner_text() == "Play"


def test_the_bound_is_the_theorem(visit):
    page = visit(f"{BOUND}.html").page
    shown = figure(page, "bound")
    data = data_of(shown)
    for place, (N, t, k) in enumerate([(0, 0, 0), (1, 2, 30), (len(data["widths"]) - 1, 1, 50)]):
        set_slider(shown, "width", N)
        set_slider(shown, "t", t)
        set_slider(shown, "k", k)
        net = next(n for n in data["nets"] if (n["N"], n["t"]) == (data["widths"][N], data["times"][t]))
        bound = theory.certificate_closed_form(net["loss"], net["variance"], data["sizes"][k])
        assert float(shown.get_attribute("data-bound")) == pytest.approx(bound)
        assert float(shown.get_attribute("data-achieved")) == net["losses"][k] <= bound, place
    set_slider(shown, "spread", 0.5)
    bound = theory.certificate_closed_form(net["loss"], 10**0.5, data["sizes"][k])
    assert float(shown.get_attribute("data-bound")) == pytest.approx(bound, rel=0.01)
    assert shown.get_attribute("data-achieved") == ""  # nothing was achieved with a spread that was made up


def test_the_thresholds_are_those_of_the_study(visit):
    page = visit(f"{THRESHOLDS}.html").page
    shown = figure(page, "thresholds")
    data, rows = data_of(shown), results.stored("mnist-laptop.json")["rows"]
    keys = ("loss", "train_accuracy", "test_accuracy")
    for (goal, key), (position, place) in itertools.product(enumerate(keys), ((20, 3), (80, 1), (100, 0))):
        low, high = data["goals"][goal]["levels"]
        for name, value in (("goal", goal), ("level", position), ("k", place)):
            set_slider(shown, name, value)
        share = position / 100
        level = low * (high / low) ** share if key == "loss" else low + (high - low) * share
        of_size = [row for row in rows if row["k"] == data["picks"][place]]
        expected = [run.t for run in thresholds(of_size, f"subnetwork_{key}", level)]
        found = list(itertools.chain.from_iterable(json.loads(shown.get_attribute("data-found"))))
        assert [t is None for t in found] == [t is None for t in expected]
        reached = [(t, exact) for t, exact in zip(found, expected) if t is not None]
        assert all(t == pytest.approx(exact, rel=0.02, abs=0.1) for t, exact in reached)
