"""Test `reseeding`: calls are not those of a weak generator that each call seeds with the next integer."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats.auditing.finding import Case, Check, Finding, not_applicable, too_small
from dropstats.auditing.generators import LATTICES, SCRAMBLED, Generator, first_numbers, phases, steps

Floats = NDArray[np.float64]

# The first neurons and calls that are looked at.
_NEURONS, _CALLS = 16, 256
# Of a generator whose numbers are no lattice over the seeds, seeds below this are tried, for so many calls.
_SEEDS, _SEEDED_CALLS = 4096, 32
# Seeds of successive calls are up to so many apart, as those of as many layers that share a counter.
_STRIDES = 4
# To name the seed, seeds below this are tried.
_NAMED_SEEDS = 2**16
# Places of the circle at which a neuron's numbers may start, and the share of neurons that rounding may turn over.
_STARTS, _WRONG = 512, 0.005
# Waves are looked into where they are so many times as strong as chance has them on average, the strongest few.
_STRONG, _LIKELY = 2.0, 6
# A generator is named where it predicts more than this share of each neuron's drops on average, of so many in all.
_MOST, _FEW = 0.8, 8


class Reseeded(NamedTuple):
    """A generator with its seeds (the first one -1 where unknown): the log of how much likelier it makes the masks."""

    log_ratio: float
    name: str = ""
    seed: int = -1
    stride: int = 1
    sure: bool = False  # it predicts what is dropped, so that no other generator does


def measure(case: Case) -> Finding:
    """Null: the first neurons of the calls are independent, not the output of a weak generator reseeded at each call.

    The statistic is the likelihood of the masks under reseeding, with 0.5% of the neurons flipped, divided by that
    under the law, averaged over generators, seeds and starting values. Its mean is 1 under the law, so that the p-value
    is conservative (Markov). Congruential generators with consecutive seeds, or with up to four seeds per call, are
    found for all seeds, other generators for seeds below 4096. Catches minstd (libstdc++'s default), drand48, Visual
    C's rand, Java's Random and xorshift. Needs two calls.
    """
    if not case.law.independent:
        return not_applicable("neurons depend on each other")
    rates = case.law.rates[:_NEURONS]
    places = np.flatnonzero((rates > 0) & (rates < 1))
    if not places.size:
        return not_applicable(f"no {case.unit.one} of the first {_NEURONS} may be dropped as well as kept")
    rates = rates[places]
    drops = case.seen.drops_of(0, min(case.trials, _CALLS))[:, places].astype(bool)
    entropy = float(-(rates * np.log(rates) + (1 - rates) * np.log1p(-rates)).sum())
    seeded = 2 * len(SCRAMBLED) * _SEEDS
    fields: dict[str, Any] = {"numbers": {"found": Reseeded(0.0), "case": case}}
    if case.trials < 2 or min(case.trials, _SEEDED_CALLS) * entropy < math.log(2 * seeded / case.level):
        return too_small("neurons", **fields)
    lattice, small = _lattice(drops, rates, places), _small_seeds(SCRAMBLED, drops, rates, places, _SEEDS)
    candidates = (math.log(len(LATTICES) * _STRIDES), math.log(seeded))
    logs = [log - one.log_ratio for log, one in zip(candidates, (lattice, small), strict=True)]
    fields["numbers"]["found"] = max(lattice, small, key=lambda one: (one.sure, one.log_ratio))
    return Finding(math.exp(min(0.0, math.log(2) + min(logs))), **fields)


def _lattice(drops: NDArray[np.bool_], rates: Floats, places: NDArray[np.int64]) -> Reseeded:
    """Return the congruential generator that makes the masks likeliest, of those whose waves stand out in them."""
    calls = drops.shape[0]
    waves = phases(_NEURONS, _CALLS, _STRIDES)[:, places, :calls]
    deviations = (drops - rates) / np.sqrt(calls * rates * (1 - rates))
    deviations = np.clip(deviations, -1e12, 1e12).astype(np.float32)  # rates may be below the range of this format
    power = (np.abs((waves * deviations.T).sum(axis=2)) ** 2).sum(axis=1)
    best = [place for place in np.argsort(-power)[:_LIKELY].tolist() if power[place] > _STRONG * places.size]
    found = (_of_lattice(LATTICES[k % len(LATTICES)], 1 + k // len(LATTICES), drops, rates, places) for k in best)
    return max(found, default=Reseeded(0.0))


def _of_lattice(
    generator: Generator, stride: int, drops: NDArray[np.bool_], rates: Floats, places: NDArray[np.int64]
) -> Reseeded:
    """Return how much likelier a lattice makes the masks, each neuron's numbers starting anywhere on the circle."""
    hit, miss = _log_weights(drops, rates)
    starts = (np.arange(_STARTS) + 0.5) / _STARTS
    log_ratio, predicted = 0.0, np.zeros_like(drops)
    for column, (place, rate) in enumerate(zip(places.tolist(), rates.tolist(), strict=True)):
        turns = np.arange(drops.shape[0]) * (stride * steps(generator, _NEURONS)[place])
        each = (starts[:, None] + turns) % 1.0 < rate
        logs = each @ (hit - miss)[:, column] + miss[:, column].sum()
        log_ratio += float(np.logaddexp.reduce(logs)) - math.log(_STARTS)
        predicted[:, column] = each[int(np.argmax(logs))]
    return Reseeded(log_ratio, generator.name, -1, stride, _predicts(predicted, drops))


def _predicts(predicted: NDArray[np.bool_], drops: NDArray[np.bool_]) -> bool:
    """Return whether what is dropped was predicted, of neurons that are not always dropped, or never."""
    varied = drops.any(axis=0) & ~drops.all(axis=0)
    counts = drops[:, varied].sum(axis=0)
    hits = (predicted & drops)[:, varied].sum(axis=0)
    return int(counts.sum()) >= _FEW and float((hits / counts).mean()) > _MOST


def _small_seeds(
    generators: tuple[Generator, ...],
    drops: NDArray[np.bool_],
    rates: Floats,
    places: NDArray[np.int64],
    seeds: int,
    stride: int = 1,
) -> Reseeded:
    """Return the generator and the first seed, a small integer, that make the masks likeliest."""
    drops = drops[:_SEEDED_CALLS]
    calls = drops.shape[0]
    hit, miss = _log_weights(drops, rates)
    gain, least = (hit - miss).T.astype(np.float32), float(miss.sum())
    best = Reseeded(0.0)
    for generator in generators:
        numbers = first_numbers(generator, seeds + stride * _SEEDED_CALLS, _NEURONS)[:, places]
        for predicted in (numbers < rates, numbers >= 1 - rates):
            # of each seed at each call; small products, which no library spreads over threads
            blocks = predicted.astype(np.float32).reshape(-1, _SEEDED_CALLS, places.size)
            each = (blocks @ gain).reshape(-1, calls)
            moved = np.lib.stride_tricks.as_strided(
                each, (seeds, calls), (each.strides[0], stride * each.strides[0] + each.strides[1]), writeable=False
            )
            total = moved.sum(axis=1, dtype=np.float64)
            seed = int(np.argmax(total))
            if total[seed] + least > best.log_ratio:
                sure = _predicts(predicted[seed : seed + stride * calls : stride], drops)
                best = Reseeded(float(total[seed]) + least, generator.name, seed, stride, sure)
    return best


def _log_weights(drops: NDArray[np.bool_], rates: Floats) -> tuple[Floats, Floats]:
    """Return by how much each neuron adds to the log ratio where it is predicted to be dropped, and to be kept."""
    law = np.where(drops, np.log(rates), np.log1p(-rates))
    return (
        np.where(drops, math.log1p(-_WRONG), math.log(_WRONG)) - law,
        np.where(drops, math.log(_WRONG), math.log1p(-_WRONG)) - law,
    )


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say which generator is reseeded, and with what."""
    if finding.state == "too small":
        return f"too few calls, or too few {case.unit.many} in each, to recognise a generator"
    if not failed:
        return f"the first {case.unit.many} of the calls match no known generator that is reseeded at each call"
    found: Reseeded = finding["found"]
    if found.seed < 0 and found.sure:
        found = _named(found, finding["case"])
    if not found.sure:
        return f"calls are reseeded with successive integers, as by a weak generator such as {found.name}"
    further = "the next integer" if found.stride == 1 else f"the previous seed plus {found.stride}"
    seeds = f" ({found.seed:,}, {found.seed + found.stride:,}, ...)" if found.seed >= 0 else ""
    return f"each call is reseeded with {further}{seeds}: {found.name}"


def _named(found: Reseeded, case: Case) -> Reseeded:
    """Return the same with its first seed, where that is a small integer."""
    rates = case.law.rates[:_NEURONS]
    places = np.flatnonzero((rates > 0) & (rates < 1))
    drops = case.seen.drops_of(0, min(case.trials, _SEEDED_CALLS))[:, places].astype(bool)
    generator = next(one for one in LATTICES if one.name == found.name)
    small = _small_seeds((generator,), drops, rates[places], places, _NAMED_SEEDS, found.stride)
    return small if small.sure else found


CHECK = Check(
    "reseeding",
    measure,
    explain,
    dependence=True,
    whole_masks=True,
    excused="by the rate",
    about="whether each call reseeds a weak generator with the next integer",
)
