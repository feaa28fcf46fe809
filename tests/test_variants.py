"""The variants of dropout: reference values, enumeration of all masks, the law of two neurons, bad input."""

import doctest
import itertools
import json
import math
import pickle
import re
from fractions import Fraction
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from cases import LAWS
from scipy import stats

import dropstats as ds
from dropstats import (
    AlphaDropout,
    AttentionDropout,
    Channels,
    DropBlock,
    DropConnect,
    DropPath,
    FixedCount,
    GaussianDropout,
    Layer,
    Network,
    Neuron,
)
from dropstats.auditing.checks import OF_NORMAL, OF_TWO_VALUES
from dropstats.counts import coverage
from dropstats.laws.layer import RoundedLayer

SCHEMES = json.loads((Path(__file__).parent / "reference" / "schemes.json").read_text())
MISC = json.loads((Path(__file__).parent / "reference" / "misc.json").read_text())
RULES = {
    "huang l/L, l=1..L": "huang",
    "timm/linspace l/(L-1), l=0..L-1": "timm",
    "torchvision-efficientnet l/L, l=0..L-1": "torchvision",
    "uniform p_L": "uniform",
}


# --- the reference, field by field -----------------------------------------------------------------------------------
# One function a section: a case of the section -> what we compute for each of its fields. A field that is missing here
# fails the test; those that are arguments, or that are not ours, are listed with the reason.


def number(text):
    return float(Fraction(text))


def dropblock_law(case):
    return DropBlock(case["H"], case["W"], case["block"], number(case["p"]))


def dropblock_enumerated(case):
    law = dropblock_law(case)
    return {
        "gamma": law.gamma,
        "expected_fraction_exact": law.fraction,
        "expected_fraction": law.fraction,
        "var_count": law.variance,
        "P_none": law.prob(dropped=0),
        "P_all": law.prob(dropped=law.n),
        "count_pmf": {str(k): p for k, p in enumerate(law.dropped.pmf(np.arange(law.n + 1))) if p},
    }


def dropblock(case):
    law = dropblock_law(case)
    return {
        "gamma_paper": law.gamma,
        "expected_fraction": law.fraction,
        # of a neuron that block^2 seeds reach, whether or not the map holds one
        "interior_fraction": Layer(case["block"] ** 2, law.gamma).dropped.sf(0),
        "relative_shortfall": 1 - law.fraction / law.p,
        "gamma_exact_for_p": DropBlock.exactly(case["H"], case["W"], case["block"], number(case["p"])).gamma,
        "var_count": law.variance,
        "overdispersion_vs_binomial": law.overdispersion,
        "P_no_drop": law.prob(dropped=0),
    }


def stochastic_depth(case):
    law = DropPath(case["L"], 1 - number(case["p_L"]), RULES[case["variant"]])
    depth = np.arange(law.n + 1)
    return {
        "expected_active": law.kept.mean(),
        "expected_active_dec": law.kept.mean(),
        "var": law.kept.var(),
        "sd": law.kept.std(),
        "P_all_active": law.prob(kept=law.n),
        "pmf_active": law.kept.pmf(depth).tolist(),
        "mode": int(np.argmax(law.kept.pmf(depth))),
        "P(active<=35)": law.prob(kept=(None, 35)),
        "P(active==40)": law.prob(kept=40),
        "P(active>=45)": law.prob(kept=(45, None)),
    }


def alpha_dropout(case):
    if "cases" in case:
        from dropstats.laws.alpha import SELU_ALPHA, SELU_LAMBDA

        return {
            "alpha": SELU_ALPHA,
            "lambda_": SELU_LAMBDA,
            "alpha_prime": AlphaDropout(0.1).alpha_prime,
            "cases": [{"p": c["p"], **alpha_dropout(c)} for c in case["cases"]],
        }
    noise = AlphaDropout(number(case["p"]))
    return {"a": noise.a, "b": noise.b, "dropped_value": noise.dropped_value}


def multiplier_moments(case):
    noise, mask = GaussianDropout(number(case["p"])), Neuron(number(case["p"])).kept
    q = 1 - noise.p
    _, variance, skewness, kurtosis = mask.stats("mvsk")
    return {
        "sigma2": noise.factor.var(),
        "sigma": noise.sigma,
        "P_negative": noise.factor.cdf(0),
        "bern_skew": skewness,
        "bern_exkurt": kurtosis,
        "bern_k3": skewness * variance**1.5 / q**3,
        "bern_k4": kurtosis * variance**2 / q**4,
    }


def attention(case):
    length, p = case["T"], number(case["p"])
    row = AttentionDropout(1, length, p)
    causal = AttentionDropout(length, length, p, causal=True)
    return {
        "P_row_all_dropped": row.prob(kept=0),
        "E_full_dropped_rows_causal": causal.empty_rows.mean(),
        "P_no_empty_row_causal": causal.empty_rows.pmf(0),
        "var_rowsum_uniform": row.kept.var() / (length * (1 - p)) ** 2,
    }


def bottleneck(case):
    law = Layer(case["r"], number(case["p"]))
    return {
        "P_all_dropped": law.prob(kept=0),
        "E_active": law.kept.mean(),
        "steps_all_dropped_per_1e6": 1e6 * law.prob(kept=0),
    }


def zoneout(case):
    z = number(case["z"])
    return {
        "P_stale_ge": [Layer(k, z).prob(kept=0) for k in range(len(case["P_stale_ge"]))],
        "E_stale_steps": stats.geom(1 - z).mean() - 1,
        "E_interval": stats.geom(1 - z).mean(),
    }


def spatial(case):
    law = Channels(case["C"], case["H"] * case["W"], number(case["p"]))
    elementwise = Layer(law.n, number(case["p"])).dropped.var()
    return {
        "mean": law.dropped.mean(),
        "var_spatial": law.dropped.var(),
        "var_elementwise": elementwise,
        "overdispersion": law.dropped.var() / elementwise,
        "P_all_channels_dropped": law.prob(kept=0),
    }


def dropconnect(case):
    law = DropConnect(case["n_in"], case["n_out"], number(case["p"]))
    return {
        "E_dropped": law.dropped.mean(),
        "P_output_loses_all_inputs": law.prob_output_dead,
        "P_some_output_loses_all": law.dead_outputs.sf(0),
    }


def fixed_count(case):
    law = FixedCount(case["N"], case["K_dropped"])
    among = law.among(case["subset"])
    return {
        "mean": among.mean(),
        "var": among.var(),
        "pair_corr": law.covariance(0, 1) / law.covariance(1, 1),
        "pmf": among.pmf(np.arange(case["subset"] + 1)).tolist(),
    }


