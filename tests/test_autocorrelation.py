"""Autocorrelation of a series against its sums, formed one by one."""

import numpy as np
import pytest

from dropstats.auditing import autocorrelation as of_series
from dropstats.auditing.checks import serial


def sums(series):
    """Return the circular autocorrelation sums, one by one."""
    return np.array([series @ np.roll(series, -lag) for lag in range(series.size // 2 + 1)])


@pytest.mark.parametrize("long", [0, 2**21])
@pytest.mark.parametrize("length", [2, 4, 6, 12, 30, 98, 900, 1024])
def test_the_sums_of_products(monkeypatch, long, length):
    monkeypatch.setattr(of_series, "_LONG", long)
    series = np.random.default_rng(length).random(length) - 0.5
    found = of_series.autocorrelation(series.astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, sums(series), atol=1e-6 * max(1, length / 12))


def test_a_long_series_repeats_itself_where_it_does():
    length = of_series.length_for(5_000_001)
    assert length >= 5_000_002
    series = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    series[1_234_567:] += 0.5 * series[: length - 1_234_567]
    expected = [float(series.astype(np.float64) @ np.roll(series, -lag)) for lag in (0, 1, 1_234_567, length // 2)]
    found = of_series.autocorrelation(series)
    assert found.size == length // 2 + 1
    np.testing.assert_allclose(found[[0, 1, 1_234_567, length // 2]], expected, atol=2e-6 * expected[0])
    assert int(np.argmax(np.abs(found[1:]))) + 1 == 1_234_567


@pytest.mark.parametrize("size", [5, 501, 4096, 4097, 4098, 3 * 4096, 50_000])
def test_the_largest_lags_are_found(size):
    values = 2 * np.random.default_rng(size).random(size).astype(np.float32) - 1
    values[0], values[size // 2], values[-1] = 9, 2, -2
    expected = 1 + np.argsort(np.abs(values[1:]))[-4:]
    assert sorted(serial._largest(values).tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize(("size", "length"), [(1, 2), (2, 2), (7, 8), (2**20 + 1, 1049760), (52_428_800, 52_428_800)])
def test_lengths_are_even_and_smooth(size, length):
    assert of_series.length_for(size) == length
    height, width = of_series._sides(length // 2)
    assert height * width == length // 2
