"""simulation: the same tally everywhere, in bounded memory, distributed as the law says."""

import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from cases import EDGE_LAWS
from cases import LAWS as CASES
from scipy import stats

import dropstats as ds
from dropstats import simulation, tallies

# False-alarm rate of a statistical check; seeds are fixed, so a failure is a bug.
ALPHA = 1e-7


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 masks of up to 1024 neurons, so that a short run has many."""
    monkeypatch.setattr(simulation, "_BLOCK_NEURONS", 2**16)
    monkeypatch.setattr(simulation, "_BLOCKS", 2**63)


class Fixed:
    """A law of the least kind: n and sample; of n neurons, k are dropped."""

    def __init__(self, n, k):
        self.n, self.k = n, k

    def sample(self, size, rng):
        ranks = rng.random((size, self.n)).argsort(axis=1)
        return ranks >= self.k


NETWORK = ds.Network(
    ds.Layer(100, 0.2), ds.Network(ds.Layer(64, np.linspace(0, 1, 64)), ds.Neuron(0.3)), ds.Layer(0, 0.5)
)
LAWS = {
    "fair": ds.Layer(1024, 0.5),
    "tenth": ds.Layer(1000, 0.1),
    "own": ds.Layer(130, np.linspace(0.05, 0.9, 130)),
    "neuron": ds.Neuron(0.25),
    "empty": ds.Layer(0, 0.5),
    "certain": ds.Layer(70, [0.0] * 35 + [1.0] * 35),
    "network": NETWORK,
    "other": Fixed(40, 13),
    "mixed": ds.Network(ds.Layer(10, 0.5)),
}


# --- what is returned -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("trials", [1, 63, 200])
def test_a_tally_is_consistent_in_itself(name, trials, small_blocks):
    tally = ds.simulate(LAWS[name], trials, rng=1)
    assert tally.trials == trials
    assert tally.n == LAWS[name].n
    assert tally.drops.dtype == tally.histogram.dtype == np.int64
    assert tally.histogram.sum() == trials
    assert tally.histogram @ np.arange(tally.n + 1) == tally.drops.sum()
    assert not tally.drops.flags.writeable


def test_a_network_is_tallied_with_its_parts(small_blocks):
    tally = ds.simulate(NETWORK, 500, rng=2)
    assert [part.n for part in tally.layers] == [100, 65, 0]
    assert [part.n for part in tally.layers[1].layers] == [64, 1]
    np.testing.assert_array_equal(tally.drops, np.concatenate([part.drops for part in tally.layers]))
    assert all(part.trials == 500 and part.histogram.sum() == 500 for part in tally.layers)


@pytest.mark.parametrize("name", ["fair", "tenth", "own", "network", "neuron"])
def test_one_block_is_the_tally_of_the_masks_of_its_seed(name):
    law = LAWS[name]
    block = np.random.SeedSequence(5, spawn_key=(0,))
    masks = law.sample(300, np.random.Generator(np.random.SFC64(block)))
    assert ds.simulate(law, 300, rng=5) == ds.tally(masks, law if isinstance(law, ds.Network) else None)


def test_a_run_is_the_sum_of_its_blocks(small_blocks):
    law, block = LAWS["fair"], 64
    parts = []
    for index, size in enumerate([block, block, 22]):
        seed = np.random.SeedSequence(9, spawn_key=(index,))
        parts.append(ds.tally(law.sample(size, np.random.Generator(np.random.SFC64(seed)))))
    assert ds.simulate(law, 150, rng=9) == sum(parts)


def test_the_same_rng_gives_the_same_tally_and_another_another():
    law = LAWS["fair"]
    first = ds.simulate(law, 1000, rng=3)
    assert first == ds.simulate(law, 1000, rng=np.random.SeedSequence(3))
    assert first != ds.simulate(law, 1000, rng=4)
    assert first != ds.simulate(law, 1000, rng=np.random.SeedSequence(3).spawn(1)[0])
    generator = np.random.default_rng(3)
    assert ds.simulate(law, 1000, rng=generator) != ds.simulate(law, 1000, rng=generator)
    assert ds.simulate(law, 10) != ds.simulate(law, 10)


def test_blocks_depend_on_n_and_trials_alone_and_stay_within_bounds():
    for n in (0, 1, 10, 1024, 10**6, 10**8, 2**53):
        sizes = [simulation._block_trials(n, trials) for trials in (1, 1000, 10**6, 10**12, 2**63 - 1)]
        assert all(a <= b for a, b in pairwise(sizes))
        assert all(1 <= size <= 2**20 for size in sizes)
    assert simulation._block_trials(1024, 2**63 - 1) == 2**18
    assert simulation._block_trials(1, 2**63 - 1) == 2**20
    assert simulation._block_trials(10**8, 1) == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fair", [493, 476, 504, 511576, 511]),
        ("tenth", [96, 82, 107, 100103, 100]),
        ("own", [51, 50, 72, 61993, 61]),
        ("network", [193, 208, 210, 52204, 51]),
    ],
)
@pytest.mark.skipif(sys.byteorder != "little", reason="16-bit indices are read in the machine's byte order")
def test_golden_tallies(name, expected):
    """A change here changes everyone's numbers: "Value-breaking" in the changelog."""
    tally = ds.simulate(LAWS[name], 1000, rng=12345)
    assert [*tally.drops[:3].tolist(), int(tally.drops.sum()), int(tally.histogram.argmax())] == expected