def threshold_quantisation_8bit(case):
    flash = Layer.rounded(1, number(case["p"]), rule="flash-attention-2")
    engine = Layer.rounded(1, number(case["p"]), rule="transformer-engine")
    return {
        "flash_threshold": 255 - 256 * flash.p,
        "flash_keep": 1 - flash.p,
        "flash_drop": flash.p,
        "flash_bias_drop": flash.bias,
        "flash_mean_factor": flash.mean_factor,
        "te_threshold": 256 * engine.p,
        "te_drop": engine.p,
        "te_bias_drop": engine.bias,
        "te_mean_factor": engine.mean_factor,
    }


# Fields that say what the case is about.
ARGUMENTS = {
    "H",
    "W",
    "C",
    "L",
    "T",
    "N",
    "p",
    "p_L",
    "r",
    "z",
    "n_in",
    "n_out",
    "block",
    "variant",
    "K_dropped",
    "subset",
}
# The rounding of 1 / (1 - p) to float32, float16 and bfloat16 is the business of an audit's test of scale.
EXCLUDED_SECTIONS = {"scale_rounding"}
# The reference subtracted 1 - (1 - p^784)^100 in doubles; the value below is the right one.
CORRECTED = {("dropconnect", 784, "P_some_output_loses_all"): 100 * 9.828413039546407e-237}
COMPUTED = (
    dropblock_enumerated,
    dropblock,
    stochastic_depth,
    alpha_dropout,
    multiplier_moments,
    attention,
    bottleneck,
    zoneout,
    spatial,
    dropconnect,
    fixed_count,
    threshold_quantisation_8bit,
)


def section_cases(name):
    section = SCHEMES[name]
    return section if isinstance(section, list) else [section]


CASES = [
    pytest.param(function, case, id=f"{function.__name__}-{index}")
    for function in COMPUTED
    for index, case in enumerate(section_cases(function.__name__))
]


