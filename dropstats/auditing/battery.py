"""The audit: evidence, findings, the judge, the report."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dropstats import _progress, _validate
from dropstats.auditing import checks, pictures, words
from dropstats.auditing.checks import groups, positions, rate
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import GROUP, Case, Check, Finding, not_applicable, too_small
from dropstats.auditing.judge import Judged, explained, judge, passes
from dropstats.auditing.noise import Read, read
from dropstats.auditing.order import variance
from dropstats.auditing.report import Report, Result
from dropstats.laws import Layer
from dropstats.laws.foreign import law_like
from dropstats.recording import Recording

if TYPE_CHECKING:
    from dropstats.laws import AlphaDropout, GaussianDropout, Law

_GROUPS = groups.CHECK.name
# Names of the tests of an audit; under a law of groups there is one more, `groups`.
TESTS = tuple(check.name for check in checks.OF_MASKS if check.name != _GROUPS and not check.on_request)
# What noise may fail by chance by its values, of the whole.
_SHARE = 0.2
# Correlations this many errors from 0 are beyond what chance leaves at any of very many lags.
_BEYOND = 20
# Masks repeat themselves plainly where fewer than this share of them are new.
_FRESH = 0.75
# Threads take up first what takes longest.
_LONGEST = ("serial", "lags", "pairs", "overlaps", "tiles", "duplicates")
# p-values above this are not judged at the observed rate as well.
_UNEXCUSED = 0.05


def audit(
    recording: Any,
    law: "Law | AlphaDropout | GaussianDropout | None" = None,
    *,
    p: float | None = None,
    scaling: str = "inverted",
    false_alarm: float = 1e-3,
    tests: Iterable[str] | None = None,
    tolerance: float | None = None,
    progress: Any = None,
    workers: int = 1,
) -> Report:
    """Decide whether recorded masks follow the declared law.

    Each test compares one property of the masks with its exact null distribution, or with a bound on it. Holm's
    correction limits the probability that any test fails a correct implementation to `false_alarm`. The tests are
    `rate`, `positions`, `dispersion`, `tiles`, `pairs`, `lags`, `serial`, `duplicates`, `overlaps`, `linear`,
    `reseeding`, `drift`, `inputs`, `scale`, `mean` and `edges`; docs/audit.md describes each. Under a law that drops
    neurons in groups (`Channels`) there is one more, `groups`, for neurons that differ inside a group, and the other
    tests use one bit per group.

    Parameters
    ----------
    recording : Recording or array_like of shape (trials, ...)
        At least one mask, in the order of the calls. Booleans and integers are masks (1 = kept, 0 = dropped); floats
        are outputs of dropout on an input of ones, unless all of them are 0 or 1.
    law : Law, optional
        Declared law; `Layer(n, p)` by default. For `AlphaDropout(p)` or `GaussianDropout(p)`, which are not laws of
        masks, pass the outputs on an input of ones, of shape (trials, ...).
    p : float, optional
        Declared drop probability; by default that of the recording.
    scaling : {'inverted', 'direct'}
        Whether kept values are divided by 1 - p during training ('inverted', default) or left unchanged ('direct').
    false_alarm : float
        Probability, in (0, 1), that a correct implementation fails; 0.001 by default.
    tests : iterable of str, optional
        Names of the tests to run; by default all except `complexity`, which rejects the Mersenne Twister too.
    tolerance : float, optional
        Largest acceptable bias of the rate. `rate` then passes only if the bias is significantly smaller and fails
        only if it is significantly larger; in between it is inconclusive.
    progress : bool or callable, optional
        True shows a progress bar if the tests take more than a second; a callable such as ``tqdm.notebook.tqdm``
        wraps the iterable of tests.
    workers : int
        Number of threads among which the tests are shared; 1 by default. Each needs working memory of its own. The
        report does not depend on it.

    Returns
    -------
    Report
        Print it to see a table of the results.

    Raises
    ------
    TypeError, ValueError
        If p is unknown, the law and the recording differ in n, or a test name is unknown.

    Examples
    --------
    >>> from dropstats import Layer
    >>> report = audit(Layer(64, 0.5).sample(1000, rng=0), p=0.5)
    >>> report.passed, report["rate"].verdict
    (True, 'pass')
    >>> import numpy as np
    >>> report = audit(np.random.default_rng(0).random((10_000, 64)) >= 65 / 128, p=0.5)
    >>> report["rate"].message
    'drops 0.5081 where 0.5 was declared (+1.6%), consistent with 65/128: one step of 1/128 too many, as with <= for <'
    """
    false_alarm = _validate.open_probability(false_alarm, "false_alarm")
    _progress.check(progress)
    workers = _validate.integer(workers, "workers", minimum=1, maximum=2**10)
    if getattr(law, "is_noise", False):
        if p is not None or tolerance is not None or scaling != "inverted":
            raise TypeError(f"audit against {law!r} takes neither p= nor scaling= nor tolerance=")
        return _of_noise(recording, law, false_alarm, tests, progress)
    recording, declared = _asked(recording, law, p)
    if scaling not in ("inverted", "direct"):
        raise ValueError(f"scaling must be 'inverted' or 'direct'; got {scaling!r}")
    if tolerance is not None:
        tolerance = _validate.probability(tolerance, "tolerance")
    grouped = declared.group_of is not None
    chosen = _chosen(tests, _known(grouped))
    whole = Case(Evidence(recording), declared, false_alarm / len(chosen), scaling, tolerance)
    case, notes = _reduced(whole) if grouped else (whole, ())
    judged, about = _judged(case, chosen, false_alarm, progress, workers)
    notes += about if grouped else (*about, *_hint(case, judged, false_alarm))
    return _report(whole, judged, false_alarm, notes, pictures.of_audit(whole))


def _asked(recording: Any, law: Any, p: float | None) -> "tuple[Recording, Law]":
    """Return the recording and the law that it is held against."""
    if law is not None and p is not None:
        raise TypeError("audit takes law= or p=, not both")
    law = None if law is None else law_like(law)
    recording = Recording.of(recording)
    if recording.trials < 1 or recording.n < 1:
        raise ValueError(f"audit needs at least one mask of one neuron; got shape {(recording.trials, recording.n)}")
    if not recording.judged:
        raise ValueError("audit needs neurons known to be dropped or kept; got a recording in which none is")
    if law is None:
        declared = recording.p if p is None else p
        if declared is None:
            raise ValueError("audit needs a declared p: the recording has none, so give p= or law=")
        law = Layer(recording.n, _validate.probability(declared))
    part = law.part_of(recording.n) if law.n != recording.n else None
    if part is not None:
        recording = recording.neurons(part)
    if law.n != recording.n:
        raise ValueError(f"law must have the recording's {recording.n} neurons; got {law.n}")
    return recording, law


def _known(grouped: bool) -> list[Check]:
    """Return the tests of masks, with `groups` under a law of groups only."""
    return [check for check in checks.OF_MASKS if grouped or check.name != _GROUPS]


def _chosen(tests: Iterable[str] | None, known: Sequence[Check]) -> tuple[Check, ...]:
    """Return the tests of these names, in the order of reports."""
    if tests is None:
        return tuple(check for check in known if not check.on_request)
    names = (tests,) if isinstance(tests, str) else tuple(tests)
    for name in names:
        if name not in [check.name for check in known]:
            raise ValueError(f"tests must be among {', '.join(check.name for check in known)}; got {name!r}")
    if not names:
        raise ValueError("tests must name at least one test; got none")
    return tuple(check for check in known if check.name in names)


def _reduced(whole: Case) -> tuple[Case, tuple[str, ...]]:
    """Return the case of one bit a group, and a note that says so."""
    recording, law = whole.law.reduce(whole.seen.recording)
    case = whole.but(seen=Evidence(recording), law=law, unit=GROUP, whole=whole)
    return case, (f"tested as {words.counted(law.n, 'group')} of neurons that are dropped together, one bit per group",)


def _complete(case: Case) -> tuple[Case | None, tuple[str, ...]]:
    """Return the case of the neurons known in every mask, and a note where these are not all."""
    if case.seen.recording.known is None:
        return case, ()
    columns = np.flatnonzero(case.seen.neuron_trials == case.trials)
    if not columns.size or not case.law.independent:
        return None, ("no test of dependence: which neurons are dropped is not known in every mask",)
    return case.of_neurons(columns), (
        f"tests of dependence use only the {columns.size:,} {case.unit.many} known in every mask, numbered from 0",
    )


def _judged(
    case: Case, chosen: Sequence[Check], false_alarm: float, progress: Any = None, workers: int = 1
) -> "tuple[list[Said], tuple[str, ...]]":
    """Measure, judge once, and only then put into words."""
    complete, notes = _complete(case)
    asked = [(check, complete if check.whole_masks else case) for check in chosen]
    with closing(_findings(asked, workers)) as findings:
        found = list(_progress.shown(findings, len(asked), "auditing", "test", progress, 1))
    pvalues = [one.finding.pvalue for one in found if one.check.dependence]
    doubtful = any(p is not None and p <= case.level for p in pvalues)
    if doubtful and complete is not None and case.law.independent:
        effects = {"design_effect": design_effect(complete.seen), "mask_effect": mask_effect(complete.seen)}
        for place, (check, part) in enumerate(asked):
            if check.widened and part is not None and found[place].finding.pvalue is not None:
                found[place] = _measured(check, part.but(**effects))
    judged = judge([(one.check, one.finding) for one in found], false_alarm)
    if sum(one.failed for one in judged) > 1:
        judged = explained(judged, facts(case) | carried(judged))
    failing = {one.check.name for one in judged if one.failed}
    said = [Said(verdict, one.case) for verdict, one in zip(judged, found, strict=True)]
    if failing & {"positions", "drift"}:
        said = [one._replace(case=one.case and one.case.but(even=False)) for one in said]
    return said, notes


def _findings(asked: "Sequence[tuple[Check, Case | None]]", workers: int) -> "Generator[_Measured, None, None]":
    """Yield the finding of each test in turn, measured by so many threads."""
    if workers == 1:
        for check, case in asked:
            yield _measured(check, case)
        return
    for case in {id(case): case for _, case in asked if case is not None}.values():
        _share(case)
    # NumPy and SciPy let other threads run while they transform, multiply, sort and count
    pool = ThreadPoolExecutor(workers, thread_name_prefix="dropstats-audit")
    try:
        order = sorted(range(len(asked)), key=lambda place: asked[place][0].name not in _LONGEST)
        futures = {place: pool.submit(_measured, *asked[place]) for place in order}
        for place in range(len(asked)):
            yield futures[place].result()
    finally:
        pool.shutdown(cancel_futures=True)


def _share(case: Case) -> None:
    """Form what several tests look at, so that no two threads form it at the same time."""
    seen = case.seen
    if seen.whole:
        seen.drops  # noqa: B018
    seen.mask_drops, seen.neuron_drops, seen.mask_hashes, case.streams, case.law.has_counts  # noqa: B018


def facts(case: Case) -> frozenset[str]:
    """Return what is plain to see in the masks, by which one finding explains others."""
    seen = case.seen
    if seen.recording.known is not None:
        return frozenset()
    constant = bool(((seen.neuron_drops == 0) | (seen.neuron_drops == seen.trials)).any())
    # of masks that drop nothing, or everything, the test of dispersion speaks
    some = (seen.mask_drops > 0) & (seen.mask_drops < seen.n)
    hashes = seen.mask_hashes[some] if some.any() else np.zeros(0)
    repeated = np.unique(hashes).size < _FRESH * hashes.size
    named = (
        *(("periodic", seen.period), ("repeated", repeated)),
        *(("together", seen.together[1]), ("constant", constant), ("certain", case.law.rate in (0.0, 1.0))),
    )
    return frozenset(name for name, holds in named if holds)


def carried(judged: Sequence[Judged]) -> frozenset[str]:
    """Return whether it was found that neurons do what others did some calls before, as a fact."""
    found = any(one.failed and one.finding.numbers.get("carried") is not None for one in judged)
    return frozenset({"carried"} if found else ())


class _Measured(NamedTuple):
    """A finding and the case that it is about."""

    check: Check
    finding: Finding
    case: Case | None


def _measured(check: Check, case: Case | None) -> _Measured:
    """Return a test's finding, at the observed rate where the declared one fails and that excuses it.

    The larger of the two p-values is at least the declared law's own, so that no false alarm is added.
    """
    if case is None:
        return _Measured(check, too_small("unknown"), None)
    finding = _Measured(check, check.measure(case), case)
    pvalue = finding.finding.pvalue
    if not check.excused or pvalue is None or pvalue > _UNEXCUSED:
        return finding
    if check.excused == "by one rate" and case.law.rate is None:
        return finding  # rates of some positions are what a law of unlike rates is about
    if not case.law.independent or not rate.surely_off(case):
        return finding
    if case.seen.rate in (0.0, 1.0):  # evaluation mode is one finding, of the rate
        alike = not_applicable("nothing is dropped" if case.seen.rate == 0 else "everything is dropped")
        return _Measured(check, alike, case)
    at_observed = case.at_observed_rates()
    other = _Measured(check, check.measure(at_observed), at_observed)
    return finding if other.finding.pvalue is not None and pvalue >= other.finding.pvalue else other


def design_effect(seen: Evidence) -> float:
    """Return by how much dependence widens the variance of the total, from the recording itself.

    The spread of the masks' counts about their mean, times that of the neurons' counts, and where larger the sum of
    the stream's plain correlations; at the observed rate, so that a wrong p does not pass for dependence.
    """
    p = seen.rate
    if not 0 < p < 1:
        return 1.0  # nothing varies: the total itself says all
    by_neuron = variance(seen.neuron_drops) / (seen.trials * p * (1 - p)) if seen.n > 1 else 1.0
    correlation = np.asarray(seen.stream_correlation[1:], dtype=np.float64)
    plain = correlation[correlation > _BEYOND / np.sqrt(max(seen.stream.size, 1))]
    return max(1.0, mask_effect(seen) * max(by_neuron, 1.0), 1 + 2 * float(plain.sum()))


def mask_effect(seen: Evidence) -> float:
    """Return by how much dependence within masks widens the variance of their counts, at least 1."""
    p = seen.rate
    if seen.trials < 2 or not 0 < p < 1:
        return 1.0
    return max(1.0, variance(seen.mask_drops) / (seen.n * p * (1 - p)))


class Said(NamedTuple):
    """A judged finding with the case that it is about, to be put into words."""

    judged: Judged
    case: Any

    def result(self) -> Result:
        """Return the finding in words, with its numbers."""
        check, finding, verdict, adjusted, _ = self.judged
        if self.case is None:
            return Result(check.name, verdict, message="no neuron is known in every mask")
        alone = finding.state == "not applicable"
        message = finding["why"] if alone else check.explain(finding, self.case, self.judged.failed)
        numbers = (finding.observed, finding.expected, finding.detectable)
        return Result(check.name, verdict, finding.pvalue, adjusted, *numbers, message, self.judged.explained_by)


def _hint(case: Case, judged: Sequence[Said], false_alarm: float) -> tuple[str, ...]:
    """Return a note where masks that fail fit a law of groups, or one that is taken for theirs."""
    failing = [one.judged.check for one in judged if one.judged.failed]
    for law, said in case.law.mistaken if failing else ():
        of_law = case.but(law=law)
        misfit = positions.measure(of_law).pvalue  # the quickest of all to say no
        if (misfit is None or misfit > case.level) and not _failing(of_law, false_alarm):
            return (f"hint: {said}: these masks fit {law!r}, with the mean rate {law.rates.mean():.4g}",)
    other = groups.fitting(case) if case.law.independent and any(check.whole_masks for check in failing) else None
    if other is None:
        return ()
    still = ", ".join(_failing(case.but(law=other), false_alarm))
    fit = f"they fit {other!r}" if not still else f"as under {other!r}, but {still} would still fail"
    size = other.n // other.reduced.n
    return (f"hint: these masks drop whole groups of {words.counted(size, 'neuron')}: {fit}",)


def _failing(case: Case, false_alarm: float) -> list[str]:
    """Return the names of the tests that another law fails by."""
    grouped = case.law.group_of is not None
    of_law = _reduced(case)[0] if grouped else case
    again, _ = _judged(of_law, _chosen(None, _known(grouped)), false_alarm)
    return [one.judged.check.name for one in again if one.judged.failed]


def _report(
    case: Case, said: Sequence[Said], false_alarm: float, notes: tuple[str, ...], shown: Mapping[str, Any]
) -> Report:
    return Report(
        trials=case.trials,
        n=case.n,
        p=case.expected_rate,
        observed_rate=case.seen.rate,
        false_alarm=false_alarm,
        results=tuple(one.result() for one in said),
        passed=passes([one.judged for one in said]),
        source=case.seen.recording.source,
        notes=notes,
        law=repr(case.law),
        scaling=case.scaling,
        tolerance=case.tolerance,
        pictures=shown,
    )


def _of_noise(outputs: Any, law: Any, false_alarm: float, tests: Iterable[str] | None, progress: Any) -> Report:
    """Audit outputs of noise by a bit of each, as a layer's masks, and by their values."""
    found: Read = read(outputs, law)
    known = _known(grouped=False)
    names = [check.name for check in _chosen(tests, known)]
    of_values = [(check, check.measure(found.factors)) for check in found.checks]
    # the values take a share of what may go wrong by chance
    share = _SHARE if any(finding.pvalue is not None for _, finding in of_values) else 0.0
    chosen = [
        check for check in known if not check.values and check.name in names and (found.ordered or check is rate.CHECK)
    ]
    case = Case(Evidence(Recording.from_masks(found.masks)), Layer(found.masks.shape[1], found.p))
    judged, notes = _judged(
        case.but(level=(1 - share) * false_alarm / max(len(chosen), 1)), chosen, (1 - share) * false_alarm, progress
    )
    values = judge(of_values, share * false_alarm)
    said = [*(Said(one, found.factors) for one in values if tests is None or one.check.name in names), *judged]
    report = _report(case, said, false_alarm, (found.note, *notes), pictures.of_audit(case) if found.ordered else {})
    return replace(report, trials=found.trials, n=found.n, p=law.p, law=repr(law))
