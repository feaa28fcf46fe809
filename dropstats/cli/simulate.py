"""Command `simulate`: masks of a law beside their exact law."""

import argparse
import math
import secrets
import sys
from typing import TYPE_CHECKING

import dropstats
from dropstats.cli.common import Parser, add_law_arguments, finite, integer, law_of, named, print_json

if TYPE_CHECKING:
    from dropstats.laws import Law
    from dropstats.tallies import Tally

SUMMARY = "simulate masks of a layer and compare them with their exact law"
EXAMPLES = """\
  dropstats simulate 1024 0.5 --trials 1e6 --seed 0
  dropstats simulate 1024 0.5 --trials 1e6 --seed 0 --plot masks.png
  dropstats simulate 1024 0.5 --trials 1e6 --json
  dropstats simulate --law 'DropBlock(28, 28, 7, p=0.1)' --trials 1e5"""


def add_arguments(parser: Parser) -> None:
    """Take a law, the number of masks, a seed and a file for the picture."""
    add_law_arguments(parser)
    parser.add_argument("--trials", type=integer, required=True, metavar="T", help="number of masks, such as 1e6")
    parser.add_argument("--seed", type=integer, metavar="S", help="seed; by default a new one, which is printed")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the simulated counts over their exact law: .png, .svg or .pdf"
    )


def run(arguments: argparse.Namespace) -> None:
    """Simulate, print the moments beside the exact ones, and draw."""
    law, plots = law_of(arguments), dropstats.plots if arguments.plot is not None else None
    if plots:
        plots.check_picture_path(arguments.plot)  # before the work, not after it
        _ = law.dropped  # which may be said to be out of reach
    if arguments.seed is not None and arguments.seed < 0:
        raise ValueError(f"--seed must not be negative; got {arguments.seed}")
    # 53 bits, so that every reader of JSON gets the seed back exactly
    seed = secrets.randbits(53) if arguments.seed is None else arguments.seed
    tally = dropstats.simulate(law, arguments.trials, rng=seed, progress=sys.stderr.isatty())
    exact = _exact_moments(law)
    if arguments.json:
        fields = {"trials": tally.trials, "seed": seed, "mean": tally.mean, "variance": tally.variance}
        fields |= {"expected_mean": exact[0], "expected_variance": exact[1], "histogram": tally.histogram.tolist()}
        print_json(n=law.n, **named(law), **fields)
    else:
        print(f"{tally.trials:,} masks, seed {seed}: {law!r}")
        _print_moments(law, tally, exact)
    if plots:
        with plots.style():
            plots.save(plots.overlay(law, tally, plots.Figure()), arguments.plot)


def _exact_moments(law: "Law") -> tuple[float, ...]:
    """Return mean, variance, skewness, kurtosis; of a DropBlock whose count law is out of reach the first two."""
    if law.has_counts:
        return tuple(float(moment) for moment in law.dropped.stats("mvsk"))
    return math.fsum(law.rates), law.variance, math.nan, math.nan


def _print_moments(law: "Law", tally: "Tally", moments: tuple[float, ...]) -> None:
    """Print the moments beside the exact ones, and how far apart they are in standard errors of the law, or tally."""
    from dropstats.comparison import moment_residuals
    from dropstats.tallies import MOMENTS

    named_moments = list(zip(MOMENTS, moments, strict=True))
    if law.has_counts:
        apart = moment_residuals(law, tally)
    else:
        apart = [(getattr(tally, name) - exact) / tally.standard_error(name) for name, exact in named_moments]
    print(f"{'dropped':<16}{'simulated':>18}{'exact':>18}{'standard errors':>18}")
    for (name, exact), errors in zip(named_moments, apart, strict=True):
        shown = (finite(getattr(tally, name), ".10g"), finite(exact, ".10g"), finite(errors, "+.2f"))
        name = "excess kurtosis" if name == "kurtosis" else name
        print(f"{name:<16}{shown[0]:>18}{shown[1]:>18}{shown[2]:>18}")