def agree(got, expected, where):
    """Compare numbers, and lists and dicts of numbers, within 1e-10 relative (1e-15 absolute next to 0)."""
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), where
        for key in expected:
            agree(got[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(got) == len(expected), where
        for index, pair in enumerate(zip(got, expected, strict=True)):
            agree(*pair, f"{where}[{index}]")
    else:
        value = expected if isinstance(expected, int | float) else number(expected)
        absolute = 1e-15 if abs(value) > 1e-40 or "shortfall" in where or "bias" in where else 0.0
        got = number(got) if isinstance(got, str) else float(got)
        assert got == pytest.approx(value, rel=1e-10, abs=absolute), where


def test_no_section_of_the_reference_is_left_out():
    assert {function.__name__ for function in COMPUTED} | EXCLUDED_SECTIONS == set(SCHEMES)


@pytest.mark.parametrize(("function", "case"), CASES)
def test_every_field_matches_the_reference(function, case):
    got = function(case)
    section = function.__name__
    for field, expected in case.items():
        if field in ARGUMENTS or expected is None:  # None: the reference holds no value
            continue
        assert field in got, f"{section}: field {field} is not compared"
        expected = CORRECTED.get((section, case.get("n_in"), field), expected)
        agree(got[field], expected, f"{section}.{field}")


def test_the_comparison_sees_a_wrong_digit():
    agree({"a": [1.0]}, {"a": ["1"]}, "")
    with pytest.raises(AssertionError):
        agree({"a": [1.0 + 1e-9]}, {"a": ["1"]}, "")


@pytest.mark.parametrize("case", MISC["hypergeometric_logpmf"], ids=lambda case: f"{case['N']}-{case['k']}")
def test_hypergeometric_logs_match_reference(case):
    from dropstats.counts import hypergeometric

    law = hypergeometric(case["N"], case["K"], case["sample"]) if case["sample"] <= 10**6 else None
    if law is None:
        pytest.skip("a table of 1e9 probabilities does not fit")
    expected = float(case["log_pmf"])
    assert law.logpmf(case["k"]) == pytest.approx(expected, abs=1e-12 * max(1, abs(expected)))


# --- enumeration of all masks ----------------------------------------------------------------------------------------


def enumerate_independent(rates, build):
    """Yield (probability, mask) over all outcomes of independent bits, True = kept, built to masks by `build`."""
    for kept in itertools.product([False, True], repeat=len(rates)):
        probability = math.prod(1 - p if k else p for p, k in zip(rates, kept, strict=True))
        yield probability, build(np.array(kept, dtype=bool))


def blocks_of(height, width, block):
    def build(seedless):
        mask = np.ones((height, width), bool)
        for place, kept in enumerate(seedless):
            if not kept:
                row, column = divmod(place, width - block + 1)
                mask[row : row + block, column : column + block] = False
        return mask.ravel()

    return build


def fixed(n, k):
    choices = list(itertools.combinations(range(n), k))
    for choice in choices:
        mask = np.ones(n, bool)
        mask[list(choice)] = False
        yield 1 / len(choices), mask


def squares_on(height, width, block):
    """What is kept where seeds fall on the whole map, each with a square around it that is cut at the ends."""

    def kept(seedless):
        out = np.ones((height, width), bool)
        for row, column in np.argwhere(~seedless.reshape(height, width)) - (block - 1) // 2:
            out[max(row, 0) : row + block, max(column, 0) : column + block] = False
        return out.reshape(-1)

    return kept


ENUMERATED = {
    "channels": (
        Channels(3, 4, [0.1, 0.3, 0.6]),
        lambda: enumerate_independent([0.1, 0.3, 0.6], lambda kept: np.repeat(kept, 4)),
    ),
    "noise shape": (
        Channels.with_noise_shape((2, 3, 2), (1, 3, 1), 0.3),
        lambda: enumerate_independent([0.3] * 3, lambda kept: np.tile(np.repeat(kept, 2), 2)),
    ),
    "locked": (Channels.locked(3, 4, 0.2), lambda: enumerate_independent([0.2] * 4, lambda kept: np.tile(kept, 3))),
    "dropblock": (DropBlock(5, 4, 2, gamma=0.15), lambda: enumerate_independent([0.15] * 12, blocks_of(5, 4, 2))),
    "dropblock, wide": (DropBlock(3, 6, 3, gamma=0.4), lambda: enumerate_independent([0.4] * 4, blocks_of(3, 6, 3))),
    "dropblock, seeds on the map": (
        DropBlock(3, 3, 2, gamma=0.3, seeds="map"),
        lambda: enumerate_independent([0.3] * 9, squares_on(3, 3, 2)),
    ),
    "dropblock, seeds on a wide map": (
        DropBlock(2, 5, 2, gamma=0.2, seeds="map"),
        lambda: enumerate_independent([0.2] * 10, squares_on(2, 5, 2)),
    ),
    "fixed count": (FixedCount(9, 4), lambda: fixed(9, 4)),
    "dropconnect": (DropConnect(3, 4, 0.3), lambda: enumerate_independent([0.3] * 12, lambda kept: kept)),
    "drop path": (
        DropPath(5, 0.5, "timm"),
        lambda: enumerate_independent([0, 0.125, 0.25, 0.375, 0.5], lambda kept: kept),
    ),
    "causal attention": (
        AttentionDropout(4, 4, 0.3, causal=True),
        lambda: enumerate_independent([0.3] * 10, lambda kept: kept),
    ),
    "network": (
        Network(Channels(2, 3, 0.3), FixedCount(4, 0), DropBlock(3, 3, 2, gamma=0.2)),
        lambda: enumerate_independent(
            [0.3] * 2 + [0.2] * 4,
            lambda kept: np.concatenate([np.repeat(kept[:2], 3), np.ones(4, bool), blocks_of(3, 3, 2)(kept[2:])]),
        ),
    ),
}


def check_against_enumeration(law, outcomes):
    """Marginals, the law of two neurons and the law of the count, against all masks."""
    rates, both, count = np.zeros(law.n), np.zeros((law.n, law.n)), np.zeros(law.n + 1)
    for probability, mask in outcomes:
        dropped = ~mask
        rates += probability * dropped
        both += probability * np.outer(dropped, dropped)
        count[dropped.sum()] += probability
    np.testing.assert_allclose(law.rates, rates, atol=1e-14)
    places = np.arange(law.n)
    np.testing.assert_allclose(law.covariance(places[:, None], places), both - np.outer(rates, rates), atol=1e-14)
    np.testing.assert_allclose(law.dropped.pmf(np.arange(law.n + 1)), count, rtol=1e-11, atol=1e-300)


@pytest.mark.parametrize("name", ENUMERATED)
def test_all_masks(name):
    law, outcomes = ENUMERATED[name]
    check_against_enumeration(law, outcomes())


@pytest.mark.parametrize(
    "wrong",
    [Channels(4, 3, [0.1, 0.3, 0.6, 0.3]), Layer(12, np.repeat([0.1, 0.3, 0.6], 4)), Channels(3, 4, [0.1, 0.3, 0.59])],
    ids=repr,
)
def test_the_enumeration_sees_a_wrong_law(wrong):
    with pytest.raises(AssertionError):
        check_against_enumeration(wrong, ENUMERATED["channels"][1]())


def test_dead_outputs_and_empty_rows_by_enumeration():
    law = DropConnect(2, 3, 0.3)
    dead = np.zeros(4)
    for probability, mask in enumerate_independent([0.3] * 6, lambda kept: kept):
        dead[(~mask.reshape(3, 2)).all(axis=1).sum()] += probability
    np.testing.assert_allclose(law.dead_outputs.pmf(np.arange(4)), dead, rtol=1e-12)
    causal = AttentionDropout(3, 3, 0.3, causal=True)
    empty = np.zeros(4)
    for probability, mask in enumerate_independent([0.3] * 6, lambda kept: kept):
        rows = np.zeros((3, 3), bool)
        rows[np.tril_indices(3)] = mask
        empty[(~rows.any(axis=1)).sum()] += probability
    np.testing.assert_allclose(causal.empty_rows.pmf(np.arange(4)), empty, rtol=1e-12)


# --- what must hold of every law -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_covariances_add_up_to_the_variance(case):
    law, places = case.law, np.arange(case.law.n)
    matrix = law.covariance(places[:, None], places)
    assert matrix.shape == (law.n, law.n)
    assert matrix.sum() == pytest.approx(float(law.dropped.var()), rel=1e-10, abs=1e-12)
    np.testing.assert_allclose(np.diag(matrix), law.rates * (1 - law.rates), atol=1e-15)
    np.testing.assert_array_equal(matrix, matrix.T)
    off = matrix[~np.eye(law.n, dtype=bool)]
    assert law.independent == (not off.any())


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_samples_have_the_covariances(case):
    """The largest of n^2 standardised deviations, at 1e-6 in all; what the samples' pairs could not be is seen."""
    trials, law = 40_000, case.law
    dropped = (~law.sample(trials, rng=5)).astype(np.float64)
    places = np.arange(law.n)
    mean = law.covariance(places[:, None], places) + np.outer(law.rates, law.rates)
    both = dropped.T @ dropped / trials
    error = np.sqrt(np.maximum(mean * (1 - mean), 0) / trials)
    # beyond the normal tail, a few counts: a pair of probability 1e-5 is seen 0.4 times on average
    allowed = stats.norm.isf(1e-6 / max(law.n, 1) ** 2) * error + 15 / trials * (error > 0) + 1e-12
    assert (np.abs(both - mean) <= allowed).all()


def test_the_covariances_of_samples_tell_a_group_from_independent_neurons():
    law = Channels(4, 2, 0.3)
    dropped = ~law.sample(40_000, rng=5)
    seen = (dropped[:, 0] & dropped[:, 1]).mean()
    assert abs(seen - 0.3) < 0.02
    assert abs(seen - 0.09) > 0.1


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_simulate_takes_every_law(case):
    tally = ds.simulate(case.law, 2000, rng=3)
    assert tally.trials == 2000
    mean, error = float(case.law.dropped.mean()), float(case.law.dropped.std()) / 2000**0.5
    assert abs(tally.mean - mean) <= 6 * error + 1e-9


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_plots_take_every_law(case):
    from dropstats import plots

    tally = ds.simulate(case.law, 500, rng=3)
    for ax in (plots.overlay(case.law, tally, plots.Figure()), plots.tail(case.law, tally, plots.Figure())):
        ax.figure.draw_without_rendering()
        assert ax.get_ylabel()


def test_entropies():
    assert Channels(10, 7, 0.5).entropy_bits() == 10
    assert Channels(10, 7, 0.5).log2_subnetworks == 10
    assert FixedCount(5, 2).entropy_bits() == pytest.approx(math.log2(10), rel=1e-14)
    assert FixedCount(2**40, 3).log2_subnetworks == pytest.approx(120 - math.log2(6), rel=1e-12)
    assert FixedCount(5, 0).log2_subnetworks == 0
    assert Network(Channels(3, 2, 0.5), FixedCount(4, 2), Neuron(0.5)).entropy_bits() == pytest.approx(4 + math.log2(6))
    for word in (DropBlock.entropy_bits, DropBlock.log2_subnetworks.fget):
        with pytest.raises(NotImplementedError, match="closed form"):
            word(DropBlock(4, 4, 2, gamma=0.1))


def test_a_group_of_one_is_a_layer_and_a_block_of_one_too():
    k = np.arange(13)
    np.testing.assert_array_equal(Channels(12, 1, 0.3).dropped.logsf(k), Layer(12, 0.3).dropped.logsf(k))
    np.testing.assert_array_equal(DropBlock(4, 3, 1, p=0.3).dropped.logsf(k), Layer(12, 0.3).dropped.logsf(k))
    assert DropBlock(4, 3, 1, p=0.3).fraction == pytest.approx(0.3, rel=1e-15)


def test_channels_locate_their_groups():
    law = Channels.with_noise_shape((2, 2, 3), (1, 2, None), 0.1)
    assert law.group(np.arange(12)).tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert Channels(2, 3, 0.1).group(np.arange(6)).tolist() == [0, 0, 0, 1, 1, 1]
    assert Channels.with_noise_shape((4, 3), (4, 1), 0.1) == Channels(4, 3, 0.1)
    assert Channels.locked(4, 3, 0.1) != Channels(4, 3, 0.1)


# --- DropBlock where its count law is not feasible, and sums in the far tails ----------------------------------------


@pytest.mark.parametrize("gamma", [1e-9, 0.2, 1 - 1e-9])
@pytest.mark.parametrize("margin", [(0, 0), (1, 1), (0, 1)])
def test_logs_and_numbers_give_one_law_of_squares(gamma, margin):
    """Numbers lose no digit where `_smallest_log` says so, and logs, for what is beyond, are the same law."""
    grid = coverage._Grid(6, 5, 2 if margin == (0, 1) else 3, margin)
    states = coverage._states(grid, 1.0)
    logs = coverage._covered(grid, states, gamma, logs=True)
    numbers = coverage._covered(grid, states, gamma, logs=False)
    assert np.logaddexp.reduce(logs) == pytest.approx(0, abs=1e-12)
    possible = np.isfinite(logs)
    np.testing.assert_array_equal(possible, numbers > 0)
    assert logs[possible].min() >= coverage._smallest_log(grid, gamma)
    np.testing.assert_allclose(np.log(numbers[possible]), logs[possible], rtol=1e-13, atol=1e-12)


def test_the_law_of_many_squares_has_the_moments_of_its_pairs():
    law = DropBlock(14, 14, 5, p=0.1)
    k = np.arange(law.n + 1)
    pmf = law.dropped.pmf(k)
    mean = pmf @ k
    assert mean == pytest.approx(law.fraction * law.n, rel=1e-13)
    assert pmf @ (k - mean) ** 2 == pytest.approx(law.variance, rel=1e-12)
    assert pmf[0] == pytest.approx((1 - law.gamma) ** 100, rel=1e-13)
    # one seed alone drops 25; nothing else does, and nothing drops fewer
    assert pmf[25] == pytest.approx(100 * law.gamma * (1 - law.gamma) ** 99, rel=1e-13)
    assert not pmf[1:25].any()


@pytest.mark.parametrize("logs", [False, True])
def test_the_work_of_a_map_is_that_of_its_matrices(monkeypatch, logs):
    """What is refused is known beforehand: each entry of a step's matrix meets half of the counts in every row."""
    grid, cost = coverage._Grid(9, 6, 3, (0, 0)), coverage._COST_OF_LOGS if logs else 1.0
    states = coverage._states(grid, 1.0)
    entries = sum(matrix.nnz for pair in coverage._matrices(grid, states, 0.3, False) for matrix in pair)
    work = cost * entries * len(grid.rows) * (9 * 6 + 1) / 2
    monkeypatch.setattr(coverage, "_MAX_WORK", 1.01 * work)
    np.testing.assert_array_equal(coverage._states(grid, cost), states)
    monkeypatch.setattr(coverage, "_MAX_WORK", 0.99 * work)
    with pytest.raises(ValueError, match=r"9 x 6 map and blocks of 3 \(more than \d.* operations\)"):
        coverage._states(grid, cost)
    monkeypatch.setattr(coverage, "_MAX_WORK", math.inf)
    monkeypatch.setattr(coverage, "_MAX_TABLE", (states.size - 1) * 55)
    with pytest.raises(ValueError, match=f"more than {states.size - 1} states"):
        coverage._states(grid, cost)


def test_dropblock_says_what_is_not_feasible_and_answers_the_rest():
    law = DropBlock(28, 28, 7, p=0.1)
    with pytest.raises(ValueError, match=r"not feasible for DropBlock of a 28 x 28 map .* simulate\(law, trials\)"):
        _ = law.dropped
    with pytest.raises(ValueError, match="not feasible"):
        law.prob(dropped=(100, None))
    with pytest.raises(ValueError, match="more than"):
        _ = DropBlock(16, 16, 7, p=0.1).dropped
    assert law.prob(kept=784) == law.prob(dropped=(0, 0)) == pytest.approx((1 - law.gamma) ** 484, rel=1e-12)
    assert law.prob(dropped=(1, None)) == law.prob(kept=(None, 783)) == pytest.approx(1 - (1 - law.gamma) ** 484)
    assert law.prob(dropped=(1, None), log=True) == pytest.approx(math.log1p(-((1 - law.gamma) ** 484)))
    assert DropBlock(28, 28, 7, gamma=0).prob(dropped=0) == 1
    assert DropBlock(28, 28, 7, gamma=1).prob(dropped=(None, 0), log=True) == -math.inf
    tally = ds.simulate(law, 4000, rng=0)
    assert abs(tally.mean - law.n * law.fraction) < 5 * (law.variance / 4000) ** 0.5
    # the variance of a sample variance, from the law's own kurtosis estimated by the tally
    assert tally.variance == pytest.approx(law.variance, abs=5 * tally.standard_error("variance"))


@pytest.mark.slow
def test_the_map_of_the_paper_is_exact():
    law = DropBlock(14, 14, 7, p=0.1)
    assert law.dropped.mean() == pytest.approx(law.n * law.fraction, rel=1e-12)
    assert law.dropped.var() == pytest.approx(law.variance, rel=1e-11)
    assert law.prob(dropped=0) == pytest.approx(float(law.dropped.pmf(0)), rel=1e-12)


@pytest.mark.parametrize("seeds", ["inside", "map"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 4, 1), (6, 6, 6), (7, 9, 3), (64, 40, 11)])
@pytest.mark.parametrize("p", [0.0, 1e-300, 1e-9, 0.1, 0.3, 0.7, 0.999, 1 - 2**-53, 1.0])
def test_the_gamma_that_drops_exactly_p(shape, p, seeds):
    law = DropBlock.exactly(*shape, p, seeds)
    assert law.fraction == pytest.approx(p, rel=2e-14)
    assert law.gamma <= p
    assert DropBlock(*shape, p=p, seeds=seeds).fraction <= p * (1 + 1e-14)


def test_seeds_on_the_whole_map():
    """timm's DropBlock2d takes the paper's gamma, that of squares inside; the dropblock package p / block^2."""
    for n, dropped in ((7, 0.93), (14, 0.21), (28, 0.13)):
        paper = DropBlock(n, n, 7, p=0.1)
        law = DropBlock(n, n, 7, gamma=paper.gamma, seeds="map")
        assert law.fraction == pytest.approx(dropped, abs=0.005)
        # the corner is reached by the seeds of a quarter of a square, the middle by those of a whole one
        assert law.rates[0] == pytest.approx(-math.expm1(4 * 4 * math.log1p(-law.gamma)), rel=1e-14)
        assert law.rates[n // 2 * (n + 1)] == pytest.approx(-math.expm1(49 * math.log1p(-law.gamma)), rel=1e-14)
        assert law.prob(dropped=0) == pytest.approx((1 - law.gamma) ** (n * n), rel=1e-12)
    for p, dropped in ((0.1, 0.075), (0.3, 0.21)):
        law = DropBlock(14, 14, 7, p, seeds="map")
        assert law.gamma == pytest.approx(p / 49, rel=1e-15)
        assert law.p == pytest.approx(p, rel=1e-15)
        assert law.fraction == pytest.approx(dropped, abs=0.005)
    assert repr(DropBlock(4, 4, 2, gamma=0.5, seeds="map")) == "DropBlock(4, 4, 2, gamma=0.5, seeds='map')"
    with pytest.raises(ValueError, match="seeds must be one of inside, map; got 'border'"):
        DropBlock(4, 4, 2, 0.1, seeds="border")


@pytest.mark.parametrize("shape", [(6, 5, 3), (5, 6, 4), (4, 4, 2), (3, 7, 3)])
def test_seeds_on_the_whole_map_by_max_pooling(shape):
    """A seed's square as max_pool2d with padding block // 2 makes it, cropped where block is even."""
    height, width, block = shape
    law = DropBlock(*shape, gamma=0.07, seeds="map")
    seeds = np.random.default_rng(0).random((200_000, height, width)) < 0.07
    padded = np.pad(seeds, ((0, 0), (block // 2,) * 2, (block // 2,) * 2))
    dropped = np.zeros_like(seeds)
    for i, j in itertools.product(range(block), repeat=2):
        dropped |= padded[:, i : i + height, j : j + width]
    counts = dropped.sum(axis=(1, 2))
    drops = dropped.reshape(len(counts), -1)
    error = np.sqrt(law.rates * (1 - law.rates) / len(counts))
    assert (np.abs(drops.mean(axis=0) - law.rates) < 5.5 * error).all()
    assert abs(counts.mean() - law.n * law.fraction) < 5.5 * (law.variance / len(counts)) ** 0.5
    assert counts.var() == pytest.approx(law.variance, rel=0.03)
    places = np.arange(law.n)
    assert law.covariance(places[:, None], places).sum() == pytest.approx(law.variance, rel=1e-12)
    assert law.dropped.mean() == pytest.approx(law.n * law.fraction, rel=1e-12)
    assert law.dropped.var() == pytest.approx(law.variance, rel=1e-11)
    expected = len(counts) * law.dropped.pmf(np.arange(law.n + 1))
    cells = expected >= 20
    observed = np.bincount(counts, minlength=law.n + 1)
    pair = np.append(observed[cells], observed[~cells].sum()), np.append(expected[cells], expected[~cells].sum())
    possible = pair[1] > 0
    assert stats.chisquare(pair[0][possible], pair[1][possible], sum_check=False).pvalue > 1e-6
    assert not observed[expected == 0].any()
    # the same seeds under the law of squares inside are another law
    inside = DropBlock.exactly(*shape, law.fraction)
    assert (np.abs(drops.mean(axis=0) - inside.rates) > 5.5 * error).any()


def test_dropblock_of_tiny_gamma_keeps_its_digits():
    law = DropBlock(5, 5, 4, gamma=1e-120)
    # all is covered exactly when all four corners are: all four seeds
    assert law.dropped.logpmf(25) == pytest.approx(4 * math.log(1e-120), rel=1e-14)
    assert law.dropped.logsf(15) == pytest.approx(math.log(4e-120), rel=1e-13)
    assert law.covariance(0, 24) == 0.0
    assert law.covariance(12, 12) == pytest.approx(4e-120, rel=1e-13)


def test_sums_keep_their_digits_in_both_tails():
    """Channels beside a layer, in exact fractions."""
    law = Network(Channels(40, 3, 2**-10), Layer(200, 2**-8), FixedCount(5, 2)).dropped
    exact = _exact_binomial(40, 10, 3)
    exact = _convolved(_convolved(exact, _exact_binomial(200, 8, 1)), {2: Fraction(1)})
    truth = np.array([_log(exact.get(k, Fraction(0))) for k in range(law.n + 1)])
    assert truth[np.isfinite(truth)].min() < -1200
    got = law.logpmf(np.arange(law.n + 1))
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(truth))
    both = np.isfinite(truth)
    assert np.all(np.abs(got[both] - truth[both]) <= 2e-13 * np.maximum(1, np.abs(truth[both])))
    tail = sum((exact.get(k, Fraction(0)) for k in range(201, law.n + 1)), Fraction(0))
    assert law.logsf(200) == pytest.approx(_log(tail), rel=1e-13)
    assert law.mirror().logcdf(law.n - 201) == law.logsf(200)


def _exact_binomial(n, log2_p, step):
    p = Fraction(1, 2**log2_p)
    return {step * k: math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)}


def _convolved(a, b):
    out = {}
    for (i, x), (j, y) in itertools.product(a.items(), b.items()):
        out[i + j] = out.get(i + j, Fraction(0)) + x * y
    return out


def _log(x):
    if not x:
        return -math.inf
    shift = x.numerator.bit_length() - x.denominator.bit_length()
    return math.log(x / Fraction(2) ** shift) + shift * math.log(2)


def test_tables_and_sums_refuse_what_is_no_law():
    from dropstats.counts import Scaled, Table, add

    with pytest.raises(ValueError, match="must hold logs of probabilities that sum to 1"):
        Table(np.log([0.5, 0.4]))
    with pytest.raises(ValueError, match=r"a table of a count in 0\.\.1 must hold"):
        Table([0.0], n=1, start=2)
    with pytest.raises(ValueError, match="size must be at least 1; got 0"):
        Scaled(Layer(3, 0.5).dropped, 0)
    with pytest.raises(TypeError, match="the law of a sum needs laws of counts; got 3 of type int"):
        add(Layer(3, 0.5).dropped, 3)


# --- rounded rates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.05, 0.1, 0.2, 0.25, 0.3, 0.37, 0.4, 0.5, 0.6, 0.9, 0.999])
def test_rounded_rates_by_counting_thresholds(p):
    """Each rule's comparison, made for every value of the random number."""
    r = np.arange(256)
    keep = np.float32(1) - np.float32(p)
    assert Layer.rounded(1, p, rule="flash-attention-2").p == np.mean(r > np.uint8(np.floor(np.float64(keep) * 255.0)))
    assert Layer.rounded(1, p, rule="transformer-engine").p == np.mean(r < np.floor(np.float32(p) * np.float32(256)))
    grid = np.arange(2**10) / 2**10
    assert Layer.rounded(1, p, rule="float16").p == np.mean(grid.astype(np.float16) < np.float16(p))


@pytest.mark.parametrize(("p", "rounded"), [(0.1, 0.10009765625), (0.3, 0.30078125), (0.5, 0.5), (0.7, 0.69921875)])
def test_bfloat16_rounds_to_nearest_even(p, rounded):
    """The values are those that bfloat16 has for these p: 8 significant bits."""
    assert Layer.rounded(1, p, rule="bfloat16").p == np.mean(np.arange(128) / 128 < rounded)


def test_rounded_layers_know_what_was_declared():
    law = Layer.rounded(3, [0.1, 0.25, 0.5], rule="flash-attention-2")
    assert isinstance(law, Layer)
    assert isinstance(law, RoundedLayer)
    np.testing.assert_allclose(law.bias, [0.0015625, 0, 0], atol=1e-17)
    assert law.declared.tolist() == [0.1, 0.25, 0.5]
    assert pickle.loads(pickle.dumps(law)) == law
    assert law != Layer(3, law.p)
    assert law != Layer.rounded(3, [0.1, 0.25, 0.5], 128, "flash-attention-2")
    assert Layer.rounded(5, 0.1, 2**16, rule="transformer-engine").bias == pytest.approx(-0.6 / 2**16, rel=1e-3)


def test_neurons_needed_to_see_a_bias():
    law = Layer.rounded(1, 0.1, rule="flash-attention-2")
    # 551,035 by the normal approximation, for the rate test at 0.01 with power 0.9
    assert ds.neurons_needed(law.declared, law.bias) == pytest.approx(551_035, rel=0.01)


# --- factors that are no masks ---------------------------------------------------------------------------------------


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).normal(size=400_000)
    for p in (0.05, 0.3):
        noise = AlphaDropout(p)
        y = noise.apply(x, rng=1)
        assert abs(y.mean()) < 5 / 400_000**0.5
        assert abs(y.var() - 1) < 5 * (y**4).mean() ** 0.5 / 400_000**0.5
        off = y == noise.dropped_value
        assert stats.binomtest(int(off.sum()), x.size, p).pvalue > 1e-6
        np.testing.assert_array_equal(y[~off], noise.a * x[~off] + noise.b)
        mean, variance = noise.output_moments(0.5, 2.0)
        y = noise.apply(0.5 + 2**0.5 * x, rng=2)
        assert y.mean() == pytest.approx(mean, abs=0.02)
        assert y.var() == pytest.approx(variance, abs=0.03)
        assert (abs(mean), abs(variance - 1)) > (0.01, 0.01)


def test_gaussian_dropout_follows_its_law():
    noise = GaussianDropout(0.2)
    y = noise.apply(np.full(100_000, 3.0), rng=0) / 3
    assert stats.kstest(y, noise.factor.cdf).pvalue > 1e-6
    assert stats.kstest(y, GaussianDropout(0.21).factor.cdf).pvalue < 1e-6
    np.testing.assert_array_equal(GaussianDropout(0).apply([1.0, 2.0], rng=0), [1.0, 2.0])


@pytest.mark.parametrize("noise", [GaussianDropout(0.2), AlphaDropout(0.1)], ids=repr)
def test_factors_are_values(noise):
    assert eval(repr(noise)) == noise == pickle.loads(pickle.dumps(noise))
    assert hash(noise) == hash(type(noise)(noise.p))
    assert noise != type(noise)(0.3)
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\), since at p = 1 no neuron is kept; got 1.0"):
        type(noise)(1)


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Channels(-1, 2, 0.5), ValueError, "channels must be at least 0; got -1"),
        (lambda: Channels(2, 0, 0.5), ValueError, "size must be at least 1; got 0"),
        (lambda: Channels(2, 3, [0.1, 0.2, 0.3]), ValueError, r"p must be a number or an array of shape \(2,\)"),
        (lambda: Channels(2**30, 2**30, 0.5), ValueError, "the number of neurons must be at most"),
        (
            lambda: Channels.with_noise_shape((2, 3), (2,), 0.5),
            ValueError,
            r"noise_shape must have 2 entries.*got \(2,\)",
        ),
        (
            lambda: Channels.with_noise_shape((2, 3), (2, 2), 0.5),
            ValueError,
            "noise_shape must be 1, 3 or None at index 1; got 2",
        ),
        (
            lambda: Channels.with_noise_shape((2, 1.5), (2, 1), 0.5),
            ValueError,
            r"shape\[1\] must be an integer; got 1.5",
        ),
        (lambda: Channels.locked(0, 3, 0.5), ValueError, "steps must be at least 1; got 0"),
        (lambda: FixedCount(5, 6), ValueError, "k must be at most n = 5, the number of neurons; got 6"),
        (lambda: FixedCount(5, -1), ValueError, "k must be at least 0; got -1"),
        (lambda: FixedCount(5, 2).among(6), ValueError, "m must be at most 5; got 6"),
        (lambda: DropBlock(4, 5, 6, p=0.1), ValueError, "block must fit in the map of 4 x 5; got 6"),
        (lambda: DropBlock(4, 5, 0, p=0.1), ValueError, "block must be at least 1; got 0"),
        (lambda: DropBlock(4, 5, 2), TypeError, "DropBlock takes either p= or gamma="),
        (lambda: DropBlock(4, 5, 2, 0.1, gamma=0.1), TypeError, "DropBlock takes either p= or gamma="),
        (lambda: DropBlock(4, 5, 2, gamma=1.5), ValueError, r"gamma must be in \[0, 1\]; got 1.5"),
        (lambda: DropBlock(8, 8, 1, p=1.5), ValueError, r"p must be in \[0, 1\]; got 1.5"),
        (lambda: DropConnect(3, -1, 0.5), ValueError, "outputs must be at least 0; got -1"),
        (lambda: DropConnect(2**30, 2**30, 0.5), ValueError, "inputs times outputs must be at most"),
        (
            lambda: AttentionDropout(3, 4, 0.1, causal=True),
            ValueError,
            "causal=True needs keys = queries; got 3 queries and 4 keys",
        ),
        (lambda: DropPath(5, 0.5), ValueError, "rule must be one of huang, timm, torchvision, uniform; got None"),
        (lambda: DropPath(5, 0.5, "linear"), ValueError, "rule must be one of huang, .*; got 'linear'"),
        (
            lambda: Layer.rounded(5, 0.1),
            ValueError,
            "rule must be one of flash-attention-2, transformer-engine, bfloat16, float16; got None",
        ),
        (lambda: Layer.rounded(5, 0.1, 1, "transformer-engine"), ValueError, "levels must be at least 2; got 1"),
        (
            lambda: Layer.rounded(5, 0.1, 128, "bfloat16"),
            ValueError,
            "levels applies only to the rules flash-attention-2, transformer-engine; got 128 with rule 'bfloat16'",
        ),
        (
            lambda: Layer.rounded(5, 1.0, rule="bfloat16").mean_factor,
            ValueError,
            "mean_factor needs a declared p below 1",
        ),
        (lambda: DropBlock(28, 28, 7, p=0.1).prob(), TypeError, "prob takes one of dropped=, kept= and fraction="),
        (lambda: DropBlock(28, 28, 7, p=0.1).prob(dropped=True), TypeError, "dropped must be an integer; got True"),
        (lambda: Layer(5, 0.1).covariance(0, 5), ValueError, "j must be integers from 0 to 4; got 5"),
        (lambda: Layer(5, 0.1).covariance([0, -1], 2), ValueError, "i must be integers from 0 to 4; got -1"),
        (
            lambda: Layer(5, 0.1).covariance(0.5, 2),
            TypeError,
            "i must be integers from 0 to 4; got 0.5 of dtype float64",
        ),
    ],
)
def test_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


