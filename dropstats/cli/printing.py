"""What commands that judge share: where a report goes, how it is shown, and the exit status."""

import argparse
import json
import os
import re
import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, TextIO

import dropstats
from dropstats.cli.common import Parser

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_STATUS = """\
exit status: 0 passed, 1 a test fails, 2 wrong use or bad input,
3 too few neurons for a verdict (with --strict: or for any test)"""

_NARROWEST = 60
_GREEN, _RED, _YELLOW = "32", "1;31", "33"
# Words of a verdict where they stand: after "neurons: " or "independent: " in a heading, or in the second column.
_SAID = re.compile(
    r"(?m)(?P<before>^  \S+ +|^Audit of .*: |^Monitor: .*: |^Sum of .*: |   (?=passes$)|^ +(?=FAILS ))"
    r"(?P<word>passed|passes|pass|FAILED|FAILS|FAIL|failed|inconclusive|not applicable|nothing could be judged"
    r"|undecided|no alarm|ALARM)\b"
)
_COLOURS = dict.fromkeys(("passed", "passes", "pass", "no alarm"), _GREEN)
_COLOURS |= dict.fromkeys(("FAILED", "FAILS", "FAIL", "failed", "ALARM"), _RED)


def add_report_arguments(parser: Parser, plot: bool = True) -> None:
    """Take where a report goes and how strictly it is read."""
    parser.add_argument("--html", metavar="FILE", help="write the report as one HTML file")
    parser.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML, for a CI server")
    if plot:
        parser.add_argument("--plot", metavar="FILE", help="draw the report: .png, .svg or .pdf")
    parser.add_argument("--markdown", action="store_true", help="print Markdown, ready to paste into an issue")
    strict = "exit with status 3 if any test is inconclusive"
    parser.add_argument("--strict", action="store_true", help=strict)


def add_progress_argument(parser: Parser) -> None:
    """Take whether to show progress."""
    words = "show progress on stderr; by default on a terminal only"
    parser.add_argument("--progress", action=argparse.BooleanOptionalAction, default=None, help=words)


def progress(arguments: argparse.Namespace) -> bool:
    """Return whether progress is to be shown: as asked, or else on a terminal."""
    asked: bool | None = arguments.progress
    return sys.stderr.isatty() if asked is None else asked


def check_paths(arguments: argparse.Namespace) -> None:
    """Raise OSError or ValueError where what was asked for cannot be written: before the work, not after it."""
    if arguments.json and arguments.markdown:
        raise ValueError("either --json or --markdown is expected; got both")
    if getattr(arguments, "plot", None) is not None:
        dropstats.plots.check_picture_path(arguments.plot)
    for name in ("html", "junit"):
        path = getattr(arguments, name)
        if path is not None:
            _check_path(Path(path), f"--{name}")


def _check_path(path: Path, name: str) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise OSError(f"{name} must name a file in an existing folder; got {str(path)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OSError(f"{name} must name a file that can be written; got {str(path)!r}")


def shown(report: Any, arguments: argparse.Namespace, **fields: Any) -> str:
    """Return a report as it was asked for: one line of JSON, with further fields before it, Markdown, or a table."""
    if arguments.json:
        return json.dumps(fields | json.loads(report.to_json()), allow_nan=False, ensure_ascii=False)
    if arguments.markdown:
        return str(report.to_markdown())
    return in_words(report)


def in_words(report: Any) -> str:
    """Return a report, or what a monitor saw, as a table that fits the terminal: of 80 columns where there is none."""
    return coloured(report.to_text(max(get_terminal_size().columns, _NARROWEST)))


def write(report: Any, arguments: argparse.Namespace, name: str = "") -> None:
    """Write the HTML page and the picture of a report; `name` goes into the names of the files."""
    if arguments.html is not None:
        report.to_html(_named(arguments.html, name))
    if getattr(arguments, "plot", None) is not None:
        dropstats.plots.save(report.plot(), _named(arguments.plot, name))


def _named(path: str, name: str) -> Path:
    given = Path(path)
    return given.with_name(f"{given.stem}-{name}{given.suffix}") if name else given


def write_junit(path: str, reports: "Sequence[tuple[str, Any]]") -> None:
    """Write reports, or what went wrong instead, as JUnit XML."""
    from dropstats.rendering import junit

    suites = [(name, one if isinstance(one, str) else one.to_dict()) for name, one in reports]
    Path(path).write_text(junit.document(suites), encoding="utf-8")


def give(report: Any, arguments: argparse.Namespace, name: str) -> int:
    """Print and write a report as it was asked for, under a name in JUnit XML; return its exit status."""
    print(shown(report, arguments))
    write(report, arguments)
    if arguments.junit is not None:
        write_junit(arguments.junit, [(name, report)])
    return status(report, arguments.strict)


def status(report: Any, strict: bool = False) -> int:
    """Return the exit status of a report."""
    if report.failures:
        return 1
    undecided = strict and any(result.verdict == "inconclusive" for result in _results(report))
    return 0 if report.passed and not undecided else 3


def _results(report: Any) -> "list[dropstats.Result]":
    sites = getattr(report, "sites", {}).values()
    return [*report, *(result for site in sites for result in site)]


def coloured(text: str, stream: TextIO | None = None) -> str:
    """Return the text with its verdicts in colour, where the stream is a terminal that has it."""
    if not has_colour(sys.stdout if stream is None else stream):
        return text
    return _SAID.sub(lambda found: found["before"] + in_colour(found["word"]), text)


def in_colour(word: str) -> str:
    """Return a verdict in its colour: green passed, red failed, yellow neither."""
    return f"\033[{_COLOURS.get(word, _YELLOW)}m{word}\033[0m"


def has_colour(stream: TextIO | None) -> bool:
    """Return whether colours are shown: on a terminal, unless NO_COLOR is set or it is a dumb one.

    Source: no-color.org, which asks for this of any value that is not empty.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream is not None and stream.isatty())
