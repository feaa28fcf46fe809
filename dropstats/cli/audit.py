"""Command `audit`: whether recorded masks follow the law they declare."""

import argparse

import dropstats
from dropstats.cli.common import Parser, add_default, add_recording_arguments, recording_of

SUMMARY = "decide whether recorded masks follow the law they declare"
EXAMPLES = """\
  dropstats audit masks.npz
  dropstats audit masks.npy --p 0.1 --plot audit.png
  dropstats audit masks.npz --tests rate scale mean --json

exit status: 0 passed, 1 a test fails, 2 nothing could be judged"""


def add_arguments(parser: Parser) -> None:
    """Take a recording, what it declares, and how it is judged."""
    add_recording_arguments(parser)
    add_default(parser, "--false-alarm", 1e-3, "A", "probability that a correct implementation fails")
    scaling = "whether kept values are divided by 1 - P in training; %(default)s by default"
    parser.add_argument("--scaling", choices=("inverted", "direct"), default="inverted", help=scaling)
    parser.add_argument("--tests", nargs="+", metavar="TEST", help="names of the tests to run; all by default")
    parser.add_argument("--plot", metavar="FILE", help="write the picture of the audit as .png, .svg or .pdf")


def run(arguments: argparse.Namespace) -> int:
    """Audit, print the report, draw it, and return the exit status."""
    recording, law = recording_of(arguments)
    asked = {"scaling": arguments.scaling, "false_alarm": arguments.false_alarm, "tests": arguments.tests}
    report = dropstats.audit(recording, law, **asked)
    print(report.to_json(indent=None) if arguments.json else report)
    if arguments.plot is not None:
        dropstats.plots.save(report.plot(), arguments.plot)
    if report.failures:
        return 1
    return 0 if report.passed else 2
