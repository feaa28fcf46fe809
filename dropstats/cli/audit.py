"""Command `audit`: whether recorded masks follow the law they declare."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import dropstats
from dropstats.cli import printing
from dropstats.cli.common import (
    Parser,
    add_default,
    add_recording_arguments,
    declared_law,
    nearest,
    one_line,
    recording_of,
)

if TYPE_CHECKING:
    from dropstats.laws import Law

SUMMARY = "test whether recorded masks follow the law that they declare"
EXAMPLES = f"""\
  dropstats audit masks.npz
  dropstats audit masks.npy --p 0.1 --plot audit.png
  dropstats audit masks.npz other.npz --tests rate,scale,mean --json
  dropstats audit masks.npz --html audit.html --junit audit.xml

{printing.EXIT_STATUS}"""

# Width of the names of files in the table of several.
_NAME = 26


def add_arguments(parser: Parser) -> None:
    """Take recordings, what they declare, and how they are judged."""
    add_recording_arguments(parser, nargs="+")
    add_default(parser, "--false-alarm", 1e-3, "A", "probability that a correct implementation fails")
    scaling = "inverted: kept values are divided by 1 - P in training; direct: they are not; %(default)s by default"
    parser.add_argument("--scaling", choices=("inverted", "direct"), default="inverted", help=scaling)
    tests = "names of the tests to run, separated by commas; all by default"
    parser.add_argument("--tests", type=_names, metavar="TEST,...", help=tests)
    add_default(parser, "--workers", 1, "N", "threads that share the tests; the report does not depend on it")
    printing.add_report_arguments(parser)
    printing.add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Audit each file, print and write what was found, and return the exit status."""
    printing.check_paths(arguments)
    law = declared_law(arguments)
    if arguments.tests is not None:
        _check_tests(arguments.tests)
    files: list[str] = arguments.files
    if len(files) == 1:
        return printing.give(_audited(files[0], law, arguments), arguments, files[0])
    found: list[tuple[str, dropstats.Report | str]] = []
    table = not (arguments.json or arguments.markdown)
    if table:
        print(f"{'file':<{_NAME}} {'verdict':<11} {'masks':>8} {'neurons':>9} {'p':>8} {'observed':>8}")
    for file, name in zip(files, _short_names(files), strict=True):
        found.append((file, _one_of_several(file, name, law, arguments)))
        print(_row(*found[-1]) if table else _listed(*found[-1], arguments), flush=True)
    reports = [(file, report) for file, report in found if not isinstance(report, str)]
    for file, report in reports if table else ():
        if report.failures:
            print(f"\n{file}\n{printing.in_words(report)}")
    if arguments.junit is not None:
        printing.write_junit(arguments.junit, found)
    statuses = {printing.status(report, arguments.strict) for _, report in reports}
    return 2 if len(reports) < len(files) else next(status for status in (1, 3, 0) if status in statuses)


def _one_of_several(file: str, name: str, law: "Law | None", arguments: argparse.Namespace) -> "dropstats.Report | str":
    """Return the report of a file, or why there is none, which is also said on stderr."""
    try:
        report = _audited(file, law, arguments)
        printing.write(report, arguments, name)
    except (ValueError, TypeError, OSError, MemoryError) as error:
        message = one_line(str(error) or type(error).__name__)
        said = message if file in message else f"{file}: {message}"
        print(f"dropstats audit: error: {said}", file=sys.stderr)
        return message
    return report


def _audited(file: str, law: "Law | None", arguments: argparse.Namespace) -> "dropstats.Report":
    recording = recording_of(file, arguments.p, law)
    asked = {"scaling": arguments.scaling, "false_alarm": arguments.false_alarm, "tests": arguments.tests}
    asked |= {"progress": printing.progress(arguments), "workers": arguments.workers}
    return dropstats.audit(recording, law, **asked)


def _names(text: str) -> list[str]:
    return [name for name in (word.strip() for word in text.split(",")) if name]


def _check_tests(names: list[str]) -> None:
    """Raise ValueError for a name that no audit knows, before anything is read."""
    from dropstats.auditing import TESTS, checks

    known = (*TESTS, *(check.name for check in checks.OF_MASKS if check.name not in TESTS))
    for name in names:
        if name not in known:
            raise ValueError(f"tests must be among {', '.join(known)}; got {name!r}{nearest(name, known)}")


def _listed(file: str, report: "dropstats.Report | str", arguments: argparse.Namespace) -> str:
    """Return what was found in a file as JSON, or Markdown."""
    if not isinstance(report, str):
        return printing.shown(report, arguments, file=file)
    return json.dumps({"file": file, "error": report}, ensure_ascii=False) if arguments.json else f"{file}: error"


def _row(file: str, report: "dropstats.Report | str") -> str:
    """Return what was found in a file as a line of the table."""
    if isinstance(report, str):
        return f"{_cut(file):<{_NAME}} {_verdict('error')}".rstrip()
    word = "FAILED" if report.failures else "passed" if report.passed else "not judged"
    p = "" if report.p is None else f"{report.p:.6g}"
    masks, neurons = (_counted(number) for number in (report.trials, report.n))
    return f"{_cut(file):<{_NAME}} {_verdict(word)} {masks:>8} {neurons:>9} {p:>8} {report.observed_rate:>8.4f}"


def _counted(number: int) -> str:
    return f"{number:,}" if number < 10**6 else f"{number:.3g}"


def _verdict(word: str) -> str:
    padding = " " * (11 - len(word))
    return (printing.in_colour(word) if printing.has_colour(sys.stdout) else word) + padding


def _cut(name: str) -> str:
    """Return a name that fits the table, without its beginning where it is too long."""
    return name if len(name) <= _NAME else f"...{name[3 - _NAME :]}"


def _short_names(files: list[str]) -> list[str]:
    """Return a name for each file that can be part of another's: the stem, or a number with it."""
    stems = [Path(file).stem for file in files]
    return [stem if stems.count(stem) == 1 else f"{stem}-{place}" for place, stem in enumerate(stems, 1)]
