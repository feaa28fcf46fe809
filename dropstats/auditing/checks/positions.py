"""Test `positions`: each neuron, and each run of neighbours, is dropped at its declared rate."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dropstats.auditing import causes, nulls, words
from dropstats.auditing.finding import Case, Check, Finding, too_small

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# More distinct rates than this, and the sums over neurons of unlike rates are not convolved.
_DISTINCT = 256
# Up to so many masks a table of the p-values of all counts is formed whatever the number of neurons.
_FEW = 2**16
# Neurons that were never, or always, dropped are looked at until this many.
_SHOWN = 1000


def measure(case: Case) -> Finding:
    """Null: the number of drops of each neuron is Bin(trials, rate), independent of the others. Exact.

    Tested are: the most unusual neuron (Sidak), the chi-square statistic of all neurons (exact convolution), the first
    and the last neuron, and the most unusual run of neighbours; all two-sided, with Bonferroni's correction. Catches
    dead ends of a mask, neurons that are never or always dropped, rates that depend on the position, and short periods.
    Needs enough masks to detect a neuron that is never or always dropped.
    """
    seen, law = case.seen, case.law
    counts, known, rates = seen.neuron_drops, seen.neuron_trials, law.rates
    each = _pvalues(case)
    worst = each.worst()
    single = each.of(worst)
    free = law.independent
    alone = free and case.design_effect == 1  # neurons that depend on each other still have each its own exact law
    worst_p = nulls.sidak(single, case.n) if alone else min(1.0, case.n * single)
    complete = seen.recording.known is None
    spread = _spread(case) if free and complete else None
    spread = spread if case.design_effect == 1 else 1.0
    run_p, run = worst_run(counts, known, rates, case.design_effect) if free else (None, None)
    parts = [p for p in (worst_p, spread, run_p, each.of(0), each.of(case.n - 1)) if p is not None]
    pvalue = nulls.bonferroni(*parts)
    typical = float(np.median(rates)) if law.rate is None else law.rate
    masks = int(np.median(known)) if seen.recording.known is not None else case.trials
    level = case.level / (len(parts) * case.n)
    observed, expected = float(counts[worst] / max(known[worst], 1)), float(rates[worst])
    numbers = {
        "each": each, "worst": worst, "worst_p": worst_p, "spread": 1.0 if spread is None else spread,
        "run": run, "run_p": 1.0 if run_p is None else run_p, "masks": masks,
    }  # fmt: skip
    if 0 < typical < 1 and min(typical**masks, (1 - typical) ** masks) > level / 2:
        return too_small("masks", pvalue=pvalue, observed=observed, expected=expected, numbers=numbers)
    return Finding(pvalue, observed, expected, _seen(case, level), numbers=numbers)


def _seen(case: Case, level: float) -> float | None:
    """Return the smallest shift of any one neuron's rate that is seen with power 0.9."""
    known, rates = case.seen.neuron_trials, case.law.rates
    alike = case.law.rate is not None and case.seen.recording.known is None
    hardest = 0 if alike else int(np.argmax(rates * (1 - rates) / np.maximum(known, 1)))
    shift = nulls.detectable_rate(float(rates[hardest]), int(known[hardest]), level)
    if shift is None or case.law.rate is None:
        return shift
    # where that shifts the rate of all, it is judged against the others, a difference whose variance is larger
    shift *= math.sqrt(case.n / max(case.n - 1, 1))
    return shift if case.n > 1 and shift <= max(case.law.rate, 1 - case.law.rate) else None


@dataclass(frozen=True)
class _Each:
    """The exact two-sided p-value of each neuron's count: by count where all neurons are alike, else by neuron."""

    counts: Ints
    pvalues: Floats
    by_count: bool

    def of(self, neuron: int) -> float:
        """Return the p-value of a neuron."""
        return float(self.pvalues[self.counts[neuron] if self.by_count else neuron])

    def worst(self) -> int:
        """Return the first neuron of the smallest p-value."""
        if not self.by_count:
            return int(np.argmin(self.pvalues))
        seen = np.bincount(self.counts, minlength=self.pvalues.size) > 0
        return int(np.argmax(self.counts == np.argmin(np.where(seen, self.pvalues, 2.0))))


