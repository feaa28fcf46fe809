"""Command `streams`: whether recordings of several ranks, layers or seeds are independent, or identical."""

import argparse
from pathlib import Path

import dropstats
from dropstats.cli.common import Parser, add_default, number

SUMMARY = "decide whether recordings of several ranks, layers or seeds are independent, or identical"
EXAMPLES = """\
  dropstats streams rank0.npz rank1.npz rank2.npz
  dropstats streams eager.npz compiled.npz --expect identical --json

exit status: 0 passed, 1 a test fails, 2 nothing could be judged"""


def add_arguments(parser: Parser) -> None:
    """Take the recordings and what they are expected to be."""
    files = "recordings (.npz), or arrays of masks or outputs (.npy, .npz), two at least"
    parser.add_argument("files", nargs="+", metavar="FILE", help=files)
    expect = "what streams should be; %(default)s by default"
    parser.add_argument("--expect", choices=("independent", "identical"), default="independent", help=expect)
    parser.add_argument("--p", type=number, metavar="P", help="declared drop probability, in place of the files'")
    parser.add_argument("--law", metavar="LAW", help="any declared law, as in Python: 'Channels(64, 8 * 8, 0.2)'")
    add_default(parser, "--false-alarm", 1e-3, "A", "probability that streams which are as expected fail")


def run(arguments: argparse.Namespace) -> int:
    """Audit, print the report, and return the exit status."""
    from dropstats.laws.parse import parse

    if arguments.law is not None and arguments.p is not None:
        raise ValueError(f"either --p or --law is expected; got both, --p {arguments.p:g}")
    law = None if arguments.law is None else parse(arguments.law, "--law")
    names = [Path(file).stem for file in arguments.files]
    if len(set(names)) < len(names):
        names = arguments.files
    if len(set(names)) < len(names):
        raise ValueError(f"files must differ from each other; got {', '.join(names)}")
    streams = {name: dropstats.Recording.load(file) for name, file in zip(names, arguments.files, strict=True)}
    asked = {"p": arguments.p, "law": law, "false_alarm": arguments.false_alarm}
    report = dropstats.audit_streams(streams, arguments.expect, **asked)
    print(report.to_json(indent=None) if arguments.json else report)
    if report.failures:
        return 1
    return 0 if report.passed else 2
