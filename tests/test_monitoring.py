"""The monitor: e-values against references, exact expectations, false alarms, delays, files, bad input."""

import contextlib
import itertools
import json
import math
import pickle
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from scipy import stats
from walk import reference

import dropstats as ds
from dropstats import bits
from dropstats.monitoring import Monitor, at_fault, checks, evidence, selections, summary, words

P = 0.1
N = 1024
CLEAN = ds.Layer(N, P)


def alarm_of(masks, law=CLEAN, **options):
    """Return the alarm of a monitor that has seen all masks."""
    monitor = Monitor(law, **options)
    monitor.update(masks)
    return monitor.alarm


# ---------------------------------------------------------------- e-values of counts


@pytest.mark.parametrize("name", ["monitor", "monitor_more"])
def test_log_e_values_of_counts_are_the_references(name):
    cases = reference(name)["cases"]
    for case in cases:
        p = float.fromhex(case.get("p_hex", case["p"] if isinstance(case["p"], str) else float(case["p"]).hex()))
        want = float(case["log_e"])
        got = float(evidence.log_evalue(case["S"], case["N"], p))
        assert abs(got - want) <= 1e-10 * max(1, abs(want)), (case, got)
    assert len(cases) >= 18


def test_an_array_of_counts_and_rates_is_each_of_them():
    cases = reference("monitor_more")["cases"]
    got = evidence.log_evalue(*(np.array([value(case) for case in cases]) for value in (
        lambda case: case["S"], lambda case: case["N"], lambda case: float.fromhex(case["p"]))))  # fmt: skip
    want = np.array([float(case["log_e"]) for case in cases])
    assert (np.abs(got - want) <= 1e-10 * np.maximum(1, np.abs(want))).all()


def test_bounds_are_not_exceeded():
    for case in reference("monitor_more")["cases"]:
        bound = float(evidence.log_bound(case["S"], case["N"], float.fromhex(case["p"])))
        assert bound >= float(case["log_e"]) - 1e-9 * max(1, abs(bound))


def test_tilted_e_values_are_the_references():
    for case in reference("monitor_more")["tilted"]:
        cumulants = sum(neurons * evidence.log_cumulants(float.fromhex(p)) for p, neurons in case["rates"])
        want = float(case["log_e"])
        assert abs(float(evidence.log_tilted(case["S"], cumulants)) - want) <= 1e-10 * max(1, abs(want))


def test_a_certain_rate_is_refuted_by_one_neuron():
    assert evidence.log_evalue([0, 1, 0], [9, 9, 0], 0.0).tolist() == [0, math.inf, 0]
    assert evidence.log_evalue([9, 8], 9, [1.0, 1.0]).tolist() == [0, math.inf]


def test_the_evidence_of_a_monitor_is_that_of_its_counts():
    monitor = Monitor(P, n=1000)
    monitor.update(np.arange(1000) >= 130)
    case = next(case for case in reference("monitor")["cases"] if case["S"] == 130)
    assert monitor.evidence["rate"] == pytest.approx(float(case["log_e"]), rel=1e-12)


# ---------------------------------------------------------------- the counts that selections add up, by hand


