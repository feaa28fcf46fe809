"""Command `layer`: what dropout does to a layer, on one screen."""

import argparse
import math
from typing import TYPE_CHECKING, Any

import dropstats
from dropstats.cli.common import Parser, add_layer_arguments, finite, format_probability, integer, print_json

if TYPE_CHECKING:
    from dropstats.laws import Law, Layer
    from dropstats.training import TrainingRun

# A line of the summary: its words, what it shows, and its fields in JSON.
_Fact = tuple[str, str, dict[str, Any]]

SUMMARY = "what dropout does to a layer, in one mask and over a training run"
EXAMPLES = """\
  dropstats layer 1024 0.5 --steps 10000
  dropstats layer 64 0.1 --steps 1e6 --json"""


def add_arguments(parser: Parser) -> None:
    """Take a layer and the number of steps."""
    add_layer_arguments(parser)
    parser.add_argument(
        "--steps", type=integer, default=10_000, metavar="T", help="steps of the training run; %(default)s by default"
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the summary."""
    law = dropstats.Layer(arguments.n, arguments.p)
    if law.n == 0:
        raise ValueError("N must be at least 1; got 0")
    training = dropstats.TrainingRun(law, arguments.steps)
    facts = [*_mask_facts(law, float(law.rates[0])), *_run_facts(training)]
    if arguments.json:
        fields = {name: value for *_, named in facts for name, value in named.items()}
        print_json(n=law.n, p=law.p, steps=training.steps, **fields)
        return
    print(f"{law.n:,} neurons, each dropped with probability {law.p:.6g}; {training.steps:,} steps")
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
        _number_fact("... standard deviation", "standard_deviation", float(law.dropped.std())),
        ("... 99% interval", f"{low:,} to {high:,}", {"central_99": [low, high]}),
        _probability_fact(f"P(exactly {mode:,}, the most probable number)", "most_probable", law, mode),
        _probability_fact("P(all dropped)", "all_dropped", law, law.n),
        _number_fact("scale of kept activations, 1/(1-p)", "scale", scale),
        _number_fact("variance in inference / training, inputs of mean 0", "variance_ratio", plain),
        _number_fact("... inputs from a ReLU of standard normal values", "variance_ratio_relu", relu),
    ]


def _run_facts(run: "TrainingRun") -> list[_Fact]:
    """What the masks of a training run do."""
    return [
        _number_fact(
            "steps until each neuron was dropped once, on average", "steps_until_dropped", run.steps_until_all().mean()
        ),
        _number_fact(
            "... until each neuron was kept once, on average", "steps_until_kept", run.steps_until_all("kept").mean()
        ),
        _number_fact("P(some neuron is never dropped)", "any_never_dropped", run.any_never_dropped),
        _number_fact("P(some neuron is never kept)", "any_never_kept", run.any_never_kept),
        _number_fact("longest run of drops of a neuron, on average", "longest_run", run.longest_run().mean()),
        _number_fact("... longest of all neurons", "longest_run_of_any", run.longest_run_of_any().mean()),
        _number_fact("different masks in the run, on average", "distinct_subnetworks", run.expected_distinct),
        _number_fact("P(some mask is repeated)", "any_repeat", run.any_repeat),
    ]


def _number_fact(words: str, name: str, value: float) -> _Fact:
    return words, "never" if value == math.inf else finite(value, ",.6g"), {name: value}


def _probability_fact(words: str, name: str, law: "Law", dropped: int) -> _Fact:
    probability, log = law.prob(dropped=dropped), law.prob(dropped=dropped, log=True)
    fields = {f"prob_{name}": probability, f"log10_prob_{name}": log / math.log(10) + 0.0}
    shown = format_probability(probability, log, digits=6)  # as the other lines have
    return words, shown, fields | ({name: dropped} if name == "most_probable" else {})