# --- statistics: the tally against the law, and against a wrong law --------------------------------------------------


def histogram_pvalue(tally, law):
    """Chi-square test of the numbers of dropped neurons; null: they follow the law's count. At least 10 a bin."""
    support = np.arange(tally.n + 1)
    expected = tally.trials * np.asarray(law.dropped.pmf(support), float)
    bins = np.floor(np.cumsum(expected) / 10).astype(int)
    bins = np.minimum(bins, bins[-1] - 1)
    observed, wanted = (np.bincount(bins, weights=w) for w in (tally.histogram, expected))
    keep = wanted > 0
    return stats.chisquare(observed[keep], wanted[keep] * observed.sum() / wanted[keep].sum()).pvalue


def rates_pvalue(tally, law):
    """Smallest exact binomial p-value of a neuron's drops, times the number of neurons (Bonferroni)."""
    drops, rates = tally.drops, law.rates
    tails = np.minimum(stats.binom.cdf(drops, tally.trials, rates), stats.binom.sf(drops - 1, tally.trials, rates))
    return min(1.0, 2 * tally.n * tails.min())


@pytest.mark.parametrize(
    ("name", "wrong_rates", "wrong_count"),
    [
        ("fair", ds.Layer(1024, 0.51), ds.Layer(1024, 0.5005)),
        ("tenth", ds.Layer(1000, 0.11), ds.Layer(1000, 26 / 256)),
        ("own", ds.Layer(130, np.linspace(0.05, 0.9, 130)[::-1]), ds.Layer(130, 0.475)),
        ("neuron", ds.Neuron(0.24), None),
    ],
)
def test_tallies_follow_their_law_and_no_other(name, wrong_rates, wrong_count):
    law = LAWS[name]
    tally = ds.simulate(law, 200_000, rng=2024)
    assert rates_pvalue(tally, law) > ALPHA
    assert rates_pvalue(tally, wrong_rates) < ALPHA
    if wrong_count:
        assert histogram_pvalue(tally, law) > ALPHA
        assert histogram_pvalue(tally, wrong_count) < ALPHA


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_law_is_simulated_as_it_says_and_not_as_a_wrong_law_says(case):
    """Neuron by neuron (exact, Bonferroni) and the numbers dropped: no impossible one, the others by chi-square."""
    tally = ds.simulate(case.law, 400_000, rng=77)

    def pvalue(law):
        if tally.histogram[law.dropped.pmf(np.arange(law.n + 1)) == 0].any():
            return 0.0
        counts = histogram_pvalue(tally, law) if law.dropped.var() > 0 else 1.0
        return min(rates_pvalue(tally, law), counts)

    assert pvalue(case.law) > ALPHA
    assert pvalue(case.wrong) < ALPHA


@pytest.mark.parametrize("law", [law for law in EDGE_LAWS if law.n < 2**40], ids=repr)
def test_laws_at_the_ends_of_their_range_are_simulated(law):
    tally = ds.simulate(law, 100, rng=1)
    assert tally.drops[law.rates == 0].sum() == 0
    assert (tally.drops[law.rates == 1] == 100).all()
    assert law.sample(3, rng=1).shape == (3, law.n)


