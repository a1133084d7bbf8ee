"""Tables and the curve of the ImageNet chapter, from made-up results."""

import pytest

from gfs_tutorial import plots, results
from gfs_tutorial.experiments import claims
from gfs_tutorial.experiments.imagenet_table import cost_table, figures_table, own_figures
from gfs_tutorial.experiments.published import PUBLISHED


def row(method, macs, seed, top1, calibration=300):
    return {
        "network": "efficientnet-lite0", "method": method, "macs": macs, "seed": seed, "top1": top1,
        "top5": top1 + 0.1, "images": 300, "kept_macs": int(400e6 * macs), "calibration": calibration,
    }  # fmt: skip


ROWS = [
    row("dense", 1.0, 0, 0.86, calibration=0),
    row("dense", 1.0, 1, 0.88, calibration=0),
    *(row("pruned", 0.5, seed, 0.6 + 0.04 * seed) for seed in (0, 1)),
    *(row("pruned", 0.5, seed, 0.2, calibration=30) for seed in (0, 1)),
    row("fine-tuned", 0.5, 0, 0.65),
]


@pytest.fixture
def stored(monkeypatch):
    def read(name):
        if name != "imagenet-laptop.json":
            raise FileNotFoundError(name)
        return {"rows": ROWS}

    monkeypatch.setattr(results, "stored", read)


def test_means_over_seeds_at_the_largest_calibration(stored):
    found = {(r["method"], r["seeds"]): r["top1"] for r in own_figures("imagenet-laptop.json")}
    expected = {("dense", 2): 0.87, ("pruned", 2): 0.62, ("fine-tuned", 1): 0.65}
    assert found.keys() == expected.keys()
    assert all(found[key] == pytest.approx(value) for key, value in expected.items())


def test_the_table_has_the_published_figures_and_says_what_a_sample_is(stored):
    lines = figures_table().split("\n\n")[0].splitlines()
    assert len({line.count("|") for line in lines}) == 1
    for published in PUBLISHED:
        assert any(
            line.startswith(f"| {published.network} | {published.method} |")
            and f"| {published.top1:.1f} |" in line
            for line in lines
        )
    own = [line for line in lines if "ours" in line]
    assert len(own) == 3 and all("a sample: 300 photographs" in line for line in own)
    assert "| 200M | 62.0 | 72.0 |" in own[1]


def test_each_row_has_the_number_of_its_source_and_each_source_stands_once_in_the_list(stored):
    table, notes = (part.splitlines() for part in figures_table().split("\n\n"))
    assert [note.split(". ")[0] for note in notes] == [str(i + 1) for i in range(len(notes))]
    sources = {f"({note.split('. ')[0]}) |": note for note in notes}
    found = {row.split("|")[2].strip(): sources[row[row.rindex("(") :]] for row in table[2:]}
    assert PUBLISHED[0].source in found["GFS"] and "torchvision" in found["dense, our start"]
    assert "`results/imagenet-laptop.json`, 2 seeds" in found["ours, pruned"]
    assert len(set(notes)) == len(notes) and set(found.values()) == set(notes)


def test_the_claim_stays_open_whatever_a_sample_says(stored):
    claim = next(claim for claim in claims.CLAIMS if "earlier pruning methods" in claim.text)
    outcome, verdict = claim.judge()
    assert verdict == claims.OPEN
    assert "300 photographs" in outcome and "dense 0.87" in outcome and "0.62 at 50% of the MACs" in outcome


def test_the_curve_spans_the_seeds():
    ax = plots.against_calibration(ROWS)
    (line,) = [line for line in ax.get_lines() if "50%" in str(line.get_label())] or [ax.get_lines()[0]]
    assert line.get_xdata().tolist() == [30, 300]
    assert line.get_ydata() == pytest.approx([0.2, 0.62])


def test_the_cost_table_has_a_line_for_each_row():
    made = {
        "network": "resnet34", "gpus": 8, "gpu_images_a_second": 23456.7, "images_a_second": 12345.6,
        "limited_by": "gpu", "pass_minutes": 1.73, "selection_seconds": 2.0, "fine_tuning_hours": 1.25,
        "dollars": 30.4,
    }  # fmt: skip
    assert cost_table([made]).splitlines()[-1] == (
        "| resnet34 | 8 | 23,457 | 12,346 | gpu | 1.7 min | 2 s | 1.2 h | 30 |"
    )