# --- audited ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", LAWS[9:], ids=lambda case: case.name)
def test_a_variant_passes_its_own_audit(case):
    report = ds.audit(case.law.sample(500, rng=1), case.law)
    assert report.passed, report


@pytest.mark.parametrize(
    ("law", "hint"),
    [
        (Channels(16, 16, 0.2), "groups of 16 neighbours drop together"),
        (Channels.locked(10, 20, 0.25), "neurons 20 positions apart drop together"),
        (FixedCount(256, 51), "every mask drops exactly 51 neurons: a fixed count"),
        (DropBlock(12, 12, 3, p=0.2), "drop together in"),
    ],
    ids=repr,
)
def test_audited_as_independent_neurons_a_group_law_fails_with_a_hint(law, hint):
    report = ds.audit(law.sample(1000, rng=1), Layer(law.n, law.rates))
    assert not report.passed
    assert any(hint in result.message for result in report.results if result.verdict == "fail")


@pytest.mark.parametrize(
    ("law", "hint"),
    [
        (Channels(16, 16, 0.2), "groups were declared, but neurons inside them differ"),
        (FixedCount(256, 51), "masks do not drop 51 neurons"),
        (DropBlock.exactly(12, 12, 3, 0.2), "position"),
    ],
    ids=repr,
)
def test_independent_neurons_audited_as_a_group_law_fail(law, hint):
    report = ds.audit(Layer(law.n, 0.2).sample(1000, rng=1), law)
    assert not report.passed
    assert any(hint in result.message for result in report.results if result.verdict == "fail")