def test_a_network_follows_its_law_and_its_parts_theirs():
    tally = ds.simulate(NETWORK, 100_000, rng=1)
    assert histogram_pvalue(tally, NETWORK) > ALPHA
    assert histogram_pvalue(tally.layers[0], NETWORK.parts[0]) > ALPHA
    # a binomial law of the mean rate is too wide for neurons of different rates
    assert histogram_pvalue(tally, ds.Layer(NETWORK.n, NETWORK.rates.mean())) < ALPHA


def test_blocks_are_independent_of_each_other(small_blocks):
    """Null: means of 2000 blocks are uncorrelated with their neighbours'; normal test."""
    means = []
    ds.simulate(ds.Layer(64, 0.5), 2000 * 1024, rng=8, until=lambda tally: means.append(tally.drops.sum()))
    steps = np.diff(means, prepend=0).astype(float)
    steps = (steps - steps.mean()) / steps.std()
    bound = stats.norm.isf(ALPHA / 2) / np.sqrt(steps.size)
    assert len(steps) == 2000
    assert abs(np.mean(steps[1:] * steps[:-1])) < bound
    assert abs(np.mean(steps * steps)) > bound  # the same stream in every block would not pass


# --- convergence ----------------------------------------------------------------------------------------------------


def test_until_stops_at_the_first_block_that_is_precise_enough(small_blocks):
    law = ds.Layer(64, 0.3)
    seen = []

    def condition(tally):
        seen.append(tally)
        return tally.standard_error("mean") < 0.02

    tally = ds.simulate(law, 10**9, rng=6, until=condition)
    assert tally == seen[-1]
    assert [t.standard_error("mean") < 0.02 for t in seen] == [False] * (len(seen) - 1) + [True]
    assert len(seen) > 10
    assert tally == ds.simulate(law, 10**9, rng=6, until=ds.precise_to(0.02))
    # what an earlier call was given has not changed since
    assert [t.trials for t in seen] == [t.histogram.sum() for t in seen]


@pytest.mark.parametrize("moment", tallies.MOMENTS)
def test_precise_to_a_moment(moment, small_blocks):
    law = ds.Layer(64, 0.3)
    target = 0.01 if moment in ("mean", "skewness") else 0.05
    tally = ds.simulate(law, 10**7, rng=6, until=ds.precise_to(target, moment))
    assert tally.trials < 10**7
    assert target * 0.9 < tally.standard_error(moment) <= target


def test_precise_to_a_probability(small_blocks):
    law = ds.Layer(64, 0.3)
    dropped = ds.simulate(law, 10**8, rng=6, until=ds.precise_to(2e-3, dropped=(25, None)))
    kept = ds.simulate(law, 10**8, rng=6, until=ds.precise_to(2e-3, kept=(None, 39)))
    assert dropped == kept  # the same question
    estimate = dropped.histogram[25:].sum() / dropped.trials
    assert np.sqrt(estimate * (1 - estimate) / dropped.trials) <= 2e-3
    # five standard errors around the exact answer
    assert abs(estimate - law.prob(dropped=(25, None))) < 5 * 2e-3


def test_a_probability_of_which_nothing_was_seen_is_not_taken_for_known():
    rare = ds.precise_to(1e-4, dropped=64)
    assert not rare(ds.simulate(ds.Layer(64, 0.3), 1000, rng=1))
    assert rare(ds.simulate(ds.Layer(64, 0.3), 100_000, rng=1))


def test_trials_are_the_largest_number():
    assert ds.simulate(ds.Layer(8, 0.5), 100, rng=1, until=lambda tally: False).trials == 100


# --- progress and memory --------------------------------------------------------------------------------------------


def test_progress(small_blocks, capsys):
    seen = {}

    def bar(blocks, **options):
        seen.update(options, blocks=0)
        for block in blocks:
            seen["blocks"] += 1
            yield block

    shown = ds.simulate(ds.Layer(64, 0.5), 10_000, rng=1, progress=bar)
    assert seen == {"total": 10, "desc": "simulating", "unit": "block", "blocks": 10}
    assert capsys.readouterr().err == ""
    assert shown == ds.simulate(ds.Layer(64, 0.5), 10_000, rng=1, progress=True)
    assert "simulating: 100%" in capsys.readouterr().err


