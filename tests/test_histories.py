"""Neurons that do what another one did some calls before: found where they are, and nowhere else."""

import numpy as np
import pytest
from faults import carried as with_carried

from dropstats import Layer
from dropstats.auditing import histories
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case
from dropstats.recording import Recording


def case_of(kept, p):
    return Case(Evidence(Recording.from_masks(kept)), Layer(kept.shape[1], p))


def by_hand(kept, lag):
    """Return every pair j != k of which k does what j did `lag` calls before, and j changes."""
    early, late = kept[:-lag], kept[lag:]
    same = (early[:, :, None] == late[:, None, :]).all(axis=0)
    np.fill_diagonal(same, val=False)
    same[(early == early[:1]).all(axis=0)] = False
    return same


@pytest.mark.parametrize("trials", [20, 24, 37])
@pytest.mark.parametrize("pieces", [True, False])
def test_all_neurons_that_have_such_a_partner_are_found(monkeypatch, trials, pieces):
    from dropstats.auditing import evidence

    if pieces:  # masks are unpacked in blocks of calls
        monkeypatch.setattr(evidence, "_WHOLE", 10)
        monkeypatch.setattr(evidence, "_BLOCK", 8 * 60)
    rng = np.random.default_rng(trials)
    kept = rng.random((trials, 60)) >= 0.5
    for k in range(0, 20, 2):
        lag = int(rng.integers(1, 9))
        kept[lag:, k] = kept[:-lag, k + 1]
    kept[:, 30], kept[:, 31], kept[:, 32] = True, False, kept[:, 33]
    kept[:, 40], kept[:, 41] = True, False  # as others, but without a change
    found = {lag: (j, k) for lag, j, k in histories._equal(Evidence(Recording.from_masks(kept)))}
    for lag in range(1, histories.LATEST + 1):
        expected = by_hand(kept, lag)
        j, k = found.get(lag, (np.zeros(0, int), np.zeros(0, int)))
        assert j.tolist() == np.flatnonzero(expected.any(axis=1)).tolist()
        assert expected[j, k].all()


@pytest.mark.parametrize("lag", [1, 2, 8])
def test_the_pair_and_its_lag(lag):
    kept = with_carried(300, 100, 0.2, 90, 4, lag)(np.random.default_rng(0))
    found = histories.carried(case_of(kept, 0.2))
    assert (found.first.tolist(), found.second.tolist(), found.lag) == ([90], [4], lag)
    assert found.pvalue < 1e-15


def test_too_few_calls_tell_nothing():
    rng = np.random.default_rng(0)
    assert histories.carried(case_of(rng.random((16, 100)) >= 0.5, 0.5)) is None
    assert histories.carried(case_of(rng.random((60, 100)) >= 0.02, 0.02)) is None
    assert histories.carried(case_of(rng.random((60, 100)) >= 0.5, 0.5)).pvalue == 1


def test_one_neuron_has_no_other():
    rng = np.random.default_rng(0)
    assert histories.carried(case_of(rng.random((200, 1)) >= 0.5, 0.5)) is None
    assert histories.carried(case_of(np.zeros((200, 9), bool), 0.5)) is None  # nor have those that never change


@pytest.mark.parametrize("p", [0.5, 0.1])
def test_as_many_calls_are_looked_at_as_tell_for_sure(p):
    kept = with_carried(2000, 30, p, 7, 4, 3)(np.random.default_rng(0))
    found = histories.carried(case_of(kept, p))
    assert (found.first.tolist(), found.second.tolist(), found.lag) == ([7], [4], 3)
    rarer = min(p, 1 - kept.mean())
    agree = rarer**2 + (1 - rarer) ** 2
    limit = 1e-4 / 8 * np.exp(-40)
    assert 30 * 29 * agree ** (found.case.trials - 8) <= limit < 30 * 29 * agree ** (found.case.trials - 9)


def test_a_rate_that_is_lower_than_declared_is_no_repetition():
    found = histories.carried(case_of(np.random.default_rng(0).random((80, 300)) >= 0.01, 0.5))
    assert found is None or found.pvalue == 1


def test_equal_hashes_of_unequal_histories_are_let_go(monkeypatch):
    kept = np.random.default_rng(0).random((80, 50)) >= 0.5
    monkeypatch.setattr(histories, "_matches", lambda early, late, changes: (np.array([3, 4]), np.array([7, 8])))
    assert histories.carried(case_of(kept, 0.5)).pvalue == 1
