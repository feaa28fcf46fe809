"""Assertions about dropout and about models: draw enough, audit, and say what fails."""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dropstats import _validate, formats
from dropstats.auditing import TESTS, Report, audit, causes
from dropstats.counts import binomial_interval
from dropstats.laws.foreign import law_like
from dropstats.power import detectable_shift, neurons_needed
from dropstats.recording import Recorder, Recording, arrays
from dropstats.testing.calling import Drawn, Outputs, declared, drawing, is_module

if TYPE_CHECKING:
    from dropstats.laws import AlphaDropout, GaussianDropout, Law
    from dropstats.models import ModelReport

# Calls made at least: whether positions differ, or calls repeat, one or two masks do not show.
_LEAST_CALLS = 32
# p rounded up to a multiple of 1/128 or 1/256, as in bfloat16 or by an 8-bit threshold, is off by p / 64 and more for
# p = 0.05, 0.1, 0.2, 0.3, ...; below 1/32 by 1/2048 and more unless 256 p is next to a whole number.
_RELATIVE, _ABSOLUTE = 1 / 64, 2.0**-11


class _Asked(NamedTuple):
    """What is asserted: the law, or a layer of rate p, and how many neurons must be seen."""

    law: Any
    p: float | None  # declared
    rate: float  # of what the rate test counts
    n: int | None
    needed: int
    independent: int  # neurons that would be needed if each were independent
    detect: float
    level: float
    noise: bool

    @property
    def words(self) -> str:
        """What the dropout declares."""
        return f"with p = {self.p:g}" if self.law is None else f"that declares {self.law!r}"


