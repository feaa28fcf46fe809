"""The audit: the battery of tests on a recording, judged together."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dropstats import _validate
from dropstats.auditing import copies, counts, dependence, grouping, noise, values
from dropstats.auditing.evidence import Evidence, independent, uniform_rate
from dropstats.auditing.report import Report, Result, holm
from dropstats.laws import AlphaDropout, Channels, GaussianDropout, Law, Layer

if TYPE_CHECKING:
    from dropstats.recording import Recording

# (evidence, law) -> result; those of sums over neurons take an inflation as well
Test = Callable[..., Result]

# What fails is reported in this order, cause before consequence; `rate` and `mean` are judged after the others.
TESTS: dict[str, Test] = {
    "rate": counts.rate,
    "positions": counts.positions,
    "dispersion": counts.dispersion,
    "pairs": dependence.pairs,
    "lags": dependence.lags,
    "stream": dependence.stream,
    "duplicates": copies.duplicates,
    "repeats": copies.repeats,
    "rows": counts.rows,
    "scale": values.scale,
    "mean": values.mean,
    "edges": values.edges,
}

# Tests of dependence: where one of them fails, the rate is judged by the effective number of neurons.
_DEPENDENCE = ("dispersion", "pairs", "lags", "stream", "duplicates", "repeats")
# Tests that a wrong rate would fail along with `rate`: they are judged at the observed rate as well.
_AT_OBSERVED_RATE = ("positions", "dispersion", "pairs", "rows")
# Tests of sums over neurons, whose variance dependence widens.
_TAKE_INFLATION = ("rate", "positions", "lags", "rows", "mean")
# Tests that look at whole masks; the others can do with masks of which some neurons are not known.
_NEED_WHOLE_MASKS = (*_DEPENDENCE, "rows")


def audit(
    recording: Any,
    law: Law | AlphaDropout | GaussianDropout | None = None,
    *,
    p: float | None = None,
    scaling: str = "inverted",
    false_alarm: float = 1e-3,
    tests: Iterable[str] | None = None,
    tolerance: float | None = None,
) -> Report:
    """Decide whether recorded masks follow the law that an implementation declares.

    Each test holds one side of the masks against its exact law, or a bound on it; Holm's correction keeps the
    probability that any of them fails an implementation that follows its law to at most `false_alarm`. The tests are
    `rate`, `positions`, `dispersion`, `pairs`, `lags`, `stream`, `duplicates`, `repeats`, `rows`, `scale`, `mean`
    and `edges`; docs/audit.md says what each catches. Under a law of groups (`Channels`) neurons must also agree inside
    a group, which `groups` judges, and the others look at one bit a group.

    Parameters
    ----------
    recording : Recording or array_like of shape (trials, ...)
        Masks in the order of the calls, at least one. In an array 1 keeps, 0 drops.
    law : law, optional
        What is promised; `Layer(n, p)` by default. Against `AlphaDropout(p)` or `GaussianDropout(p)`, which are no
        laws of masks, give the outputs on ones, of shape (trials, ...).
    p : float, optional
        Declared drop probability, in place of the recording's own.
    scaling : {'inverted', 'direct'}
        Whether kept values are divided by 1 - p in training, or left alone.
    false_alarm : float
        Probability, in (0, 1), that an implementation that follows its law fails.
    tests : iterable of str, optional
        Names of the tests to run; all by default.
    tolerance : float, optional
        Bias of the rate that does not matter. `rate` then passes, or fails, only where the bias is surely smaller, or
        surely larger; it is inconclusive in between.

    Returns
    -------
    Report
        Print it for a table.

    Raises
    ------
    TypeError, ValueError
        If no p is known, if law and recording differ in n, if a test has no such name.

    Examples
    --------
    >>> from dropstats import Layer
    >>> report = audit(Layer(64, 0.5).sample(1000, rng=0), p=0.5)
    >>> report.passed, report["rate"].verdict
    (True, 'pass')
    >>> import numpy as np
    >>> report = audit(np.random.default_rng(0).random((10_000, 64)) >= 65 / 128, p=0.5)
    >>> report["rate"].message
    'drops 0.5081 where 0.5 was declared (+1.6%), consistent with 65/128: one step of 1/128 too many, as <= for < gives'
    """
    false_alarm = _validate.probability(false_alarm, "false_alarm")
    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm must be in (0, 1); got {false_alarm!r}")
    if isinstance(law, AlphaDropout | GaussianDropout):
        if p is not None or tolerance is not None or scaling != "inverted":
            raise TypeError(f"audit against {law!r} takes neither p= nor scaling= nor tolerance=")
        return _audit_noise(recording, law, false_alarm, tests)
    recording, law = _asked(recording, law, p)
    if scaling not in ("inverted", "direct"):
        raise ValueError(f"scaling must be 'inverted' or 'direct'; got {scaling!r}")
    if tolerance is not None:
        tolerance = _validate.probability(tolerance, "tolerance")
    names = _names(tests, (*TESTS, "groups") if grouping.grouped(law) else tuple(TESTS))
    uniform = uniform_rate(law)
    seen = Evidence(recording, false_alarm / len(names), scaling, tolerance, None if uniform is not None else law.rates)
    if isinstance(law, Channels) and grouping.grouped(law):
        results, notes = _judge_groups(seen, law, names, false_alarm)
    else:
        results, notes = _judge(seen, law, names, false_alarm)
        notes += _fits(seen, law, results, false_alarm)
    return Report(
        trials=recording.trials,
        n=recording.n,
        p=float(np.mean(law.rates)) if uniform is None else uniform,
        observed_rate=seen.rate,
        false_alarm=false_alarm,
        results=results,
        source=recording.source,
        notes=notes,
        evidence=(seen, law),
    )


def _audit_noise(
    outputs: Any, law: AlphaDropout | GaussianDropout, false_alarm: float, tests: Iterable[str] | None
) -> Report:
    """Audit outputs of noise by a bit of each, as a layer's masks, and by their values."""
    found = noise.read(outputs, law)
    values_judged = any(result.pvalue is not None for result in found.results)
    # the moments take a fifth of what may go wrong by chance
    share = 0.8 if values_judged else 1.0
    names = tuple(TESTS) if tests is None else _names(tests, tuple(TESTS))
    report = audit(found.masks, p=found.p, false_alarm=share * false_alarm, tests=names if found.ordered else "rate")
    own = holm(found.results, (1 - share) * false_alarm)
    own = tuple(result for result in own if tests is None or result.name in names)
    others = (result for result in report.results if result.name in names and result.name not in ("scale", "mean"))
    trials, n = (report.trials, report.n) if found.ordered else (outputs.trials, outputs.n)
    return replace(
        report,
        trials=trials,
        n=n,
        p=law.p,
        false_alarm=false_alarm,
        results=(*own, *others),
        notes=(found.note, *report.notes),
        evidence=report.evidence if found.ordered else None,
    )


