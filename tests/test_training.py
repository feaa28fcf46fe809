"""Training runs: reference values, exact rational arithmetic, enumeration, simulation, bad input."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from walk import compare, number, reference

import dropstats as ds
from dropstats import Layer, Network, Neuron, TrainingRun, passes_needed
from dropstats.training import run as training_run

DYNAMICS = reference("dynamics")
# Chance that a check by simulation fails although all is right; seeds are fixed, so a failure is a bug.
FALSE_ALARM = 1e-6
Z = stats.norm.isf(FALSE_ALARM / 2)

INPUTS = dict.fromkeys(("n", "p", "T", "neurons", "p_in", "p_out", "layers", "first_class"), "input")
APPROXIMATE = {
    "asymptotic_mean": "an approximation; the exact value beside it is held",
    "approx_Hn": "an approximation; the exact value beside it is held",
    "poisson_approx": "an approximation; the exact value beside it is held",
    "T50_poisson_approx": "an approximation, its exact value not in the file",
    "published_SP800_22": "values that NIST printed, partly wrong",
    "max_abs_diff": "how wrong they are",
    "hamming": "words",
}


def uniform(case):
    return TrainingRun(Layer(case["n"], number(case["p"])), case.get("T", 1))


# ---------------------------------------------------------------- every value of dynamics.json


def longest_run(case):
    law = TrainingRun(Neuron(number(case["p"])), case["n"]).longest_run()
    reach = {k: law.sf(int(k) - 1) for k in case["P_ge"]}
    return {"E_longest": law.mean(), "sd": law.std(), "P_ge": reach}


def longest_run_of_any(case):
    run = TrainingRun(Layer(case["neurons"], number(case["p"])), case["T"])
    return {"E_max_longest_drop_run": run.longest_run_of_any().mean()}


def nist(case):
    law, first, classes = TrainingRun(Neuron(0.5), case["T"]).longest_run(), int(case["first_class"][2:]), case["exact"]
    last = first + len(classes) - 1
    return {"exact": [law.cdf(first), *law.pmf(np.arange(first + 1, last)), law.sf(last - 1)]}


def coupon(case):
    run = uniform(case)
    return {
        "E_all_dropped_once": run.steps_until_all("dropped").mean(),
        "sd": run.steps_until_all("dropped").std(),
        "E_all_kept_once": run.steps_until_all("kept").mean(),
        "E_all_both": run.steps_until_all("both").mean(),
    }


def never(case):
    run = uniform(case)
    return {
        "P_never_dropped": run.prob_never_dropped[0],
        "P_never_kept": run.prob_never_kept[-1],
        "E_never_dropped": run.never_dropped.mean(),
        "E_never_kept": run.never_kept.mean(),
        "P_some_never_dropped": run.any_never_dropped,
        "P_some_never_kept": run.any_never_kept,
    }


def distinct(case):
    run = uniform(case)
    return {
        "E_distinct": run.expected_distinct,
        "collision_prob_per_pair": run.prob_equal_pair,
        "E_colliding_pairs": run.expected_equal_pairs,
        "total_masks": 2.0**run.law.log2_subnetworks if run.law.n < 1024 else math.inf,
    }


def birthday(case):
    return {"P_all_distinct_exact": uniform(case).prob_all_distinct} if "T" in case else {}


def collect(case):
    return {"E_steps": TrainingRun(Layer(case["n"], 0.5), 1).steps_until_every_subnetwork}


def overlap(case):
    run, p = uniform(case), number(case["p"])
    law = run.law
    return {
        "hamming_mean": run.hamming.mean(),
        "hamming_var": run.hamming.var(),
        "jaccard_kept_mean": run.jaccard_kept.mean,
        "jaccard_kept_sd": run.jaccard_kept.std,
        "jaccard_dropped_mean": run.jaccard_dropped.mean,
        "P_union_empty_kept": math.exp(2 * law.prob(dropped=law.n, log=True)),
        "P_identical": run.hamming.pmf(0),
        # both keep, both drop: the agreement of two masks that is not a difference
        "cokeep_rate": Network(Layer(1, p), Layer(1, p)).prob(dropped=0),
        "codrop_rate": Network(Layer(1, p), Layer(1, p)).prob(dropped=2),
    }


def weight_updates(case):
    law = TrainingRun(Layer(3, number(case["p_in"])), case["T"]).weight_updates(Layer(2, number(case["p_out"])))
    return {"E_updates": law.mean(), "P_never_updated": law.pmf(0)}


def network(case):
    net = Network(*(Layer(n, number(p)) for n, p in case["layers"]))
    # paths through kept neurons: a product of independent counts
    mean = math.prod(law.kept.mean() for law in net.parts)
    square = math.prod(law.kept.var() + law.kept.mean() ** 2 for law in net.parts)
    return {
        "P_some_layer_dead": net.prob_any_dead(),
        "E_active_paths": mean,
        "sd_active_paths": math.sqrt(square - mean**2),
        "log2_subnetworks": net.log2_subnetworks,
        "entropy_bits": net.entropy_bits(),
    }


SECTIONS = {
    "longest_run": longest_run,
    "longest_run_max_over_neurons": longest_run_of_any,
    "nist_longest_run_of_ones": nist,
    "coupon": coupon,
    "never": never,
    "distinct_masks": distinct,
    "birthday": birthday,
    "collect_all_masks_p_half": collect,
    "overlap": overlap,
    "weight_updates": weight_updates,
    "network": network,
}


def cases_of(section):
    """The section's cases; NIST's are keyed by their number of steps, and 2^1024 masks are beyond doubles."""
    content = DYNAMICS[section]
    if section == "nist_longest_run_of_ones":
        return [{"T": int(steps), **case} for steps, case in content.items()]
    if section == "distinct_masks":
        return [{**case, "total_masks": case["total_masks"] if case["n"] < 1024 else "inf"} for case in content]
    return content


def test_the_reference_file_has_no_other_sections():
    assert DYNAMICS.keys() == SECTIONS.keys()


@pytest.mark.parametrize("section", SECTIONS)
def test_reference_values(section):
    compared = 0
    for index, case in enumerate(cases_of(section)):
        excluded = INPUTS | APPROXIMATE
        if case.get("total_masks") == "inf":  # 2^1024 is no double; the law gives its logarithm
            assert (
                uniform(case).law.log2_subnetworks
                == 1024
                == int(DYNAMICS[section][index]["total_masks"]).bit_length() - 1
            )
            computed = {key: value for key, value in SECTIONS[section](case).items() if key != "total_masks"}
            excluded = excluded | {"total_masks": "no double"}
        else:
            computed = SECTIONS[section](case)
        compared += compare(case, computed, excluded, f"{section}[{index}]")
    assert compared > 0


def test_birthdays_of_the_second_file():
    for case in reference("birthday_exact")["cases"]:
        run, exact = uniform(case), Fraction(case["P_all_distinct"])
        assert run.prob_all_distinct == pytest.approx(float(exact), rel=1e-10)
        assert run.any_repeat == pytest.approx(float(1 - exact), rel=1e-10)
        assert math.exp(-run.expected_equal_pairs) == pytest.approx(float(case["poisson_approx"]), rel=1e-9)


def test_the_popular_run_of_twenty_heads():
    law = TrainingRun(Neuron(0.5), 10**6).longest_run()
    assert law.sf(19) == pytest.approx(number(reference("misc")["P_run20_in_1e6_fair"]), rel=1e-12)


def test_approximations_are_near_the_exact_values():
    """What is excluded above as an approximation is one of these values, as the file says."""
    for case in DYNAMICS["longest_run"]:
        assert longest_run(case)["E_longest"] == pytest.approx(float(case["asymptotic_mean"]), abs=0.15)
    for case in DYNAMICS["coupon"]:
        assert coupon(case)["E_all_dropped_once"] == pytest.approx(float(case["approx_Hn"]), abs=0.06)


# ---------------------------------------------------------------- exact arithmetic and enumeration

EXTREME = [1e-12, 1e-6, 0.01, 0.3, 0.5, 0.9, 1 - 1e-6, 1 - 1e-12]


def inclusion_exclusion(rates, power=1):
    """E X and Var X of a coupon collector's wait with chances `rates`, in rational arithmetic."""
    mean = second = Fraction(0)
    misses = [1 - Fraction(rate) for rate in rates]
    for size in range(1, len(misses) + 1):
        for subset in itertools.combinations(misses, size):
            x = math.prod(subset)
            sign = (-1) ** (size + 1)
            mean += sign / (1 - x)
            second += sign * (1 + x) / (1 - x) ** 2
    return mean, second - mean**2