@pytest.mark.parametrize(
    ("law", "fits"),
    [
        (Channels(16, 16, 0.2), r"Channels\(16, 16, 0.2\)"),
        (Channels.locked(10, 20, 0.2), r"Channels.with_noise_shape\(\(10, 20\), \(1, 20\), 0.2\)"),
        (Channels(1, 30, 0.2), r"Channels\(1, 30, 0.2\)"),
    ],
    ids=repr,
)
def test_masks_of_groups_audited_as_elements_hint_at_the_law_they_fit(law, fits):
    report = ds.audit(law.sample(400, rng=3), p=0.2)
    (note,) = report.notes
    assert re.fullmatch(rf"hint: these masks drop whole groups of {law.size} neurons: they fit {fits}", note), note
    wrong = ds.audit(Channels(law.groups.n, law.size, 0.5).sample(400, rng=3), p=0.2)
    assert "but rate would still fail" in wrong.notes[0]
    assert not ds.audit(Layer(law.n, 0.2).sample(400, rng=3), p=0.2).notes


def test_groups_are_judged_by_what_is_known_of_them():
    law = Channels(20, 4, 0.3)
    inputs = np.tile(np.float32([0, 1, 1, 0]), 20)
    inputs[-4:] = 0  # of the last group nothing is known
    outputs = law.sample(500, rng=4) * inputs
    report = ds.audit(ds.Recording.from_outputs(outputs, inputs=inputs), law, tests=("groups", "rate", "pairs"))
    assert report.passed, report
    assert report["pairs"].verdict == "pass"
    outputs[7, 1] = 1 - outputs[7, 1]
    torn = ds.audit(ds.Recording.from_outputs(outputs, inputs=inputs), law)["groups"]
    assert torn.verdict == "fail"
    assert "in call 7 group 0 drops 1 of its 2 neurons (1 of 10,000 groups differ inside)" in torn.message


