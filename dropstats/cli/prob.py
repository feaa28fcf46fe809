"""Command `prob`: the exact probability of a number of neurons, dropped or kept, or a summary of that number."""

import argparse
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

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

if TYPE_CHECKING:
    from dropstats.laws import Law

SUMMARY = "probability that a number of neurons is dropped (or kept), or a summary of that number"
EXAMPLES = """\
  dropstats prob 1024 0.5
  dropstats prob 1024 0.5 --exactly 512
  dropstats prob 1024 0.5 --between 45% 55%
  dropstats prob 1024 0.1 --at-least 1000 --kept --json
  dropstats prob 1024 0.5 --quantile 0.95
  dropstats prob --law 'Channels(64, 8 * 8, 0.2)' --at-most 640"""

_Event = int | tuple[int | None, int | None]


class _Count(NamedTuple):
    """A number of neurons, or a share of them."""

    number: int
    share: Fraction | None

    def of(self, n: int) -> Fraction:
        """Return the number among n neurons, which for a share need not be whole."""
        return Fraction(self.number) if self.share is None else self.share * n


def add_arguments(parser: Parser) -> None:
    """Take a law and an event."""
    parser.usage = "%(prog)s (N P | --law LAW) [EVENT | --quantile Q] [--kept] [--json]"
    add_law_arguments(parser)
    event = parser.add_mutually_exclusive_group()
    counts = (("--exactly", "exactly K"), ("--at-least", "K or more"), ("--at-most", "K or fewer"))
    for name, words in (*counts, ("--more-than", "more than K"), ("--less-than", "fewer than K")):
        event.add_argument(name, type=_count, metavar="K", help=f"{words} neurons, or K%%")
    words = "A to B neurons, both included, or A%% to B%%"
    event.add_argument("--between", type=_count, nargs=2, metavar=("A", "B"), help=words)
    words = "the smallest number that is exceeded with probability 1 - Q at most"
    event.add_argument("--quantile", type=probability, metavar="Q", help=words)
    parser.add_argument("--kept", action="store_true", help="count kept neurons, not dropped ones")


def run(arguments: argparse.Namespace) -> None:
    """Print the probability, the quantile, or the summary."""
    law = law_of(arguments)
    what = "kept" if arguments.kept else "dropped"
    if arguments.quantile is not None:
        _print_quantile(law, what, arguments.quantile, arguments.json)
        return
    found = _event(arguments, law.n, what)
    if found is None:
        _print_summary(law, what, arguments.json)
        return
    event, words = found
    chance, log = _probability(law, what, event)
    if arguments.json:
        print_json(n=law.n, **named(law), event=words, probability=chance, log10_probability=_log10(log))
    else:
        print(f"P({words}) = {format_probability(chance, log)}")


def _probability(law: "Law", what: str, event: _Event) -> tuple[float, float]:
    """Return the probability of an event, and its natural logarithm."""
    asked: dict[str, Any] = {what: event}
    return law.prob(**asked), law.prob(**asked, log=True)


def _print_quantile(law: "Law", what: str, quantile: float, as_json: bool) -> None:
    count = max(int(getattr(law, what).ppf(_in_unit_interval(quantile))), 0)
    chance, log = _probability(law, what, (None, count))
    if as_json:
        event = f"{what} <= {count}"
        print_json(n=law.n, **named(law), quantile=quantile, count=count, event=event, probability=chance)
    else:
        print(f"{quantile:g} quantile of {what} = {count:,}: P({what} <= {count}) = {format_probability(chance, log)}")


def _print_summary(law: "Law", what: str, as_json: bool) -> None:
    count = getattr(law, what)
    low, high = (max(int(end), 0) for end in count.interval(0.99))
    mean, deviation, median = float(count.mean()), float(count.std()), max(int(count.median()), 0)
    ends = {name: _probability(law, what, k) for name, k in (("none", 0), ("all", law.n))}
    if as_json:
        fields: dict[str, Any] = {"of": what, "mean": mean, "standard_deviation": deviation, "median": median}
        fields["central_99"] = [low, high]
        for name, (chance, log) in ends.items():
            fields |= {f"prob_{name}": chance, f"log10_prob_{name}": _log10(log)}
        print_json(n=law.n, **named(law), **fields)
        return
    print(f"Number of {what} neurons of {law!r}")
    lines = [("mean", f"{mean:,.6g}"), ("standard deviation", finite(deviation, ",.6g")), ("median", f"{median:,}")]
    lines.append(("99% interval", f"{low:,} to {high:,}"))
    lines += [(f"P({name} {what})", format_probability(*pair, digits=6)) for name, pair in ends.items()]
    for words, shown in lines:
        print(f"  {words:<22}{shown:>24}")


def _log10(log: float) -> float:
    return log / math.log(10) + 0.0  # + 0.0: never -0.0


def _count(text: str) -> _Count:
    """Return the number of neurons that `text` writes, or the share of them: 50%."""
    written = text.strip()
    if not written.endswith("%"):
        return _Count(integer(text), None)
    percent = number(written[:-1])
    if not 0 <= percent <= 100:
        raise argparse.ArgumentTypeError(f"a share of 0% to 100% is expected; got {text!r}")
    return _Count(0, Fraction(repr(percent)) / 100)


def _event(arguments: argparse.Namespace, n: int, what: str) -> tuple[_Event, str] | None:
    """Return the closed interval that was asked for, as `Law.prob` takes it, and its words; None without an event."""
    if arguments.between is not None:
        ends = [count.of(n) for count in arguments.between]
        low, high = math.ceil(ends[0]), math.floor(ends[1])
        if ends[0] > ends[1]:
            raise ValueError(f"--between A B must have A <= B; got {float(ends[0]):.15g} {float(ends[1]):.15g}")
        if low > high:
            raise ValueError(f"--between must hold a whole number of neurons; got {float(ends[0])} to {float(ends[1])}")
        return (low, high), f"{low} <= {what} <= {high}"
    asked = [(name, getattr(arguments, name)) for name in ("exactly", "at_least", "at_most", "more_than", "less_than")]
    for name, count in asked:
        if count is not None:
            return _one_sided(name, count.of(n), n, what)
    return None


def _one_sided(name: str, k: Fraction, n: int, what: str) -> tuple[_Event, str]:
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
    return up, f"{what} == {up}"


def _in_unit_interval(quantile: float) -> float:
    if not 0 <= quantile <= 1:
        raise ValueError(f"--quantile must be in [0, 1]; got {quantile:g}")
    return quantile