@pytest.mark.parametrize("p", EXTREME)
@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_waits_in_rational_arithmetic(n, p):
    wait = TrainingRun(Layer(n, p), 1).steps_until_all("dropped")
    q = 1 - Fraction(p)
    terms = [((-1) ** (j + 1) * math.comb(n, j), q**j) for j in range(1, n + 1)]
    mean = sum(sign / (1 - x) for sign, x in terms)
    second = sum(sign * (1 + x) / (1 - x) ** 2 for sign, x in terms)
    assert wait.mean() == pytest.approx(float(mean), rel=1e-13)
    # the variance is a difference of squares: 1e-16 (mean / std)^2
    tolerance = 1e-10 + 1e-14 * float(mean**2 / (second - mean**2)) * (n > 1)
    assert wait.var() == pytest.approx(float(second - mean**2), rel=min(tolerance, 1e-3))


@pytest.mark.parametrize("rates", [[1e-6, 0.5, 0.9, 0.01], [1e-12, 1e-3], [0.2, 0.3, 1 - 1e-9], [3e-5, 0.7, 1.0]])
def test_waits_of_unequal_rates_in_rational_arithmetic(rates):
    mean, variance = inclusion_exclusion(rates)
    wait = TrainingRun(Layer(len(rates), rates), 1).steps_until_all("dropped")
    assert wait.mean() == pytest.approx(float(mean), rel=1e-13)
    assert wait.var() == pytest.approx(float(variance), rel=1e-10)
    kept = TrainingRun(Layer(2, [0.2, 0.3]), 1).steps_until_all("kept")
    assert kept.mean() == pytest.approx(float(inclusion_exclusion([1 - 0.2, 1 - 0.3])[0]), rel=1e-14)


def test_waits_for_both_in_rational_arithmetic():
    for p in (1e-6, 0.3, 0.5, 1 - 1e-6):
        # of one neuron: 1 + the wait for the rarer after the first step, E = 1/p + 1/q - 1
        wait = TrainingRun(Neuron(p), 1).steps_until_all("both")
        q = 1 - Fraction(p)
        assert wait.mean() == pytest.approx(float(1 / Fraction(p) + 1 / q - 1), rel=1e-12)
        assert wait.pmf([0, 1]).tolist() == [0, 0]
        assert wait.pmf(2) == pytest.approx(float(2 * Fraction(p) * q), rel=1e-12)


def test_waits_of_a_thousand_million_neurons():
    harmonic = math.log(10**9) + 0.57721566490153286 + 0.5e-9
    for p in (1e-12, 1e-6, 1e-3):
        wait = TrainingRun(Layer(10**9, p), 1).steps_until_all("dropped")
        assert wait.mean() == pytest.approx(harmonic / -math.log1p(-p) + 0.5, rel=1e-12)
        # the limit law is Gumbel's, whose standard deviation is pi / sqrt(6)
        assert wait.std() * -math.log1p(-p) == pytest.approx(math.pi / math.sqrt(6), rel=1e-6)
        low, high = wait.interval(0.9)
        assert wait.cdf(low) >= 0.05 > wait.cdf(low - 1)
        assert wait.sf(high) <= 0.05 < wait.sf(high - 1)


