"""Pre-activations: reference values, enumeration of all masks, simulation, bad input."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from walk import compare, number, reference

from dropstats import (
    Layer,
    Network,
    Neuron,
    PreActivation,
    effective_learning_rate,
    ridge_penalty,
    ridge_solution,
    variance_shift,
)
from dropstats.activation import LatticeLaw, saddlepoint

MOMENTS = reference("moments")
# Chance that a check by simulation fails although all is right; seeds are fixed, so a failure is a bug.
FALSE_ALARM = 1e-6
Z = stats.norm.isf(FALSE_ALARM / 2)

# Fields that are inputs of a case, not results.
INPUTS = dict.fromkeys(("p", "n", "w", "x", "w2", "case", "k", "desc", "keep", "c", "v", "rho_x", "d", "cos2"), "input")
INPUTS |= dict.fromkeys(("X", "y", "beta", "threshold_y"), "input")
ERRORS = dict.fromkeys(
    ("LR_first_rel", "LR_second_rel", "SP_pmf_rel", "SP_pmf2_rel", "LR_rel", "gauss_rel"), "error of an approximation"
)


def numbers(values):
    return np.array([number(value) for value in values])


def matrix(rows):
    return np.array([numbers(row) for row in rows])


def relu(z):
    return np.maximum(z, 0)


# ---------------------------------------------------------------- every value of moments.json


def example_a(case):
    p, w, w2, x = number(case["p"]), numbers(case["w"]), numbers(case["w2"]), numbers(case["x"])
    pre = PreActivation(w, x, Layer(8, p))
    side, direct, law = pre.training, PreActivation(w, x, Layer(8, p), "direct"), pre.training.lattice()
    # exactly 8p of 8 neurons dropped: n/(n-1) times the variance of the centred terms (theory: fixed count)
    terms = w * x
    fixed = PreActivation(np.ones(8), terms - terms.mean(), Layer(8, p)).training.variance * 8 / 7
    return {
        "mean": side.mean,
        "var": side.variance,
        **{f"kappa{r}": side.cumulants[r - 1] for r in range(3, 7)},
        "skew": side.skewness,
        "ex_kurt": side.kurtosis,
        "cov12": PreActivation(np.stack([w, w2], axis=1), x, Layer(8, p)).training.covariance[0, 1],
        "P_z_lt_0": law.cdf(0) - law.pmf(0),
        "P_z_eq_0": law.pmf(0),
        "E_relu_exact": side.mean_relu(),
        "E_relu_gauss": side.mean_relu("normal"),
        "relu_inference": pre.inference.mean_relu(),
        "E_sigmoid_exact": side.mean_sigmoid(),
        "E_sigmoid_mackay": side.mean_sigmoid("mackay"),
        "E_sigmoid_gauss_quad": side.mean_sigmoid("normal"),
        "sigmoid_inference_NWGM": pre.inference.mean_sigmoid(),
        "direct_mean": direct.training.mean,
        "direct_var": direct.training.variance,
        "direct_test_mean_q": direct.inference.mean,
        **({"fixed_count_var": fixed} if "fixed_count_var" in case else {}),
    }


def chawla_moments(case):
    side = PreActivation(np.ones(100), np.ones(100), Layer(100, number(case["p"]))).training
    return {
        "mean": side.mean,
        "var": side.variance,
        "kappa3": side.cumulants[2],
        "kappa4": side.cumulants[3],
        "skew": side.skewness,
        "ex_kurt": side.kurtosis,
    }


def relu_counterexample(case):
    pre = PreActivation(numbers(case["w"]), numbers(case["x"]), Layer(2, number(case["p"])))
    return {"E_relu_train": pre.training.mean_relu(), "relu_inference": pre.inference.mean_relu()}


COUNTED = {
    "stochastic_depth_54_dropped": np.arange(1, 55) / 108,
    "linear_1000": np.arange(1, 1001) / 1001,
    "mnist_784_1024_1024": np.repeat([0.2, 0.5], [784, 2048]),
}


def lugannani_rice(case):
    # the number of dropped neurons is the number kept where the rates are q
    drop, k = COUNTED[case["case"]], case["k"]
    law = Layer(drop.size, 1 - drop)
    side = PreActivation(np.ones(law.n), np.ones(law.n), law, scaling=None).training
    rows, at = saddlepoint.Rows(np.ones((1, law.n)), (1 - drop)[None, :]), np.array([float(k)])
    point = saddlepoint.point(rows, at)
    # first continuity correction: (1 - e^-s) sqrt(K'') in place of u
    u = -np.expm1(-point.s) * saddlepoint.derivatives(rows, point.s)[1] ** 0.5
    first = stats.norm.sf(point.w) + stats.norm.pdf(point.w) * (1 / u - 1 / point.w)
    return {
        "exact_P_ge": side.lattice().sf(k - 1),
        "s_hat": point.s[0],
        "LR_first": first[0],
        "LR_second": side.sf(k - 1, span=1),
        "SP_pmf": side.pdf(k),
    }


def lr_preactivation(case):
    side = PreActivation(np.arange(1, 41) / 40, np.ones(40), Layer(40, 0.3)).training
    law = side.lattice()
    rows = []
    for row in case["rows"]:
        y = number(row["threshold_y"])
        rows.append(
            {
                "P_ge_exact": law.sf(y) + law.pmf(y),
                "P_mid_exact": law.sf(y) + law.pmf(y) / 2,
                "LR": side.sf(y),
                "gauss": side.normal().sf(y),
            }
        )
    return {"rows": rows}


def shift(case):
    p, c, v = 1 - number(case["keep"]), number(case["c"]), number(case["v"])
    rest = {"correlation": number(case["rho_x"]), "n": case["d"], "cos2": number(case["cos2"])}
    return {"delta_case_a": variance_shift(p, c, v), "delta_case_b": variance_shift(p, c, v, **rest)}


def shift_relu_normal(case):
    c = 1 / math.sqrt(2 * math.pi)
    return {"delta": variance_shift(1 - number(case["keep"]), c, 0.5 - 1 / (2 * math.pi))}


def wager(case):
    x, y, w, law = matrix(case["X"]), numbers(case["y"]), numbers(case["beta"]), Layer(3, number(case["p"]))
    pre = PreActivation(w, x, law)
    curvature = expit(pre.inference.mean) * expit(-pre.inference.mean)
    softplus = lambda z: np.logaddexp(0, z)  # noqa: E731
    return {
        "half_sse": 0.5 * np.sum((y - pre.inference.mean) ** 2),
        "linear_penalty": ridge_penalty(w, x, law),
        "expected_half_sse": sum(
            PreActivation(w, row, law).training.expect(lambda z, t=target: 0.5 * (t - z) ** 2)
            for row, target in zip(x, y, strict=True)
        ),
        "logistic_R_exact": np.sum(pre.training.expect(softplus) - pre.inference.expect(softplus)),
        "logistic_R_quadratic": ridge_penalty(w, x, law, curvature),
    }


def gradient_multiplier(case):
    rate = effective_learning_rate(1.0, number(case["p"]))
    return {
        "mean": rate.mean_step,
        "second_moment": rate.rms_step**2,
        "rms": rate.rms_step,
        "conditional_on_kept": rate.kept_unit,
        "equiv_direct_SGD": rate.direct_equivalent,
    }


def linear_net(case):
    # The file gives the losses, not the matrices: these have its loss and its penalty at p = 1/2, and the rest follows.
    hidden, outgoing = np.array([1.0, 2.0, 0.5]), np.array([[4.5, 0.0], [0.75, 1.0], [0.0, 3.0]])
    law = Layer(3, number(case["p"]))
    pre = PreActivation(outgoing, hidden, law)
    target = pre.inference.mean + np.array([5.0, 0.5])
    loss = sum(
        PreActivation(outgoing[:, j], hidden, law).training.expect(lambda z, t=target[j]: (t - z) ** 2)
        for j in range(2)
    )
    return {
        "expected_loss": loss,
        "base": np.sum((target - pre.inference.mean) ** 2),
        "penalty": 2 * ridge_penalty(outgoing, hidden, law),
    }


SECTIONS = {
    "example_A": example_a,
    "chawla_moments": chawla_moments,
    "relu_counterexample": relu_counterexample,
    "lugannani_rice": lugannani_rice,
    "LR_preactivation": lr_preactivation,
    "variance_shift": shift,
    "variance_shift_relu_normal": shift_relu_normal,
    "wager": wager,
    "gradient_multiplier": gradient_multiplier,
    "linear_net": linear_net,
}
# The exponent of exact_pmf is cut off in the file (5.13...8 stands for 5.13e-11); its digits are held in
# test_exact_masses_of_counts.
NO_REFERENCE = {"lugannani_rice": {"exact_pmf": "its exponent is cut off in the file"}}


def test_the_reference_file_has_no_other_sections():
    assert MOMENTS.keys() == SECTIONS.keys()


@pytest.mark.parametrize("section", SECTIONS)
def test_reference_values(section):
    cases = MOMENTS[section] if isinstance(MOMENTS[section], list) else [MOMENTS[section]]
    excluded = INPUTS | ERRORS | NO_REFERENCE.get(section, {})
    for index, case in enumerate(cases):
        assert compare(case, SECTIONS[section](case), excluded, f"{section}[{index}]") > 0


def test_exact_masses_of_counts():
    for case in MOMENTS["lugannani_rice"]:
        drop = COUNTED[case["case"]]
        mass = Layer(drop.size, drop).dropped.pmf(case["k"])
        digits = number(case["exact_pmf"])
        assert math.log10(mass / digits) == pytest.approx(round(math.log10(mass / digits)), abs=1e-11)


# ---------------------------------------------------------------- all masks enumerated, n <= 12


def every_mask(rates):
    """All 2^n masks and their probabilities."""
    masks = (np.arange(2**rates.size)[:, None] >> np.arange(rates.size)) & 1
    return masks, np.prod(np.where(masks == 1, 1 - rates, rates), axis=1)


def mixed_case(n, seed):
    generator = np.random.default_rng(seed)
    weights, inputs = generator.standard_normal((n, 3)), generator.standard_normal((2, n))
    rates = generator.random(n)
    rates[0], rates[-1] = 0.0, 1e-9
    return weights, inputs, rates


@pytest.mark.parametrize("scaling", ["inverted", "direct", None])
@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_moments_by_enumeration(n, scaling):
    weights, inputs, rates = mixed_case(n, n)
    pre = PreActivation(weights, inputs, Layer(n, rates), scaling)
    masks, chance = every_mask(rates)
    scale = 1 / (1 - rates) if scaling == "inverted" else np.ones(n)
    z = np.einsum("mi,bi,io->mbo", masks * scale, inputs, weights)
    mean = np.tensordot(chance, z, 1)
    centred = z - mean
    moment = [np.tensordot(chance, centred**r, 1) for r in range(7)]
    cumulants = [
        mean,
        moment[2],
        moment[3],
        moment[4] - 3 * moment[2] ** 2,
        moment[5] - 10 * moment[3] * moment[2],
        moment[6] - 15 * moment[4] * moment[2] - 10 * moment[3] ** 2 + 30 * moment[2] ** 3,
    ]
    # the comparison, by differences of moments, has 1e-11 of the largest of them
    for r, expected in enumerate(cumulants):
        scale_r = np.max(moment[2]) ** ((r + 1) / 2)
        np.testing.assert_allclose(pre.training.cumulants[r], expected, rtol=1e-10, atol=1e-11 * scale_r)
    covariance = np.einsum("m,mbj,mbk->bjk", chance, centred, centred)
    np.testing.assert_allclose(pre.training.covariance, covariance, rtol=1e-10, atol=1e-12)
    expected = np.tensordot(chance, relu(z), 1)
    np.testing.assert_allclose(pre.training.mean_relu(), expected, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(pre.training.mean_sigmoid(), np.tensordot(chance, expit(z), 1), rtol=1e-10)
    kept = {"inverted": 1.0, "direct": 1 - rates, None: 1.0}[scaling]
    np.testing.assert_allclose(pre.inference.mean, (inputs * kept) @ weights, rtol=1e-12)
    assert (pre.inference.variance == 0).all()
    if scaling is not None:
        np.testing.assert_allclose(pre.training.mean, pre.inference.mean, rtol=1e-12, atol=1e-13)


def test_masks_on_weights_by_enumeration():
    generator = np.random.default_rng(4)
    weights, inputs, rates = generator.standard_normal((4, 3)), generator.standard_normal(4), generator.random(12)
    masks, chance = every_mask(rates)
    on_weights = (masks / (1 - rates)).reshape(-1, 4, 3) * weights
    z = np.einsum("mio,i->mo", on_weights, inputs)
    side = PreActivation(weights, inputs, Layer(12, rates)).training
    centred = z - chance @ z
    np.testing.assert_allclose(side.mean, chance @ z, rtol=1e-10)
    np.testing.assert_allclose(side.covariance, (centred * chance[:, None]).T @ centred, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(side.mean_relu(), chance @ relu(z), rtol=1e-10)
    # the masks of a layer instead, one for an input's whole row, make outputs depend on each other
    shared = PreActivation(weights, inputs, Layer(4, rates[:4])).training.covariance
    assert np.abs(shared - np.diag(np.diag(shared))).max() > 0.1


@pytest.mark.parametrize("rates", [np.full(12, 0.3), np.linspace(0.05, 0.9, 12), np.r_[np.zeros(4), np.full(8, 1e-12)]])
def test_lattice_law_by_enumeration(rates):
    weights = np.array([3, -2, 1, 1, 5, -7, 2, 2, -1, 4, 0, 6]) / 10
    masks, chance = every_mask(rates)
    units = np.rint(masks @ (weights * 10)).astype(int)
    law = PreActivation(weights, np.ones(12), Layer(12, rates), scaling=None).training.lattice()
    assert isinstance(law, LatticeLaw)
    for unit in range(units.min() - 1, units.max() + 2):
        expected = [chance[units == unit].sum(), chance[units <= unit].sum(), chance[units > unit].sum()]
        got = [law.pmf(unit / 10), law.cdf(unit / 10), law.sf(unit / 10)]
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-300)
    assert law.pmf(0.05) == 0
    assert law.mean() == pytest.approx(chance @ units / 10, rel=1e-12)
    assert law.std() ** 2 == pytest.approx(law.var())
    possible = units[chance > 0]
    assert law.support() == pytest.approx((possible.min() / 10, possible.max() / 10), abs=1e-12)
    for q in (0.01, 0.5, 0.99):
        order = np.argsort(units)
        expected = units[order][np.searchsorted(np.cumsum(chance[order]), q)] / 10
        assert law.ppf(q) == pytest.approx(expected, abs=1e-12)


def test_the_articles_hundred_neurons():
    law = PreActivation([1] * 100, [1] * 100, Layer(100, 0.4), scaling=None).training.lattice()
    assert law.pmf(60) == pytest.approx(0.08121914499610604069672721, rel=1e-13)
    assert law.pmf(100) == pytest.approx(6.533186235000709060966903e-23, rel=1e-12)
    assert law.interval(0.95) == (50, 69)
    assert law.median() == 60
    scaled = PreActivation([1] * 100, [1] * 100, Layer(100, 0.4)).training.lattice()
    assert scaled.interval(0.95) == pytest.approx((250 / 3, 115))
    assert scaled.sf(90 - 1e-4) - scaled.sf(110) == pytest.approx(0.8157663073393481454400894, rel=1e-12)


# ---------------------------------------------------------------- saddlepoint


def test_tail_is_within_three_percent_where_the_normal_law_is_eighteen_times_too_large():
    side = PreActivation(np.arange(1, 41) / 40, np.ones(40), Layer(40, 0.3)).training
    law, y = side.lattice(), 800 / 28
    exact = law.sf(y) + law.pmf(y) / 2
    assert exact == pytest.approx(2.46e-5, rel=0.01)
    assert abs(side.sf(y) / exact - 1) < 0.03
    assert side.normal().sf(y) / exact > 18


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_saddlepoint_over_the_whole_range(p):
    side = PreActivation(np.arange(1, 41) / 40, np.ones(40), Layer(40, p)).training
    law = side.lattice()
    y = np.linspace(law.support()[0] - 1, law.support()[1] + 1, 4001)
    cdf, sf, pdf = side.cdf(y), side.sf(y), side.pdf(y)
    np.testing.assert_allclose(cdf + sf, 1, atol=1e-12)
    assert (np.diff(sf) <= 1e-9).all()
    assert (pdf >= 0).all()
    assert (cdf >= 0).all()
    assert (sf >= 0).all()
    if p == 0.5:  # far from the ends, and where counts are many, it is close
        exact = law.sf(y) + law.pmf(y) / 2
        middle = (exact > 1e-4) & (exact < 1 - 1e-4)
        assert np.abs(sf - exact)[middle].max() < 0.01


@pytest.mark.parametrize("p", [1e-12, 1e-3, 0.999, 1 - 1e-12])
def test_saddlepoint_keeps_exact_bounds_where_an_end_has_most_of_the_mass(p):
    side = PreActivation(np.arange(1, 41) / 40, np.ones(40), Layer(40, p), scaling=None).training
    law = side.lattice()
    y = np.linspace(*law.support(), 999)[1:-1]
    sf, cdf, above = side.sf(y), side.cdf(y), y > side.mean
    np.testing.assert_allclose(cdf + sf, 1, atol=1e-12)
    assert (sf >= law.pmf(20.5) * (1 - 1e-12)).all()
    assert (cdf >= law.pmf(0) * (1 - 1e-12)).all()
    # Chernoff's bound by the exact law's generating function, at the tilt that the mean of two points suggests
    for tilt in (0.5, 2.0, 8.0):
        bound = np.exp(np.log(law.expect(lambda z, t=tilt: np.exp(t * (z - 20.5)))) + tilt * (20.5 - y))
        assert (sf[above] <= bound[above] * (1 + 1e-9)).all()


@pytest.mark.parametrize("p", [0.1, 0.3, 0.9])
def test_saddlepoint_is_smooth_through_the_mean(p):
    side = PreActivation(np.arange(1, 201) / 40, np.ones(200), Layer(200, p), scaling=None).training
    y = side.mean + side.variance**0.5 * np.linspace(-0.2, 0.2, 401)
    steps = np.diff(side.sf(y))
    assert (steps < 0).all()
    assert np.abs(np.diff(steps)).max() < 1e-5
    # and its derivative is the density
    np.testing.assert_allclose(-steps / np.diff(y), side.pdf(y[:-1] + np.diff(y) / 2), rtol=0.01)


def test_saddlepoint_at_and_beyond_the_ends():
    side = PreActivation([1.0, -2.0], [1.0, 1.0], Layer(2, [0.25, 0.5]), scaling=None).training
    assert side.cdf([-3, -2, 1, 2]).tolist() == pytest.approx([0, 0.125, 1, 1])
    assert side.sf([-3, -2, 1, 2]).tolist() == pytest.approx([1, 0.875, 0, 0])
    assert side.pdf([-2, 1]).tolist() == [0, 0]
    # between the ends no tail is below the atom at its end
    assert side.sf(1 - 1e-12) >= 0.75 * 0.5 * (1 - 1e-12)


def test_inference_is_a_step():
    side = PreActivation([1.0, 2.0], [1.0, 1.0], Layer(2, 0.5)).inference
    assert side.cdf([2.9, 3, 3.1]).tolist() == [0, 1, 1]
    assert side.sf([2.9, 3, 3.1]).tolist() == [1, 0, 0]
    assert side.pdf([2.9, 3]).tolist() == [0, math.inf]
    assert math.isnan(side.skewness)
    assert math.isnan(side.kurtosis)


def test_lattice_correction_is_closer_to_the_count():
    side = PreActivation(np.ones(54), np.ones(54), Layer(54, 0.5), scaling=None).training
    exact = Layer(54, 0.5).kept.sf(39)
    assert abs(side.sf(39, span=1) / exact - 1) < 1e-3 < abs(side.sf(39) / exact - 1)


def test_many_thresholds_and_cells_broadcast():
    generator = np.random.default_rng(1)
    weights, inputs = generator.standard_normal((30, 4)), generator.standard_normal((5, 30))
    side = PreActivation(weights, inputs, Layer(30, 0.4)).training
    y = np.linspace(-2, 2, 7)
    together = side.sf(y[:, None, None])
    assert together.shape == (7, 5, 4)
    one = PreActivation(weights[:, 2], inputs[3], Layer(30, 0.4)).training
    np.testing.assert_allclose(together[:, 3, 2], one.sf(y), rtol=1e-12)
    assert np.array_equal(side.std, np.sqrt(side.variance))
    assert side.mean.shape == side.std.shape == side.skewness.shape == side.kurtosis.shape == (5, 4)
    assert side.covariance.shape == (5, 4, 4)
    np.testing.assert_allclose(np.diagonal(side.covariance, axis1=1, axis2=2), side.variance)
    np.testing.assert_allclose(
        side.covariance[3], PreActivation(weights, inputs[3], Layer(30, 0.4)).training.covariance
    )
    np.testing.assert_allclose(side.cumulants[:, 3, 2], one.cumulants)
    assert PreActivation(weights[:, 0], inputs, Layer(30, 0.4)).training.mean.shape == (5,)
    assert isinstance(one.mean, float)


@pytest.mark.parametrize("mean", [-60.0, -3.0, 0.0, 2.0])
@pytest.mark.parametrize("deviation", [1e-3, 0.5, 3.9, 4.1, 50.0])
def test_normal_sigmoid_against_adaptive_quadrature(mean, deviation):
    from scipy.integrate import quad

    from dropstats.activation.masked_sum import _normal_sigmoid

    got = float(_normal_sigmoid(np.array(mean), np.array(deviation)))
    points = sorted({-12.0, 12.0, min(max(-mean / deviation, -12), 12), min(deviation, 12)})
    expected = sum(
        quad(lambda z: expit(mean + deviation * z) * stats.norm.pdf(z), a, b, epsabs=1e-16, epsrel=1e-12, limit=500)[0]
        for a, b in itertools.pairwise(points)
    )
    assert got == pytest.approx(expected, rel=1e-10, abs=1e-15)


# ---------------------------------------------------------------- simulation, and its teeth


SIMULATED = 40_000


def simulate(pre, law, rng=0):
    """z over simulated masks of `law`, which need not be the law that `pre` is about."""
    masks = law.sample(SIMULATED, rng=rng)
    return (masks * pre.training.factor * pre.inputs) @ pre.weights


def disagreements(pre, z):
    """Which of mean, variance, skewness and a tail of the law the simulated z contradict."""
    side = pre.training
    k2, k3, k4, k6 = side.cumulants[1], side.cumulants[2], side.cumulants[3], side.cumulants[5]
    scale = math.sqrt(SIMULATED)
    centred = z - side.mean
    # standard errors from the exact cumulants; var of (z - m)^3 is m6 - m3^2
    m4 = k4 + 3 * k2**2
    m6 = k6 + 15 * k4 * k2 + 10 * k3**2 + 15 * k2**3
    y = side.mean + 2 * math.sqrt(k2)
    exact = side.lattice().sf(y)
    checks = {
        "mean": (centred.mean(), math.sqrt(k2)),
        "variance": ((centred**2).mean() - k2, math.sqrt(m4 - k2**2)),
        "skewness": ((centred**3).mean() - k3, math.sqrt(m6 - k3**2)),
        "tail": ((z > y).mean() - exact, math.sqrt(exact * (1 - exact))),
        "relu": (relu(z - 20).mean() - side.expect(lambda z: relu(z - 20)), relu(z - 20).std()),
        "sigmoid": (expit(z - 20).mean() - side.expect(lambda z: expit(z - 20)), expit(z - 20).std()),
    }
    # a union bound over the six, normal limits of 40,000 masks
    limit = stats.norm.isf(FALSE_ALARM / 12)
    return {name for name, (difference, error) in checks.items() if abs(difference) * scale > limit * error}


@pytest.fixture(scope="module")
def judged():
    return PreActivation(np.arange(1, 41) / 40, np.ones(40), Layer(40, 0.3))


def test_simulated_masks_agree(judged):
    assert disagreements(judged, simulate(judged, Layer(40, 0.3))) == set()


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        (Layer(40, 0.7), {"mean", "variance", "skewness", "tail", "relu", "sigmoid"}),  # p for q
        (Layer(40, 0.31), {"mean"}),
        (Layer(40, np.r_[np.full(20, 0.44), np.full(20, 0.16)]), {"mean"}),
    ],
)
def test_simulated_masks_of_a_wrong_law_disagree(judged, wrong, seen):
    assert disagreements(judged, simulate(judged, wrong)) >= seen


def test_unscaled_masks_disagree_with_inverted_scaling(judged):
    assert {"mean", "variance"} <= disagreements(judged, simulate(judged, Layer(40, 0.3)) * 0.7)


@pytest.mark.parametrize("per_weight", [False, True])
def test_simulated_covariance_between_outputs(per_weight):
    generator = np.random.default_rng(7)
    weights, inputs = generator.standard_normal((10, 2)), generator.standard_normal(10)
    on_inputs = PreActivation(weights, inputs, Layer(10, 0.3)).training
    on_weights = PreActivation(weights, inputs, Layer(20, 0.3)).training
    masks = Layer(20 if per_weight else 10, 0.3).sample(SIMULATED, rng=8) / 0.7
    z = np.einsum("tio,io,i->to", masks.reshape(SIMULATED, 10, -1) * np.ones(2), weights, inputs)
    right, wrong = (on_weights, on_inputs) if per_weight else (on_inputs, on_weights)
    product = np.prod(z - right.mean, axis=1)
    error = Z * product.std() / math.sqrt(SIMULATED)
    assert abs(product.mean() - right.covariance[0, 1]) < error
    assert abs(product.mean() - wrong.covariance[0, 1]) > error


@pytest.mark.parametrize(("p", "agrees"), [(0.4, True), (0.45, False)])
def test_simulated_regularisers(p, agrees):
    """Expected losses over simulated masks, least squares and logistic, against the penalties."""
    case = MOMENTS["wager"][0]
    x, w, y = matrix(case["X"]), numbers(case["beta"]), numbers(case["y"])
    z = (Layer(3, p).sample(SIMULATED * 4, rng=9).reshape(SIMULATED, 4, 3) / (1 - p) * x) @ w
    pre = PreActivation(w, x, Layer(3, 0.4))
    softplus = lambda z: np.logaddexp(0, z)  # noqa: E731
    losses = {
        "squares": (0.5 * np.sum((y - z) ** 2, axis=1), 0.5 * np.sum((y - x @ w) ** 2) + ridge_penalty(w, x, pre.law)),
        "logistic": (np.sum(softplus(z), axis=1), np.sum(pre.training.expect(softplus))),
    }
    for values, exact in losses.values():
        assert bool(abs(values.mean() - exact) < Z * values.std() / math.sqrt(SIMULATED)) is agrees


# ---------------------------------------------------------------- variance shift, ridge, learning rate


def test_variance_shift_of_a_batch_is_the_formulas():
    generator = np.random.default_rng(2)
    inputs = relu(generator.standard_normal((40_000, 30)))
    weights = generator.standard_normal((30, 5))
    p = 0.5
    ratio = PreActivation(weights, inputs, Layer(30, p)).variance_shift
    formula = variance_shift(p, 1 / math.sqrt(2 * math.pi), 0.5 - 1 / (2 * math.pi))
    assert formula == pytest.approx(0.405360124446, rel=1e-11)
    # 40,000 examples estimate a variance to 1%; uncorrelated inputs, any weights
    np.testing.assert_allclose(ratio, formula, rtol=0.03)
    assert np.abs(ratio - 0.5).min() > 0.05  # and not what inputs of mean 0 would give
    direct = PreActivation(weights, inputs, Layer(30, p), "direct").variance_shift
    np.testing.assert_allclose(direct, ratio, rtol=1e-12)


def test_variance_shift_with_correlated_inputs():
    generator = np.random.default_rng(3)
    n, rho = 20, 0.2
    common, own = generator.standard_normal((60_000, 1)), generator.standard_normal((60_000, n))
    inputs = 0.5 + math.sqrt(rho) * common + math.sqrt(1 - rho) * own
    weights = generator.standard_normal(n) + 0.5
    cos2 = weights.sum() ** 2 / (n * np.sum(weights**2))
    formula = variance_shift(0.3, 0.5, 1.0, correlation=rho, n=n, cos2=cos2)
    ratio = PreActivation(weights, inputs, Layer(n, 0.3)).variance_shift
    assert ratio == pytest.approx(formula, rel=0.02)
    assert abs(ratio / variance_shift(0.3, 0.5, 1.0) - 1) > 0.03


def test_variance_shift_takes_many_rates():
    np.testing.assert_allclose(variance_shift([0.0, 0.5]), [1.0, 0.5])


def test_ridge_solution_minimises_the_expected_loss():
    generator = np.random.default_rng(5)
    x, y, law = generator.standard_normal((6, 3)), generator.standard_normal(6), Layer(3, [0.1, 0.5, 0.8])

    def loss(w, decay):
        return 0.5 * np.sum((y - x @ w) ** 2) + ridge_penalty(w, x, law) + 0.5 * decay * np.sum(w**2)

    for decay in (0.0, 0.7):
        best = ridge_solution(x, y, law, decay)
        for direction in np.eye(3):
            slope = (loss(best + 1e-4 * direction, decay) - loss(best - 1e-4 * direction, decay)) / 2e-4
            assert abs(slope) < 1e-9
    plain = np.linalg.lstsq(x, y, rcond=None)[0]
    assert np.linalg.norm(ridge_solution(x, y, law)) < np.linalg.norm(plain)


def test_mean_gradient_is_the_full_one_and_a_ridge():
    # theory 1.5: w = (1, 2), x = (1, 1), y = 0, p = 1/2: full (3, 3), mean (4, 5), given kept (8, 10)
    w, x, p = np.array([1.0, 2.0]), np.array([1.0, 1.0]), 0.5
    masks, chance = every_mask(np.full(2, p))
    scaled = masks / (1 - p) * x
    gradients = (scaled @ w)[:, None] * scaled
    np.testing.assert_allclose(chance @ gradients, [4, 5])
    for j, expected in enumerate((8, 10)):
        kept = masks[:, j] == 1
        assert chance[kept] @ gradients[kept, j] / chance[kept].sum() == pytest.approx(expected)
    step = 1e-6
    ridge = [
        (ridge_penalty(w + step * e, x, Layer(2, p)) - ridge_penalty(w - step * e, x, Layer(2, p))) / (2 * step)
        for e in np.eye(2)
    ]
    np.testing.assert_allclose(np.array([3, 3]) + ridge, [4, 5], rtol=1e-8)


def test_direct_dropout_takes_the_same_steps_at_lr_over_q_squared():
    generator = np.random.default_rng(6)
    p, lr, decay = 0.4, 0.05, 0.3
    q, rate = 1 - p, effective_learning_rate(lr, p, weight_decay=decay)
    w = generator.standard_normal(5)
    v = w / q
    for _ in range(20):
        hidden, mask, target = generator.standard_normal(5), generator.random(5) >= p, generator.standard_normal()
        inverted, direct = hidden * mask / q, hidden * mask
        w = w - lr * ((inverted @ w - target) * inverted + decay * w)
        v_gradient = (direct @ v - target) * direct
        v = v - rate.direct_equivalent * (v_gradient + rate.direct_weight_decay * v)
        np.testing.assert_allclose(v, w / q, rtol=1e-10)


def test_effective_learning_rate_takes_many_rates():
    rate = effective_learning_rate(0.01, [0.0, 0.9])
    np.testing.assert_allclose(rate.kept_unit, [0.01, 0.1])
    np.testing.assert_allclose(rate.mean_step, [0.01, 0.01])


def test_effective_learning_rates_of_the_article():
    for case in reference("article_numbers")["effective_lr_eta0.01"]:
        rate = effective_learning_rate(0.01, number(case["p"]))
        assert rate.kept_unit == pytest.approx(number(case["eta_over_q"]), rel=1e-14)
        assert rate.direct_equivalent == pytest.approx(number(case["eta_over_q2_equiv_direct_SGD"]), rel=1e-13)


# ---------------------------------------------------------------- laws taken and refused


def test_networks_and_neurons_are_taken():
    net = Network(Layer(3, 0.2), Neuron(0.5))
    pre = PreActivation(np.ones(4), np.ones(4), net, scaling=None)
    assert pre.training.mean == pytest.approx(2.9)
    assert PreActivation([2.0], [3.0], Neuron(0.5)).training.variance == pytest.approx(36)


class Pairs:
    """Neurons dropped in pairs: a law, but not of independent neurons."""

    n = 4
    rates = np.full(4, 0.5)
    dropped = kept = None

    def prob(self, **_):
        raise NotImplementedError

    def sample(self, size=1, rng=None):
        return np.repeat(np.random.default_rng(rng).random((size, 2)) > 0.5, 2, axis=1)


@pytest.mark.parametrize("law", [Pairs(), Network(Layer(2, 0.5), Pairs())])
def test_dependent_neurons_are_refused(law):
    ones = np.ones(law.n)
    with pytest.raises(ValueError, match=r"PreActivation needs a law whose neurons are dropped independently .*Pairs"):
        PreActivation(ones, ones, law)


def test_the_variance_of_dependent_neurons_would_be_wrong():
    law = Pairs()
    z = law.sample(SIMULATED, rng=0) @ np.ones(4)
    assert z.var() > 1.5 * PreActivation(np.ones(4), np.ones(4), Layer(4, 0.5), scaling=None).training.variance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2, 3], [1, 2], Layer(3, 0.5)), r"got weights of shape \(3,\) and inputs of shape \(2,\)"),
        (([[1, 2]] * 3, [[1, 2]], Layer(3, 0.5)), r"got weights of shape \(3, 2\) and inputs of shape \(1, 2\)"),
        (([1, math.nan], [1, 2], Layer(2, 0.5)), r"weights must be finite; got nan at index 1"),
        (([[1, 2], [3, math.inf]], [1, 2], Layer(2, 0.5)), r"weights must be finite; got inf at index \(1, 1\)"),
        (([1, 2], [1, math.nan], Layer(2, 0.5)), r"inputs must be finite; got nan at index 1"),
        (([[[1]]], [1], Layer(1, 0.5)), r"weights must have shape \(n,\) or \(n, outputs\); got shape \(1, 1, 1\)"),
        (([1], [[[1]]], Layer(1, 0.5)), r"inputs must have shape \(n,\) or \(batch, n\); got shape \(1, 1, 1\)"),
        (
            ([1, 2], [1, 2], Layer(3, 0.5)),
            r"2 inputs, or for each of the 2 weights; got n = 3 and .* \(2,\)",
        ),
        (([1, 2], [1, 2], Layer(2, 0.5), "invert"), r"scaling must be 'inverted', 'direct' or None; got 'invert'"),
        (([1, 2], [1, 2], Layer(2, [0.5, 1.0])), r"inverted scaling 1/\(1 - p\) is undefined at p = 1; .* neuron 1"),
    ],
)
def test_bad_pre_activations(arguments, message):
    with pytest.raises(ValueError, match=message):
        PreActivation(*arguments)


def test_what_is_no_law_or_no_number():
    with pytest.raises(TypeError, match=r"law must be a law, such as .*; got 0.5 of type float"):
        PreActivation([1], [1], 0.5)
    with pytest.raises(TypeError, match="weights must be real numbers"):
        PreActivation(["a"], [1], Layer(1, 0.5))


def test_certain_drops_are_fine_without_inverted_scaling():
    assert PreActivation([1, 2], [1, 2], Layer(2, [0.5, 1.0]), "direct").inference.mean == 0.5


def test_bad_questions():
    side = PreActivation([[1, 2], [3, math.pi]], [1, 2], Layer(2, 0.5)).training
    with pytest.raises(ValueError, match=r"index must pick one sum out of shape \(2,\); got None"):
        side.lattice()
    with pytest.raises(IndexError, match=r"index must point into shape \(2,\); got 7"):
        side.lattice(7)
    with pytest.raises(ValueError, match="lie on no common lattice"):
        side.lattice(1)
    with pytest.raises(ValueError, match="span must be a positive number; got -1"):
        side.sf(0, span=-1)
    with pytest.raises(ValueError, match="method must be 'exact' or 'normal'; got 'mackay'"):
        side.mean_relu("mackay")
    with pytest.raises(ValueError, match="method must be 'exact', 'normal' or 'mackay'; got 'x'"):
        side.mean_sigmoid("x")
    with pytest.raises(ValueError, match=r"variance_shift needs a batch of inputs, of shape \(batch, n\); got \(2,\)"):
        _ = PreActivation([1, 2], [1, 2], Layer(2, 0.5)).variance_shift
    many = PreActivation(np.r_[1e-5, np.ones(400)], np.ones(401), Layer(401, 0.5)).training
    with pytest.raises(ValueError, match=r"lattice points .* use cdf, sf and pdf"):
        many.lattice()
    with pytest.raises(ValueError, match="lie on no common lattice"):
        PreActivation(np.sqrt(np.arange(2.0, 32)), np.ones(30), Layer(30, 0.5)).training.expect(np.tanh)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: variance_shift(1.0), r"undefined at p = 1; got p = 1$"),
        (lambda: variance_shift([0.5, 1.0]), "got p = 1 at index 1"),
        (lambda: variance_shift(1.2), r"p must be in \[0, 1\]; got 1.2"),
        (lambda: variance_shift(0.5, variance=0), "variance must be positive; got 0"),
        (lambda: variance_shift(0.5, correlation=2), r"correlation must be in \[-1, 1\]; got 2"),
        (lambda: variance_shift(0.5, cos2=1.5), r"cos2 must be in \[0, 1\]; got 1.5"),
        (lambda: variance_shift(0.5, correlation=-0.5, n=10, cos2=1.0), "negative variance"),
        (lambda: variance_shift(0.5, mean=math.nan), "mean must be finite; got nan"),
        (lambda: effective_learning_rate(0.1, 1.0), "undefined at p = 1"),
        (lambda: effective_learning_rate(0.0, 0.5), "lr must be positive; got 0.0"),
        (lambda: effective_learning_rate(0.1, 0.5, -1), "weight_decay must not be negative; got -1"),
        (lambda: ridge_penalty([1], [1], Layer(1, 1.0)), "undefined at p = 1"),
        (
            lambda: ridge_solution([[1.0]], [1, 2], Layer(1, 0.5)),
            r"inputs of shape \(1, 1\), targets of shape \(2,\)",
        ),
        (lambda: ridge_solution([[1.0]], [1], Layer(1, 0.5), -1), "weight_decay must not be negative; got -1"),
        (lambda: ridge_solution([[1.0]], [1], Layer(1, 1.0)), "undefined at p = 1"),
    ],
)
def test_bad_scaling_questions(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_nan_gives_nan(p):
    side = PreActivation(np.ones(3), np.ones(3), Layer(3, p)).training
    law = side.lattice()
    for question in (side.cdf, side.sf, side.pdf, law.cdf, law.sf, law.pmf):
        assert math.isnan(question(math.nan))
        assert np.isnan(question([math.nan, 1.0])).tolist() == [True, False]
    assert law.cdf([-math.inf, math.inf]).tolist() == pytest.approx([0, 1])


def test_lattice_shows_its_progress():
    pre = PreActivation(np.arange(1.0, 41), np.ones(40), Layer(40, 0.3), scaling=None)
    seen = []

    def shown(items, total, **_):
        for item in items:
            seen.append(total)
            yield item

    law = pre.training.lattice(progress=shown)
    assert seen == [40] * 40
    np.testing.assert_array_equal(law.masses, pre.training.lattice().masses)
    with pytest.raises(TypeError, match="progress must be"):
        pre.training.lattice(progress="yes")


def test_a_repr_gives_shapes_of_large_arrays():
    large = PreActivation(np.ones((1000, 50)), np.ones(1000), Layer(1000, 0.5))
    assert repr(large) == (
        "PreActivation(weights=an array of shape (1000, 50), inputs=an array of shape (1000,), "
        "law=Layer(1000, 0.5), scaling='inverted')"
    )
    assert repr(large.training).startswith("MaskedSum(weights=an array of shape (1000, 50), inputs=an array")
    assert "weights=array([1., 1.])" in repr(PreActivation(np.ones(2), np.ones(2), Layer(2, 0.5)))
