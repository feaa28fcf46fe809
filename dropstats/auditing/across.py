"""The audit of several streams of masks, which are compared with each other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dropstats import _progress, _validate
from dropstats.auditing import checks, pictures, words
from dropstats.auditing.battery import Said
from dropstats.auditing.finding import not_applicable
from dropstats.auditing.judge import explained, judge, passes
from dropstats.auditing.report import Report
from dropstats.auditing.streams import Streams
from dropstats.laws import Layer
from dropstats.laws.foreign import law_like
from dropstats.recording import Recording

if TYPE_CHECKING:
    from dropstats.laws import Law

_UNKNOWN = "some neurons are not known to be dropped or kept"


def audit_streams(
    streams: Mapping[Any, Any],
    expect: str = "independent",
    *,
    p: float | None = None,
    law: "Law | Mapping[Any, Law] | Sequence[Law] | None" = None,
    false_alarm: float = 1e-3,
    progress: Any = None,
) -> Report:
    """Decide whether several streams of masks are independent of each other, or identical, as they should be.

    Streams of data-parallel ranks, of layers and of seeds should be independent. Those of a forward pass and its
    recomputation, of eager and compiled code, and of tensor-parallel ranks should be identical. The tests are:

    - `agreement`: for every pair of streams, the number of neurons that both drop, given how many each drops
      (hypergeometric, exact, two-sided), and the correlation of their counts over the calls;
    - `duplicates`: masks of one stream that occur in another, at any call (conservative);
    - `overlaps`: long stretches of one stream that occur in another, at any position (conservative, union bound);
    - `linear`: streams that are the xor of others (conservative);
    - `transposed`, for streams with keys (layer, step): agreement of the masks of (i, j) and (j, i);
    - `identical`, which replaces all of these for streams that should be identical: any bit that differs.

    Parameters
    ----------
    streams : mapping of a name, or of a pair (layer, step), to a Recording or an array of masks
        At least two streams. If they differ in the number of calls or of neurons, only the first common ones are
        compared call by call. Streams that should be identical must have the same number of neurons, and a missing
        call is a failure.
    expect : {'independent', 'identical'}
        What the streams should be; 'independent' by default.
    p : float, optional
        Declared drop probability; by default that of the recordings.
    law : Law, or a mapping or sequence with one for each stream, optional
        Declared law, if it is not a `Layer` with a single p. The tests then compare one bit per group, only
        independent neurons, and neurons of equal rates.
    false_alarm : float
        Probability, in (0, 1), that streams that are as expected fail; 0.001 by default.
    progress : bool or callable, optional
        True shows a progress bar if the tests take more than a second; a callable such as ``tqdm.notebook.tqdm``
        wraps the iterable of tests.

    Returns
    -------
    Report
        Print it to see a table of the results.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two streams, or identical ones differ in the number of neurons.

    Examples
    --------
    >>> from dropstats import Layer
    >>> layer = Layer(1000, 0.1)
    >>> ranks = {f"rank {k}": layer.sample(100, rng=seed) for k, seed in enumerate((1, 2, 1))}
    >>> print(audit_streams(ranks, p=0.1)["agreement"].message)
    rank 0 and rank 2 have identical masks
    """
    if not isinstance(expect, str) or expect not in ("independent", "identical"):
        raise ValueError(f"expect must be 'independent' or 'identical'; got {_validate.show(expect)}")
    false_alarm = _validate.open_probability(false_alarm, "false_alarm")
    _progress.check(progress)
    identical = expect == "identical"
    seen = _streams(streams, p, law, identical)
    chosen = [c for c in (checks.OF_COPIES if identical else checks.OF_STREAMS) if c.name != "transposed" or seen.grid]
    seen = replace(seen, level=false_alarm / len(chosen))
    shown = _progress.shown(chosen, len(chosen), "auditing", "test", progress, delay=1)
    found = [(c, not_applicable(_UNKNOWN) if c.whole_masks and seen.unknown else c.measure(seen)) for c in shown]
    # what one seed of layer and step makes equal, other tests find as well
    keyed = any(finding.numbers.get("seed") for _, finding in found)
    judged = explained(judge(found, false_alarm), frozenset({"keyed"} if keyed else ()))
    drops, known = (sum(getattr(one, name) for one in seen.given) for name in ("dropped", "judged"))
    rates = {None if law is None else law.rate for law in seen.laws}
    return Report(
        trials=seen.trials,
        n=seen.given[0].n,
        p=rates.pop() if len(rates) == 1 else None,
        observed_rate=drops / known if known else float("nan"),
        false_alarm=false_alarm,
        results=tuple(Said(one, seen).result() for one in judged),
        passed=passes(judged),
        source=f"{len(seen.names)} streams: {words.listed(seen.names)}",
        notes=seen.notes,
        law=words.listed(dict.fromkeys(repr(law) for law in seen.laws if law is not None)),
        scaling="",
        expect=expect,
        pictures=pictures.of_streams(seen, identical),
    )


def _streams(streams: Any, p: float | None, law: Any, identical: bool) -> Streams:
    """Return the recordings, made comparable."""
    if not isinstance(streams, Mapping):
        expected = 'a mapping of names to recordings, such as {"rank 0": a, "rank 1": b}'
        raise TypeError(f"streams must be {expected}; got {type(streams).__name__}")
    if len(streams) < 2:
        raise ValueError(f"streams must be at least two; got {len(streams)}")
    keys = tuple(streams)
    names = tuple(f"({', '.join(map(str, key))})" if isinstance(key, tuple) else str(key) for key in keys)
    given = [Recording.of(one) for one in streams.values()]
    for name, one in zip(names, given, strict=True):
        if not one.n or (identical and one.n != given[0].n):
            raise ValueError(
                f"streams must have at least one neuron, and for expect='identical' equally many; got "
                f"{given[0].n} in {names[0]!r} and {one.n} in {name!r}"
            )
    laws = _laws(keys, names, given, p, law)
    calls = tuple(one.trials for one in given)
    notes: tuple[str, ...] = ()
    if max(calls) > min(calls):
        common = (
            f"compared over the first {min(calls):,} calls, which all streams have (the longest has {max(calls):,})"
        )
        notes, given = (common,), [one.calls(0, min(calls)) for one in given]
    if len({one.n for one in given}) > 1:
        width = min(one.n for one in given)
        notes += (f"neurons are compared one by one over the first {width:,}, which all masks have",)
    return Streams(names, keys, tuple(given), calls, laws, notes)


def _laws(
    keys: tuple[Any, ...], names: tuple[str, ...], given: Sequence[Recording], p: float | None, law: Any
) -> "tuple[Law | None, ...]":
    """Return what each stream declares: its law, or a layer of its p; None where it declares nothing."""
    if law is None:
        rates = [one.p for one in given] if p is None else [_validate.probability(p)] * len(given)
        return tuple(None if rate is None else Layer(one.n, rate) for one, rate in zip(given, rates, strict=True))
    if p is not None:
        raise TypeError("audit_streams takes law= or p=, not both")
    if isinstance(law, Mapping):
        if set(law) != set(keys):
            raise ValueError(f"law must have the streams' names {list(keys)!r}; got {list(law)!r}")
        declared = [law_like(law[key], f"law of {name}") for key, name in zip(keys, names, strict=True)]
    elif isinstance(law, list | tuple):
        if len(law) != len(keys):
            raise ValueError(f"law must be one, or one for each of {len(keys)} streams; got {len(law)}")
        declared = [law_like(one, f"law of {name}") for one, name in zip(law, names, strict=True)]
    else:
        declared = [law_like(law)] * len(keys)
    for name, one, masks in zip(names, declared, given, strict=True):
        if one.n != masks.n:
            raise ValueError(f"law of {name} must have its {masks.n} neurons; got {one.n}")
    return tuple(declared)
