"""Command `audit`: whether recorded masks follow the law they declare."""

import argparse

import dropstats
from dropstats.cli.common import Parser, add_default, number

SUMMARY = "decide whether recorded masks follow the law they declare"
EXAMPLES = """\
  dropstats audit masks.npz
  dropstats audit masks.npy --p 0.1 --plot audit.png
  dropstats audit masks.npz --tests rate scale mean --json

exit status: 0 passed, 1 a test fails, 2 nothing could be judged"""


def add_arguments(parser: Parser) -> None:
    """Take a recording, what it declares, and how it is judged."""
    parser.add_argument("file", metavar="FILE", help="recording (.npz), or array of masks or outputs (.npy, .npz)")
    parser.add_argument("--p", type=number, metavar="P", help="declared drop probability, in place of the file's")
    parser.add_argument("--law", metavar="LAW", help="any declared law, as in Python: 'Channels(64, 8 * 8, 0.2)'")
    add_default(parser, "--false-alarm", 1e-3, "A", "probability that a correct implementation fails")
    scaling = "whether kept values are divided by 1 - P in training; %(default)s by default"
    parser.add_argument("--scaling", choices=("inverted", "direct"), default="inverted", help=scaling)
    parser.add_argument("--tests", nargs="+", metavar="TEST", help="names of the tests to run; all by default")
    parser.add_argument("--plot", metavar="FILE", help="write the picture of the audit as .png, .svg or .pdf")


def run(arguments: argparse.Namespace) -> int:
    """Audit, print the report, draw it, and return the exit status."""
    from dropstats.laws.parse import parse

    if arguments.plot is not None:
        dropstats.plots.check_picture_path(arguments.plot)  # before the work, not after it
    if arguments.law is not None and arguments.p is not None:
        raise ValueError(f"either --p or --law is expected; got both, --p {arguments.p:g}")
    law = None if arguments.law is None else parse(arguments.law, "--law")
    recording = dropstats.Recording.load(arguments.file, arguments.p)
    if law is None and recording.p is None:
        raise ValueError(f"{arguments.file} does not say p: give --p or --law")
    asked = {"scaling": arguments.scaling, "false_alarm": arguments.false_alarm, "tests": arguments.tests}
    report = dropstats.audit(recording, law, **asked)
    print(report.to_json(indent=None) if arguments.json else report)
    if arguments.plot is not None:
        dropstats.plots.save(report.plot(), arguments.plot)
    if report.failures:
        return 1
    return 0 if report.passed else 2