@pytest.mark.parametrize("what", ["dropped", "kept", "both"])
@pytest.mark.parametrize(
    ("low", "high"), [(1e-4, 0.9), (0.2, 0.21), pytest.param(1e-7, 1 - 1e-7, marks=pytest.mark.slow)]
)
def test_waits_of_many_unequal_rates(what, low, high):
    """Ten thousand rates, whose sums are had from nodes where these are fewer, beside the sum over the rates."""
    rng = np.random.default_rng(0)
    p = rng.uniform(low, high, 10_000) if low > 1e-6 else 10 ** rng.uniform(-7, -1e-7, 10_000)
    wait = TrainingRun(Layer(p.size, p), 1).steps_until_all(what)
    for t in (2, 3, 7, 30, 1000, 50_000, 10**6):
        never, always = np.exp(t * np.log1p(-p)), np.exp(t * np.log(p))
        missing = {"dropped": never, "kept": always, "both": never + always}[what]
        log = math.fsum(np.log1p(-missing))
        assert wait.cdf(t) == pytest.approx(math.exp(log), rel=1e-11 * max(1, -log), abs=1e-300)
        assert wait.sf(t) == pytest.approx(-math.expm1(log), rel=1e-11, abs=1e-300)
    assert wait.cdf(1) == (0 if what == "both" else pytest.approx(0, abs=1e-300))
    median = wait.median()
    assert wait.cdf(median - 1) < 0.5 <= wait.cdf(median)
    assert wait.mean() == pytest.approx(median, rel=0.6)


def test_similarity_of_many_unequal_rates(monkeypatch):
    rng = np.random.default_rng(0)
    for p in (rng.random(9000), 10 ** rng.uniform(-9, -1e-6, 9000), rng.uniform(1e-5, 2e-5, 9000)):
        run = TrainingRun(Layer(p.size, p), 1)
        fast = run.jaccard_kept, run.jaccard_dropped
        with monkeypatch.context() as patch:
            patch.setattr(training_run, "MANY_RATES", math.inf)
            run = TrainingRun(Layer(p.size, p), 1)
            for got, wanted in zip(fast, (run.jaccard_kept, run.jaccard_dropped), strict=True):
                assert got.mean == pytest.approx(wanted.mean, rel=1e-12)
                assert got.std == pytest.approx(wanted.std, rel=1e-9)


def test_waits_that_never_end():
    assert TrainingRun(Layer(3, [0.0, 0.5, 0.5]), 1).steps_until_all("dropped").mean() == math.inf
    assert TrainingRun(Layer(3, [0.0, 0.5, 0.5]), 1).steps_until_all("kept").mean() < 10
    assert TrainingRun(Layer(3, 1.0), 1).steps_until_all("kept").mean() == math.inf
    assert TrainingRun(Layer(3, 1.0), 1).steps_until_all("dropped").mean() == 1
    assert TrainingRun(Layer(3, 1.0), 1).steps_until_all("both").mean() == math.inf
    assert TrainingRun(Layer(3, 0.0), 1).steps_until_all("dropped").ppf(0.5) == math.inf
    assert TrainingRun(Layer(0, 0.5), 1).steps_until_all("dropped").mean() == 0


def reach_by_recursion(p, steps):
    """P(L >= k), k = 1..steps, from v_m = v_(m-1) + q p^k (1 - v_(m-k-1)), whose terms are positive."""
    result = []
    for k in range(1, steps + 1):
        v = [0.0] * k + [p**k]
        for m in range(k + 1, steps + 1):
            v.append(v[-1] + (1 - p) * p**k * (1 - v[m - k - 1]))
        result.append(v[steps])
    return np.array(result)


