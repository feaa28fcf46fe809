"""Assertions about dropout for other people's test suites; pytest is not needed."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, count
from typing import TYPE_CHECKING, Any

import numpy as np

from dropstats import _validate, formats
from dropstats.auditing import TESTS, Report, audit
from dropstats.counts import binomial_interval
from dropstats.power import detectable_shift, neurons_needed
from dropstats.recording import Recording, arrays, record

if TYPE_CHECKING:
    from dropstats.laws import Law
    from dropstats.models import ModelReport

# Calls made at least: whether positions differ, or calls repeat, one or two masks do not show.
_LEAST_CALLS = 32


def assert_dropout(
    dropout: Any,
    p: float,
    *,
    evaluate: Any = None,
    inputs: Any = None,
    scaling: str = "inverted",
    false_alarm: float = 1e-6,
    detect: float = 0.01,
    power: float = 0.999,
    trials: int = _LEAST_CALLS,
    tests: Iterable[str] | None = None,
) -> Report:
    """Assert that an implementation drops with probability p, independently, and scales what it keeps.

    Draws as much as the rate test needs to see that p is off by `detect` with probability `power`, and judges it by
    the tests of `audit`: rate, positions, dependence, repeated masks, scale, mean.

    Parameters
    ----------
    dropout : callable, array or Recording
        A callable without arguments that returns what dropout makes of ones (or of `inputs`), or a mask of booleans;
        it is called as often as needed. Or what many such calls gave, of shape (trials, ...).
    p : float
        Declared probability that a neuron is dropped.
    evaluate : callable or array, optional
        What the implementation returns on the same input in evaluation mode: the input itself, bit for bit, or
        (1 - p) times the input where scaling is "direct".
    inputs : array, optional
        What dropout is applied to in each call; ones by default.
    scaling : {'inverted', 'direct'}
        Whether kept values are divided by 1 - p in training, or left alone.
    false_alarm : float
        Probability, at most, that a correct implementation fails: once in a million runs by default.
    detect : float
        Error of p that is to be seen.
    power : float
        Probability with which it is seen.
    trials : int
        Calls to make at least.
    tests : iterable of str, optional
        Names of the tests to run, as for `audit`; all by default.

    Returns
    -------
    Report
        Of the audit that passed.

    Raises
    ------
    AssertionError
        If a test fails; it says what was observed and expected, within which interval, and what that looks like.
    ValueError
        If a given array is too small to see an error of p of `detect`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> ones = np.ones(4096, np.float32)
    >>> report = assert_dropout(lambda: np.where(rng.random(4096) >= 0.1, ones / np.float32(0.9), 0), 0.1)
    >>> report.passed
    True
    """
    __tracebackhide__ = True
    p = _validate.probability(p)
    names = tuple(TESTS) if tests is None else (tests,) if isinstance(tests, str) else tuple(tests)
    level = _validate.probability(false_alarm, "false_alarm") / max(len(names), 1)
    needed = _needed(p, detect, level, power)
    if callable(dropout):
        recording = _drawn(dropout, p, inputs, needed, _validate.trials(trials))
    else:
        recording = _given(dropout, p, inputs)
        if recording.judged < needed:
            seen = detectable_shift(p, max(recording.judged, 1), level, power, sign=1 if p <= 0.5 else -1)
            raise ValueError(
                f"{recording.judged:,} neurons cannot show that p = {p:g} is off by {detect:g} with power {power:g} at "
                f"false-alarm rate {false_alarm:g}: {needed:,} are needed, or detect={abs(seen):.3g}"
            )
    if recording.nans:  # of these it is not known whether they were dropped, so that no law can be held against them
        raise AssertionError(
            f"dropout with p = {p:g}: {recording.nans:,} of {recording.trials * recording.n:,} outputs are NaN where "
            "the input is not"
        )
    report = audit(recording, p=p, scaling=scaling, false_alarm=false_alarm, tests=names)
    wrong = _wrong_evaluation(evaluate, inputs, p, scaling)
    if report.failures or wrong:
        raise AssertionError(_message(report, recording, p, false_alarm, wrong))
    return report


def assert_model(
    model: Any,
    *inputs: Any,
    calls: int = 64,
    p: Mapping[str, float] | None = None,
    laws: "Mapping[str, Law] | None" = None,
    false_alarm: float = 1e-6,
    **keywords: Any,
) -> "ModelReport":
    """Assert that every dropout draw of a model is what the model declares: `audit_model`, for a test suite.

    Parameters
    ----------
    model, *inputs, calls, p, laws, **keywords
        As for `audit_model`.
    false_alarm : float
        Probability, at most, that a correct model fails: once in a million runs by default.

    Returns
    -------
    ModelReport
        Of the audit that passed.

    Raises
    ------
    AssertionError
        If a check or a site fails, or none could be judged; it says what was found.
    """
    __tracebackhide__ = True
    from dropstats.models import audit_model

    report = audit_model(model, *inputs, calls=calls, p=p, laws=laws, false_alarm=false_alarm, **keywords)
    if not report.passed:
        lines = [f"dropout of {report.model} fails (a correct model would with probability {false_alarm:g}):"]
        lines += [f"  {result.name}: {result.message}" for result in report.failures]
        raise AssertionError("\n".join(lines))
    return report


def _needed(p: float, detect: float, level: float, power: float) -> int:
    """Return the number of neurons that show an error of p of `detect`, to either side where there is room."""
    detect = _validate.probability(detect, "detect")
    shifts = [shift for shift in (detect, -detect) if 0 <= p + shift <= 1]
    if not shifts:
        raise ValueError(f"detect must leave p + detect or p - detect in [0, 1]; got {detect!r} for p = {p!r}")
    return max(neurons_needed(p, shift, level, power) for shift in shifts)


def _drawn(call: Callable[[], Any], p: float, inputs: Any, needed: int, least: int) -> Recording:
    """Return the recording of as many calls as are needed, the first of all among them."""
    first = arrays.array(call())
    n = math.prod(map(int, first.shape))
    if not n:
        raise ValueError(f"dropout must return at least one neuron; got shape {tuple(first.shape)}")
    results: Iterator[Any] = chain([first], (call() for _ in count()))
    judged = n if inputs is None else max(1, int(np.count_nonzero(arrays.host(arrays.array(inputs) != 0))))
    return record(lambda: next(results), max(least, math.ceil(needed / judged)), p, inputs=inputs)


def _given(dropout: Any, p: float, inputs: Any) -> Recording:
    if isinstance(dropout, Recording):
        return dropout
    first = arrays.array(dropout[0]) if arrays.listed(dropout) else arrays.array(dropout)
    if inputs is None and arrays.dtype(first).startswith(("bool", "int", "uint")):
        return Recording.from_masks(dropout, p)
    return Recording.from_outputs(dropout, p, inputs)


def _wrong_evaluation(evaluate: Any, inputs: Any, p: float, scaling: str) -> str:
    """Return what is wrong with the output in evaluation mode; nothing where it is right or not given."""
    if evaluate is None:
        return ""
    output = arrays.array(evaluate() if callable(evaluate) else evaluate)
    x = 1 if inputs is None else arrays.array(inputs)
    if scaling == "inverted":
        differs = arrays.host(output != x)
        expected = "the input itself"
    else:
        wide, given = arrays.floats(output), np.asarray(1.0 if inputs is None else arrays.floats(x))
        differs = ~(np.abs(wide - (1 - p) * given) <= 2 * formats.resolution(arrays.dtype(output)) * np.abs(wide))
        expected = f"{1 - p:g} times the input"
    wrong = int(np.count_nonzero(differs))
    if not wrong:
        return ""
    where = tuple(map(int, np.argwhere(differs)[0]))
    value = float(arrays.floats(output)[where])
    text = f"{wrong:,} of {differs.size:,} outputs are not {expected}: {value:.6g} at index {where}"
    looks = _looks(
        arrays.floats(output), np.broadcast_to(1.0 if inputs is None else arrays.floats(x), differs.shape), p
    )
    return f"{text}; {looks}" if looks else text


def _looks(output: Any, inputs: Any, p: float) -> str:
    """Return what gives such outputs in evaluation mode, or an empty string."""
    zeros = int(np.count_nonzero((output == 0) & (inputs != 0)))
    if 0 < zeros < output.size:
        return f"{zeros:,} of them are 0: dropout is active"
    if not zeros and (output == output.flat[0]).all() and (inputs != inputs.flat[0]).any():
        return f"all of them are {output.flat[0]:.6g}, whatever the input"
    if np.array_equal(output, inputs):
        return "they are the input itself, not multiplied by 1 - p"
    if np.allclose(output, (1 - p) * inputs, rtol=2**-7, atol=0):
        return "they are multiplied by 1 - p, as under direct scaling"
    return ""


def _message(report: Report, recording: Recording, p: float, false_alarm: float, wrong: str) -> str:
    """Say what failed: observed, expected, interval and diagnosis, a line or two for each test."""
    failed = len(report.failures) + bool(wrong)
    lines = [
        f"dropout with p = {p:g} fails {failed} test{'s'[: failed - 1]} over {report.trials:,} calls of {report.n:,} "
        f"neurons (a correct one would with probability {false_alarm:g})"
    ]
    for result in report.failures:
        lines.append(f"  {result.name}: {result.message}")
        facts = []
        if result.observed is not None:
            facts.append(f"observed {result.observed:.6g}")
        if result.name == "rate":
            low, high = binomial_interval(recording.dropped, recording.judged - recording.dropped, false_alarm / 2)
            facts.append(f"in [{low:.6g}, {high:.6g}] with confidence 1 - {false_alarm:g}")
        if result.expected is not None:
            facts.append(f"expected {result.expected:.6g}")
        if result.adjusted_pvalue is not None:
            facts.append(f"p-value {result.adjusted_pvalue:.3g} (adjusted for the number of tests)")
        if facts:
            lines.append(f"    {', '.join(facts)}")
    if wrong:
        lines.append(f"  evaluate: {wrong}")
    return "\n".join(lines)
