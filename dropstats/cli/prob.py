"""Command `prob`: the exact probability of a number of neurons, dropped or kept, or a summary of that number."""

import argparse
import math
from typing import TYPE_CHECKING, Any

from dropstats.cli.common import (
    Parser,
    add_law_arguments,
    finite,
    format_probability,
    integer,
    law_of,
    named,
    number,
    print_json,
    probability,
)
from dropstats.counts.quick import QuickBinomial

if TYPE_CHECKING:
    from fractions import Fraction

SUMMARY = "probability of a number of dropped (or kept) neurons; without an event, a summary"
EXAMPLES = """\
  dropstats prob 1024 0.5
  dropstats prob 1024 0.5 --exactly 512
  dropstats prob 1024 0.5 --between 45% 55%
  dropstats prob 1024 0.1 --at-least 1000 --kept --json
  dropstats prob 1024 0.5 --quantile 0.95
  dropstats prob --law 'Channels(64, 8 * 8, 0.2)' --at-most 640"""

# The largest layer, as `Layer` has it; of a layer with 0 < p < 1 the answers need no scipy.stats.
MAX_NEURONS = 2**53
# A number of neurons, or the percentage of them that was written.
_Neurons = int | float
_Interval = tuple[int | None, int | None]


def add_arguments(parser: Parser) -> None:
    """Take a law and an event."""
    parser.usage = "%(prog)s (N P | --law LAW) [EVENT | --quantile Q] [--kept] [--json]"
    add_law_arguments(parser)
    event = parser.add_mutually_exclusive_group()
    counts = (("--exactly", "exactly K"), ("--at-least", "K or more"), ("--at-most", "K or fewer"))
    for name, words in (*counts, ("--more-than", "more than K"), ("--less-than", "fewer than K")):
        event.add_argument(name, type=_neurons, metavar="K", help=f"{words} neurons, or K%%")
    words = "A to B neurons, both included, or A%% to B%%"
    event.add_argument("--between", type=_neurons, nargs=2, metavar=("A", "B"), help=words)
    words = "the smallest number that is exceeded with probability at most 1 - Q"
    event.add_argument("--quantile", type=probability, metavar="Q", help=words)
    parser.add_argument("--kept", action="store_true", help="count kept neurons instead of dropped ones")


def run(arguments: argparse.Namespace) -> None:
    """Print the probability, the quantile, or the summary."""
    what = "kept" if arguments.kept else "dropped"
    count, fields, law = _count(arguments)
    if arguments.quantile is not None:
        found, line = _quantile(count, what, arguments.quantile)
    elif (asked := _event(arguments, count.n, what)) is not None:
        found, line = _probability(count, *asked)
    else:
        found, line = _summary(count, what)
        line = f"Number of {what} neurons of {law}\n{line}"
    if arguments.json:
        print_json(**fields, **found)
    else:
        print(line)


def _count(arguments: argparse.Namespace) -> tuple[Any, dict[str, Any], str]:
    """Return the law of the count that is asked about, and what JSON and words say of the layer.

    Of a plain layer it is one that needs no scipy.stats, whose import would take most of a second.
    """
    n, p = arguments.n, arguments.p
    if arguments.law is None and n is not None and p is not None and 1 <= n <= MAX_NEURONS and 0 < p < 1:
        return QuickBinomial(n, p, arguments.kept), {"n": n, "p": p}, f"Layer({n}, {p!r})"
    law = law_of(arguments)
    return law.kept if arguments.kept else law.dropped, {"n": law.n, **named(law)}, repr(law)


def _probability(count: Any, interval: _Interval, event: str) -> tuple[dict[str, Any], str]:
    chance, log = count.between(*interval), count.between(*interval, log=True)
    return (
        {"event": event, "probability": chance, "log10_probability": _log10(log)},
        f"P({event}) = {format_probability(chance, log)}",
    )


def _quantile(count: Any, what: str, quantile: float) -> tuple[dict[str, Any], str]:
    if not 0 <= quantile <= 1:
        raise ValueError(f"--quantile must be in [0, 1]; got {quantile:g}")
    k = max(int(count.ppf(quantile)), 0)
    found, line = _probability(count, (None, k), f"{what} <= {k}")
    return {"quantile": quantile, "count": k} | found, f"{quantile:g} quantile of {what} = {k:,}: {line}"


def _summary(count: Any, what: str) -> tuple[dict[str, Any], str]:
    low, high = (max(int(end), 0) for end in count.interval(0.99))
    mean, deviation, median = float(count.mean()), float(count.std()), max(int(count.median()), 0)
    found: dict[str, Any] = {"of": what, "mean": mean, "standard_deviation": deviation, "median": median}
    found["central_99"] = [low, high]
    rows = [("mean", f"{mean:,.6g}"), ("standard deviation", finite(deviation, ",.6g")), ("median", f"{median:,}")]
    rows.append(("99% interval", f"{low:,} to {high:,}"))
    for name, k in (("none", 0), ("all", count.n)):
        chance, log = count.between(k, k), count.between(k, k, log=True)
        found |= {f"prob_{name}": chance, f"log10_prob_{name}": _log10(log)}
        rows.append((f"P({name} {what})", format_probability(chance, log, digits=6)))
    return found, "\n".join(f"  {words:<22}{shown:>24}" for words, shown in rows)


def _log10(log: float) -> float | None:
    return log / math.log(10) + 0.0 if math.isfinite(log) else None  # + 0.0: never -0.0


def _neurons(text: str) -> _Neurons:
    """Return the number of neurons that `text` writes, an int, or the percentage of them, a float."""
    written = text.strip()
    if not written.endswith("%"):
        return integer(text)
    percent = number(written[:-1])
    if not 0 <= percent <= 100:
        raise argparse.ArgumentTypeError(f"a share of 0% to 100% is expected; got {text!r}")
    return percent


def _event(arguments: argparse.Namespace, n: int, what: str) -> tuple[_Interval, str] | None:
    """Return the closed interval that was asked for, and its words; None without an event."""
    if arguments.between is not None:
        first, last = (_of(written, n) for written in arguments.between)
        low, high = math.ceil(first), math.floor(last)
        if first > last:
            raise ValueError(f"--between A B must have A <= B; got {float(first):.15g} {float(last):.15g}")
        if low > high:
            raise ValueError(f"--between must hold a whole number of neurons; got {float(first)} to {float(last)}")
        return (low, high), f"{low} <= {what} <= {high}"
    for name in ("exactly", "at_least", "at_most", "more_than", "less_than"):
        if getattr(arguments, name) is not None:
            return _one_sided(name, _of(getattr(arguments, name), n), n, what)
    return None


def _of(written: _Neurons, n: int) -> "int | Fraction":
    """Return the number of neurons that was written; a percentage of n, as its digits say, need not be whole."""
    if isinstance(written, int):
        return written
    from fractions import Fraction

    return Fraction(repr(written)) * n / 100


def _one_sided(name: str, k: "int | Fraction", n: int, what: str) -> tuple[_Interval, str]:
    up, down = math.ceil(k), math.floor(k)
    match name:
        case "at_least":
            return (up, None), f"{what} >= {up}"
        case "at_most":
            return (None, down), f"{what} <= {down}"
        case "more_than":
            return (down + 1, None), f"{what} > {down}"
        case "less_than":
            return (None, up - 1), f"{what} < {up}"
    if up != down:
        raise ValueError(f"--exactly takes a whole number of neurons; got {float(k)} of {n}")
    return (up, up), f"{what} == {up}"
