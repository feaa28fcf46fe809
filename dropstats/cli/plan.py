"""Command `plan`: how many neurons it takes to detect a shift of p, or the smallest shift that some detect."""

import argparse
import math

import dropstats
from dropstats.cli.common import Parser, add_default, integer, number, print_json, probability

SUMMARY = "number of neurons needed to detect a shift of p, or smallest shift that N neurons detect"
EXAMPLES = """\
  dropstats plan --p 0.1 --shift 0.0016
  dropstats plan --p 0.1 --neurons 1e6 --false-alarm 1e-6"""


def add_arguments(parser: Parser) -> None:
    """Take p, a shift or a number of neurons, and the two error rates."""
    parser.add_argument("--p", type=probability, required=True, metavar="P", help="declared drop probability")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--shift", type=number, metavar="D", help="shift to detect: the true probability is P + D")
    asked.add_argument("--neurons", type=integer, metavar="N", help="number of neurons in all masks together")
    add_default(parser, "--false-alarm", 0.01, "A", "probability of an alarm if P is correct")
    add_default(parser, "--power", 0.9, "B", "probability of an alarm if the true probability is P + D")


def run(arguments: argparse.Namespace) -> None:
    """Print the number of neurons, or the shift."""
    p, errors = arguments.p, {"false_alarm": arguments.false_alarm, "power": arguments.power}
    neurons, shift = arguments.neurons, arguments.shift
    if shift is not None:
        neurons = dropstats.neurons_needed(p, shift, **errors)
    else:
        shift = dropstats.detectable_shift(p, neurons, **errors)
    if arguments.json:
        print_json(p=p, shift=shift, neurons=neurons, **errors)
        return
    seen = f"no p above {p:g}" if math.isinf(shift) else f"p = {p + shift:.8g} where {p:g} is declared"
    power, false_alarm = errors["power"], errors["false_alarm"]
    print(f"{neurons:,} neurons detect {seen}, with power {power:g} at false-alarm rate {false_alarm:g}")