def test_a_law_without_a_law_of_counts_is_audited_by_bounds():
    law = DropBlock(28, 28, 7, p=0.1)
    report = ds.audit(law.sample(500, rng=1), law)
    passing = {
        "rate",
        "positions",
        "dispersion",
        "tiles",
        "pairs",
        "lags",
        "serial",
        "duplicates",
        "overlaps",
        "drift",
        "linear",
    }
    assert {r.name for r in report.results if r.verdict == "pass"} == passing
    assert "exact variance" in report["dispersion"].message
    assert "exact variance" in report["drift"].message
    assert report["rate"].detectable > 5 * ds.audit(Layer(784, 0.1).sample(500, rng=1), p=0.1)["rate"].detectable
    warm = np.vstack([np.zeros((20, 784), bool), law.sample(480, rng=1)])
    assert "where 73.65" in ds.audit(warm, law)["drift"].message
    assert ds.audit(law.sample(3, rng=1), law)["rate"].verdict == "inconclusive"
    figure = report.plot()
    assert "mean of the law" in figure.axes[0].get_legend_handles_labels()[1]
    plt.close(figure)


def test_dependent_neurons_of_which_some_are_not_known():
    law = DropBlock(7, 7, 3, p=0.2)
    inputs = (np.arange(49) % 3 > 0).astype(np.float32)
    alarms = 0
    for seed in range(40):
        outputs = law.sample(200, rng=seed) * inputs
        alarms += ds.audit(ds.Recording.from_outputs(outputs, inputs=inputs), law, tests=["rate"]).passed is False
    assert alarms == 0
    wrong = DropBlock(7, 7, 3, p=0.5).sample(200, rng=1) * inputs
    assert ds.audit(ds.Recording.from_outputs(wrong, inputs=inputs), law)["rate"].verdict == "fail"


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_outputs_of_alpha_dropout_are_audited_as_such(dtype):
    law = AlphaDropout(0.1)
    outputs = law.apply(np.ones((300, 128)), rng=1).astype(dtype)
    report = ds.audit(outputs, law)
    assert report.passed, report
    assert {report[name].verdict for name in ("rate", "scale", "positions", "lags")} == {"pass"}
    recording = ds.Recording.from_outputs(outputs, p=0.1)
    counted = ds.audit(recording, law)
    assert counted.passed
    assert (counted.trials, counted.n, counted.observed_rate) == (300, 128, report.observed_rate)
    assert ds.audit(recording, AlphaDropout(0.15))["rate"].verdict == "fail"
    plain = ds.audit(recording)
    assert plain["rate"].verdict == "fail"
    assert re.search(r"no output is 0, but the two values .* AlphaDropout\(0\.1\)$", plain["rate"].message)