def assert_dropout(
    dropout: Any,
    p: float | None = None,
    *,
    law: "Law | AlphaDropout | GaussianDropout | None" = None,
    evaluate: Any = None,
    inputs: Any = None,
    scaling: str = "inverted",
    false_alarm: float = 1e-6,
    detect: float | None = None,
    power: float = 0.999,
    trials: int = _LEAST_CALLS,
    tests: Iterable[str] | None = None,
) -> Report:
    """Assert that an implementation drops with the declared probability and scales kept values correctly.

    It draws as many neurons as the rate test needs to detect an error of p of `detect` with probability `power`, and
    applies the tests of `audit`: rate, positions, dependence, repeated masks, scale, mean and others. By default it
    detects p rounded to 8 bits or to bfloat16: an error of 1/64 of p or of 1 - p, whichever is smaller, but at least
    2^-11. This takes 0.3 million neurons at p = 0.5, 2.7 million at 0.1 and at most 9 million (at 1/32), one or two
    seconds on one core; with detect=0.01 at p = 0.1 it takes 0.13 million and a quarter of a second.

    Parameters
    ----------
    dropout : callable, module, array or Recording
        A callable without arguments that returns the output of dropout on ones (or on `inputs`), or a mask of
        booleans; it is called as often as needed. Or a module (torch, Paddle, MLX, Keras), which is called on
        `inputs`, or on ones, in training mode and then in evaluation mode; its modes are restored afterwards. Or the
        outputs of many calls, of shape (trials, ...).
    p : float, optional
        Declared probability that a neuron is dropped; by default that of the law, the module or the recording.
    law : Law, optional
        Declared law if it is not a `Layer` with a single p: ``Channels(64, 8 * 8, 0.2)`` for Dropout2d,
        ``AlphaDropout(0.1)``. If p is given too, they must agree.
    evaluate : callable or array, optional
        Output of the implementation on the same input in evaluation mode, or a callable that returns it. It must be
        exactly the input, or (1 - p) times the input if scaling is 'direct'. Not needed for a module.
    inputs : array, optional
        Input of dropout in each call; ones by default.
    scaling : {'inverted', 'direct'}
        Whether kept values are divided by 1 - p during training ('inverted', default) or left unchanged ('direct').
    false_alarm : float
        Largest probability that a correct implementation fails; 1e-6 by default.
    detect : float, optional
        Error of p that must be detected; by default that of p rounded to 8 bits or to bfloat16, as above.
    power : float
        Probability with which such an error is detected; 0.999 by default.
    trials : int
        Smallest number of calls.
    tests : iterable of str, optional
        Names of the tests to run, as for `audit`; all by default.

    Returns
    -------
    Report
        The report of the passed audit.

    Raises
    ------
    AssertionError
        If a test fails. The message gives the observed and expected values, the confidence interval and the likely
        cause. Its attribute ``report`` is the report; None if outputs are NaN.
    TypeError, ValueError
        If an argument is invalid, or a given array is too small to detect an error of `detect`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> ones = np.ones(4096, np.float32)
    >>> report = assert_dropout(lambda: np.where(rng.random(4096) >= 0.5, ones / np.float32(0.5), 0), 0.5)
    >>> report.passed, report.n
    (True, 4096)

    Whole channels, as dropped by Dropout2d:

    >>> from dropstats import Channels
    >>> law = Channels(64, 4, 0.5)
    >>> assert_dropout(lambda: law.sample(1, rng)[0], law=law, detect=0.05).passed
    True
    """
    __tracebackhide__ = True
    tests = tests if tests is None or isinstance(tests, str) else tuple(tests)
    try:
        asked = _asked(dropout, p, law, detect, false_alarm, power, tests)
        least = _validate.trials(trials)
        seen = None if callable(dropout) else _given(dropout, asked, inputs, false_alarm, power)
    except (TypeError, ValueError) as error:  # about the arguments: how it was found is of no interest
        raise error.with_traceback(None) from None
    if seen is None:
        with drawing(dropout, inputs, asked.n) as drawn:
            seen = _drawn(drawn, asked, least)
            evaluate = drawn.evaluate if evaluate is None else evaluate
            output = evaluate() if callable(evaluate) else evaluate
    else:
        output = evaluate() if callable(evaluate) else evaluate
    if isinstance(seen, Recording) and seen.nans:  # unknown whether they were dropped: no law can be held against them
        nans = f"{seen.nans:,} of {seen.trials * seen.n:,} outputs are NaN where the input is not"
        how = causes.of_nans(seen.nans, seen.nans_of_infs, asked.p, seen.judged)
        raise _failure(f"dropout {asked.words}: {nans}{': ' * bool(how)}{how}", None)
    try:
        against: dict[str, Any] = {"p": asked.p} if asked.law is None else {"law": asked.law}
        report = audit(seen, **against, scaling=scaling, false_alarm=false_alarm, tests=tests)
        wrong = _wrong_evaluation(output, inputs, asked.p, scaling)
    except (TypeError, ValueError) as error:
        raise error.with_traceback(None) from None
    if report.failures or wrong:
        raise _failure(_message(report, seen, asked, false_alarm, wrong), report)
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
    """Assert that every dropout draw of a model follows its declared law; `audit_model` for test suites.

    Parameters
    ----------
    model, *inputs, calls, p, laws, **keywords
        As for `audit_model`.
    false_alarm : float
        Largest probability that a correct model fails; 1e-6 by default.

    Returns
    -------
    ModelReport
        The report of the passed audit.

    Raises
    ------
    AssertionError
        If a check or a site fails, or none had enough data. The message gives the findings; the attribute ``report``
        is the report.
    """
    __tracebackhide__ = True
    from dropstats.models import audit_model

    report = audit_model(model, *inputs, calls=calls, p=p, laws=laws, false_alarm=false_alarm, **keywords)
    if not report.passed:
        lines = [f"dropout of {report.model} fails (a correct model fails with probability {false_alarm:g} at most):"]
        lines += [f"  {result.name}: {result.message}" for result in report.failures]
        raise _failure("\n".join([*lines, *(f"  note: {note}" for note in report.notes)]), report)
    return report


def _failure(message: str, report: Any) -> AssertionError:
    error = AssertionError(message)
    error.report = report  # type: ignore[attr-defined]
    return error


