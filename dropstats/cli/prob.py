"""Command `prob`: the exact probability of a number of neurons, dropped or kept."""

import argparse
import math
from typing import Any

from dropstats.cli.common import Parser, add_law_arguments, format_probability, integer, law_of, named, print_json

SUMMARY = "probability that a number of neurons is dropped (or kept)"
EXAMPLES = """\
  dropstats prob 1024 0.5 --exactly 512
  dropstats prob 1024 0.5 --between 480 544
  dropstats prob 1024 0.1 --at-least 1000 --kept --json
  dropstats prob --law 'Channels(64, 8 * 8, 0.2)' --at-most 640"""


def add_arguments(parser: Parser) -> None:
    """Take a law and an event."""
    add_law_arguments(parser)
    event = parser.add_mutually_exclusive_group(required=True)
    event.add_argument("--exactly", type=integer, metavar="K", help="exactly K neurons")
    event.add_argument("--at-least", type=integer, metavar="K", help="K neurons or more")
    event.add_argument("--at-most", type=integer, metavar="K", help="K neurons or fewer")
    event.add_argument("--between", type=integer, nargs=2, metavar=("A", "B"), help="A to B neurons, both included")
    parser.add_argument("--kept", action="store_true", help="count kept neurons, not dropped ones")


def run(arguments: argparse.Namespace) -> None:
    """Print the probability."""
    law = law_of(arguments)
    what = "kept" if arguments.kept else "dropped"
    asked, event = _event(arguments, what)
    probability, log = law.prob(**{what: asked}), law.prob(**{what: asked}, log=True)
    if arguments.json:
        log10 = log / math.log(10) + 0.0  # + 0.0: never -0.0
        print_json(n=law.n, **named(law), event=event, probability=probability, log10_probability=log10)
    else:
        print(f"P({event}) = {format_probability(probability, log)}")


def _event(arguments: argparse.Namespace, what: str) -> tuple[Any, str]:
    """Return the count or closed interval that was asked for, as `Layer.prob` takes it, and its words."""
    if arguments.exactly is not None:
        return arguments.exactly, f"{what} == {arguments.exactly}"
    if arguments.at_least is not None:
        return (arguments.at_least, None), f"{what} >= {arguments.at_least}"
    if arguments.at_most is not None:
        return (None, arguments.at_most), f"{what} <= {arguments.at_most}"
    low, high = arguments.between
    if low > high:
        raise ValueError(f"--between A B must have A <= B; got {low} {high}")
    return (low, high), f"{low} <= {what} <= {high}"
