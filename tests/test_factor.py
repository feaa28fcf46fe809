"""The factor from inputs to kept outputs: it is always within its bounds, and the bounds are narrow."""

import math
from fractions import Fraction

import numpy as np
import pytest

import dropstats as ds
from dropstats import formats
from dropstats.recording import arrays, readers
from dropstats.recording.factor import Factor, _residual

# How an implementation may form its products, each rounded to the outputs' format at last.
WAYS = {
    "divided by 1 - p": lambda x, p, to: to(formats.rounded(x / to(1 - p), "float64")),
    "divided in float32": lambda x, p, to: to(formats.rounded(x / to(1 - p), "float32")),
    "times 1 / (1 - p)": lambda x, p, to: to(x * to(1 / (1 - p))),
    "times a float32": lambda x, p, to: to(formats.rounded(x * formats.rounded(1 / (1 - p), "float32"), "float32")),
}
FACTORS = {
    "divided by 1 - p": lambda p, to: 1 / Fraction(to(1 - p)),
    "divided in float32": lambda p, to: 1 / Fraction(to(1 - p)),
    "times 1 / (1 - p)": lambda p, to: Fraction(to(1 / (1 - p))),
    "times a float32": lambda p, to: Fraction(formats.rounded(1 / (1 - p), "float32")),
}


def ways(dtype):
    return [way for way in WAYS if "float32" not in way or dtype != "float64"]


def outputs(dtype, way, seed, shape=(20, 100)):
    """Inputs, outputs and the factor between them, of dropout in a format."""
    rng, p = np.random.default_rng([seed, 10]), (0.1, 0.3, 0.5, 0.05)[seed % 4]

    def to(values):
        return formats.rounded(values, dtype)

    x, kept = to(rng.standard_normal(shape)), rng.random(shape) >= p
    return x, np.where(kept, WAYS[way](x, p, to), 0.0), FACTORS[way](p, to), p


def holds(factor, tolerance, truth):
    return abs(Fraction(factor) - truth) <= Fraction(tolerance) * abs(truth)


def check(dtype, seeds):
    """The true factor is within the bounds, and the bounds are narrower than one rounding leaves them."""
    tolerances = []
    for way in ways(dtype):
        for seed in seeds:
            x, y, truth, _ = outputs(dtype, way, seed)
            kept = (y != 0) & (x != 0)
            bounds = Factor(dtype)
            bounds.add(x[kept], y[kept])
            factor, tolerance = bounds.value()
            assert holds(factor, tolerance, truth), (dtype, way, seed)
            for end in (bounds._low, bounds._high):  # as it would were the truth at either end
                assert holds(factor, tolerance, Fraction(bounds._near) + Fraction(float(end[0])))
            assert tolerance >= 2.0**-52  # the roundings to doubles of the factor, and of what it is compared with
            tolerances.append(tolerance)
    # with few digits two inputs of three have the same few mantissas, and bounds stay wide
    part = 0.35 if formats.digits(dtype) < 4 else 0.2
    assert np.median(tolerances) < part * formats.resolution(dtype) + 2.0**-52
    return len(tolerances)


@pytest.mark.parametrize("dtype", formats.DTYPES)
def test_the_true_factor_is_within_its_bounds(dtype):
    check(dtype, range(40))


@pytest.mark.slow
def test_it_is_in_ten_thousand_recordings():
    assert sum(check(dtype, range(100, 350)) for dtype in formats.DTYPES) >= 10_000


def test_the_recording_of_the_report_passes():
    for seed in range(200):  # one in ten failed
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((20, 100))
        keep = rng.random(x.shape) >= 0.1
        recording = ds.Recording.from_outputs(np.where(keep, x / (1 - 0.1), 0), p=0.1, inputs=x)
        assert recording.unscaled == 0
        assert ds.audit(recording, tests="scale")["scale"].verdict == "pass"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("ulps", [-3, 3])
def test_a_factor_wrong_by_some_units_of_the_last_place_is_seen(dtype, ulps):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal(1000).astype(dtype)
        right = np.dtype(dtype).type(1 / 0.9)
        wrong = right + np.dtype(dtype).type(ulps * formats.resolution(dtype))
        bounds = Factor(dtype)
        bounds.add(x.astype(float), (x * wrong).astype(float))
        factor, tolerance = bounds.value()
        assert holds(factor, tolerance, Fraction(float(wrong)))
        assert not holds(factor, tolerance, Fraction(float(right)))
        report = ds.audit(ds.Recording.from_outputs((x * wrong)[None], 0.1, inputs=x), tests="scale")
        assert report["scale"].verdict == "fail"