@pytest.mark.parametrize("p", [*EXTREME, 0.7, 0.97, 0.999])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 57, 200])
def test_longest_runs_by_recursion(p, steps):
    reach = reach_by_recursion(p, steps)
    law = TrainingRun(Neuron(p), steps).longest_run()
    k = np.arange(1, steps + 1)
    np.testing.assert_allclose(law.sf(k - 1), reach, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(law.cdf(k - 1), 1 - reach, atol=1e-13)
    assert law.pmf(np.arange(steps + 1)).sum() == pytest.approx(1, abs=1e-12)
    assert law.mean() == pytest.approx(reach.sum(), rel=1e-12)
    variance = np.sum((2 * k - 1) * reach) - reach.sum() ** 2
    assert law.var() == pytest.approx(variance, rel=1e-9, abs=1e-15 * steps**2)


@pytest.mark.parametrize("rates", [[0.5], [0.3, 0.3], [0.2, 0.7, 0.9]])
def test_longest_runs_by_enumeration(rates):
    """All sequences of 12 / n masks."""
    rates = np.array(rates)
    steps = 12 // rates.size
    masks = (np.arange(2 ** (steps * rates.size))[:, None] >> np.arange(steps * rates.size)) & 1
    masks = masks.reshape(-1, steps, rates.size)
    chance = np.prod(np.where(masks == 1, 1 - rates, rates), axis=(1, 2))
    longest = np.array([max(run_lengths(sequence)) for sequence in masks])
    law = TrainingRun(Layer(rates.size, rates), steps).longest_run_of_any()
    expected = np.bincount(longest, weights=chance, minlength=steps + 1)
    np.testing.assert_allclose(law.pmf(np.arange(steps + 1)), expected, rtol=1e-10, atol=1e-14)
    assert law.mean() == pytest.approx(chance @ longest, rel=1e-12)


def run_lengths(masks):
    """Longest run of zeros in each column of one sequence of masks."""
    return [max((len(run) for run in "".join(map(str, column)).split("1")), default=0) for column in masks.T.tolist()]


@pytest.mark.parametrize(("p", "steps"), [(1 - 1e-4, 400_000), (1 - 1e-5, 300_000), (1 - 1e-7, 300_000)])
def test_a_long_sum_as_an_integral(p, steps, monkeypatch):
    law = TrainingRun(Layer(1, p), steps).longest_run()
    integral = law._moments()
    monkeypatch.setattr("dropstats.training.longest_run._ADDED", 2**30)
    added = law._moments()
    assert integral[0] == pytest.approx(added[0], rel=1e-11)
    assert integral[1] == pytest.approx(added[1], rel=1e-8)


def test_longest_runs_at_any_scale():
    law = TrainingRun(Layer(10**9, 1 - 1e-12), 10**15).longest_run()
    assert law.mean() == pytest.approx((math.log(1e15 * (1 - (1 - 1e-12))) + 0.5772156649) * 1e12, rel=1e-3)
    rare = TrainingRun(Layer(10**9, 1e-12), 10**15)
    assert rare.longest_run().mean() == pytest.approx(1, abs=1e-6)
    # runs of two anywhere: Poisson with mean n T p^2 = 1
    assert rare.longest_run_of_any().sf(1) == pytest.approx(-math.expm1(-1), rel=1e-3)
    assert TrainingRun(Layer(3, 0.0), 10).longest_run().mean() == 0
    assert TrainingRun(Layer(3, 1.0), 10).longest_run().mean() == 10
    assert TrainingRun(Layer(3, 1.0), 10).longest_run_of_any().pmf([9, 10, 11]).tolist() == [0, 1, 0]


# ---------------------------------------------------------------- subnetworks by enumeration


def chances_of_masks(rates):
    masks = (np.arange(2**rates.size)[:, None] >> np.arange(rates.size)) & 1
    return np.prod(np.where(masks == 1, 1 - rates, rates), axis=1)


def all_distinct_by_recursion(chance, steps):
    found = [1.0] + [0.0] * steps
    for probability in chance:
        for k in range(steps, 0, -1):
            found[k] += k * probability * found[k - 1]
    return found[steps]


@pytest.mark.parametrize(
    "rates",
    [
        np.full(3, 0.5),
        np.full(6, 0.1),
        np.array([0.2, 0.2, 0.7, 0.7, 0.5]),
        np.array([1e-12, 0.3, 1 - 1e-6]),
        np.zeros(2),
    ],
)
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_subnetworks_by_enumeration(rates, steps):
    run, chance = TrainingRun(Layer(rates.size, rates), steps), chances_of_masks(rates)
    assert run.expected_distinct == pytest.approx(np.sum(1 - (1 - chance) ** steps), rel=1e-10)
    assert run.prob_equal_pair == pytest.approx(np.sum(chance**2), rel=1e-12)
    exact = all_distinct_by_recursion(chance[chance > 0], steps)
    assert run.prob_all_distinct == pytest.approx(exact, rel=1e-11, abs=1e-300)
    assert run.any_repeat == pytest.approx(1 - exact, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("rates", "steps"), [(np.full(13, 0.5), 90), (np.full(14, 0.2), 40), (np.repeat([0.1, 0.6], 7), 30)]
)
def test_contour_integral_by_recursion_over_all_masks(rates, steps):
    run = TrainingRun(Layer(rates.size, rates), steps)
    assert run.prob_all_distinct == pytest.approx(all_distinct_by_recursion(chances_of_masks(rates), steps), rel=1e-11)


def test_contour_integral_up_to_every_mask():
    run = TrainingRun(Layer(13, 0.5), 2**13)
    log = ds.training.subnetworks.log_all_distinct(run._rates, 2**13)
    assert log == pytest.approx(math.lgamma(2**13 + 1) - 2**13 * 13 * math.log(2), rel=1e-12)
    near = ds.training.subnetworks.log_all_distinct(run._rates, 2**13 - 1)
    # one mask fewer: N! / N^(N-1) = N times as probable
    assert near - log == pytest.approx(13 * math.log(2), rel=1e-6)
    assert TrainingRun(Layer(13, 0.5), 2**13 + 1).prob_all_distinct == 0


def test_uniform_birthdays_in_integers():
    """At p = 1/2 all masks are equally probable: prod (1 - i/N)."""
    for n, steps in ((16, 300), (20, 1500), (40, 10**6), (64, 10**6)):
        exact = math.fsum(math.log1p(-i / 2**n) for i in range(steps))
        run = TrainingRun(Layer(n, 0.5), steps)
        assert run.any_repeat == pytest.approx(-math.expm1(exact), rel=1e-10)
        assert run.prob_all_distinct == pytest.approx(math.exp(exact), rel=1e-10)


@pytest.mark.parametrize(("n", "steps"), [(60, 10**9), (80, 10**12), (105, 2**53)])
def test_birthdays_of_very_many_steps(n, steps):
    # log prod (1 - i/N), i < T, by powers of i/N, of which a third is below 1e-12 here
    masks, t = 2**n, Fraction(steps)
    log = -t * (t - 1) / 2 / masks - (t - 1) * t * (2 * t - 1) / 12 / masks**2
    assert TrainingRun(Layer(n, 0.5), steps).prob_all_distinct == pytest.approx(math.exp(log), rel=1e-10)


def test_repeats_on_both_sides_of_the_series(monkeypatch):
    run = TrainingRun(Layer(64, 0.1), 19)
    series = run.any_repeat
    monkeypatch.setattr("dropstats.training.subnetworks._FEW_PAIRS", 1e-300)
    assert run.any_repeat == pytest.approx(series, rel=1e-10)


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("p", [0.5, 0.2])
def test_steps_until_every_subnetwork_by_inclusion_and_exclusion(n, p):
    chance = chances_of_masks(np.full(n, p))
    if chance.size <= 8:
        expected = 0.0
        for size in range(1, chance.size + 1):
            for subset in itertools.combinations(chance, size):
                expected += (-1) ** (size + 1) / sum(subset)
    else:
        x = np.geomspace(1e-6, 1e8, 400_001)
        missing = -np.expm1(np.sum(np.log(-np.expm1(-chance[:, None] * x)), axis=0))
        expected = 1e-6 + np.trapezoid(missing * x, np.log(x))
    run = TrainingRun(Layer(n, p), 1)
    assert run.steps_until_every_subnetwork == pytest.approx(expected, rel=1e-7 if n == 5 else 1e-11)


def test_subnetworks_at_any_scale():
    wide = TrainingRun(Layer(10**9, 0.5), 10**9)
    assert wide.expected_distinct == 10**9
    assert wide.any_repeat == 0.0
    assert wide.steps_until_every_subnetwork == math.inf
    still = TrainingRun(Layer(10**9, 1e-12), 1000)  # 0.001 drops a step: nearly always the full network
    masks_with_a_drop = 1000 * -math.expm1(1e9 * math.log1p(-1e-12))
    assert still.expected_distinct == pytest.approx(1 + masks_with_a_drop, rel=1e-6)
    assert still.prob_all_distinct == 0.0 or still.prob_all_distinct < 1e-300
    two = TrainingRun(Network(Layer(784, 0.2), Layer(1024, 0.5), Layer(1024, 0.5)), 10**6)
    assert two.expected_distinct == 10**6
    assert 0 < two.any_repeat < 1e-300 or two.any_repeat == 0.0


def test_many_different_rates():
    rates = np.linspace(0.1, 0.9, 500)
    run = TrainingRun(Layer(500, rates), 1000)
    assert run.expected_distinct == 1000
    pair = np.prod(rates**2 + (1 - rates) ** 2)
    assert run.any_repeat == pytest.approx(1000 * 999 / 2 * pair, rel=1e-9)
    # the sum itself, term by term
    done = np.prod(1 - (1 - rates) ** np.arange(1000)[:, None], axis=1)
    assert run.steps_until_all("dropped").mean() == pytest.approx(np.sum(1 - done), rel=1e-12)
    assert run.longest_run_of_any().mean() > run.longest_run(499).mean() > run.longest_run(0).mean()
    with pytest.raises(ValueError, match="classes of equal probability, too many for an exact answer"):
        _ = TrainingRun(Layer(500, rates / 100), 1000).expected_distinct


@pytest.mark.parametrize(
    ("low", "high", "steps"), [(0.1, 0.9, 10**4), (0.99, 0.9901, 2000), (0.999, 0.99999, 3000), (1e-6, 1e-5, 10**6)]
)
def test_longest_runs_of_many_rates_one_by_one(low, high, steps):
    rates = np.linspace(low, high, 60)
    run = TrainingRun(Layer(60, rates), steps)
    law = run.longest_run_of_any()
    last = min(steps, math.ceil(80 / -math.log(high)))
    k = np.arange(1, last + 1)
    below = np.prod([run.longest_run(neuron).cdf(k - 1) for neuron in range(60)], axis=0)
    reach = -np.expm1(
        np.sum([np.log1p(-np.minimum(run.longest_run(i).sf(k - 1), 1 - 1e-16)) for i in range(60)], axis=0)
    )
    np.testing.assert_allclose(law.cdf(k - 1), below, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(law.sf(k - 1), reach, rtol=1e-11, atol=1e-250)
    assert law.mean() == pytest.approx(reach.sum(), rel=1e-11)
    centre = math.floor(law.mean())
    spread = np.sum(np.where(k <= centre, (2 * (centre - k) + 1) * below, (2 * (k - centre) - 1) * reach))
    assert law.var() == pytest.approx(spread - (law.mean() - centre) ** 2, rel=1e-9)


def test_longest_runs_of_very_many_steps():
    """Their law is Gumbel's, at T q 2^-k: the root must have the digits that T takes away."""
    law = TrainingRun(Neuron(0.5), 10**15).longest_run()
    k = np.arange(44, 60)
    # log P(L < k) = -(T + 1) log x + log A, x - 1 = q p^k x^(k+1), to second order in p^k
    rise = 0.5 ** (k + 1) * (1 + (k + 1) * 0.5 ** (k + 1))
    log = -(10**15 + 1) * (rise - rise**2 / 2) + rise * (k - 1)
    np.testing.assert_allclose(law.cdf(k - 1), np.exp(log), rtol=1e-11, atol=1e-300)


def test_overlap_of_twenty_thousand_rates():
    rates = np.linspace(0.3, 0.300001, 20_000)
    many, one = TrainingRun(Layer(20_000, rates), 1), TrainingRun(Layer(20_000, 0.3000005), 1)
    assert many.jaccard_kept.mean == pytest.approx(one.jaccard_kept.mean, rel=1e-11)
    assert many.jaccard_kept.std == pytest.approx(one.jaccard_kept.std, rel=1e-9)
    assert many.longest_run_of_any().mean() == pytest.approx(one.longest_run_of_any().mean(), rel=1e-8)


def test_ends_and_nan_as_scipy_has_them():
    run = TrainingRun(Layer(4, 0.5), 10**6)
    assert run.longest_run().ppf([0, 1]).tolist() == [0, 10**6]
    assert run.steps_until_all().interval(1) == (0, math.inf)
    assert TrainingRun(Layer(4, 1.0), 9).steps_until_all().ppf(1) == 1
    assert TrainingRun(Layer(4, 0.0), 9).longest_run().ppf(1) == 0
    for law in (run.longest_run_of_any(), run.steps_until_all()):
        for question in (law.cdf, law.sf, law.pmf):
            assert math.isnan(question(math.nan))
        assert law.cdf([-math.inf, math.inf]).tolist() == [0, 1]
    assert TrainingRun(Layer(64, 0.1), 1).expected_distinct == 1


# ---------------------------------------------------------------- overlap by enumeration


@pytest.mark.parametrize("rates", [np.full(5, 0.3), np.array([0.1, 0.1, 0.8, 0.5, 1e-9]), np.array([0.0, 0.5, 0.999])])
def test_overlap_by_enumeration(rates):
    n = rates.size
    masks = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    chance = np.multiply.outer(chances_of_masks(rates), chances_of_masks(rates))
    run = TrainingRun(Layer(n, rates), 1)
    differences = np.sum(masks[:, None] != masks[None], axis=2)
    for k in range(n + 1):
        assert run.hamming.pmf(k) == pytest.approx(chance[differences == k].sum(), rel=1e-12, abs=1e-300)
    for sets, got in ((masks, run.jaccard_kept), (1 - masks, run.jaccard_dropped)):
        both, either = sets @ sets.T, n - (1 - sets) @ (1 - sets).T
        some = either > 0
        ratio, weight = both[some] / either[some], chance[some] / chance[some].sum()
        mean = np.sum(ratio * weight)
        assert got.mean == pytest.approx(mean, rel=1e-11)
        assert got.std == pytest.approx(math.sqrt(np.sum(weight * (ratio - mean) ** 2)), rel=1e-9)


@pytest.mark.parametrize("p", EXTREME)
@pytest.mark.parametrize("n", [1, 1000, 10**9])
def test_mean_overlap_in_closed_form(n, p):
    run = TrainingRun(Layer(n, p), 1)
    assert run.jaccard_kept.mean == pytest.approx((1 - p) / (1 + p), rel=1e-11)
    assert run.jaccard_dropped.mean == pytest.approx(p / (2 - p), rel=1e-11)
    assert 0 <= run.jaccard_kept.std < 1
    if n > 1 and p == 0.5:  # U is near its mean n u, so the variance is near r (1 - r) / (n u)
        assert run.jaccard_kept.std == pytest.approx(math.sqrt(1 / 3 * 2 / 3 / (n * 0.75)), rel=1e-2 / math.log10(n))


def test_overlap_of_nothing():
    assert math.isnan(TrainingRun(Layer(3, 1.0), 1).jaccard_kept.mean)
    assert TrainingRun(Layer(3, 0.0), 1).jaccard_kept == (1.0, 0.0)


# ---------------------------------------------------------------- never, weights, passes


@pytest.mark.parametrize("p", EXTREME)
@pytest.mark.parametrize("steps", [1, 100, 10**12])
def test_never_at_any_scale(p, steps):
    run = TrainingRun(Layer(10**9, p), steps)
    exact = math.exp(steps * math.log1p(-p))
    assert run.prob_never_dropped.shape == (10**9,)
    assert run.prob_never_dropped[7] == pytest.approx(exact, rel=1e-11, abs=1e-300)
    assert run.never_dropped.mean() == pytest.approx(1e9 * exact, rel=1e-11, abs=1e-300)
    some = 1.0 if exact == 1 else -math.expm1(1e9 * math.log1p(-exact))
    assert run.any_never_dropped == pytest.approx(some, rel=1e-9, abs=1e-290)


def test_never_of_unequal_rates():
    run = TrainingRun(Layer(3, [0.0, 0.5, 1.0]), 2)
    assert run.prob_never_dropped.tolist() == [1, 0.25, 0]
    assert run.prob_never_kept.tolist() == [0, 0.25, 1]
    assert not run.prob_never_kept.flags.writeable
    assert run.any_never_dropped == run.any_never_kept == 1
    assert run.never_dropped.pmf([0, 1, 2, 3]).tolist() == pytest.approx([0, 0.75, 0.25, 0])
    two = TrainingRun(Network(Layer(2, 0.5), Neuron(0.1)), 3)
    assert two.any_never_dropped == pytest.approx(1 - (1 - 0.125) ** 2 * (1 - 0.729))


def test_weight_updates_keep_their_digits():
    rare = TrainingRun(Layer(2, 1 - 1e-6), 10).weight_updates(Layer(2, 1 - 1e-6))
    assert rare.mean() == pytest.approx(10 * (1 - (1 - 1e-6)) ** 2, rel=1e-12)
    often = TrainingRun(Layer(2, 1e-12), 3).weight_updates(Layer(2, 1e-12))
    assert often.pmf(0) == pytest.approx(8e-36, rel=1e-9)
    mixed = TrainingRun(Layer(2, [0.2, 0.9]), 20).weight_updates(Layer(2, [0.5, 0.1]), neuron=0, following_neuron=0)
    assert mixed.mean() == pytest.approx(8)


def test_passes():
    assert passes_needed(2.0, 0.1) == 400
    assert passes_needed(1.0, 5.0) == 1
    assert passes_needed(0.0, 0.1) == 1
    assert passes_needed([1.0, 2.0], 0.3).tolist() == [12, 45]
    side = ds.PreActivation(np.ones(100), np.ones(100), Layer(100, 0.4)).training
    passes = passes_needed(side.variance**0.5, 0.5)
    means = (Layer(100, 0.4).sample(passes * 2000, rng=0) @ np.ones(100) / 0.6).reshape(2000, passes).mean(axis=1)
    assert means.std() == pytest.approx(0.5, rel=Z / math.sqrt(2 * 2000))
    assert abs(means[:1000].std() / 0.7 - 1) > Z / math.sqrt(2 * 1000)


# ---------------------------------------------------------------- simulation, and its teeth

RUNS, STEPS = 4000, 40


def simulated_runs(law, seed=0):
    return law.sample(RUNS * STEPS, rng=seed).reshape(RUNS, STEPS, law.n)


def longest_drops(masks):
    """Longest run of drops of each neuron in each run, of shape (runs, n)."""
    current = longest = np.zeros((masks.shape[0], masks.shape[2]), int)
    for step in range(masks.shape[1]):
        current = np.where(masks[:, step], 0, current + 1)
        longest = np.maximum(longest, current)
    return longest


def disagreements(run, masks):
    """What the simulated runs contradict, each judged in standard errors under a Bonferroni limit."""
    dropped = ~masks
    first_all = np.where(dropped.any(axis=1).all(axis=1), 0, 1)
    steps_all = 1 + np.argmax(dropped.cumsum(axis=1).min(axis=2) > 0, axis=1)
    codes = masks @ (1 << np.arange(run.law.n))
    distinct = np.array([np.unique(sequence).size for sequence in codes])
    longest = longest_drops(masks)
    unions = (masks[:, 0] | masks[:, 1]).sum(axis=1)
    jaccard = (masks[:, 0] & masks[:, 1]).sum(axis=1)[unions > 0] / unions[unions > 0]
    ever = (dropped[:, 0] | dropped[:, 1]).sum(axis=1)
    alike = (dropped[:, 0] & dropped[:, 1]).sum(axis=1)[ever > 0] / ever[ever > 0]
    kept_by = (masks.cumsum(axis=1) > 0).all(axis=2)
    both_by = kept_by & (dropped.cumsum(axis=1) > 0).all(axis=2)
    wait, any_run, one = run.steps_until_all("dropped"), run.longest_run_of_any(), run.longest_run(0)
    samples = {
        "any never dropped": (first_all, run.any_never_dropped, None),
        "never dropped": ((~dropped.any(axis=1)).sum(axis=1), run.never_dropped.mean(), run.never_dropped.std()),
        "wait": ((steps_all > 8) & (first_all == 0) | (first_all == 1), wait.sf(8), None),
        "distinct": (distinct, run.expected_distinct, distinct.std()),
        "repeat in ten": (
            np.array([np.unique(sequence[:10]).size < 10 for sequence in codes]),
            TrainingRun(run.law, 10).any_repeat,
            None,
        ),
        "longest of any": (longest.max(axis=1), any_run.mean(), any_run.std()),
        "longest of one": (longest[:, 0], one.mean(), one.std()),
        "longest of one, tail": (longest[:, 0] >= 4, one.sf(3), None),
        "hamming": ((masks[:, 0] != masks[:, 1]).sum(axis=1), run.hamming.mean(), run.hamming.std()),
        "jaccard": (jaccard, run.jaccard_kept.mean, run.jaccard_kept.std),
        "jaccard, dropped": (alike, run.jaccard_dropped.mean, run.jaccard_dropped.std),
        "wait for kept": (kept_by[:, 1], run.steps_until_all("kept").cdf(2), None),
        "wait for both": (both_by[:, 9], run.steps_until_all("both").cdf(10), None),
        "never kept in two": (
            (~masks[:, :2].any(axis=1)).sum(axis=1),
            TrainingRun(run.law, 2).never_kept.mean(),
            TrainingRun(run.law, 2).never_kept.std(),
        ),
    }
    limit = stats.norm.isf(FALSE_ALARM / 2 / len(samples))
    found = set()
    for name, (values, mean, deviation) in samples.items():
        values = np.asarray(values, dtype=float)
        deviation = math.sqrt(mean * (1 - mean)) if deviation is None else deviation  # of a yes or no
        if abs(values.mean() - mean) * math.sqrt(values.size) > limit * deviation:
            found.add(name)
    return found


@pytest.mark.parametrize(
    "law",
    [Layer(6, 0.2), Layer(8, 0.5), Layer(6, [0.1, 0.1, 0.5, 0.5, 0.5, 0.8]), Network(Layer(3, 0.1), Layer(4, 0.6))],
)
def test_simulated_runs_agree(law):
    assert disagreements(TrainingRun(law, STEPS), simulated_runs(law)) == set()


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        # a rate off by a few percent
        (
            Layer(6, 0.23),
            {"wait", "distinct", "repeat in ten", "longest of any", "longest of one"},
        ),
        (Layer(6, 0.05), {"any never dropped", "never dropped", "wait", "wait for both"}),
        (
            Layer(6, 0.8),
            {"longest of one, tail", "jaccard", "jaccard, dropped", "wait", "wait for kept"} | {"never kept in two"},
        ),
        # the right mean rate, but unequal
        (Layer(6, [0.05, 0.1, 0.15, 0.25, 0.3, 0.35]), {"longest of one", "never dropped", "hamming"}),
    ],
)
def test_simulated_runs_of_a_wrong_law_disagree(wrong, seen):
    assert disagreements(TrainingRun(Layer(6, 0.2), STEPS), simulated_runs(wrong)) >= seen