def _pvalues(case: Case) -> _Each:
    seen, law = case.seen, case.law
    # counts of equal neurons take few values, and each incomplete beta function costs a microsecond or more
    if law.rate is not None and seen.recording.known is None and case.trials <= max(case.n, _FEW):
        table = nulls.binomial(np.arange(case.trials + 1), case.trials, law.rate)
        return _Each(seen.neuron_drops, table, by_count=True)
    return _Each(seen.neuron_drops, nulls.binomial(seen.neuron_drops, seen.neuron_trials, law.rates), by_count=False)


def _spread(case: Case) -> float | None:
    """Return the exact two-sided p-value of the chi-square of the neurons' counts; None where rates are too many."""
    from dropstats.counts import of_rates

    counts, trials, rate = case.seen.neuron_drops, case.trials, case.law.rate
    values, where = (np.array([rate]), None) if rate is not None else np.unique(case.law.rates, return_inverse=True)
    if values.size > _DISTINCT:
        return None
    parts = []
    for index, p in enumerate(values.tolist()):
        if not 0 < p < 1:
            continue
        support, pmf = nulls.window(of_rates([(p, trials)]), trials)
        scores = nulls.squared_deviation(support, trials * p, trials * p * (1 - p))
        chosen = counts if where is None else counts[where == index]
        parts.append((scores, pmf, nulls.histogram(chosen, support)))
    return float(nulls.two_sided(*nulls.score_sum_tails(parts))) if parts else None


def worst_run(counts: Ints, trials: Ints, rates: Floats, effect: float) -> tuple[float | None, tuple[int, int] | None]:
    """Return the p-value of the worst run of neighbours and its ends, over runs of 2^k from either end on.

    Neurons of unlike rates are compared run by run only where all rates within it are equal. `effect` is by how much
    dependence widens the variance of sums.
    """
    n = counts.size
    alike = not any(one.size and (one.strides != (0,) and (one != one[0]).any()) for one in (trials, rates))
    best, ends, runs = 1.0, None, 0
    for backwards in (False, True):
        drops, known = (one[::-1] if backwards else one for one in (counts, trials))
        rate = rates[::-1] if backwards else rates
        even, size = None if alike else np.ones(n, bool), 2
        while size <= n // 2:
            half = drops.size // 2
            drops = _paired(drops, half)
            if even is not None:
                even = even[: 2 * half : 2] & even[1 : 2 * half : 2] & (rate[: 2 * half : 2] == rate[1 : 2 * half : 2])
                known, rate = _paired(known, half), rate[: 2 * half : 2]
            if backwards and n % size == 0:  # the same runs as forwards
                size *= 2
                continue
            chosen = np.array([drops.argmin(), drops.argmax()]) if even is None else np.flatnonzero(even)
            runs += half if even is None else chosen.size
            if chosen.size:
                of = np.full(chosen.size, size * int(trials[0])) if even is None else known[chosen]
                p = widened(nulls.binomial(drops[chosen], of, rate[chosen]), drops[chosen], of, rate[chosen], effect)
                at = int(np.argmin(p))
                first = int(chosen[at]) * size
                first = n - first - size if backwards else first
                if p[at] < best:
                    best, ends = float(p[at]), (first, first + size)
            size *= 2
    return (min(1.0, runs * best), ends) if runs else (None, None)


def _paired(values: Ints, half: int) -> Ints:
    """Return the sums of each two that follow each other."""
    return values[: 2 * half : 2] + values[1 : 2 * half : 2]


def widened(p: Floats, counts: Any, trials: Any, rates: Any, effect: float) -> Floats:
    """Return p-values, none below the normal distribution's whose variance dependence has widened."""
    if effect <= 1:
        return p
    deviation = np.sqrt(np.maximum(trials * rates * (1 - rates) * effect, 1e-300))
    return np.asarray(np.maximum(p, special.erfc(np.abs(counts - trials * rates) / deviation / math.sqrt(2))))