def test_zeros_count_as_dropped_among_outputs_of_alpha_dropout():
    outputs = np.resize([-1.0, 0.0, 0.5, 2.0, 2.0], (40, 40)).astype(np.float32)
    for given in (outputs, ds.Recording.from_outputs(outputs, p=0.4)):
        report = ds.audit(given, AlphaDropout(0.4))
        assert report.observed_rate == 0.4
        assert report["scale"].verdict == "fail"


@pytest.mark.parametrize(("mean", "spread"), [(1.0, 1.0), (1.02, 1.0), (1.0, 1.05), (0.97, 0.93)])
def test_tests_of_a_normal_factor_are_those_of_scipy(mean, spread):
    law = GaussianDropout(0.2)
    y = mean + 0.5 * spread * np.random.default_rng(3).standard_normal((40, 25))
    report, size = ds.audit(y, law), 1000
    assert report["mean"].pvalue == pytest.approx(2 * stats.norm.sf(abs(y.mean() - 1) / 0.5 * size**0.5))
    squares = ((y - 1) ** 2).sum() / 0.25
    chi = stats.chi2(size)
    assert report["scale"].pvalue == pytest.approx(min(1.0, 2 * min(chi.cdf(squares), chi.sf(squares))))
    distance = stats.kstest(y.ravel(), stats.norm(1, 0.5).cdf).statistic
    assert report["shape"].observed == pytest.approx(distance)
    assert report["shape"].pvalue == pytest.approx(min(1.0, 2 * np.exp(-2 * size * distance**2)))


