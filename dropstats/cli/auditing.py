"""Commands `audit` and `plan`: recorded masks against a law, and how many of them it takes."""

import argparse
import math
from typing import Any

import dropstats
from dropstats.cli.common import Commands, command, integer, number, print_json


def add_audit(commands: "Commands[Any]") -> None:
    """Add the command `audit`."""
    parser = command(
        commands,
        "audit",
        _audit,
        "decide whether recorded masks follow the law they declare",
        "  dropstats audit masks.npz\n"
        "  dropstats audit masks.npy --p 0.1 --plot audit.png\n"
        "  dropstats audit masks.npz --tests rate scale mean --json\n\n"
        "exit status: 0 passed, 1 a test fails, 2 nothing could be judged",
    )
    parser.add_argument("file", metavar="FILE", help="recording (.npz), or array of masks or outputs (.npy, .npz)")
    parser.add_argument("--p", type=number, metavar="P", help="declared drop probability, in place of the file's")
    parser.add_argument("--law", metavar="LAW", help="any declared law, as in Python: 'Channels(64, 8 * 8, 0.2)'")
    parser.add_argument(
        "--false-alarm",
        type=number,
        default=1e-3,
        metavar="A",
        help="probability that a correct implementation fails; %(default)g by default",
    )
    parser.add_argument(
        "--scaling",
        choices=("inverted", "direct"),
        default="inverted",
        help="whether kept values are divided by 1 - P in training; %(default)s by default",
    )
    parser.add_argument("--tests", nargs="+", metavar="TEST", help="names of the tests to run; all by default")
    parser.add_argument("--plot", metavar="FILE", help="write the picture of the audit as .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _audit(arguments: argparse.Namespace) -> int:
    from dropstats.auditing import audit
    from dropstats.laws.parse import parse

    if arguments.plot is not None:
        dropstats.plots.check_picture_path(arguments.plot)  # before the work, not after it
    if arguments.law is not None and arguments.p is not None:
        raise ValueError(f"either --p or --law is expected; got both, --p {arguments.p:g}")
    law = None if arguments.law is None else parse(arguments.law, "--law")
    recording = dropstats.Recording.load(arguments.file, arguments.p)
    if law is None and recording.p is None:
        raise ValueError(f"{arguments.file} does not say p: give --p or --law")
    report = audit(recording, law, scaling=arguments.scaling, false_alarm=arguments.false_alarm, tests=arguments.tests)
    print(report.to_json(indent=None) if arguments.json else report)
    if arguments.plot is not None:
        dropstats.plots.save(report.plot(), arguments.plot)
    if report.failures:
        return 1
    return 0 if report.passed else 2


def add_plan(commands: "Commands[Any]") -> None:
    """Add the command `plan`."""
    parser = command(
        commands,
        "plan",
        _plan,
        "number of neurons that show a shift of p, or shift that they show",
        "  dropstats plan --p 0.1 --shift 0.0016\n  dropstats plan --p 0.1 --neurons 1e6 --false-alarm 1e-6",
    )
    parser.add_argument("--p", type=number, required=True, metavar="P", help="declared drop probability")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--shift", type=number, metavar="D", help="difference to the true probability, P + D")
    asked.add_argument("--neurons", type=integer, metavar="N", help="number of neurons, over all masks")
    parser.add_argument(
        "--false-alarm",
        type=number,
        default=0.01,
        metavar="A",
        help="probability of an alarm where P is right; %(default)g by default",
    )
    parser.add_argument(
        "--power",
        type=number,
        default=0.9,
        metavar="B",
        help="probability of an alarm where it is P + D; %(default)g by default",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _plan(arguments: argparse.Namespace) -> None:
    p, errors = arguments.p, {"false_alarm": arguments.false_alarm, "power": arguments.power}
    if arguments.shift is not None:
        neurons, shift = dropstats.neurons_needed(p, arguments.shift, **errors), arguments.shift
    else:
        neurons, shift = arguments.neurons, dropstats.detectable_shift(p, arguments.neurons, **errors)
    if arguments.json:
        print_json(p=p, shift=shift, neurons=neurons, **errors)
        return
    if math.isinf(shift):
        print(f"{neurons:,} neurons show no p above {p:g}, with power {errors['power']:g}", end="")
    else:
        print(
            f"{neurons:,} neurons show p = {p + shift:.8g} where {p:g} is declared, with power {errors['power']:g}",
            end="",
        )
    print(f" at false-alarm rate {errors['false_alarm']:g}")
