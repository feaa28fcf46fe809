"""The command line: parse, call, print.

A command is a function that adds its parser to the others and names the function that runs it; one line of
``_COMMANDS`` registers it. Bad input ends with exit status 2 and one line on stderr.
"""

import argparse
import json
import math
import os
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NoReturn

import dropstats

if TYPE_CHECKING:
    from dropstats.laws import Law, Layer
    from dropstats.tallies import Tally
    from dropstats.training import TrainingRun

# Below this a probability is printed from its logarithm: doubles lose digits at 2.2e-308 and end at 5e-324.
_SMALLEST_PRINTED = 1e-300

_PROG = "dropstats"


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {_one_line(message)}\n")


_Commands = argparse._SubParsersAction  # public in all but name: what add_subparsers returns


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 is success, 1 an audit that finds a departure, 2 bad input, 130 an interrupt from the keyboard, 141 a reader
    that closed the pipe.

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
    prog = _PROG
    try:
        arguments = _parser().parse_args(argv)
        prog = f"{_PROG} {arguments.command}"
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
        print(f"{prog}: error: {_one_line(str(error) or type(error).__name__)}", file=sys.stderr)
        return 2
    return status or 0


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _parser() -> _Parser:
    parser = _Parser(
        prog=_PROG,
        description="Exact laws, simulation and audits of dropout masks; P is the drop probability of a neuron.",
        epilog="examples:\n"
        "  dropstats prob 1024 0.5 --exactly 512\n"
        "  dropstats simulate 1024 0.5 --trials 1e6 --seed 0\n"
        "  dropstats plan --p 0.1 --shift 0.0016\n"
        "  dropstats audit --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{_PROG} {dropstats.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for add in _COMMANDS:
        add(commands)
    return parser


def _command(commands: "_Commands[Any]", name: str, run: Any, summary: str, examples: str) -> _Parser:
    """Add the parser of a command that is run by ``run(arguments)``."""
    parser: _Parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _add_layer_arguments(parser: _Parser) -> None:
    """Take N and P."""
    parser.add_argument("n", type=_integer, metavar="N", help="number of neurons; 1e6 is taken too")
    parser.add_argument("p", type=_number, metavar="P", help="probability that a neuron is dropped, in [0, 1]")


def _add_law_arguments(parser: _Parser) -> None:
    """Take N and P, or any law."""
    parser.add_argument("n", nargs="?", type=_integer, metavar="N", help="number of neurons; 1e6 is taken too")
    parser.add_argument(
        "p", nargs="?", type=_number, metavar="P", help="probability that a neuron is dropped, in [0, 1]"
    )
    parser.add_argument(
        "--law", metavar="LAW", help="any law, as in Python, instead of N P: 'Channels(64, 8 * 8, 0.2)'"
    )


def _law_of(arguments: argparse.Namespace) -> "Law":
    """Return the law that N P or --law stand for."""
    from dropstats.laws.written import written

    if arguments.law is not None:
        if arguments.n is not None:
            raise ValueError(f"either N P or --law is expected; got {arguments.n} and --law {arguments.law!r}")
        return written(arguments.law, "--law")
    missing = [name for name, value in (("N", arguments.n), ("P", arguments.p)) if value is None]
    if missing:
        raise ValueError(f"the following arguments are required: {', '.join(missing)} (or --law)")
    return dropstats.Layer(arguments.n, arguments.p)


def _integer(text: str) -> int:
    """Return the integer that `text` writes, also as 1e6 or 1000.0, without rounding it to a double."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"an integer is expected; got {text!r}") from None
    if not value.is_finite() or value.adjusted() > 40:  # int(Decimal('1e999999')) would take for ever
        raise argparse.ArgumentTypeError(f"an integer of at most 40 digits is expected; got {text!r}")
    if value != value.to_integral_value():
        raise argparse.ArgumentTypeError(f"an integer is expected; got {text!r}")
    return int(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number is expected; got {text!r}") from None


# ---------------------------------------------------------------- prob


def _add_prob(commands: "_Commands[Any]") -> None:
    parser = _command(
        commands,
        "prob",
        _prob,
        "probability that a number of neurons is dropped (or kept)",
        "  dropstats prob 1024 0.5 --exactly 512\n"
        "  dropstats prob 1024 0.5 --between 480 544\n"
        "  dropstats prob 1024 0.1 --at-least 1000 --kept --json\n"
        "  dropstats prob --law 'Channels(64, 8 * 8, 0.2)' --at-most 640",
    )
    _add_law_arguments(parser)
    event = parser.add_mutually_exclusive_group(required=True)
    event.add_argument("--exactly", type=_integer, metavar="K", help="exactly K neurons")
    event.add_argument("--at-least", type=_integer, metavar="K", help="K neurons or more")
    event.add_argument("--at-most", type=_integer, metavar="K", help="K neurons or fewer")
    event.add_argument("--between", type=_integer, nargs=2, metavar=("A", "B"), help="A to B neurons, both included")
    parser.add_argument("--kept", action="store_true", help="count kept neurons, not dropped ones")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _prob(arguments: argparse.Namespace) -> None:
    law = _law_of(arguments)
    what = "kept" if arguments.kept else "dropped"
    asked, event = _event(arguments, what)
    probability, log = law.prob(**{what: asked}), law.prob(**{what: asked}, log=True)
    if arguments.json:
        _print_json(
            n=law.n,
            **_named(law),
            event=event,
            probability=probability,
            log10_probability=log / math.log(10) + 0.0,  # + 0.0: never -0.0
        )
    else:
        print(f"P({event}) = {_format_probability(probability, log)}")


def _named(law: "Law") -> dict[str, Any]:
    """Return what JSON says of a law beside n: the p of a plain layer, else the law itself."""
    return {"p": law.p} if type(law) is dropstats.Layer and isinstance(law.p, float) else {"law": repr(law)}


def _event(arguments: argparse.Namespace, what: str) -> tuple[Any, str]:
    """Return the count or closed interval that was asked for, as `Layer.prob` takes it, and its words."""
    if arguments.exactly is not None:
        return arguments.exactly, f"{what} == {arguments.exactly}"
    if arguments.at_least is not None:
        return (arguments.at_least, None), f"{what} >= {arguments.at_least}"
    if arguments.at_most is not None:
        return (None, arguments.at_most), f"{what} <= {arguments.at_most}"
    low, high = arguments.between
    if low > high:
        raise ValueError(f"--between A B must have A <= B; got {low} {high}")
    return (low, high), f"{low} <= {what} <= {high}"


def _format_probability(probability: float, log: float) -> str:
    """Return a probability in decimal, below 1e-300 as a power of ten from its natural logarithm.

    >>> _format_probability(0.0, -100_000 * math.log(2))
    '1.00100e-30103'
    """
    if probability >= _SMALLEST_PRINTED or log == -math.inf:
        return f"{probability:.12g}"
    log10 = log / math.log(10)
    exponent = math.floor(log10)
    # Log tails are right to 1e-11 of themselves, so the mantissa loses as many digits as the exponent has.
    digits = 11 - len(str(-exponent))
    if digits < 1:
        return f"1e{round(log10)}"
    mantissa = f"{10 ** (log10 - exponent):.{digits - 1}f}"
    if mantissa.startswith("10"):  # 9.99... rounded up
        mantissa, exponent = f"{1:.{digits - 1}f}", exponent + 1
    return f"{mantissa}e{exponent}"


def _print_json(**fields: object) -> None:
    """Print one JSON object; a number that is not finite, which JSON cannot write, becomes null."""
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }
    print(json.dumps(finite, allow_nan=False))


# ---------------------------------------------------------------- simulate


def _add_simulate(commands: "_Commands[Any]") -> None:
    parser = _command(
        commands,
        "simulate",
        _simulate,
        "simulate masks of a layer and compare them with their exact law",
        "  dropstats simulate 1024 0.5 --trials 1e6 --seed 0\n"
        "  dropstats simulate 1024 0.5 --trials 1e6 --seed 0 --plot masks.png\n"
        "  dropstats simulate 1024 0.5 --trials 1e6 --json\n"
        "  dropstats simulate --law 'DropBlock(28, 28, 7, p=0.1)' --trials 1e5",
    )
    _add_law_arguments(parser)
    parser.add_argument("--trials", type=_integer, required=True, metavar="T", help="number of masks, such as 1e6")
    parser.add_argument("--seed", type=_integer, metavar="S", help="seed; by default a new one, which is reported")
    parser.add_argument("--plot", metavar="FILE", help="write the picture, simulation over law, as .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _simulate(arguments: argparse.Namespace) -> None:
    law = _law_of(arguments)
    if arguments.plot is not None:
        dropstats.plots.check_picture_path(arguments.plot)  # before the work, not after it
        _ = law.dropped  # which may be said to be out of reach
    if arguments.seed is not None and arguments.seed < 0:
        raise ValueError(f"--seed must not be negative; got {arguments.seed}")
    # 53 bits, so that every reader of JSON gets the seed back exactly
    seed = secrets.randbits(53) if arguments.seed is None else arguments.seed
    tally = dropstats.simulate(law, arguments.trials, rng=seed, progress=sys.stderr.isatty())
    if arguments.json:
        _print_json(
            n=law.n,
            **_named(law),
            trials=tally.trials,
            seed=seed,
            mean=tally.mean,
            variance=tally.variance,
            expected_mean=_exact_moments(law)[0],
            expected_variance=_exact_moments(law)[1],
            histogram=tally.histogram.tolist(),
        )
    else:
        _print_moments(law, tally, seed)
    if arguments.plot is not None:
        plots = dropstats.plots
        with plots.style():
            plots.save(plots.overlay(law, tally, plots.Figure()), arguments.plot)


def _print_moments(law: "Law", tally: "Tally", seed: int) -> None:
    """Print the moments beside the exact ones, and how far they are apart in the law's standard errors."""
    from dropstats.tallies import MOMENTS

    moments = _exact_moments(law)
    print(f"{tally.trials:,} masks, seed {seed}: {law!r}")
    print(f"{'dropped':<16}{'simulated':>18}{'exact':>18}{'standard errors':>18}")
    rows = zip(MOMENTS, moments, _apart(law, tally, moments), strict=True)
    for name, exact, apart in rows:
        name_shown = "excess kurtosis" if name == "kurtosis" else name
        shown = (_format(getattr(tally, name), ".10g"), _format(float(exact), ".10g"), _format(apart, "+.2f"))
        print(f"{name_shown:<16}{shown[0]:>18}{shown[1]:>18}{shown[2]:>18}")


def _exact_moments(law: "Law") -> tuple[float, ...]:
    """Return mean, variance, skewness, kurtosis; of a DropBlock whose count law is out of reach the first two."""
    try:
        return tuple(float(moment) for moment in law.dropped.stats("mvsk"))
    except ValueError:
        if not hasattr(law, "variance"):
            raise
        return math.fsum(law.rates), float(law.variance), math.nan, math.nan


def _apart(law: "Law", tally: "Tally", moments: tuple[float, ...]) -> Any:
    """Return how far simulated moments lie from the exact ones, in standard errors of the law, or of the tally."""
    from dropstats.comparison import moment_residuals
    from dropstats.tallies import MOMENTS

    try:
        _ = law.dropped
    except ValueError:
        pairs = zip(MOMENTS, moments, strict=True)
        return [(getattr(tally, name) - exact) / tally.standard_error(name) for name, exact in pairs]
    return moment_residuals(law, tally)


def _format(value: float, spec: str) -> str:
    return format(value, spec) if math.isfinite(value) else "-"


# ---------------------------------------------------------------- audit


def _add_audit(commands: "_Commands[Any]") -> None:
    parser = _command(
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
    parser.add_argument("--p", type=_number, metavar="P", help="declared drop probability, in place of the file's")
    parser.add_argument("--law", metavar="LAW", help="any declared law, as in Python: 'Channels(64, 8 * 8, 0.2)'")
    parser.add_argument(
        "--false-alarm",
        type=_number,
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
    from dropstats.laws.written import written

    if arguments.plot is not None:
        dropstats.plots.check_picture_path(arguments.plot)  # before the work, not after it
    if arguments.law is not None and arguments.p is not None:
        raise ValueError(f"either --p or --law is expected; got both, --p {arguments.p:g}")
    law = None if arguments.law is None else written(arguments.law, "--law")
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


# ---------------------------------------------------------------- plan


def _add_plan(commands: "_Commands[Any]") -> None:
    parser = _command(
        commands,
        "plan",
        _plan,
        "number of neurons that show a shift of p, or shift that they show",
        "  dropstats plan --p 0.1 --shift 0.0016\n  dropstats plan --p 0.1 --neurons 1e6 --false-alarm 1e-6",
    )
    parser.add_argument("--p", type=_number, required=True, metavar="P", help="declared drop probability")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--shift", type=_number, metavar="D", help="difference to the true probability, P + D")
    asked.add_argument("--neurons", type=_integer, metavar="N", help="number of neurons, over all masks")
    parser.add_argument(
        "--false-alarm",
        type=_number,
        default=0.01,
        metavar="A",
        help="probability of an alarm where P is right; %(default)g by default",
    )
    parser.add_argument(
        "--power",
        type=_number,
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
        _print_json(p=p, shift=shift, neurons=neurons, **errors)
        return
    if math.isinf(shift):
        print(f"{neurons:,} neurons show no p above {p:g}, with power {errors['power']:g}", end="")
    else:
        print(
            f"{neurons:,} neurons show p = {p + shift:.8g} where {p:g} is declared, with power {errors['power']:g}",
            end="",
        )
    print(f" at false-alarm rate {errors['false_alarm']:g}")


# ---------------------------------------------------------------- layer

# A line of the summary: its words, what it shows, and its fields in JSON.
_Fact = tuple[str, str, dict[str, Any]]


def _add_layer(commands: "_Commands[Any]") -> None:
    parser = _command(
        commands,
        "layer",
        _layer,
        "what dropout does to a layer, in a mask and over a training run",
        "  dropstats layer 1024 0.5 --steps 10000\n  dropstats layer 64 0.1 --steps 1e6 --json",
    )
    _add_layer_arguments(parser)
    parser.add_argument("--steps", type=_integer, default=10_000, metavar="T", help="steps of the run (10000)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _layer(arguments: argparse.Namespace) -> None:
    law = dropstats.Layer(arguments.n, arguments.p)
    if law.n == 0:
        raise ValueError("N must be at least 1; got 0")
    run = dropstats.TrainingRun(law, arguments.steps)
    facts = [*_mask_facts(law, float(law.rates[0])), *_run_facts(run)]
    if arguments.json:
        fields = {name: value for *_, named in facts for name, value in named.items()}
        _print_json(n=law.n, p=law.p, steps=run.steps, **fields)
        return
    print(f"{law.n:,} neurons, each dropped with probability {law.p:.6g}; {run.steps:,} steps")
    for words, shown, _ in facts:
        print(f"  {words:<52}{shown:>26}")


def _mask_facts(law: "Layer", p: float) -> list[_Fact]:
    """What one mask does, and the scaling that goes with it."""
    low, high = (int(end) for end in law.dropped.interval(0.99))
    scale = 1 / (1 - p) if p < 1 else math.nan  # undefined at p = 1, as is what follows from it
    # of relu(Z), Z standard normal: mean 1/sqrt(2 pi), variance 1/2 - 1/(2 pi)
    moments = ((0.0, 1.0), (1 / math.sqrt(2 * math.pi), 0.5 - 0.5 / math.pi))
    plain, relu = (dropstats.variance_shift(p, *pair) if p < 1 else math.nan for pair in moments)
    mode = min(math.floor((law.n + 1) * p), law.n)
    return [
        _number_fact("neurons dropped in a mask, on average", "mean", float(law.dropped.mean())),
        _number_fact("... give or take (standard deviation)", "standard_deviation", float(law.dropped.std())),
        ("... in 99 of 100 masks", f"{low:,} to {high:,}", {"central_99": [low, high]}),
        _probability_fact(f"P(exactly {mode:,}, the most probable number)", "most_probable", law, mode),
        _probability_fact("P(all dropped, so that nothing passes)", "all_dropped", law, law.n),
        _number_fact("kept activations are multiplied by 1/(1-p) =", "scale", scale),
        _number_fact("variance inference/training, inputs of mean 0", "variance_ratio", plain),
        _number_fact("... behind a ReLU of standard normal inputs", "variance_ratio_relu", relu),
    ]


def _run_facts(run: "TrainingRun") -> list[_Fact]:
    """What the masks of a training run do."""
    return [
        _number_fact("steps until all were dropped, on average", "steps_until_dropped", run.steps_until_all().mean()),
        _number_fact("... until all were kept", "steps_until_kept", run.steps_until_all("kept").mean()),
        _number_fact("P(some neuron is never dropped)", "any_never_dropped", run.any_never_dropped),
        _number_fact("P(some neuron is never kept)", "any_never_kept", run.any_never_kept),
        _number_fact("longest run of drops of a neuron, on average", "longest_run", run.longest_run().mean()),
        _number_fact("... of the worst neuron", "longest_run_of_any", run.longest_run_of_any().mean()),
        _number_fact("different subnetworks in the run, on average", "distinct_subnetworks", run.expected_distinct),
        _number_fact("P(some subnetwork comes twice)", "any_repeat", run.any_repeat),
    ]


def _number_fact(words: str, name: str, value: float) -> _Fact:
    return words, "never" if value == math.inf else _format(value, ",.6g"), {name: value}


def _probability_fact(words: str, name: str, law: "Law", dropped: int) -> _Fact:
    probability, log = law.prob(dropped=dropped), law.prob(dropped=dropped, log=True)
    # six digits, as the other lines have
    shown = f"{probability:.6g}" if probability >= _SMALLEST_PRINTED else _format_probability(probability, log)
    fields = {f"prob_{name}": probability, f"log10_prob_{name}": log / math.log(10) + 0.0}
    return words, shown, fields | ({name: dropped} if name == "most_probable" else {})


_COMMANDS = (
    _add_prob,
    _add_simulate,
    _add_audit,
    _add_plan,
    _add_layer,
)


if __name__ == "__main__":
    sys.exit(main())
