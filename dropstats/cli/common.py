"""What the commands share: parsers whose errors are one line, arguments, and how numbers are shown."""

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import dropstats

if TYPE_CHECKING:
    from dropstats.laws import Law
    from dropstats.recording import Recording

# Below this a probability is printed from its logarithm: doubles lose digits at 2.2e-308 and end at 5e-324.
_SMALLEST_PRINTED = 1e-300


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Help whose description is wrapped and whose examples are not."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and which knows its commands by name."""

    commands: Mapping[str, "Parser"] = MappingProxyType({})

    def error(self, message: str) -> NoReturn:
        """Print the error on one line and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {one_line(message)}\n")

    def check_names(self, words: Sequence[str]) -> None:
        """Refuse an unknown option or command and name the nearest, for argparse first asks for what is missing."""
        for place, word in enumerate(words):
            name = word.partition("=")[0]
            if word == "--":
                return
            if word.startswith("--") and name not in self._option_string_actions:
                self.error(f"unknown option {name}{nearest(name, self._option_string_actions)}")
            if self.commands and not word.startswith("-"):
                if word not in self.commands:
                    known = f"; commands are {', '.join(self.commands)}"
                    self.error(f"unknown command {word!r}{nearest(word, self.commands) or known}")
                self.commands[word].check_names(words[place + 1 :])
                return


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the question that names the known word most like this one; nothing where none is."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"; did you mean {found[0]}?" if found else ""


def one_line(message: str) -> str:
    """Return a message without line breaks."""
    return " ".join(message.split())


def add_command(commands: Any, module: Any) -> None:
    """Add the command of a module: its SUMMARY, EXAMPLES, add_arguments(parser) and run(arguments)."""
    parser: Parser = commands.add_parser(
        module.__name__.rpartition(".")[2],
        help=module.SUMMARY,
        description=f"{module.SUMMARY[0].upper()}{module.SUMMARY[1:]}.",
        epilog=f"examples:\n{module.EXAMPLES}",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=module.run)


def add_layer_arguments(parser: Parser, nargs: str | None = None) -> None:
    """Take N and P."""
    parser.add_argument("n", nargs=nargs, type=integer, metavar="N", help="number of neurons, such as 1024 or 1e6")
    words = "probability that a neuron is dropped, in [0, 1]"
    parser.add_argument("p", nargs=nargs, type=probability, metavar="P", help=words)


def add_law_arguments(parser: Parser) -> None:
    """Take N and P, or any law."""
    add_layer_arguments(parser, nargs="?")
    law = "any law instead of N P, written as in Python: 'Channels(64, 8 * 8, 0.2)'"
    parser.add_argument("--law", metavar="LAW", help=law)


def add_recording_arguments(parser: Parser, nargs: str | None = None) -> None:
    """Take a recording, or several, and what is declared."""
    words = "recording (.npz), or array (.npy, .npz) of masks, 1 keeps, or of outputs on ones; shape (calls, ...)"
    parser.add_argument("file" if nargs is None else "files", nargs=nargs, metavar="FILE", help=words)
    parser.add_argument(
        "--p", type=probability, metavar="P", help="declared drop probability, instead of the one in the file"
    )
    parser.add_argument("--law", metavar="LAW", help="declared law, written as in Python: 'Channels(64, 8 * 8, 0.2)'")


def add_default(parser: Parser, name: str, default: float, metavar: str, words: str) -> None:
    """Take a number that has a default."""
    words = f"{words}; %(default)g by default"
    parser.add_argument(name, type=number, default=default, metavar=metavar, help=words)


def law_of(arguments: argparse.Namespace) -> "Law":
    """Return the law that N P or --law stand for."""
    from dropstats.laws.parse import parse

    if arguments.law is not None:
        if arguments.n is not None:
            raise ValueError(f"either N P or --law is expected; got {arguments.n} and --law {arguments.law!r}")
        return parse(arguments.law, "--law")
    missing = [name for name, value in (("N", arguments.n), ("P", arguments.p)) if value is None]
    if missing:
        raise ValueError(f"the following arguments are required: {', '.join(missing)} (or --law)")
    return dropstats.Layer(arguments.n, arguments.p)


def declared_law(arguments: argparse.Namespace) -> "Law | None":
    """Return the law of --law; None where there is none."""
    from dropstats.laws.parse import parse

    if arguments.law is not None and arguments.p is not None:
        raise ValueError(f"either --p or --law is expected; got both, --p {arguments.p:g}")
    return None if arguments.law is None else parse(arguments.law, "--law")


def recording_of(file: str, p: float | None, law: "Law | None") -> "Recording":
    """Return the recording of a file, which must say p where neither --p nor --law does."""
    recording = dropstats.Recording.load(file, p)
    if law is None and recording.p is None:
        raise ValueError(f"{file} does not say p: give --p or --law")
    return recording


def integer(text: str) -> int:
    """Return the integer that `text` writes, also as 1e6 or 1000.0, without rounding it to a double."""
    if text.isdecimal() and len(text) <= 40:
        return int(text)
    from decimal import Decimal, InvalidOperation

    try:
        value = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"an integer is expected; got {text!r}") from None
    if not value.is_finite() or value.adjusted() > 40:  # int(Decimal('1e999999')) would take for ever
        raise argparse.ArgumentTypeError(f"an integer of at most 40 digits is expected; got {text!r}")
    if value != value.to_integral_value():
        raise argparse.ArgumentTypeError(f"an integer is expected; got {text!r}")
    return int(value)


def number(text: str) -> float:
    """Return the number that `text` writes."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number is expected; got {text!r}") from None


def probability(text: str) -> float:
    """Return the probability that `text` writes; one beyond [0, 1] is the library's to refuse."""
    percent = text.rstrip().endswith("%")
    value = number(text.rstrip()[:-1] if percent else text)
    if percent or 2 <= value <= 100:
        got = f"a probability in [0, 1] is expected; got {text!r}"
        raise argparse.ArgumentTypeError(f"{got}; did you mean {value / 100:.12g}?" if 0 <= value <= 100 else got)
    return value


def named(law: "Law") -> dict[str, Any]:
    """Return what JSON says of a law beside n: the p of a plain layer, else the law itself."""
    plain = law.rate is not None and law == dropstats.Layer(law.n, law.rate)
    return {"p": law.rate} if plain else {"law": repr(law)}


def finite(value: float, spec: str) -> str:
    """Return a formatted number, or a dash where there is none."""
    return format(value, spec) if math.isfinite(value) else "-"


def format_probability(probability: float, log: float, digits: int = 12) -> str:
    """Return a probability in decimal, below 1e-300 as a power of ten from its natural logarithm.

    >>> format_probability(0.0, -100_000 * math.log(2))
    '1.00100e-30103'
    """
    if probability >= _SMALLEST_PRINTED or log == -math.inf:
        return f"{probability:.{digits}g}"
    log10 = log / math.log(10)
    exponent = math.floor(log10)
    # Log tails are right to 1e-11 of themselves, so the mantissa loses as many decimals as the exponent has digits.
    decimals = 10 - len(str(-exponent))
    if decimals < 0:
        return f"1e{round(log10)}"
    mantissa = f"{10 ** (log10 - exponent):.{decimals}f}"
    if mantissa.startswith("10"):  # 9.99... rounded up
        mantissa, exponent = f"{1:.{decimals}f}", exponent + 1
    return f"{mantissa}e{exponent}"


def print_json(**fields: object) -> None:
    """Print one JSON object; a number that is not finite, which JSON cannot write, becomes null."""
    import json

    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            fields[name] = None
    print(json.dumps(fields, allow_nan=False))
