"""t*(m): when a level is reached, and which law fits, on data whose law is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_tutorial.experiments.thresholds import (
    Threshold,
    first_reached,
    fit_laws,
    law_table,
    reached_by_all,
    thresholds,
)

SIZES = np.repeat([250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0], 3)


def run(values, times=(0, 10, 20, 40), **more):
    return [{"t": t, "loss": value, "accuracy": 1 - value, **more} for t, value in zip(times, values)]


def noise(seed, spread=0.05):
    return np.exp(spread * np.random.default_rng(seed).standard_normal(len(SIZES)))


@settings(max_examples=30, deadline=None)
@given(a=st.floats(0.3, 3), level=st.floats(0.02, 0.2))
def test_a_power_law_in_time_is_crossed_where_it_crosses(a, level):
    times = (0, 3, 10, 30, 100, 300, 10**8)
    rows = run([0.25 * (1 + t) ** -a for t in times], times)
    assert first_reached(rows, "loss", level) == pytest.approx(
        (0.25 / level) ** (1 / a) - 1, rel=1e-6, abs=1e-9
    )


def test_the_first_crossing_counts_and_the_order_of_rows_does_not():
    rows = run([0.5, 0.3, 0.4, 0.1])
    assert first_reached(rows[::-1], "loss", 0.3) == pytest.approx(10)
    assert first_reached(rows, "accuracy", 0.6) == pytest.approx(math.expm1(math.log(11) / 2))
    assert first_reached(rows, "loss", 0.5) == 0
    assert first_reached(rows, "loss", 0.05) is None


def test_an_unknown_entry_is_refused():
    with pytest.raises(ValueError, match="key"):
        first_reached(run([1, 2, 3, 4]), "speed", 0.1)
    with pytest.raises(ValueError, match="rows: 0"):
        first_reached([], "loss", 0.1)


def test_each_run_has_its_threshold_and_may_have_its_own_level():
    rows = run([0.4, 0.3, 0.2, 0.1], m=200, seed=1) + run([0.8, 0.6, 0.4, 0.2], m=100, seed=0)
    never, reached = thresholds(rows, "loss", 0.1)
    assert never == Threshold(100, 0, None) and reached == Threshold(200, 1, pytest.approx(40))
    half = thresholds(rows, "loss", lambda run: run[0]["loss"] / 2)
    assert [found.t for found in half] == pytest.approx([20, 20])


def test_sizes_that_some_seed_misses_or_has_at_once_are_left_out():
    found = [Threshold(1, 0, 5.0), Threshold(1, 1, None), Threshold(2, 0, 0.0), Threshold(3, 0, 7.0)]
    assert reached_by_all(found) == [Threshold(3, 0, 7.0)]


def test_the_table_has_a_line_for_each_criterion_that_can_be_fitted():
    rows = [row for m in (1, 2, 4, 8) for row in run([0.5, 0.2 * m**0.5 / 11], (0, 10), m=m, seed=0)]
    lines = law_table(rows, [("loss", 0.1), ("loss", 0.001)]).splitlines()
    assert len(lines) == 3 and lines[2].startswith("| loss 0.1 | 8 |") and "+0" in lines[2]
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("constant", lambda m: 30 + 0 * m),
        ("logarithm", lambda m: -200 + 50 * np.log(m)),
        ("power", lambda m: 0.5 * m**0.8),
    ],
)
def test_the_law_behind_the_data_is_found(name, law, seed):
    laws = fit_laws(SIZES, law(SIZES) * noise(seed))
    best = min(laws.values(), key=lambda fitted: fitted.aic)
    if name == "constant":  # the others hold it as a special case: they cannot be far behind
        assert laws["constant"].aic < best.aic + 4
    else:
        assert best.name == name
        assert min(laws.values(), key=lambda fitted: fitted.cv_error).name == name
    assert laws[name](np.array([300.0, 3000.0])) == pytest.approx(law(np.array([300.0, 3000.0])), rel=0.1)


def test_the_criteria_follow_their_definitions():
    times = 0.5 * SIZES**0.8 * noise(7)
    law = fit_laws(SIZES, times)["power"]
    residuals = np.log(law(SIZES)) - np.log(times)
    assert law.aic == pytest.approx(18 * np.log((residuals**2).sum() / 18) + 2 * 3)
    errors = []
    for m in np.unique(SIZES):
        kept = m != SIZES
        slope, intercept = np.polyfit(np.log(SIZES[kept]), np.log(times[kept]), 1)
        errors.extend(intercept + slope * np.log(m) - np.log(times[~kept]))
    assert law.cv_error == pytest.approx(np.sqrt(np.mean(np.square(errors))))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), b=st.floats(-0.5, 1.5))
def test_the_logarithm_has_the_least_squares_of_a_grid_around_it(seed, b):
    times = SIZES**b * noise(seed, 0.2)
    a, slope = fit_laws(SIZES, times)["logarithm"].parameters

    def squares(a, slope):
        return np.square(np.log(np.maximum(a + slope * np.log(SIZES), 1e-9) / times)).sum()

    around = [squares(a * (1 + i), slope * (1 + j)) for i in (-0.01, 0, 0.01) for j in (-0.01, 0, 0.01)]
    assert squares(a, slope) <= min(around) * (1 + 1e-6)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="four different sizes"):
        fit_laws([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match="positive"):
        fit_laws([1, 2, 3, 4], [0, 1, 2, 3])
