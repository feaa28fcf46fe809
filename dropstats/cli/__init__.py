"""The command line: parse, call, print.

A command is a module with SUMMARY, EXAMPLES, add_arguments(parser) and run(arguments); ``_COMMANDS`` lists them, and
only the one that is asked for is loaded. Bad input ends with exit status 2 and one line on stderr.
"""

import os
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import dropstats
from dropstats import _progress
from dropstats.cli.common import Parser, add_command, one_line

_PROG = "dropstats"
_COMMANDS = ("prob", "simulate", "audit", "streams", "model", "monitor", "plan", "layer")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 is success, 1 an audit or a monitor that finds a departure, 2 wrong use or bad input, 3 an audit that could judge
    nothing, 130 an interrupt from the keyboard, 141 a reader that closed the pipe.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; by default those of the process.

    Examples
    --------
    >>> main(["prob", "10", "0.5", "--exactly", "5"])
    P(dropped == 5) = 0.24609375
    0
    """
    prog, words = _PROG, sys.argv[1:] if argv is None else list(argv)
    parser = _parser(words[0] if words else "")
    if "_ARGCOMPLETE" in os.environ:  # a shell asks how the line may go on
        _complete(parser)
    try:
        parser.check_names(words)
        arguments = parser.parse_args(words or ["--help"])
        prog = f"{_PROG} {arguments.command}"
        shown = getattr(arguments, "progress", None)
        with _progress.asked(sys.stderr.isatty() if shown is None else shown):
            status: int | None = arguments.run(arguments)
        print(end="", flush=True)  # an error of writing shows now; unlike sys.stdout.flush(), fine without a stdout
    except SystemExit as end:  # argparse has printed help, the version or an error
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # What is left in the buffer would raise again when Python flushes it at exit.
        with suppress(OSError):  # a stdout that is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, TypeError, OverflowError, MemoryError, OSError) as error:
        print(f"{prog}: error: {one_line(str(error) or type(error).__name__)}", file=sys.stderr)
        return 2
    return status or 0


def _complete(parser: Parser) -> None:
    """Answer a shell that asks how a line may go on, where argcomplete is installed; it then ends the process."""
    with suppress(ImportError):
        import argcomplete

        argcomplete.autocomplete(parser)


def _parser(asked: str = "") -> Parser:
    """Return the parser of one command, or of all where none of them is asked for."""
    parser = Parser(
        prog=_PROG,
        description="Exact probabilities, simulation and audits of dropout masks.\n"
        "P is the probability that a neuron is dropped.",
        epilog="examples:\n"
        "  dropstats prob 1024 0.5 --exactly 512\n"
        "  dropstats simulate 1024 0.5 --trials 1e6 --seed 0\n"
        "  dropstats plan --p 0.1 --shift 0.0016\n"
        "  dropstats audit --help\n\n"
        "dropstats COMMAND --help shows the options and examples of a command.",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{_PROG} {dropstats.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name in (asked,) if asked in _COMMANDS else _COMMANDS:
        add_command(commands, import_module(f"dropstats.cli.{name}"))
    parser.commands = commands.choices
    return parser
