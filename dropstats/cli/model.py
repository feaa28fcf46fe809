"""Command `model`: whether every dropout mask of a model follows the law that the model declares."""

import argparse
import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import dropstats
from dropstats.cli import printing
from dropstats.cli.common import Parser, add_default, integer

SUMMARY = "test whether every dropout call of a model does what the model declares"
EXAMPLES = f"""\
  dropstats model package.module:make
  dropstats model train:model_and_batch --calls 256 --json

{printing.EXIT_STATUS}"""


def add_arguments(parser: Parser) -> None:
    """Take where the model is, how often it is called, and how surely it must fail."""
    where = "function that returns the model, or a tuple of the model and its inputs"
    parser.add_argument("function", metavar="MODULE:FUNCTION", help=where)
    calls = "number of passes in training mode; %(default)s by default"
    parser.add_argument("--calls", type=integer, default=64, metavar="N", help=calls)
    add_default(parser, "--false-alarm", 1e-3, "A", "probability that a correct model fails")
    printing.add_report_arguments(parser, plot=False)


def run(arguments: argparse.Namespace) -> int:
    """Audit, print the report, and return the exit status."""
    printing.check_paths(arguments)
    make = _function(arguments.function)
    try:
        model, inputs, keywords = _parts(make())
        asked = {"calls": arguments.calls, "false_alarm": arguments.false_alarm}
        report = dropstats.audit_model(model, *inputs, **asked, **keywords)
    except (ValueError, TypeError) as error:
        if hasattr(error, "__notes__"):  # the model's own
            return _traced()
        raise
    except Exception:
        return _traced()
    return printing.give(report, arguments, report.model)


def _traced() -> int:
    """Show where the model's own code failed; return the exit status of bad input."""
    traceback.print_exc()
    return 2


def _function(written: str) -> Any:
    """Return the function that "package.module:function" names; modules in the working directory are found too."""
    module, colon, name = written.partition(":")
    if not colon or not module or not name:
        raise ValueError(f"a model is named as package.module:function; got {written!r}")
    if module.endswith(".py"):  # a file of the working directory, or below it
        module = ".".join(Path(module).with_suffix("").parts)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"{written!r}: {error}") from error
    function = getattr(found, name, None)
    if not callable(function):
        raise ValueError(f"{written!r}: module {module!r} has no function {name!r}")
    return function


def _parts(made: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Return the model, its inputs and its keyword arguments, of what the function returned."""
    if not isinstance(made, tuple):
        return made, (), {}
    if not made:
        raise ValueError("the function must return a model, or a tuple of a model and its inputs; got an empty tuple")
    model, *inputs = made
    if len(inputs) == 1 and isinstance(inputs[0], tuple):
        return model, inputs[0], {}
    if len(inputs) > 1 and isinstance(inputs[-1], Mapping):
        return model, tuple(inputs[:-1]), dict(inputs[-1])
    return model, tuple(inputs), {}
