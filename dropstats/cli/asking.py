"""Commands `prob` and `simulate`: probabilities and masks of a law."""

import argparse
import math
import secrets
import sys
from typing import TYPE_CHECKING, Any

import dropstats
from dropstats.cli.common import (
    Commands,
    add_law_arguments,
    command,
    finite,
    format_probability,
    integer,
    law_of,
    named,
    print_json,
)

if TYPE_CHECKING:
    from dropstats.laws import Law
    from dropstats.tallies import Tally


def add_prob(commands: "Commands[Any]") -> None:
    """Add the command `prob`."""
    parser = command(
        commands,
        "prob",
        _prob,
        "probability that a number of neurons is dropped (or kept)",
        "  dropstats prob 1024 0.5 --exactly 512\n"
        "  dropstats prob 1024 0.5 --between 480 544\n"
        "  dropstats prob 1024 0.1 --at-least 1000 --kept --json\n"
        "  dropstats prob --law 'Channels(64, 8 * 8, 0.2)' --at-most 640",
    )
    add_law_arguments(parser)
    event = parser.add_mutually_exclusive_group(required=True)
    event.add_argument("--exactly", type=integer, metavar="K", help="exactly K neurons")
    event.add_argument("--at-least", type=integer, metavar="K", help="K neurons or more")
    event.add_argument("--at-most", type=integer, metavar="K", help="K neurons or fewer")
    event.add_argument("--between", type=integer, nargs=2, metavar=("A", "B"), help="A to B neurons, both included")
    parser.add_argument("--kept", action="store_true", help="count kept neurons, not dropped ones")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _prob(arguments: argparse.Namespace) -> None:
    law = law_of(arguments)
    what = "kept" if arguments.kept else "dropped"
    asked, event = _event(arguments, what)
    probability, log = law.prob(**{what: asked}), law.prob(**{what: asked}, log=True)
    if arguments.json:
        print_json(
            n=law.n,
            **named(law),
            event=event,
            probability=probability,
            log10_probability=log / math.log(10) + 0.0,  # + 0.0: never -0.0
        )
    else:
        print(f"P({event}) = {format_probability(probability, log)}")


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


def add_simulate(commands: "Commands[Any]") -> None:
    """Add the command `simulate`."""
    parser = command(
        commands,
        "simulate",
        _simulate,
        "simulate masks of a layer and compare them with their exact law",
        "  dropstats simulate 1024 0.5 --trials 1e6 --seed 0\n"
        "  dropstats simulate 1024 0.5 --trials 1e6 --seed 0 --plot masks.png\n"
        "  dropstats simulate 1024 0.5 --trials 1e6 --json\n"
        "  dropstats simulate --law 'DropBlock(28, 28, 7, p=0.1)' --trials 1e5",
    )
    add_law_arguments(parser)
    parser.add_argument("--trials", type=integer, required=True, metavar="T", help="number of masks, such as 1e6")
    parser.add_argument("--seed", type=integer, metavar="S", help="seed; by default a new one, which is reported")
    parser.add_argument("--plot", metavar="FILE", help="write the picture, simulation over law, as .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _simulate(arguments: argparse.Namespace) -> None:
    law = law_of(arguments)
    if arguments.plot is not None:
        dropstats.plots.check_picture_path(arguments.plot)  # before the work, not after it
        _ = law.dropped  # which may be said to be out of reach
    if arguments.seed is not None and arguments.seed < 0:
        raise ValueError(f"--seed must not be negative; got {arguments.seed}")
    # 53 bits, so that every reader of JSON gets the seed back exactly
    seed = secrets.randbits(53) if arguments.seed is None else arguments.seed
    tally = dropstats.simulate(law, arguments.trials, rng=seed, progress=sys.stderr.isatty())
    if arguments.json:
        print_json(
            n=law.n,
            **named(law),
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
        shown = (finite(getattr(tally, name), ".10g"), finite(float(exact), ".10g"), finite(apart, "+.2f"))
        print(f"{name_shown:<16}{shown[0]:>18}{shown[1]:>18}{shown[2]:>18}")


def _exact_moments(law: "Law") -> tuple[float, ...]:
    """Return mean, variance, skewness, kurtosis; of a DropBlock whose count law is out of reach the first two."""
    if law.has_counts:
        return tuple(float(moment) for moment in law.dropped.stats("mvsk"))
    return math.fsum(law.rates), law.variance, math.nan, math.nan


def _apart(law: "Law", tally: "Tally", moments: tuple[float, ...]) -> Any:
    """Return how far simulated moments lie from the exact ones, in standard errors of the law, or of the tally."""
    from dropstats.comparison import moment_residuals
    from dropstats.tallies import MOMENTS

    if not law.has_counts:
        pairs = zip(MOMENTS, moments, strict=True)
        return [(getattr(tally, name) - exact) / tally.standard_error(name) for name, exact in pairs]
    return moment_residuals(law, tally)
