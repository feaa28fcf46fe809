"""Counts in tiles: those of their definition, on packed bits of any width."""

import numpy as np
import pytest

from dropstats import Layer
from dropstats.auditing.checks import tiles
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case
from dropstats.recording import Recording


def case_of(kept, p):
    return Case(Evidence(Recording.from_masks(kept)), Layer(kept.shape[1], p))


@pytest.mark.parametrize("block", [1, 50, 2**22])
@pytest.mark.parametrize(("trials", "n"), [(3, 2), (5, 3), (5, 7), (4, 8), (7, 13), (3, 100), (2, 1000)])
def test_counts_in_tiles_are_those_of_their_definition(monkeypatch, block, trials, n):
    monkeypatch.setattr(tiles, "_BLOCK", block)
    kept = np.random.default_rng(n).random((trials, n)) >= 0.4
    found = tiles.all_tiles(case_of(kept, 0.4))
    assert [one.size for one in found] == [2**k for k in range(1, 10) if 2**k <= n]
    for one in found:
        width = n // one.size
        drops = (~kept)[:, : width * one.size].reshape(trials, width, one.size).sum(axis=2)
        assert one.tiles == drops.size
        assert one.ratio == pytest.approx(((drops - 0.4 * one.size) ** 2).mean() / (0.24 * one.size))
        np.testing.assert_array_equal(one.observed, np.bincount(drops.ravel(), minlength=1 + one.support[-1]))


def test_no_tiles_where_there_is_no_chance():
    assert tiles.all_tiles(case_of(np.ones((4, 8), bool), 0.0)) == []
    assert tiles.all_tiles(case_of(np.ones((4, 8), bool), 1e-300)) == []
    assert tiles.measure(case_of(np.ones((4, 1), bool), 0.5)).state == "not applicable"


def test_rates_that_differ_are_looked_at_one_by_one():
    rng = np.random.default_rng(2)
    rates = np.tile([0.1, 0.4], 512)
    kept = rng.random((300, 1024)) >= rates
    kept[:, 1:128:2] = kept[:, 1:2]  # 64 neurons of rate 0.4 that are dropped together
    case = Case(Evidence(Recording.from_masks(kept)), Layer(1024, rates))
    finding = tiles.measure(case)
    assert finding.pvalue < 1e-9
    assert (finding["size"], finding["stream"].law.rate) == (64, 0.4)
    assert "in tiles of 64 neurons" in tiles.explain(finding, case, True)
    assert "of the 512 neurons of rate 0.4" in tiles.explain(finding, case, True)