def test_every_test_of_noise_says_whether():
    for check in (*OF_NORMAL, *OF_TWO_VALUES):
        assert check.about.startswith("whether ")
        assert not check.quantity.startswith("whether ")


def test_factors_without_a_variance():
    y = np.ones((20, 10))
    right = ds.audit(y, GaussianDropout(0.0))
    assert (right["scale"].verdict, right["scale"].message) == ("pass", "all factors are 1")
    assert (right.passed, right.p, right.observed_rate) == (True, 0.0, 0.0)
    y[3, :3] = 2.0
    wrong = ds.audit(y, GaussianDropout(0.0))["scale"]
    assert (wrong.verdict, wrong.observed, wrong.expected) == ("fail", 3, 0)
    assert wrong.message == "3 factors are not 1 at p = 0"
    assert ds.audit(y, GaussianDropout(0.0)).observed_rate == 3 / 200
    y[0, 0] = np.nan
    for report in (right, ds.audit(y, GaussianDropout(0.1))):
        for name, said in (("mean", "no mean to test"), ("shape", "no shape to test")):
            assert (report[name].verdict, report[name].message) == ("not applicable", said)
    assert report["scale"].message == "factors are NaN or infinite"


@pytest.mark.slow
def test_false_alarms_of_noise():
    alarms = 0
    for seed in range(40):
        for law in (AlphaDropout(0.3), GaussianDropout(0.2), GaussianDropout(0.0)):
            alarms += bool(ds.audit(law.apply(np.ones((50, 20)), rng=seed), law, false_alarm=0.05).failures)
    assert alarms <= stats.binom.isf(1e-6, 120, 0.05)


@pytest.mark.parametrize(
    ("recorded", "law", "arguments", "error", "message"),
    [
        (ds.Recording.from_masks([[1, 0]]), AlphaDropout(0.1), {}, ValueError, "got a recording without values"),
        (
            ds.Recording.from_masks([[1, 0]]),
            GaussianDropout(0.1),
            {},
            TypeError,
            "needs the outputs on ones; got a Rec",
        ),
        (np.ones((2, 3), np.float16), GaussianDropout(0.1), {}, ValueError, "float32 or float64; got float16"),
        (np.ones((2, 3)), AlphaDropout(0.1), {"p": 0.1}, TypeError, "takes neither p= nor scaling= nor tolerance="),
        (np.ones((2, 3)), AlphaDropout(0.1), {"tests": "rats"}, ValueError, "tests must be among rate.*; got 'rats'"),
    ],
)
def test_noise_that_cannot_be_audited(recorded, law, arguments, error, message):
    with pytest.raises(error, match=message):
        ds.audit(recorded, law, **arguments)


def test_a_grouped_law_alone_has_the_test_of_groups():
    masks = Channels(4, 1, 0.5).sample(50, rng=5)
    assert "groups" not in [result.name for result in ds.audit(masks, Channels(4, 1, 0.5)).results]
    with pytest.raises(ValueError, match=r"tests must be among rate, .*, edges; got 'groups'"):
        ds.audit(masks, p=0.5, tests=["groups"])


def test_a_rounded_layer_passes_as_what_it_is_and_not_as_what_it_declares():
    law = Layer.rounded(4096, 0.1, rule="flash-attention-2")
    masks = law.sample(500, rng=2)
    assert ds.audit(masks, law).passed
    assert ds.audit(masks, p=0.1)["rate"].verdict == "fail"


# --- the page --------------------------------------------------------------------------------------------------------


def test_examples_of_the_page_run():
    page = Path(__file__).parents[1] / "docs" / "variants.md"
    failed, tried = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert failed == 0
    assert tried > 20


def test_the_page_names_every_variant():
    page = (Path(__file__).parents[1] / "docs" / "variants.md").read_text(encoding="utf-8")
    import dropstats.laws

    for name in set(dropstats.laws.__all__) - {"Neuron"}:
        assert f"`{name}" in page, name