def test_sticky_masks_disagree():
    """Masks of the right rate that depend on the step before: runs are too long, masks too alike."""
    fresh, generator = simulated_runs(Layer(6, 0.2)), np.random.default_rng(1)
    masks = fresh.copy()
    for step in range(1, STEPS):
        stay = generator.random((RUNS, 1)) < 0.1
        masks[:, step] = np.where(stay, masks[:, step - 1], fresh[:, step])
    assert {"distinct", "repeat in ten", "longest of one", "hamming", "jaccard"} <= disagreements(
        TrainingRun(Layer(6, 0.2), STEPS), masks
    )


@pytest.mark.parametrize(("wrong", "agrees"), [(0.5, True), (0.45, False)])
def test_simulated_weight_updates(wrong, agrees):
    law = TrainingRun(Layer(1, 0.2), STEPS).weight_updates(Layer(1, 0.5))
    masks = Network(Layer(1, 0.2), Layer(1, wrong)).sample(RUNS * STEPS, rng=3).reshape(RUNS, STEPS, 2)
    updates = masks.all(axis=2).sum(axis=1)
    assert bool(abs(updates.mean() - law.mean()) * math.sqrt(RUNS) < Z * law.std()) is agrees


@pytest.mark.parametrize(("p", "agrees"), [(0.3, True), (0.33, False)])
def test_simulated_wait_for_every_subnetwork(p, agrees):
    codes = Layer(3, p).sample(3000 * 1500, rng=4).reshape(3000, 1500, 3) @ np.array([1, 2, 4])
    waits = np.max([1 + np.argmax(codes == mask, axis=1) for mask in range(8)], axis=0)
    exact = TrainingRun(Layer(3, 0.3), 1).steps_until_every_subnetwork
    assert bool(abs(waits.mean() - exact) * math.sqrt(3000) < Z * waits.std()) is agrees