def test_every_pair_narrows_the_bounds():
    x, y, truth, _ = outputs("float16", "times 1 / (1 - p)", 1)
    kept = (y != 0) & (x != 0)
    x, y = x[kept], y[kept]
    bounds, last = Factor("float16"), math.inf
    for k in range(0, 1200, 30):
        bounds.add(x[k : k + 30], y[k : k + 30])
        factor, tolerance = bounds.value()
        assert holds(factor, tolerance, truth)
        assert tolerance <= 2 * last  # by at most the choice of the middle
        last = min(last, tolerance)
    assert bounds.pairs == 1200
    together = Factor("float16")
    together.add(x[:1200], y[:1200])
    assert together.value()[1] <= 2 * last


def test_negative_inputs_and_factors():
    x = np.random.default_rng(0).standard_normal(500)
    for factor in (-1.3, 1.3, 1e-3, 7e5):
        bounds = Factor("float64")
        bounds.add(x, x * factor)
        assert holds(*bounds.value(), Fraction(factor))


def test_powers_of_two_give_the_factor_as_the_format_has_it():
    x = np.exp2(np.random.default_rng(0).integers(-3, 4, 100)) * np.random.default_rng(1).choice([-1, 1], 100)
    bounds = Factor("float32")
    bounds.add(x, x * float(np.float32(1 / 0.9)))
    assert bounds.value() == (float(np.float32(1 / 0.9)), 0.0)
    bounds.add(np.array([3.0]), np.array([float(np.float32(3) * np.float32(1 / 0.9))]))
    assert bounds.value()[1] > 0


def test_ones_that_stay_are_one():
    x = np.random.default_rng(0).standard_normal(100)
    bounds = Factor("float64")
    bounds.add(x, x)
    assert bounds.value()[0] == 1.0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_products_rounded_more_than_once_widen_the_bounds(dtype):
    for seed in range(30):
        x = formats.rounded(np.random.default_rng(seed).standard_normal(300), dtype)
        root = formats.rounded(math.sqrt(1 / 0.9), dtype)
        y = formats.rounded(formats.rounded(x * root, dtype) * root, dtype)
        bounds = Factor(dtype)
        bounds.add(x, y)
        factor, tolerance = bounds.value()
        assert holds(factor, tolerance, Fraction(root) ** 2)
        assert tolerance < 2 * formats.resolution(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(20, 100), (2, 5)])
def test_inputs_of_more_digits_may_have_been_rounded_first(dtype, shape):
    for seed in range(60):
        rng, p = np.random.default_rng(seed), 0.1
        x, kept = rng.standard_normal(shape), rng.random(shape) >= p
        y = formats.rounded(formats.rounded(x, dtype) * formats.rounded(1 / (1 - p), dtype), dtype)
        bounds = Factor(dtype, 3)
        bounds.add(x[kept], y[kept])
        assert holds(*bounds.value(), Fraction(formats.rounded(1 / (1 - p), dtype)))
    if dtype != "bfloat16":  # which NumPy does not hold
        recording = ds.Recording.from_outputs(np.where(kept, y, 0).astype(dtype), p, inputs=x)
        assert recording.unscaled == 0
        assert holds(*recording.scales, recording.scale_tolerance, Fraction(formats.rounded(1 / (1 - p), dtype)))