def by_hand(masks, rate):
    """Return what each selection counts, (events, neurons), from masks as booleans."""
    happened = ~masks if rate <= 0.5 else masks
    found = {("rate", 0): (int(happened.sum()), happened.size)}
    for lag in (2**k for k in range(7)):
        before, after = happened[:-lag], happened[lag:]
        found["lags", lag] = (int((before & after).sum()), int(before.sum())) if len(masks) > lag else (0, 0)
    for apart in (2**k for k in range((masks.shape[1] // 2).bit_length())):
        left, right = happened[:, :-apart], happened[:, apart:]
        found["neighbours", apart] = int((left & right).sum()), int(left.sum())
    return found


@pytest.mark.parametrize("n", [1, 2, 7, 64, 65, 200, 1000])
@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_selections_count_what_they_say(n, p):
    masks = ds.Layer(n, p).sample(150, rng=n)
    monitor = Monitor(p, n=n)
    for part in np.split(masks, [1, 2, 60, 61]):
        monitor.update(part)
    chosen = monitor._selections
    labels = [("rate", 0), *(("lags", int(lag)) for lag in selections.LAGS)]
    labels += [("neighbours", int(apart)) for apart in chosen.distances]
    found = {label: tuple(map(int, sums)) for label, sums in zip(labels, chosen.sums, strict=True)}
    assert found == by_hand(masks, p)
    np.testing.assert_array_equal(monitor._positions.sums, (~masks if p <= 0.5 else masks).sum(axis=0))
    assert (monitor.trials, monitor.dropped) == (150, int((~masks).sum()))


def test_unlike_rates_are_counted_apart():
    law = ds.Network(ds.Layer(100, 0.2), ds.Layer(70, 0.7), ds.Layer(30, 0.2), ds.Layer(9, [0, 1] * 4 + [0.2]))
    masks = law.sample(40, rng=0)
    monitor = Monitor(law)
    monitor.update(masks)
    low, high = law.rates == 0.2, law.rates == 0.7
    rare = np.where(law.rates > 0.5, masks, ~masks)
    assert monitor._selections.sums[0].tolist() == [rare[:, low].sum(), rare[:, high].sum(), 40 * 131, 40 * 70]
    before, after = rare[:-1], rare[1:]
    both = before & after
    expected = [both[:, low].sum(), both[:, high].sum(), before[:, low].sum(), before[:, high].sum()]
    assert monitor._selections.sums[1].tolist() == expected
    assert monitor.evidence["edges"] == 0


def test_sums_of_many_rates_are_those_of_their_neurons():
    rates = np.random.default_rng(0).random(100)
    masks = ds.Layer(100, rates).sample(30, rng=0)
    monitor = Monitor(ds.Layer(100, rates))
    monitor.update(masks)
    rare, smaller = np.where(rates > 0.5, masks, ~masks), np.minimum(rates, 1 - rates)
    sums = monitor._selections.sums[1]
    chosen = rare[:-1].sum(axis=0)
    assert sums[:2].tolist() == [(rare[:-1] & rare[1:]).sum(), rare[:-1].sum()]
    assert sums[2] == pytest.approx(chosen @ smaller, rel=1e-12)
    np.testing.assert_allclose(sums[3:], chosen @ evidence.log_cumulants(smaller), rtol=1e-10, atol=1e-12)
    log_e = evidence.log_tilted((~masks).sum(), 30 * evidence.log_cumulants(rates).sum(axis=0))
    assert monitor.evidence["rate"] == pytest.approx(float(log_e), rel=1e-10)


def test_long_masks_look_at_some_lags_and_count_positions_in_words(monkeypatch):
    """What is done for a million neurons, on a thousand."""
    monkeypatch.setattr(selections, "_ALL_AT_ONCE", 256)
    monkeypatch.setattr(checks, "_EACH_MASK", 512)
    monitor, masks = Monitor(P, n=1000), ds.Layer(1000, P).sample(150, rng=0)
    for mask in masks:
        monitor.update(mask)
    chosen, turns = monitor._selections, monitor._selections.turns
    assert (turns, monitor._positions.each) == (5, False)
    for row, lag in enumerate(selections.LAGS.tolist()):
        calls = [t for t in range(lag, 150) if row == 0 or (row + t) % turns == 0]
        both = sum(int((~masks[t] & ~masks[t - lag]).sum()) for t in calls)
        before = sum(int((~masks[t - lag]).sum()) for t in calls)
        assert chosen.sums[1 + row].tolist() == [both, before]
    whole = Monitor(P, n=1000)
    monkeypatch.undo()
    assert monitor.evidence["positions"] == pytest.approx(float(evidence.log_mean(
        evidence.log_evalue((~masks).sum(axis=0), 150, P))), rel=1e-12)  # fmt: skip
    np.testing.assert_array_equal(monitor._positions.sums, (~masks).sum(axis=0))
    assert whole.trials == 0


def test_bits_move_to_the_right():
    some = np.random.default_rng(0).integers(0, 2, (3, 200)).astype(bool)
    packed = words.pack(some)
    for places in (1, 2, 63, 64, 65, 128, 190):
        out = np.empty_like(packed)
        words.shift(packed, places, out)
        np.testing.assert_array_equal(words.unpack(out, 200)[:, places:], some[:, : 200 - places])
        assert not words.unpack(out, 200)[:, :places].any()


# ---------------------------------------------------------------- exact validity: all masks enumerated


def expectations(law, calls, streams=1):
    """Return the expectation of each check's e-value, and of all together: a sum over all sequences of masks."""
    masks = np.array(list(itertools.product([False, True], repeat=law.n)))
    logs = law.log_prob_mask(masks)
    possible = np.flatnonzero(np.isfinite(logs))
    found = {}
    for sequence in itertools.product(possible, repeat=calls * streams):
        monitor = Monitor(law, false_alarm=1e-300)
        for turn, which in enumerate(sequence):
            monitor.update(masks[which], stream=turn % streams)
        chance = math.exp(logs[list(sequence)].sum())
        for name, log in {**monitor.evidence, "together": monitor.log_e}.items():
            found[name] = found.get(name, 0.0) + chance * math.exp(log)
    return found


@pytest.mark.parametrize(
    ("law", "calls", "streams"),
    [
        *((ds.Layer(2, 0.3), calls, 1) for calls in (1, 2, 3)),
        (ds.Layer(1, 0.05), 6, 1),
        (ds.Layer(3, 0.9), 2, 1),
        (ds.Layer(2, [0.3, 0.8]), 3, 1),
        (ds.Layer(2, [0.0, 0.4]), 3, 1),
        (ds.Layer(9, np.arange(1, 10) / 10), 1, 1),
        (ds.Layer(2, 0.7), 1, 2),
        (ds.Layer(1, 0.3), 2, 3),
        (ds.Channels(2, 2, 0.4), 3, 1),
        (ds.Network(ds.Channels(1, 2, 0.2), ds.Layer(1, 0.6)), 3, 1),
    ],
    ids=repr,
)
def test_the_expectation_of_e_is_one_under_the_law(law, calls, streams, monkeypatch):
    monkeypatch.setattr(checks, "_RARE", 1.0)  # all masks are bet on, however frequent
    found = expectations(law, calls, streams)
    for name, value in found.items():
        assert value <= 1 + 1e-12, name
        if name not in ("duplicates", "together"):  # a bound of a chance gives something away, all else is fair
            assert value == pytest.approx(1, rel=1e-12), name


def test_the_expectation_shows_a_wrong_law():
    """The same sum, had the rate been 0.35 where 0.3 is declared, is above 1."""
    masks = np.array(list(itertools.product([False, True], repeat=3)))
    logs = ds.Layer(3, 0.35).log_prob_mask(masks)
    found = 0.0
    for sequence in itertools.product(range(8), repeat=2):
        monitor = Monitor(0.3, n=3)
        monitor.update(masks[list(sequence)])
        found += math.exp(logs[list(sequence)].sum() + monitor.log_e)
    assert found > 1.005


def test_shares_add_to_one():
    assert math.fsum(summary.SHARES.values()) == pytest.approx(1, rel=1e-15)
    for streams in (0, 2, 5):
        chosen = filled(ds.Layer(64, P), streams)._selections if streams else Monitor(P, n=4096)._selections
        found = np.exp(chosen._log_weights(summary.SHARES)).sum()
        assert found == pytest.approx(sum(summary.SHARES[name] for name in chosen.names), rel=1e-12)


# ---------------------------------------------------------------- false alarms

RATES = (0.003, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.997)
LAWS = (
    *(ds.Layer(n, p) for n in (64, 256) for p in RATES),
    ds.Layer(128, np.linspace(0.003, 0.997, 128)),
    ds.Layer(60, np.repeat([0.1, 0.5, 0.9], 20)),
    ds.Network(ds.Layer(100, 0.2), ds.Channels(20, 4, 0.5)),
    ds.Channels(64, 4, 0.1),
    ds.Channels(16, 4, np.linspace(0.1, 0.9, 16)),
    ds.Layer(1024, 0.1),
    ds.Layer(1024, 0.003),
)


def clean_alarms(runs, steps):
    """Return how many of so many clean runs raise the alarm at 0.1 and at 0.01, looked at after every step."""
    alarms = [0, 0]
    for run in range(runs):
        law = LAWS[run % len(LAWS)]
        masks = law.sample(steps, rng=np.random.default_rng([run, 13]))
        for which, level in enumerate((0.1, 0.01)):  # what does not reach 1/0.1 does not reach 1/0.01
            monitor = Monitor(law, false_alarm=level)
            if run % 5:
                monitor.update(masks)
            else:
                for part in range(0, steps, 50):  # two streams, in turn
                    monitor.update(masks[part : part + 25], stream="a")
                    monitor.update(masks[part + 25 : part + 50], stream="b")
            if not monitor.alarm:
                break
            alarms[which] += 1
    return alarms


@pytest.mark.slow
def test_2000_clean_runs_raise_no_more_alarms_than_allowed():
    found = clean_alarms(2000, 1000)
    for alarms, level in zip(found, (0.1, 0.01), strict=True):
        # a correct monitor exceeds this bound with probability 1e-4 at most
        assert alarms <= stats.binom(2000, level).isf(1e-4)


@pytest.mark.slow
def test_some_clean_runs_raise_no_more_alarms_than_allowed():
    found = clean_alarms(50, 100)
    assert found[0] <= stats.binom(50, 0.1).isf(1e-4)
    assert found[1] <= stats.binom(50, 0.01).isf(1e-4)


# ---------------------------------------------------------------- delays


def frozen(rng, calls):
    return np.repeat(CLEAN.sample(1, rng=rng), calls, axis=0)


def periodic(rng, calls):
    return np.resize(CLEAN.sample(100, rng=rng), (calls, N))


def never_dropped(rng, calls):
    masks = CLEAN.sample(calls, rng=rng)
    masks[:, 17] = True
    return masks


def carried_over(rng, calls):
    masks = CLEAN.sample(calls, rng=rng)
    kept = rng.random((calls, N)) < 0.02
    for before, mask, same in zip(masks, masks[1:], kept[1:], strict=False):
        mask[same] = before[same]
    return masks


def fixed_count(rng, calls):
    return ds.FixedCount(N, 102).sample(calls, rng=rng)


@pytest.mark.parametrize(
    ("make", "within", "check", "words_of"),
    [
        (frozen, 2, "duplicates", "the mask of step 2 repeats that of step 1"),
        (periodic, 150, "duplicates", "the mask of step 101 repeats that of step 1"),
        (never_dropped, 250, "positions", "neuron 17 was dropped in 0 of "),
        (carried_over, 150, "lags", "of the neurons dropped 1 call before are dropped again"),
        (fixed_count, 100, "dispersion", "the variance of the number dropped in a mask is 0.00"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_defect_is_found_in_time(make, within, check, words_of):
    found = [alarm_of(make(np.random.default_rng(seed), within)) for seed in range(10)]
    assert sum(alarm is not None for alarm in found) >= 9
    for alarm in filter(None, found):
        assert (alarm.check, words_of in alarm.message) == (check, True), alarm.message
        assert alarm.evidence >= math.log(1000)


@pytest.mark.slow
def test_eight_bit_p_is_found_within_1600000_neurons():
    found = 0
    for seed in range(10):
        monitor = Monitor(CLEAN)
        for part in range(5):
            rng = np.random.default_rng([seed, part])
            monitor.update(bits.packed_masks(ds.Layer(N, 13 / 128).rates, 312, rng))
        found += monitor.alarm is not None and monitor.alarm.step * N <= 1_600_000
        assert monitor.alarm is None or monitor.alarm.check == "rate"
    assert found >= 9


@pytest.mark.parametrize(
    ("law", "masks", "check"),
    [
        (ds.Layer(64, 0.5), lambda rng: rng.random((60, 64)) >= 0.3, "rate"),
        (ds.Layer(60, np.repeat([0.1, 0.5, 0.9], 20)), lambda rng: rng.random((60, 60)) >= 0.5, "rate"),
        (ds.Layer(64, np.linspace(0.1, 0.6, 64)), lambda rng: rng.random((90, 64)) >= 0.6, "rate"),
        (ds.Layer(400, 0.2), lambda rng: np.repeat(rng.random((60, 100)) >= 0.2, 4, axis=1), "neighbours"),
        (ds.Layer(512, 0.8), lambda rng: np.tile(rng.random((60, 128)) >= 0.8, 4), "neighbours"),
        (ds.Layer(50, 0.9), lambda rng: np.where(np.arange(50) == 3, False, rng.random((300, 50)) >= 0.9), "positions"),
        (ds.Channels(50, 4, 0.2), lambda rng: ds.Channels(50, 4, 0.5).sample(40, rng=rng), "rate"),
        (ds.Layer(256, 0.3), lambda rng: rng.random((200, 256)) >= rng.beta(3, 7, (200, 1)), "dispersion"),
        (ds.Layer(N, np.linspace(0.05, 0.95, N)), lambda rng: np.resize(
            ds.Layer(N, np.linspace(0.05, 0.95, N)).sample(2, rng=rng), (6, N)), "duplicates"),
    ],
)  # fmt: skip
def test_each_check_is_shown_to_find_its_defect(law, masks, check):
    alarm = alarm_of(masks(np.random.default_rng(0)), law)
    assert alarm is not None
    assert alarm.check == check, alarm.message


def test_one_wrong_layer_of_a_network_is_named_by_its_rate():
    declared = ds.Network(ds.Layer(784, 0.2), ds.Layer(1024, 0.5))
    masks = ds.Network(ds.Layer(784, 0.2), ds.Layer(1024, 0.52)).sample(200, rng=0)
    alarm = alarm_of(masks, declared)
    assert alarm.message.startswith("drops 0.5")
    assert "of the neurons with p = 0.5 where 0.5 was declared" in alarm.message
    assert alarm_of(declared.sample(200, rng=0), declared) is None


def test_above_one_half_the_rate_is_still_that_of_dropped_neurons():
    alarm = alarm_of(ds.Layer(64, 0.8).sample(100, rng=0), ds.Layer(64, 0.9))
    assert alarm.message.startswith("drops 0.8")
    assert "of the neurons where 0.9 was declared" in alarm.message


def test_above_one_half_kept_neurons_are_selected():
    rng = np.random.default_rng(0)
    masks = ds.Layer(N, 0.9).sample(200, rng=rng)
    for before, mask in itertools.pairwise(masks):
        same = rng.random(N) < 0.03
        mask[same] = before[same]
    assert "of the neurons kept 1 call before are kept again" in alarm_of(masks, ds.Layer(N, 0.9)).message


def test_what_cannot_happen_raises_the_alarm_at_once():
    masks = np.ones((5, 3), bool)
    masks[3, 1] = False
    alarm = alarm_of(masks, ds.Layer(3, [0.5, 0, 0.5]), false_alarm=1e-12)
    assert (alarm.step, alarm.check, alarm.evidence) == (4, "edges", math.inf)
    assert alarm.message == "neuron 1 is dropped where p = 0 was declared: certain at step 4"
    assert alarm_of(~masks, 1.0).message == "neuron 1 is kept where p = 1 was declared: certain at step 4"
    assert alarm_of(np.ones((5, 3)), 0.0) is None
    torn = ds.Channels(4, 3, 0.5).sample(9, rng=0)
    torn[6, 4] ^= True
    alarm = alarm_of(torn, ds.Channels(4, 3, 0.5))
    assert (alarm.step, alarm.check) == (7, "groups")
    assert alarm.message == "neurons 3 and 4 of one group are not dropped together: certain at step 7"
    monitor = Monitor(ds.Channels(4, 3, 0.5))
    monitor.update(torn)
    assert monitor.evidence["groups"] == monitor.log_e == math.inf
    monitor.update(torn[:2])
    assert monitor.evidence["groups"] == math.inf


# ---------------------------------------------------------------- streams


def test_streams_are_compared_call_by_call():
    monitor = Monitor(0.5, n=64)
    a, b = ds.Layer(64, 0.5).sample(20, rng=0), ds.Layer(64, 0.5).sample(20, rng=1)
    monitor.update(a[:5], stream="a")
    monitor.update(b[:7], stream="b")
    monitor.update(a[5:], stream="a")
    monitor.update(b[7:], stream="b")
    assert monitor._selections.pairs == [("a", "b")]
    assert monitor._selections.sums[-1].tolist() == [(~a & ~b).sum(), (~b[:5]).sum() * 0 + (~a[:5]).sum() + (
        ~b[5:7]).sum() + (~a[7:]).sum()]  # fmt: skip
    assert monitor.trials == 40


def test_streams_that_agree_are_found():
    shared, rng = ds.Layer(N, P), np.random.default_rng(0)
    monitor = Monitor(shared)
    for _ in range(60):
        first = shared.sample(1, rng=rng)[0]
        same = rng.random(N) < 0.1
        monitor.update(first, stream="rank 0")
        monitor.update(np.where(same, first, shared.sample(1, rng=rng)[0]), stream="rank 1")
    assert monitor.alarm.check == "agreement"
    assert "of the neurons dropped in stream 'rank 0' are dropped in 'rank 1'" in monitor.alarm.message
    assert "are dropped in 'rank 1' too, where 0.1 was declared" in monitor.alarm.message
    assert monitor.alarm.message.endswith(f"at step {monitor.alarm.step} of stream 'rank 1'")


def test_a_mask_of_another_stream_is_a_duplicate():
    monitor, masks = Monitor(CLEAN), CLEAN.sample(3, rng=0)
    monitor.update(masks, stream=0)
    monitor.update(masks[1], stream=1)
    assert (monitor.alarm.step, monitor.alarm.stream, monitor.alarm.check) == (1, "1", "duplicates")
    assert monitor.alarm.message.startswith("the mask of step 1 of stream '1' repeats that of step 2 of stream '0'")


def test_too_many_streams_are_refused():
    monitor = Monitor(0.5, n=2)
    for stream in range(64):
        monitor.update([1, 0], stream=stream)
    with pytest.raises(ValueError, match=r"at most 64 streams; got '64' in addition"):
        monitor.update([1, 0], stream=64)
    assert monitor.trials == 64


# ---------------------------------------------------------------- how masks are given


def test_all_ways_to_give_masks_are_one():
    masks = ds.Layer(100, 0.3).sample(70, rng=0)
    whole = Monitor(0.3, n=100)
    whole.update(masks)
    packed = np.packbits(masks, axis=-1)
    for given in (masks.astype(int), masks.astype(np.float32), packed, masks.tolist(), masks.reshape(70, 4, 25)):
        monitor = Monitor(ds.Layer(100, 0.3))
        monitor.update(given)
        assert monitor.evidence == whole.evidence
    one_by_one = [Monitor(0.3, n=100), Monitor(0.3), Monitor(0.3, n=100), Monitor(np.full(100, 0.3))]
    for bits_of, mask in zip(packed, masks, strict=True):
        one_by_one[0].update(bits_of)
        one_by_one[1].update(mask)
        one_by_one[2].update(mask.reshape(10, 10))
        one_by_one[3].update(mask.tolist())
    for monitor in one_by_one:
        assert monitor.n == 100
        assert {name: pytest.approx(log, rel=1e-9, abs=1e-12) for name, log in whole.evidence.items()} == (
            monitor.evidence
        )


def test_alarms_do_not_depend_on_how_many_masks_come_at_once():
    masks = carried_over(np.random.default_rng(0), 150)
    together = alarm_of(masks)
    for size in (1, 7, 64):
        monitor = Monitor(CLEAN)
        for start in range(0, 150, size):
            monitor.update(masks[start : start + size])
        assert (monitor.alarm.step, monitor.alarm.message) == (together.step, together.message)


def test_every_looks_more_rarely():
    masks = carried_over(np.random.default_rng(0), 300)
    at_once, later = alarm_of(masks), alarm_of(masks, every=50)
    assert later.step % 50 == 0
    assert later.step > at_once.step
    seldom, often = Monitor(CLEAN, every=50), Monitor(CLEAN)
    seldom.update(masks)
    often.update(masks)
    assert seldom.evidence == often.evidence


def test_after_the_alarm_it_goes_on_counting():
    monitor, masks = Monitor(CLEAN), frozen(np.random.default_rng(0), 2)
    monitor.update(masks)
    first, trials = monitor.alarm, monitor.trials
    monitor.update(CLEAN.sample(50, rng=1))
    assert monitor.alarm is first
    assert (trials, monitor.trials) == (2, 52)


# ---------------------------------------------------------------- intervals


def test_the_interval_holds_the_rates_that_are_not_refuted():
    monitor = Monitor(P, n=1000)
    monitor.update(np.arange(1000) >= 130)
    low, high = monitor.rate_interval(0.05)
    for end in (low, high):
        assert float(evidence.log_evalue(130, 1000, end)) == pytest.approx(math.log(20), rel=1e-9)
    exact = next(case for case in reference("eprocess")["KT_confidence_sequence"] if case["S"] == 130)
    clopper, pearson = exact["clopper_pearson"]
    assert low < clopper < pearson < high  # an interval for all times is wider than one for a single time
    grid = np.linspace(1e-6, 1 - 1e-6, 4001)
    inside = grid[evidence.log_evalue(130, 1000, grid) < math.log(20)]
    assert (np.diff(inside) < 3e-4).all()
    assert (inside[0] - low, high - inside[-1]) == (pytest.approx(0, abs=3e-4), pytest.approx(0, abs=3e-4))


def test_intervals_at_the_edges():
    monitor = Monitor(0.5, n=10)
    assert monitor.rate_interval() == (0.0, 1.0)
    monitor.update(np.ones((50, 10)))
    assert monitor.rate_interval()[0] == 0
    assert 0 < monitor.rate_interval()[1] < 0.05
    monitor = Monitor(0.5, n=10)
    monitor.update(np.zeros((50, 10)))
    assert monitor.rate_interval()[1] == 1
    with pytest.raises(ValueError, match=r"false_alarm must be in \(0, 1\); got 0"):
        monitor.rate_interval(0)


def test_the_interval_of_unlike_rates_is_for_their_mean():
    rates = np.linspace(0.1, 0.5, 50)
    monitor = Monitor(ds.Layer(50, rates))
    monitor.update(ds.Layer(50, rates).sample(400, rng=0))
    low, high = monitor.rate_interval()
    assert low < 0.3 < high
    assert high - low < 0.05
    assert low < monitor.rate < high


def test_intervals_of_clean_runs_hold_the_rate():
    """At all of 300 steps at once, in all of 40 runs at 0.001."""
    for seed in range(40):
        drops = np.cumsum(np.random.default_rng(seed).binomial(64, 0.2, 300))
        assert (evidence.log_evalue(drops, 64 * np.arange(1, 301), 0.2) < math.log(1000)).all()


# ---------------------------------------------------------------- sums and sites


def test_a_sum_is_the_mean_of_e_values():
    masks = CLEAN.sample(60, rng=0)
    ranks = [Monitor(CLEAN) for _ in range(3)]
    for monitor, part in zip(ranks, np.split(masks, 3), strict=True):
        monitor.update(part)
    added = sum(ranks)
    assert (added.trials, added.dropped) == (60, int((~masks).sum()))
    for name, log in added.evidence.items():
        assert math.exp(log) == pytest.approx(np.mean([math.exp(one.evidence[name]) for one in ranks]), rel=1e-12)
    assert math.exp(added.log_e) == pytest.approx(np.mean([math.exp(one.log_e) for one in ranks]), rel=1e-12)
    other = ranks[2] + ranks[0] + ranks[1]
    assert other.evidence == pytest.approx(added.evidence, rel=1e-12)
    assert added.alarm is None
    assert added.rate_interval()[0] < P < added.rate_interval()[1]
    assert "Sum of 3 monitors: 60 masks" in str(added)


def test_a_sum_raises_the_alarm_of_one():
    ranks = [Monitor(CLEAN) for _ in range(8)]
    for seed, monitor in enumerate(ranks):
        monitor.update(CLEAN.sample(40, rng=seed))
    ranks[5].update(frozen(np.random.default_rng(99), 3))
    found = sum(ranks).alarm
    assert found.check == "duplicates"
    assert found.evidence == pytest.approx(ranks[5].log_e - math.log(8), rel=1e-6)


def test_what_does_not_fit_is_not_added():
    one, other = Monitor(0.1, n=4), Monitor(0.2, n=4)
    with pytest.raises(ValueError, match=r"must have one law to be added; got Layer\(4, 0.1\) and Layer\(4, 0.2\)"):
        one + other
    with pytest.raises(ValueError, match=r"one law to be added; got Layer\(4, 0.1\) and no mask yet"):
        one + Monitor(0.1)
    with pytest.raises(ValueError, match=r"one law .* Layer\(4, 0.1\) and Channels\(2, 2, 0.1\)"):
        one + Monitor(ds.Channels(2, 2, 0.1))
    with pytest.raises(ValueError, match=r"one false_alarm to be added; got 0.001 and 0.01"):
        one + Monitor(0.1, n=4, false_alarm=0.01)
    with pytest.raises(TypeError):
        one + 3
    with pytest.raises(ValueError, match="a sum of monitors takes no masks; update the monitors"):
        (one + one).update([1, 0, 1, 1])
    with pytest.raises(ValueError, match="a sum has no steps; plot the monitors"):
        (one + one).plot()
    assert (one + Monitor(ds.Network(ds.Layer(1, 0.1), ds.Layer(3, 0.1)))).alarm is None


def test_sites_at_fault_are_named_by_e_bh():
    class Site:
        def __init__(self, e):
            self.log_e = math.log(e)

    sites = {"a": Site(3.9e3), "b": Site(1.0), "c": Site(1.9e3), "d": Site(0.5)}
    assert at_fault(sites) == []  # 4 / 1, 4 / 2, ... thousands are needed
    assert at_fault({**sites, "b": Site(1500)}) == ["a", "c", "b"]
    assert at_fault({**sites, "a": Site(4.1e3)}) == ["a"]
    assert at_fault({**sites, "c": Site(2.1e3)}) == ["a", "c"]
    assert at_fault({**sites, "a": Site(4.1e3)}, false_alarm=1e-4) == []
    assert at_fault({}) == []


# ---------------------------------------------------------------- shown and kept


def filled(law=CLEAN, streams=2):
    monitor = Monitor(law)
    for stream in range(streams):
        monitor.update(law.sample(90, rng=stream), stream=stream)
    return monitor


@pytest.mark.parametrize(
    "law",
    [CLEAN, ds.Channels(8, 4, 0.3), ds.Layer(70, np.linspace(0, 1, 70)), ds.Layer(2**15, 0.2),
     ds.Network(ds.Layer(30, 0.2), ds.Channels(5, 3, 0.6))],
    ids=repr,
)  # fmt: skip
def test_a_loaded_monitor_goes_on_where_it_was(law, tmp_path):
    path = tmp_path / "monitor.npz"
    monitor = filled(law)
    monitor.save(path)
    loaded = Monitor.load(path)
    assert loaded.evidence == monitor.evidence
    assert str(loaded) == str(monitor)
    assert loaded.history == monitor.history
    again = pickle.loads(pickle.dumps(monitor))
    for masks in (law.sample(30, rng=7), monitor._null is not None and law.sample(1, rng=7)):
        for one in (monitor, loaded, again):
            one.update(masks, stream="0")
    assert loaded.evidence == monitor.evidence == again.evidence
    assert loaded.to_dict() == monitor.to_dict()
    assert (loaded + monitor).trials == 2 * monitor.trials


def test_alarms_sums_and_empty_monitors_are_saved_too(tmp_path):
    path = tmp_path / "here without ending"
    for monitor in (Monitor(P), Monitor(P, n=5), filled() + filled()):
        monitor.save(path)
        assert Monitor.load(path).to_dict() == monitor.to_dict()
    torn = Monitor(ds.Channels(2, 2, 0.5), false_alarm=0.01, every=1)
    torn.update([1, 0, 1, 1])
    torn.save(path)
    loaded = Monitor.load(path)
    assert loaded.alarm == torn.alarm
    assert loaded.evidence["groups"] == math.inf
    assert (loaded.false_alarm, loaded.alarm.evidence) == (0.01, math.inf)


def test_to_dict_is_strict_json():
    monitor = Monitor(ds.Channels(2, 2, 0.5))
    monitor.update([[1, 1, 0, 0], [1, 0, 1, 1]])
    found = json.loads(json.dumps(monitor.to_dict(), allow_nan=False))
    assert list(found) == ["schema", "law", "n", "p", "monitors", "trials", "rate", "rate_interval", "false_alarm",
                           "evidence", "findings", "log_e", "alarm"]  # fmt: skip
    assert (found["law"], found["trials"], found["log_e"]) == ("Channels(2, 2, 0.5)", 2, None)
    assert found["alarm"]["step"] == 2
    assert list(found["evidence"]) == [*summary.SHARES, "groups"]


def test_print_and_repr():
    monitor = Monitor(CLEAN)
    assert "0 masks" in str(monitor)
    assert "nothing to compare" in str(monitor)
    monitor.update(frozen(np.random.default_rng(0), 2))
    text = str(monitor)
    assert text.startswith(
        "Monitor: 2 masks of 1,024 neurons, p = 0.1: ALARM\n  the mask of step 2 repeats that of step 1"
    )
    assert all(len(line) <= 118 for line in text.splitlines())
    assert repr(monitor) == "<Monitor of 'Layer(1024, 0.1)': 2 masks, alarm at step 2>"
    assert repr(Monitor(0.1)) == "<Monitor of '0.1, no mask yet': 0 masks, no alarm>"
    assert Monitor(CLEAN).n == 1024
    assert Monitor(0.1).n is None
    assert math.isnan(Monitor(0.1).rate)


def test_the_picture_shows_each_check_against_the_line():
    import matplotlib.pyplot as plt

    monitor = Monitor(CLEAN)
    with pytest.raises(ValueError, match="nothing to draw: no mask"):
        monitor.plot()
    monitor.update(carried_over(np.random.default_rng(0), 150))
    ax = monitor.plot()
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert {"rate", "lags", "positions", "neighbours", "dispersion", "duplicates", "together"} <= set(lines)
    steps, logs = lines["together"].get_data()
    assert (steps[0], steps[-1], logs[-1]) == (1, 150, pytest.approx(monitor.log_e))
    assert any(np.allclose(line.get_ydata(), math.log(1000)) for line in ax.get_lines())
    assert f"step {monitor.alarm.step}: lags" in [text.get_text() for text in ax.texts]
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    plt.close(ax.figure)


def test_looks_kept_for_the_picture_are_few():
    monitor = Monitor(0.5, n=1)
    monitor.update(np.ones((3000, 1)))
    steps = [step for step, _ in monitor.history]
    assert steps[:10] == list(range(1, 11))
    assert len(steps) < 80
    assert max(np.diff(steps[40:]) / steps[41:]) < 0.11
    assert monitor.alarm.step in steps


# ---------------------------------------------------------------- damaged files


def test_a_damaged_file_is_refused(tmp_path):
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    filled(ds.Layer(16, 0.5)).save(good)
    content = good.read_bytes()
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 100, len(content) // 2, len(content) - 1):
        bad.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"bad.npz: expected a monitor"):
            Monitor.load(bad)
    for _ in range(60):  # a byte is changed: refused, or the file is as good as before
        changed = bytearray(content)
        changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        bad.write_bytes(changed)
        with contextlib.suppress(ValueError):
            assert Monitor.load(bad).trials == 180
    with pytest.raises(OSError, match="missing"):
        Monitor.load(tmp_path / "missing.npz")


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    path = tmp_path / "bomb.npz"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="a file of another kind, by its first bytes"):
        Monitor.load(path)
    np.savez(path, about=np.array([Bomb()], dtype=object))
    with pytest.raises(ValueError, match="never unpickled"):
        Monitor.load(path)
    np.savez(path, masks=np.ones((2, 2)))
    with pytest.raises(ValueError, match="got an archive of 'masks'"):
        Monitor.load(path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("_positions.sums", np.zeros(15, np.int64), r"_positions.sums of shape \(15,\)"),
        ("_positions.sums", np.full(16, 10**6), "do not fit together, in positions"),
        ("_positions.sums", np.zeros(16), "dtype float64"),
        ("_selections.sums", np.zeros((3, 2), np.int64), "do not fit together, in selections"),
        ("_dispersion.sums", np.array([1, np.nan, 1]), "not finite"),
        ("_duplicates.streams", np.full(256, 9, np.int16), "do not fit together, in duplicates"),
        ("rates", np.array([1.5]), r"rates of shape \(1,\)"),
        ("ring.0", np.zeros((3, 3), np.uint64), r"ring.0 of shape \(3, 3\)"),
        ({"version": 2}, None, "version 2, where this dropstats reads 1"),
        ({"trials": 7}, None, "7 masks, and streams of other lengths"),
        ({"n": 17}, None, "16 rates for 17 neurons"),
        ({"_duplicates.bets": "x"}, None, "_duplicates.bets of type str"),
        ({"streams": 3}, None, "of another kind"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, key, value, said):
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    filled(ds.Layer(16, 0.5)).save(good)
    with np.load(good) as content:
        fields = dict(content)
    if isinstance(key, dict):
        fields["about"] = json.dumps(json.loads(str(fields["about"])) | key)
    else:
        fields[key] = value
    np.savez(bad, **fields)
    with pytest.raises(ValueError, match=said):
        Monitor.load(bad)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("mask", "error", "said"),
    [
        (np.ones(9, bool), ValueError, r"masks must have shape \(10,\) or \(k, 10\); got shape \(9,\)"),
        (np.ones((3, 9), bool), ValueError, r"got shape \(3, 9\)"),
        (np.ones((), bool), ValueError, r"got shape \(\)"),
        ([1, 0, 1, 1, 0, 1, 1, 1, 2, 1], ValueError, r"0 \(dropped\) and 1 \(kept\) only; got 2.0 at index \(0, 8\)"),
        ([1.25, *[0.0] * 9], ValueError, r"got 1.25 at index \(0, 0\); of dropout's outputs give y != 0"),
        ([[1.0] * 10, [1.0] * 9 + [np.nan]], ValueError, r"got nan at index \(1, 9\)"),
        (np.array([255, 255], np.uint8), ValueError, "zeros after the last of 10 neurons"),
        (np.array(["1"] * 10), TypeError, "masks must be booleans, or 0 and 1; got dtype str"),
        ([[1, 0], [1]], TypeError, "an array of numbers is expected"),
    ],
)
def test_bad_masks_are_refused_and_nothing_is_counted(mask, error, said):
    monitor = Monitor(0.5, n=10)
    with pytest.raises(error, match=said):
        monitor.update(mask)
    assert monitor.trials == 0
    monitor.update(np.zeros((0, 10)))
    assert monitor.trials == 0


def test_one_bad_mask_of_many_leaves_all_uncounted():
    monitor, masks = Monitor(0.5, n=10), np.ones((500, 10))
    masks[400, 2] = 7
    with pytest.raises(ValueError, match=r"got 7.0 at index \(400, 2\)"):
        monitor.update(masks)
    assert monitor.trials == 0


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((ds.FixedCount(10, 3),), ValueError, r"Layer, Channels or a Network of these; got FixedCount\(10, 3\)"),
        ((ds.DropBlock(8, 8, 3, p=0.1),), ValueError, "got DropBlock"),
        ((ds.Network(ds.Layer(3, 0.5), ds.FixedCount(10, 3)),), ValueError, r"got Network\(Layer"),
        ((ds.AlphaDropout(0.1),), (TypeError, ValueError), "AlphaDropout"),
        (("x",), TypeError, "law must be a law such as"),
        ((1.5,), ValueError, r"p must be in \[0, 1\]; got 1.5"),
        (([0.1, 0.2], 3), ValueError, r"shape \(3,\); got shape \(2,\)"),
        ((ds.Layer(3, 0.5), 4), ValueError, "n must be the law's number of neurons, 3, or left out; got 4"),
        ((0.5, 0), ValueError, "at least one neuron"),
        ((0.5, 2, 0), ValueError, r"false_alarm must be in \(0, 1\); got 0"),
        ((0.5, 2, 1.0), ValueError, r"false_alarm must be in \(0, 1\); got 1.0"),
        ((0.5, 2, 0.1, 0), ValueError, "every must be at least 1; got 0"),
        ((np.ones((2, 2)),), TypeError, "law must be a law such as"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, said):
    with pytest.raises(error, match=said):
        Monitor(*arguments)


def test_the_first_mask_must_have_neurons():
    for mask in (np.ones(()), np.ones((0, 3)), []):
        with pytest.raises(ValueError, match=r"masks must have shape \(n,\) or \(k, n\)"):
            Monitor(0.5).update(mask)


# ---------------------------------------------------------------- cost


def test_memory_does_not_grow():
    monitor, rng = Monitor(0.1, n=256), np.random.default_rng(0)
    held = []
    tracemalloc.start()
    for _ in range(5):  # 16,384 hashes are remembered
        monitor.update(ds.Layer(256, 0.1).sample(6_000, rng=rng))
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # some looks that are kept for the picture; one byte a mask would be 6,000
    assert held[4] - held[3] < 5_500
    assert held[4] < 2_000_000


def test_a_step_takes_a_fraction_of_drawing_the_mask():
    """A million neurons: 0.6 ms where nothing else runs, and 4 ms to draw the mask; measured together, for machines
    are busy.
    """
    law, rng = ds.Layer(2**20, 0.1), np.random.default_rng(0)
    monitor, taken = Monitor(law), {"update": [], "draw": []}
    for packed in bits.packed_masks(law.rates, 192, 0):
        start = time.perf_counter()
        monitor.update(packed)
        taken["update"].append(time.perf_counter() - start)
    for _ in range(20):
        start = time.perf_counter()
        rng.random(2**20) < 0.1  # noqa: B015
        taken["draw"].append(time.perf_counter() - start)
    assert monitor.alarm is None
    # rounds of 64 masks, at whose end positions are looked at
    rounds = np.reshape(taken["update"], (-1, 64)).mean(axis=1)
    assert rounds[1:].min() < 0.5 * np.median(taken["draw"])


def test_import_loads_no_plots():
    code = "import sys, dropstats; dropstats.Monitor(0.1, n=8).update([1] * 8); print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