def _asked(recording: Any, law: Law | None, p: float | None) -> tuple["Recording", Law]:
    """Return the recording and the law that it is held against."""
    from dropstats.recording import Recording

    if not isinstance(recording, Recording):
        recording = Recording.from_masks(recording)
    if law is not None and p is not None:
        raise TypeError("audit takes law= or p=, not both")
    if recording.trials < 1 or recording.n < 1:
        raise ValueError(f"audit needs at least one mask of one neuron; got shape {(recording.trials, recording.n)}")
    if not recording.judged:
        raise ValueError("audit needs neurons known to be dropped or kept; got a recording in which none is")
    if law is None:
        declared = recording.p if p is None else p
        if declared is None:
            raise ValueError("audit needs a declared p: the recording has none, so give p= or law=")
        law = Layer(recording.n, _validate.probability(declared))
    if law.n != recording.n:
        raise ValueError(f"law must have the recording's {recording.n} neurons; got {law.n}")
    return recording, law


def _names(tests: Iterable[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    if tests is None:
        return known
    names = (tests,) if isinstance(tests, str) else tuple(tests)
    for name in names:
        if name not in known:
            raise ValueError(f"tests must be among {', '.join(known)}; got {name!r}")
    if not names:
        raise ValueError("tests must name at least one test; got none")
    return tuple(name for name in known if name in names)


def _judge_groups(
    seen: Evidence, law: Channels, names: tuple[str, ...], false_alarm: float
) -> tuple[tuple[Result, ...], tuple[str, ...]]:
    """Judge that neurons agree inside their groups, and one bit a group as a layer of independent groups."""
    recording, split = grouping.reduced(seen.recording, law)
    rates = None if uniform_rate(law.groups) is not None else law.groups.rates
    part = Evidence(recording, seen.level, seen.scaling, seen.tolerance, rates)
    judged, notes = _judge(part, law.groups, tuple(name for name in names if name in TESTS), false_alarm)
    results = tuple(map(grouping.in_groups, judged))
    if "groups" in names:
        results = (grouping.agreement(seen, law, split), *results)
    return results, (f"judged as {law.groups.n:,} groups of {law.size} neurons, one bit a group", *notes)


def _fits(seen: Evidence, law: Law, results: tuple[Result, ...], false_alarm: float) -> tuple[str, ...]:
    """Return a note where masks that fail as single neurons drop whole groups."""
    failing = [result.name for result in results if result.verdict == "fail"]
    other = grouping.fitting(seen, law) if independent(law) and set(failing) & {*_DEPENDENCE, "rows"} else None
    if other is None:
        return ()
    again, _ = _judge_groups(seen, other, tuple(TESTS), false_alarm)
    still = ", ".join(result.name for result in again if result.verdict == "fail")
    fit = f"they fit {other!r}" if not still else f"as {other!r} would, by which {still} still fail"
    return (f"hint: these masks drop whole groups of {other.size} neurons: {fit}",)


def _complete(seen: Evidence, law: Law) -> tuple[Evidence | None, Law, tuple[str, ...]]:
    """Return the evidence of the neurons known in every mask, their law, and a note where these are not all."""
    recording = seen.recording
    if recording.known is None:
        return seen, law, ()
    columns = np.flatnonzero(seen.neuron_trials == seen.trials)
    if not columns.size or not independent(law):
        return None, law, ("no test of dependence: which neurons are dropped is not known in every mask",)
    packed = np.packbits(recording.masks(0, recording.trials)[:, columns], axis=1)
    part = replace(recording, n=columns.size, shape=(columns.size,), packed=packed, known=None)
    rates: Any = law.rates[columns]
    note = f"dependence is judged on the {columns.size:,} neurons known in every mask, counted from 0"
    unlike = None if seen.rates is None else rates
    return replace(seen, recording=part, rates=unlike), Layer(columns.size, rates), (note,)


def _judge(
    seen: Evidence, law: Law, names: tuple[str, ...], false_alarm: float
) -> tuple[tuple[Result, ...], tuple[str, ...]]:
    """Run the tests, dependence first, and correct them for their number."""
    complete, complete_law, notes = _complete(seen, law)
    results: dict[str, Result] = {}
    for name in names:
        if name in _NEED_WHOLE_MASKS and complete is None:
            results[name] = Result(name, "inconclusive", message="no neuron is known in every mask")
        elif name in _NEED_WHOLE_MASKS:
            assert complete is not None
            results[name] = _at_either_rate(name, complete, complete_law)
        elif name not in ("rate", "mean"):
            results[name] = _at_either_rate(name, seen, law)
    dependent = any(name in results and _doubtful(results[name], seen) for name in _DEPENDENCE)
    inflation = counts.inflation(complete) if dependent and complete and independent(law) else 1.0
    for name in ("positions", "rows"):
        if inflation > 1 and name in results and results[name].pvalue is not None:
            part, its_law = (complete, complete_law) if name == "rows" and complete else (seen, law)
            results[name] = _at_either_rate(name, part, its_law, inflation)
    within = counts.mask_inflation(complete) if inflation > 1 and complete else 1.0
    if within > 1 and "lags" in results and complete:
        results["lags"] = _run("lags", complete, complete_law, within)
    if "rate" in names:
        results["rate"] = counts.rate(seen, law, inflation)
    if "mean" in names:
        results["mean"] = values.mean(seen, law, max(inflation, counts.law_inflation(law)))
    ordered = tuple(results[name] for name in names)

    def again(name: str, level: float) -> str:
        part, its_law = (complete, complete_law) if name in _NEED_WHOLE_MASKS and complete else (seen, law)
        widened = {"mean": max(inflation, counts.law_inflation(law)), "lags": within}.get(name, inflation)
        return _run(name, part.at_level(level), its_law, widened).message

    judged = holm(ordered, false_alarm)
    return tuple(_worded(a, b, seen.level, again) for a, b in zip(ordered, judged, strict=True)), notes


def _run(name: str, seen: Evidence, law: Law, inflation: float) -> Result:
    """Run a test; those of counts take account of by how much dependence widens a variance."""
    return TESTS[name](seen, law, inflation) if name in _TAKE_INFLATION else TESTS[name](seen, law)


def _at_either_rate(name: str, seen: Evidence, law: Law, inflation: float = 1.0) -> Result:
    """Return a test's result, at the observed rate where the declared one fails and that excuses it.

    The larger of the two p-values is at least the declared law's own, so that no false alarm is added.
    """
    result = _run(name, seen, law, inflation)
    if name not in _AT_OBSERVED_RATE or result.pvalue is None or result.pvalue > 0.05:
        return result
    if name == "positions" and uniform_rate(law) is None:
        return result  # rates of some positions are what a law of unlike rates is about
    observed = _observed_law(seen, law)
    if observed is None:
        return result
    other = _run(name, seen, observed, inflation)
    return result if other.pvalue is not None and result.pvalue >= other.pvalue else other


def _doubtful(result: Result, seen: Evidence) -> bool:
    return result.verdict == "fail" or (result.pvalue is not None and result.pvalue <= seen.level)


def _observed_law(seen: Evidence, law: Law) -> Law | None:
    """Return the law at the observed rate where that is surely not the declared one."""
    if not independent(law):
        return None
    low, high, _ = counts.total_tails(seen, law)
    if 2 * min(low, high) > seen.level or not 0 < seen.rate < 1:
        return None
    observed: Law = counts.observed_law(seen, law)
    return observed


def _worded(before: Result, after: Result, level: float, again: Callable[[str, float], str]) -> Result:
    """Return the result with the words of a failure where only Holm's later steps made it one."""
    if after.verdict != "fail" or before.verdict == "fail" or before.pvalue is None or before.pvalue <= level:
        return after
    return replace(after, message=again(after.name, math.nextafter(before.pvalue, 1.0)))