MEMORY = """
import re
from pathlib import Path
import dropstats as ds
ds.simulate(ds.Layer(1024, {p}), {trials}, rng=0)
# not getrusage: its peak counts what the parent held when it started this process
print(1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text()).group(1)))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much memory a process held")
@pytest.mark.parametrize("p", [0.5, 0.1])
def test_memory_is_bounded_whatever_the_trials(p):
    peaks = []
    for trials in (10**5, 10**7):
        code = MEMORY.format(p=p, trials=trials)
        peaks.append(int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    assert max(peaks) < 200 * 2**20
    assert peaks[1] - peaks[0] < 16 * 2**20


def test_more_neurons_than_fit_in_memory_are_refused():
    with pytest.raises(MemoryError, match=r"a tally of 9007199254740992 neurons would need"):
        ds.simulate(ds.Layer(2**53, 0.5), 1, rng=0)


def test_a_large_layer_is_simulated_by_the_mask():
    tally = ds.simulate(ds.Layer(3_000_000, 0.1), 3, rng=1)
    assert tally.drops.max() <= 3
    assert abs(tally.mean - 300_000) < 6 * np.sqrt(270_000 / 3)


# --- bad input ------------------------------------------------------------------------------------------------------


class Broken(Fixed):
    def sample(self, size, rng):
        if rng.bit_generator.seed_seq.spawn_key == (2,):
            raise ZeroDivisionError("no third block")
        return super().sample(size, rng)


class Wrong(Fixed):
    def sample(self, size, rng):
        return super().sample(size, rng).astype(float)


def test_a_failing_block_is_named_and_its_error_raised(small_blocks):
    with pytest.raises(ZeroDivisionError, match="no third block") as caught:
        ds.simulate(Broken(64, 3), 5000, rng=1)
    assert caught.value.__notes__ == ["in block 2 of 5 of simulate, trials 2048 to 3071"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"law": 0.5}, TypeError, r"law must be a law such as Layer\(n, p\); got 0.5 of type float"),
        ({"trials": 0}, ValueError, r"trials must be at least 1; got 0"),
        ({"trials": 2**63}, ValueError, r"trials must be at most 9223372036854775807; got 9223372036854775808"),
        ({"trials": 1.5}, ValueError, r"trials must be an integer; got 1.5"),
        ({"rng": "0"}, TypeError, r"rng must be None, an int, a SeedSequence or a Generator; got '0'"),
        ({"executor": 4}, TypeError, r"executor must have a submit method, .*; got 4 of type int"),
        ({"progress": "yes"}, TypeError, "progress must be True, False or a function such as .*; got 'yes'"),
        ({"until": 0.1}, TypeError, r"until must be a function of the tally, such as precise_to\(0.1\); got 0.1"),
        ({"law": Wrong(4, 2)}, ValueError, r"Wrong.sample\(5\) must return booleans of shape \(5, 4\); got float64"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ds.simulate(**{"law": ds.Layer(4, 0.5), "trials": 5, **arguments})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ds.precise_to(0), ValueError, r"target must be a standard error above 0; got 0"),
        (lambda: ds.precise_to(0.1, "median"), ValueError, r"moment must be one of mean, .*; got 'median'"),
        (lambda: ds.precise_to(0.1, dropped=1, kept=1), TypeError, r"takes dropped= or kept=, not both"),
        (lambda: ds.precise_to(0.1, dropped=(3, 1)), ValueError, r"dropped must be an interval .* got \(3, 1\)"),
        (
            lambda: ds.Layer(4, [0.5] * 3),
            ValueError,
            r"p must be a number or an array of shape \(4,\); got shape \(3,\)",
        ),
        (lambda: ds.Layer(3, [0.5, np.nan, 0.1]), ValueError, r"p must be in \[0, 1\]; got nan at index 1"),
    ],
)
def test_bad_conditions_and_rates(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_tally_from_another_process_is_the_same():
    tally = ds.simulate(NETWORK, 100, rng=1)
    assert pickle.loads(pickle.dumps(tally)) == tally
