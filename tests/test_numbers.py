"""article_numbers.json and misc.json, every section: held here, held elsewhere, or left out for a stated reason."""

import math

import numpy as np
import pytest
from scipy import stats
from walk import compare, leaves, number, reference

from dropstats import Layer, Network

NUMBERS, MISC = reference("article_numbers"), reference("misc")


def galeone(case):
    law = Layer(1024, 0.5)
    count = law.dropped
    return {
        "P(Y=512)": law.prob(dropped=512),
        "mean": count.mean(),
        "var": count.var(),
        "sd": count.std(),
        **{f"P(|Y-512|<={reach})": law.prob(dropped=(512 - reach, 512 + reach)) for reach in (16, 32, 48)},
        "P(Y<=480)": law.prob(dropped=(None, 480)),
        "P(Y>=600)": law.prob(dropped=(600, None)),
        "P(Y<512)": law.prob(dropped=(None, 511)),
        "mean_abs_dev": count.expect(lambda k: np.abs(k - 512.0)),
        "central95": list(count.interval(0.95)),
    }


def mode(case):
    law = Layer(case["n"], number(case["p"])).dropped
    return {"mode_prob": law.pmf(np.arange(case["n"] + 1)).max()}


def symmetry(case):
    law = Layer(case["n"], number(case["p"]))
    count, n = law.dropped, case["n"]
    whole = number(case["mean"]).is_integer()
    middle = round(number(case["mean"])) if whole else math.floor(number(case["mean"]))
    result = {
        "mean": count.mean(),
        "skew": float(count.stats("s")),
        "ex_kurt": float(count.stats("k")),
        "P_lt": law.prob(dropped=(None, middle - whole)),
        "P_eq": law.prob(dropped=middle) if whole else 0.0,
        "P_gt": law.prob(dropped=(middle + 1, None)),
    }
    if case["TV_to_reflection"] is not None:  # about the mean, which must be whole
        k = np.arange(-n, 2 * n + 1)
        result["TV_to_reflection"] = 0.5 * np.abs(count.pmf(k) - count.pmf(2 * middle - k)).sum()
    return result


def normal_error(case):
    law = Layer(case["n"], number(case["p"])).dropped
    k, mean, deviation = np.arange(case["n"] + 1), law.mean(), law.std()
    exact = law.cdf(k)
    bell, before = stats.norm.cdf((k - mean) / deviation), stats.norm.cdf((k - 1 - mean) / deviation)
    half = stats.norm.cdf((k + 0.5 - mean) / deviation)
    # the cdf jumps at k: its supremum is at a jump, from either side
    left = np.abs(np.append(0, exact[:-1]) - bell)
    assert before.size == exact.size
    return {
        "kolmogorov": max(np.abs(exact - bell).max(), left.max()),
        "continuity_corrected": np.abs(exact - half).max(),
    }


def tail_bound(case):
    law, p = Layer(case["n"], number(case["p"])), number(case["p"])
    reach = case["n"] * number(case["delta"])
    low, high = math.ceil(round(case["n"] * p - reach, 9)), math.floor(round(case["n"] * p + reach, 9))
    return {"exact_two_sided_strict": law.prob(dropped=(None, low - 1)) + law.prob(dropped=(high + 1, None))}


def binomial_test(case):
    return {"P_ge": Layer(case["n"], 0.5).prob(dropped=(case["k"], None))}


def unequal(case):
    law, equal = Network(Layer(512, 0.1), Layer(512, 0.5)).dropped, Layer(1024, 0.3).dropped
    return {"mean": law.mean(), "var_PB": law.var(), "var_binomial": equal.var()}


def lecam(case):
    rates = np.arange(1, 1001) / 1e6
    law = Layer(1000, rates).dropped
    return {"lambda_": law.mean(), "sum_p2": law.mean() - law.var()}


def pairs(case):
    # two neurons are never kept together: a step keeps both where a layer of two drops none
    both = Layer(2, number(case["p"])).prob(dropped=0)
    return {"E_pairs": math.comb(case["n"], 2) * Layer(case["T"], both).prob(dropped=0)}


INPUT = dict.fromkeys(("n", "p", "T", "k", "delta", "ps"), "input")
BOUNDS = dict.fromkeys(
    ("berry_esseen_0_4690", "hoeffding", "chernoff_upper_one_sided", "formula", "R_binom_test"), "a bound, or words"
)
HELD = {
    "galeone_n1024_p0.5": (NUMBERS, galeone, {"stirling 1/sqrt(pi*512)": "an approximation"}),
    "offlattice_mode_prob": (NUMBERS, mode, {}),
    "symmetry": (NUMBERS, symmetry, {}),
    "normal_approx_sup_error": (MISC, normal_error, {}),
    "tail_bounds": (MISC, tail_bound, {}),
    "R_binom_test_scipy13079": (MISC, binomial_test, {}),
    "hetero_vs_binomial": (MISC, unequal, {}),
    "lecam": (MISC, lecam, {}),
    "pairs_never_cokept": (MISC, pairs, {}),
}
ELSEWHERE = {
    "chawla_n100_p0.4": "test_articles",
    "relative_sd_of_count": "test_articles",
    "effective_lr_eta0.01": "test_activation",
    "P_run20_in_1e6_fair": "test_training",
    "P(Y=np) n=1024, p=j/16": "below",
    "count_normalised_dropout": "left out: a scheme that is not offered",
    "curriculum": "left out: a schedule that is not offered",
    "hypergeometric_logpmf": "left out: neurons that depend on each other are not offered",
}


def test_no_section_is_passed_over():
    assert NUMBERS.keys() | MISC.keys() == HELD.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("section", HELD)
def test_section(section):
    book, computed, excluded = HELD[section]
    cases = book[section] if isinstance(book[section], list) else [book[section]]
    for index, case in enumerate(cases):
        undefined = {path[-1]: "undefined" for path, value in leaves(case) if value is None}
        assert compare(case, computed(case), INPUT | BOUNDS | excluded | undefined, f"{section}[{index}]") > 0


def test_exactly_the_mean():
    for sixteenths, value in enumerate(NUMBERS["P(Y=np) n=1024, p=j/16"]):
        law = Layer(1024, sixteenths / 16)
        assert law.prob(dropped=64 * sixteenths) == pytest.approx(number(value), rel=1e-10)
        assert law.prob(dropped=64 * sixteenths + 1) != pytest.approx(number(value), rel=1e-3)
