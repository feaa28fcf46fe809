"""Rates that are steps where a slope was declared: stages are named, and other wrong rates are not taken for them."""

import numpy as np
import pytest

import dropstats as ds
from dropstats.auditing import causes

SLOPE = np.linspace(0, 0.4, 18)
STEPS = np.repeat(SLOPE[[0, 3, 6, 15]], [3, 3, 9, 3])


def stages(rates, trials, seed):
    counts = np.random.default_rng(seed).binomial(trials, rates)
    return causes.of_stages(counts, np.full(rates.size, trials), SLOPE)


def test_stages_are_found_at_their_places():
    assert [stages(STEPS, 1024, seed) for seed in range(20)] == [(0, 3, 6, 15)] * 20


@pytest.mark.parametrize("trials", [16, 128, 512, 2048])
@pytest.mark.parametrize(
    "rates",
    [SLOPE, SLOPE * 0.8, SLOPE * 1.2, np.roll(SLOPE, 1), np.roll(SLOPE, -1), SLOPE[::-1], SLOPE**1.1, SLOPE + 0.02],
    ids=["right", "smaller", "larger", "one place later", "one place earlier", "reversed", "bent", "shifted"],
)
def test_other_rates_are_no_stages(rates, trials):
    assert not any(stages(rates, trials, seed) for seed in range(50))


def test_one_dead_neuron_makes_no_stages_and_equal_rates_have_none():
    dead = np.where(np.arange(18) == 10, 0, SLOPE)
    assert not any(stages(dead, 512, seed) for seed in range(50))
    assert causes.of_stages(np.full(18, 100), np.full(18, 1000), np.full(18, 0.1)) == ()


def test_the_audit_says_which_positions_make_a_stage():
    masks = np.random.default_rng(0).random((1024, 18)) >= STEPS
    message = ds.audit(masks, ds.Layer(18, SLOPE))["positions"].message
    assert message == (
        "positions drop at the rate of the first of their stage: 0 to 2 at 0, 3 to 5 at 0.07059, 6 to 14 at 0.1412 "
        "and 15 to 17 at 0.3529"
    )
