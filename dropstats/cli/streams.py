"""Command `streams`: whether recordings of several ranks, layers or seeds are independent, or identical."""

import argparse
import sys
from pathlib import Path
from typing import Any

import dropstats
from dropstats.cli import printing
from dropstats.cli.common import Parser, add_default, add_recording_arguments, declared_law, one_line

SUMMARY = "test whether recordings of several ranks, layers or seeds are independent, or identical"
EXAMPLES = f"""\
  dropstats streams rank0.npz rank1.npz rank2.npz
  dropstats streams rank0.npy rank1.npy --law 'Channels(64, 8 * 8, 0.2)'
  dropstats streams eager.npz compiled.npz --expect identical --json

{printing.EXIT_STATUS}"""


def add_arguments(parser: Parser) -> None:
    """Take the recordings, what they declare and what they are expected to be."""
    add_recording_arguments(parser, nargs="+")
    expect = "what the recordings should be; %(default)s by default"
    parser.add_argument("--expect", choices=("independent", "identical"), default="independent", help=expect)
    add_default(parser, "--false-alarm", 1e-3, "A", "probability that correct recordings fail")
    printing.add_report_arguments(parser)
    printing.add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Audit, print and write what was found, and return the exit status."""
    printing.check_paths(arguments)
    law = declared_law(arguments)
    streams, complete = _recordings(arguments.files)
    asked = {"p": arguments.p, "law": law, "false_alarm": arguments.false_alarm}
    report = dropstats.audit_streams(streams, arguments.expect, progress=printing.progress(arguments), **asked)
    status = printing.give(report, arguments, "streams")
    return status if complete else 2


def _recordings(files: list[str]) -> tuple[dict[str, Any], bool]:
    """Return the recordings by name, and whether all files hold one: the others are compared, where two are left."""
    names = [Path(file).stem for file in files]
    if len(set(names)) < len(names):
        names = files
    if len(set(names)) < len(names):
        raise ValueError(f"files must differ from each other; got {', '.join(names)}")
    streams: dict[str, Any] = {}
    errors: list[Exception] = []
    for name, file in zip(names, files, strict=True):
        try:
            streams[name] = dropstats.Recording.load(file)
        except (ValueError, OSError) as error:
            errors.append(error)
    if errors and len(streams) < 2:
        raise errors[0]
    for unread in errors:
        print(f"dropstats streams: error: {one_line(str(unread))}", file=sys.stderr)
    return streams, not errors