def explain(finding: Finding, case: Case, failed: bool) -> str:
    """Say which neurons are dropped too often or too rarely."""
    if failed:
        return _departure(finding, case)
    if finding.state == "too small":
        few = "mask is" if finding["masks"] == 1 else "masks are"
        return f"{finding['masks']:,} {few} too few to detect even a {case.unit.one} that is always dropped"
    if finding.detectable is None:
        return f"no {case.unit.one} stands out"
    return f"detects a shift of one {case.unit.one}'s rate of {finding.detectable:.2g} (power 0.9)"


def _departure(finding: Finding, case: Case) -> str:
    counts, trials, rates = case.seen.neuron_drops, case.seen.neuron_trials, case.law.rates
    if case.law.independent and (stages := causes.of_stages(counts, trials, rates)):
        return _of_stages(stages, rates, case)
    never = np.flatnonzero((counts == 0) & (rates > 0) & (trials > 0))
    always = np.flatnonzero((counts == trials) & (rates < 1) & (trials > 0))
    if case.n > 1 and case.trials > 1 and never.size + always.size == case.n:
        return f"every {case.unit.one} is always or never dropped: the masks do not change"
    found = []
    for places, what in ((never, "never dropped"), (always, "always dropped")):
        # neurons that chance leaves untouched are not worth a word
        chance = float(((1 - rates) ** trials if what == "never dropped" else rates**trials).sum())
        if places.size > 3 * chance + 2 or (
            places.size and min(map(finding["each"].of, places[:_SHOWN])) <= case.level
        ):
            found.append(words.places(places, what, case))
    if found:
        return "; ".join(found)
    run, run_p, worst, worst_p, spread = (finding[name] for name in ("run", "run_p", "worst", "worst_p", "spread"))
    if run is not None and run_p <= min(worst_p, spread):
        first, stop = run
        known = int(trials[first:stop].sum())
        observed = int(counts[first:stop].sum()) / known
        shown = words.shown_rate(observed, known)
        return f"{words.span(first, stop - 1, case)} have drop rate {shown} instead of {rates[first]:.6g}"
    if other := _another_law(case):
        return f"drop rates by position fit another law: {other}"
    if spread < worst_p:
        ratio = float(((counts - trials * rates) ** 2).sum() / (trials * rates * (1 - rates)).sum())
        more = "more" if ratio > 1 else "less"
        return f"the {case.unit.many}' rates differ {more} than expected by chance ({ratio:.3g} times the variance)"
    return f"{case.unit.place} {worst} has drop rate {counts[worst] / trials[worst]:.4g} instead of {rates[worst]:.6g}"


def _of_stages(starts: tuple[int, ...], rates: Floats, case: Case) -> str:
    """Say that all neurons of a stage have the rate of its first one."""
    ends = (*starts[1:], case.n)
    said = [f"{first} to {end - 1} at {rates[first]:.4g}" for first, end in zip(starts, ends, strict=True)]
    return f"{case.unit.places} drop at the rate of the first of their stage: {words.listed(said)}"


def _another_law(case: Case) -> str:
    """Return which law that is mistaken for the declared one has the positions' rates, or an empty string."""

    def misfit(rates: Floats) -> float:
        expected = case.seen.neuron_trials * rates
        return float(((case.seen.neuron_drops - expected) ** 2 / np.maximum(expected * (1 - rates), 1e-9)).sum())

    found = [(misfit(other.rates), how) for other, how in case.law.mistaken]
    least, how = min(found, default=(math.inf, ""))
    return how if least < misfit(case.law.rates) / 2 else ""


CHECK = Check(
    "positions",
    measure,
    explain,
    excused="by one rate",
    widened=True,
    about="whether each neuron, and each run of neighbours, has its declared drop rate",
    quantity="drop rate of the most unusual neuron",
)