# ---------------------------------------------------------------- bad input


class Pairs:
    n, rates = 4, np.full(4, 0.5)
    dropped = sample = None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TrainingRun(Layer(4, 0.5), 0), ValueError, "steps must be at least 1; got 0"),
        (lambda: TrainingRun(Layer(4, 0.5), 1.5), ValueError, "steps must be an integer; got 1.5"),
        (lambda: TrainingRun(Layer(4, 0.5), "9"), TypeError, "steps must be an integer; got '9' of type str"),
        (lambda: TrainingRun(Layer(4, 0.5), 2**53 + 1), ValueError, "steps must be at most 9007199254740992"),
        (
            lambda: TrainingRun(0.5, 10),
            TypeError,
            r"law must be a law, such as Layer\(n, p\) or .*; got 0.5",
        ),
        (
            lambda: TrainingRun(Pairs(), 10),
            ValueError,
            "TrainingRun needs a law whose neurons are dropped independently",
        ),
        (
            lambda: TrainingRun(Layer(4, 0.5), 10).weight_updates(Pairs()),
            ValueError,
            "needs a law whose neurons are dropped independently",
        ),
        (
            lambda: TrainingRun(Layer(4, 0.5), 10).steps_until_all("seen"),
            ValueError,
            "what must be 'dropped', 'kept' or 'both'; got 'seen'",
        ),
        (
            lambda: TrainingRun(Layer(2, [0.1, 0.2]), 10).longest_run(),
            ValueError,
            "neuron= must say which one: the law's neurons have 2 different rates",
        ),
        (lambda: TrainingRun(Layer(2, 0.1), 10).longest_run(2), ValueError, "neuron must be at most 1; got 2"),
        (lambda: TrainingRun(Layer(0, 0.1), 10).longest_run(), ValueError, "the law has no neurons"),
        (
            lambda: TrainingRun(Layer(2, 0.1), 10).longest_run().ppf(1.5),
            ValueError,
            r"q must be in \[0, 1\]; got 1.5",
        ),
        (lambda: passes_needed(-1, 1), ValueError, "std must not be negative; got -1"),
        (lambda: passes_needed(1, 0), ValueError, "standard_error must be positive; got 0"),
        (lambda: passes_needed(1, math.nan), ValueError, "standard_error must be finite; got nan"),
        (lambda: passes_needed(1, 1e-10), ValueError, "standard_error is too small"),
        (
            lambda: TrainingRun(Layer(300, np.linspace(0.1, 0.9, 300)), 1).steps_until_every_subnetwork,
            ValueError,
            "classes of equal probability",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(("low", "high", "steps"), [(0.0, 0.5, 10_000), (0.1, 0.9, 100), (0.0, 0.05, 10**6)])
def test_longest_run_of_many_rates_by_nodes(monkeypatch, low, high, steps):
    """Sums over rates are had from nodes where there are many: beside the sums over all of them."""
    rates = low + (high - low) * np.sort(np.random.default_rng(0).random(9000))
    of_any = TrainingRun(Layer(rates.size, rates), steps).longest_run_of_any()
    k = np.array([0, 1, 2, 3, 7, 15, 27.5, 60, 100])
    by_nodes = of_any._log_below(k)
    monkeypatch.setattr("dropstats.training.longest_run.MANY_RATES", 10**9)
    np.testing.assert_allclose(by_nodes, of_any._log_below(k), rtol=2e-14)
    wrong = TrainingRun(Layer(rates.size, rates * (1 + 1e-9)), steps).longest_run_of_any()
    assert not np.allclose(by_nodes[3:], wrong._log_below(k)[3:], rtol=1e-12, atol=0)


def test_answers_are_values_that_compare_by_rates():
    law = Layer(4, [0.5, 0.2, 0.5, 0.2])
    wait, same = TrainingRun(law, 9).steps_until_all(), TrainingRun(Network(Layer(2, 0.2), Layer(2, 0.5)), 9)
    assert wait == same.steps_until_all()
    assert hash(wait) == hash(same.steps_until_all())
    assert wait != same.steps_until_all("kept")
    assert wait != TrainingRun(Layer(4, 0.5), 9).steps_until_all()
    assert wait != 1
    assert TrainingRun(law, 9).longest_run_of_any() == same.longest_run_of_any()
    assert repr(wait) == "WaitingTime(rates=((0.2, 2), (0.5, 2)), what='dropped')"
    three = TrainingRun(Network(Layer(3, 0.2), Layer(1, 0.5)), 9)
    assert wait != three.steps_until_all()  # of the same rates, not as many neurons each
    assert wait.rates != 1
    many = TrainingRun(Layer(1000, np.linspace(0.1, 0.9, 1000)), 9)
    assert repr(many.longest_run_of_any()) == "LongestRun(rates=(1000 rates of 1000 neurons), steps=9)"


def test_sums_over_many_rates_against_sums_one_by_one():
    p = np.linspace(0.01, 0.4, 4001)
    run, few = TrainingRun(Layer(p.size, p), 20), [TrainingRun(Layer(1, rate), 20) for rate in p[::1000]]
    assert run.never_dropped.mean() == pytest.approx(math.fsum((1 - p) ** 20), rel=1e-13)
    assert run.never_kept.mean() == pytest.approx(math.fsum(p**20), rel=1e-13)
    assert run.any_never_kept == pytest.approx(-math.expm1(math.fsum(np.log1p(-(p**20)))), rel=1e-13)
    assert run.hamming.mean() == pytest.approx(math.fsum(2 * p * (1 - p)), rel=1e-14)
    assert [each.any_never_dropped for each in few] == pytest.approx((1 - p[::1000]) ** 20, rel=1e-13)
    assert run.law.log_prob_equal == pytest.approx(math.fsum(np.log1p(-2 * p * (1 - p))), rel=1e-13)
    assert run.law.entropy_bits() == pytest.approx(math.fsum(stats.entropy([p, 1 - p], base=2)), rel=1e-13)