def _asked(
    dropout: Any, p: Any, law: Any, detect: Any, false_alarm: Any, power: Any, tests: str | tuple[str, ...] | None
) -> _Asked:
    """Return what is asserted, of checked arguments."""
    p = None if p is None else _validate.probability(p)
    noise = bool(getattr(law, "is_noise", False))
    law = law if law is None or noise else law_like(law)
    if law is not None:
        own = law.p if noise else law.nominal_rate
        if p is not None and p != own:
            raise ValueError(f"p must be that of the law where both are given; got {p:g} and {law!r}")
        p = own
    elif p is None:
        p = dropout.p if isinstance(dropout, Recording) else declared(dropout) if is_module(dropout) else None
        if p is None:
            raise TypeError("assert_dropout needs p= or law=, where neither a module nor a recording says p")
        p = _validate.probability(p)
    known = 1 if isinstance(tests, str) else len(TESTS) + 1 if tests is None else len(tests)
    level = _validate.probability(false_alarm, "false_alarm") / max(known, 1)
    rate, effect = _rate(p, law, noise)
    if detect is None:
        detect = max(min(rate, 1 - rate) * _RELATIVE, _ABSOLUTE)
    detect = _validate.probability(detect, "detect")
    independent = _needed(rate, detect, level, power)
    n = None if law is None or noise else law.n
    return _Asked(law, p, rate, n, math.ceil(independent * effect), independent, detect, level, noise)


def _rate(p: float | None, law: Any, noise: bool) -> tuple[float, float]:
    """Return the rate that is tested, and how many neurons of the law are worth one independent one."""
    if law is None:
        return float(p or 0.0), 1.0
    if noise:  # of what is not two-valued, one bit an output is as likely 0 as 1
        return (law.p if law.two_valued or not law.p else 0.5), 1.0
    independent = float(np.sum(law.rates * (1 - law.rates))) if law.rate is None else law.n * law.rate * (1 - law.rate)
    rate = float(np.mean(law.rates)) if law.rate is None else law.rate
    return rate, max(1.0, law.variance / independent) if independent else 1.0


def _needed(p: float, detect: float, level: float, power: float) -> int:
    """Return the number of neurons that show an error of p of `detect`, to either side where there is room."""
    shifts = [shift for shift in (detect, -detect) if 0 <= p + shift <= 1]
    if not shifts:
        raise ValueError(f"detect must leave p + detect or p - detect in [0, 1]; got {detect!r} for p = {p!r}")
    return max(neurons_needed(p, shift, level, power) for shift in shifts)


def _drawn(drawn: Drawn, asked: _Asked, least: int) -> Any:
    """Return the recording of as many calls as are needed, the first of all among them; of noise the outputs."""
    __tracebackhide__ = True
    first, x = drawn.call(), drawn.inputs
    try:
        shape = tuple(map(int, arrays.array(first).shape))
        if not math.prod(shape):
            raise ValueError(f"dropout must return at least one neuron; got shape {shape}")
        known = math.prod(shape) if x is None else int(np.count_nonzero(arrays.host(arrays.array(x) != 0)))
        calls = max(least, math.ceil(asked.needed / max(known, 1)))
        taker = Outputs(calls, asked.law) if asked.noise else Recorder(asked.p, trials=calls)
        taker.add(first, x)
    except (TypeError, ValueError) as error:
        raise error.with_traceback(None) from None
    for _ in range(calls - 1):
        output = drawn.call()
        try:
            taker.add(output, x)
        except (TypeError, ValueError) as error:
            raise error.with_traceback(None) from None
    return taker.recording()


