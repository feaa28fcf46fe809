"""Number formats: rounding against NumPy and ml_dtypes, exhaustively where a format has few numbers."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest

from dropstats import formats

SMALL = formats.DTYPES[3:]  # those that NumPy itself does not know


def doubles(count=20_000, seed=0):
    """Doubles of any bits, and normal ones of usual size."""
    rng = np.random.default_rng(seed)
    anything = rng.integers(0, 2**64, count, dtype=np.uint64).view(np.float64)
    return np.concatenate([anything, rng.normal(size=count) * np.exp2(rng.integers(-40, 20, count))])


def numbers(dtype):
    """Every finite number of a small format, in order: a significand of its digits times a power of two."""
    form = formats._FORMATS[dtype]
    step, found = formats.smallest(dtype), [0.0]
    while found[-1] < form.largest:
        found.append(found[-1] + step)
        if math.log2(found[-1]).is_integer() and found[-1] >= 2.0 ** (form.lowest + 1):
            step *= 2
    return np.array(found)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_numpys_formats_round_as_numpy_does(dtype):
    values = np.concatenate(
        [doubles(), [0.0, -0.0, math.inf, -math.inf, math.nan, 65519.99, 65520.0, 2.0**128, 5e-324]]
    )
    with np.errstate(all="ignore"):
        expected = values.astype(dtype).astype(np.float64)
    np.testing.assert_array_equal(formats.rounded(values, dtype), expected)
    form, info = formats._FORMATS[dtype], np.finfo(dtype)
    assert formats.resolution(dtype) == info.eps
    assert formats.smallest(dtype) == info.smallest_subnormal
    assert form.largest == info.max
    assert formats.digits(dtype) == info.nmant + 1


@pytest.mark.parametrize("dtype", [name for name in SMALL if name.startswith("float8")])
def test_every_number_of_eight_bits_is_its_own_and_the_nearest(dtype):
    held = numbers(dtype)
    assert len(held) <= 2**7
    np.testing.assert_array_equal(formats.rounded(held, dtype), held)
    middle = (held[1:] + held[:-1]) / 2
    np.testing.assert_array_equal(formats.rounded(np.nextafter(middle, 0), dtype), held[:-1])
    np.testing.assert_array_equal(formats.rounded(np.nextafter(middle, math.inf), dtype), held[1:])
    # of two equally near ones the one of an even last digit: every other number
    np.testing.assert_array_equal(formats.rounded(middle, dtype), held[np.arange(1, len(held)) // 2 * 2])
    np.testing.assert_array_equal(formats.rounded(-held, dtype), -held)


@pytest.mark.parametrize("dtype", SMALL)
def test_what_is_beyond_the_largest_number(dtype):
    form = formats._FORMATS[dtype]
    spacing = 2.0 ** (math.floor(math.log2(form.largest)) + 1 - form.digits)
    beyond = formats.rounded(form.largest + 0.51 * spacing, dtype)
    assert formats.rounded(form.largest + 0.49 * spacing, dtype) == form.largest
    assert beyond == math.inf if form.infinite else math.isnan(beyond)
    assert formats.rounded(-math.inf, dtype) == -math.inf or not form.infinite


@pytest.mark.parametrize("dtype", SMALL)
def test_small_formats_round_as_ml_dtypes_does(dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    held = np.dtype(getattr(ml_dtypes, dtype))
    info, form = ml_dtypes.finfo(held), formats._FORMATS[dtype]
    assert (formats.resolution(dtype), formats.smallest(dtype)) == (float(info.eps), float(info.smallest_subnormal))
    assert (formats.digits(dtype), form.largest) == (info.nmant + 1, float(info.max))
    # ml_dtypes rounds a double to float32 first, so float32 it gets
    given = formats.rounded(doubles(), "float32")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = given.astype(held).astype(np.float64)
    np.testing.assert_array_equal(formats.rounded(given, dtype), expected)


def test_rounding_is_from_the_double_itself():
    # 1 + 2^-8 is half way between two bfloat16; a double just above it is, too, once it was rounded to float32
    value = 1 + 2.0**-8 + 2.0**-40
    assert formats.rounded(value, "bfloat16") == 1 + 2.0**-7
    assert formats.rounded(formats.rounded(value, "float32"), "bfloat16") == 1.0
    exact = Fraction(value)
    assert abs(Fraction(1 + 2.0**-7) - exact) < abs(Fraction(1.0) - exact)


def test_numbers_in_and_out():
    assert isinstance(formats.rounded(0.1, "bfloat16"), float)
    assert formats.rounded(np.full((2, 3), 0.1), "float16").shape == (2, 3)
    assert formats.resolution("int64") == formats.smallest("bool") == formats.resolution("uint8") == 0
    assert set(formats.DTYPES) > {"float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"}


@pytest.mark.parametrize("function", [formats.digits, formats.resolution, formats.smallest])
def test_an_unknown_format_is_named(function):
    with pytest.raises(ValueError, match=r"dtype must be one of float64, float32, .*; got 'float8'"):
        function("float8")
    with pytest.raises(ValueError, match="got 'posit16'"):
        formats.rounded(1.0, "posit16")