def test_pairs_that_belong_to_no_product_do_not_count():
    x = np.random.default_rng(0).standard_normal(400)
    y = x / 0.9
    y[:50] *= 1.5
    y[50] = 5e-324
    bounds = Factor("float64")
    bounds.add(x, y)
    assert holds(*bounds.value(), 1 / Fraction(0.9))
    noise = Factor("float64")
    noise.add(x, np.random.default_rng(1).standard_normal(400))
    assert noise.value()[1] <= 2.0**-50
    assert Factor("float64").value() == (0.0, 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_products_that_no_four_roundings_explain_have_the_uncertainty_of_one_number(dtype):
    x, off = np.linspace(1.1, 1.2, 99), np.tile([5.5, 0.0, -5.5], 33)
    y = x * 1.25 + off * formats.resolution(dtype) / 2  # half a spacing at 1.4
    bounds = Factor(dtype)
    bounds.add(x, y)
    factor, tolerance = bounds.value()
    assert tolerance == formats.resolution(dtype)
    assert abs(factor - 1.25) <= 6 * tolerance


def test_a_ratio_that_is_no_number_is_no_factor():
    bounds = Factor("float64")
    bounds.add(np.array([3e300]), np.array([1e-300]))
    assert bounds.value() == (0.0, 0.0)


@pytest.mark.parametrize("factor", [2, -3])
def test_integers_are_exact(factor):
    x = np.random.default_rng(0).integers(1, 100, (20, 30))
    recording = ds.Recording.from_outputs(x * factor, inputs=x)
    assert recording.scales == {float(factor): 600}
    assert (recording.unscaled, recording.dtype) == (0, "int64")
    wrong = x * factor
    wrong[3, 4] += 1
    assert ds.Recording.from_outputs(wrong, inputs=x).unscaled == 1


def test_subnormal_outputs_do_not_count():
    x = np.array([1.5, 2.5e-42, 3.3e-45 * 2])
    bounds = Factor("float32")
    bounds.add(x, formats.rounded(x * 1.25, "float32"))
    assert holds(*bounds.value(), Fraction(5, 4))
    nothing_else = ds.Recording.from_outputs(np.full((2, 3), 2e-44, np.float32), inputs=np.full(3, 1e-44, np.float32))
    assert nothing_else.unscaled == 0


def test_residuals_are_exact():
    rng = np.random.default_rng(0)
    x, s = rng.random(200) / 2 + 0.5, 1 / 0.9
    y = x / 0.9
    for residual, a, b in zip(_residual(y, x, s), x, y, strict=True):
        truth = Fraction(float(b)) - Fraction(float(a)) * Fraction(s)
        assert abs(Fraction(float(residual)) - truth) <= abs(truth) * Fraction(1, 2**52)


def test_no_output_is_a_product_of_its_input():
    """``x + 1`` in place of x / (1 - p): what is not scaled is counted, and there is no scale that occurs 0 times."""
    x = np.random.default_rng(0).standard_normal((20, 100))
    recording = ds.Recording.from_outputs(x + 1, p=0.1, inputs=x)
    assert recording.unscaled > 0.99 * x.size
    assert sum(recording.scales.values()) + recording.unscaled == x.size
    assert 0 not in recording.scales.values()
    pair = ds.Recording.from_outputs([[2.0, 3.0]], inputs=[[1.0, 1e300]])
    assert pair.scales in ({2.0: 1}, {}) or pair.unscaled == 2


@pytest.mark.parametrize("shared", [False, True])
def test_the_scale_is_told_by_so_many_pairs_at_most(monkeypatch, shared):
    monkeypatch.setattr(readers, "_SAMPLE", 60)
    monkeypatch.setattr(arrays, "SLICE", 128)
    seen = []
    monkeypatch.setattr(Factor, "add", lambda self, x, y, add=Factor.add: seen.append(x.size) or add(self, x, y))
    rng = np.random.default_rng(0)
    x = rng.standard_normal(50 if shared else (40, 50))
    recording = ds.Recording.from_outputs(np.where(rng.random((40, 50)) >= 0.3, x / 0.7, 0), inputs=x)
    assert 60 <= sum(seen) < 110  # no more than a row beyond
    assert recording.unscaled == 0
    assert holds(*recording.scales, recording.scale_tolerance, 1 / Fraction(0.7))


@pytest.mark.parametrize("shared", [False, True])
def test_the_scale_is_told_by_later_calls_where_the_first_drop_everything(shared):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(50 if shared else (40, 50))
    outputs = np.where(rng.random((40, 50)) >= 0.3, x / 0.7, 0)
    outputs[:3] = 0
    recording = ds.Recording.from_outputs(outputs, inputs=x)
    assert recording.unscaled == 0
    assert holds(*recording.scales, recording.scale_tolerance, 1 / Fraction(0.7))


@pytest.mark.parametrize("as_calls", [False, True])
def test_the_scale_of_many_small_calls_is_that_of_all(as_calls):
    x, y, truth, p = outputs("float32", "times 1 / (1 - p)", 1, (300, 7))
    x, y = x.astype(np.float32), y.astype(np.float32)
    if as_calls:
        recorder = ds.Recorder(p)
        for one, other in zip(y, x, strict=True):
            recorder.add(one, other)
        recording = recorder.recording()
    else:
        recording = ds.Recording.from_outputs(y, p, x)
    (factor,) = recording.scales
    assert holds(factor, recording.scale_tolerance, truth)
    assert recording.unscaled == 0
    assert recording.scale_tolerance < 0.02 * formats.resolution("float32")  # that of one call is 0.1