def _given(dropout: Any, asked: _Asked, inputs: Any, false_alarm: float, power: float) -> Any:
    """Return the recording of what was given, large enough; of noise what was given itself."""
    if asked.noise:
        blocks = None if isinstance(dropout, Recording) else arrays.blocks(dropout, "outputs")
        seen, judged = dropout, dropout.judged if blocks is None else blocks.trials * blocks.n
    else:
        seen = _recording(dropout, asked.p, inputs)
        judged = seen.judged
    if judged < asked.needed:
        level, p = asked.level, asked.rate
        effect = asked.needed / asked.independent
        shift = detectable_shift(p, max(int(judged / effect), 1), level, power, sign=1 if p <= 0.5 else -1)
        raise ValueError(
            f"{judged:,} neurons cannot show that p = {p:g} is off by {asked.detect:g} with power {power:g} at "
            f"false-alarm rate {false_alarm:g}: {asked.needed:,} are needed, or detect={abs(shift):.3g}"
        )
    return seen


def _recording(dropout: Any, p: float | None, inputs: Any) -> Recording:
    if isinstance(dropout, Recording):
        return dropout
    first = arrays.array(dropout[0]) if arrays.listed(dropout) else arrays.array(dropout)
    if inputs is None and arrays.dtype(first).startswith(("bool", "int", "uint")):
        return Recording.from_masks(dropout, p)
    return Recording.from_outputs(dropout, p, inputs)


def _wrong_evaluation(output: Any, inputs: Any, p: float | None, scaling: str) -> str:
    """Return what is wrong with the output in evaluation mode; nothing where it is right or not given."""
    if output is None:
        return ""
    output = arrays.array(output)
    x = 1 if inputs is None else arrays.array(inputs)
    if scaling == "inverted":
        differs = arrays.host(output != x)
        expected = "the input itself"
    else:
        if p is None:
            raise ValueError(
                "evaluate with heterogeneous rates can only be compared with the input itself: scaling='inverted'"
            )
        wide, given = arrays.floats(output), np.asarray(1.0 if inputs is None else arrays.floats(x))
        differs = ~(np.abs(wide - (1 - p) * given) <= 2 * formats.resolution(arrays.dtype(output)) * np.abs(wide))
        expected = f"{1 - p:g} times the input"
    wrong = int(np.count_nonzero(differs))
    if not wrong:
        return ""
    where = tuple(map(int, np.argwhere(differs)[0]))
    value = float(arrays.floats(output)[where])
    text = f"{wrong:,} of {differs.size:,} outputs are not {expected}: {value:.6g} at index {where}"
    given = np.broadcast_to(1.0 if inputs is None else arrays.floats(x), differs.shape)
    looks = "" if p is None else _looks(arrays.floats(output), given, p)
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


def _message(report: Report, seen: Any, asked: _Asked, false_alarm: float, wrong: str) -> str:
    """Say what failed: observed, expected, interval and diagnosis, a line or two for each test, and all notes."""
    failed = len(report.failures) + bool(wrong)
    lines = [
        f"dropout {asked.words} fails {failed} test{'s'[: failed - 1]} over {report.trials:,} calls of {report.n:,} "
        f"neurons (a correct one fails with probability {false_alarm:g} at most)"
    ]
    for result in report.failures:
        cause = f"explained by {result.explained_by}: " if result.explained_by else ""
        lines.append(f"  {result.name}: {cause}{result.message}")
        facts = []
        if result.observed is not None:
            facts.append(f"observed {result.observed:.6g}")
        if result.name == "rate" and asked.law is None:
            low, high = binomial_interval(seen.dropped, seen.judged - seen.dropped, false_alarm / 2)
            facts.append(f"in [{low:.6g}, {high:.6g}] with confidence 1 - {false_alarm:g}")
        if result.expected is not None:
            facts.append(f"expected {result.expected:.6g}")
        if result.adjusted_pvalue is not None:
            facts.append(f"p-value {result.adjusted_pvalue:.3g} (adjusted for the number of tests)")
        if facts:
            lines.append(f"    {', '.join(facts)}")
    if wrong:
        lines.append(f"  evaluate: {wrong}")
    notes = (note if note.startswith("hint: ") else f"note: {note}" for note in report.notes)
    return "\n".join([*lines, *(f"  {note}" for note in notes)])
