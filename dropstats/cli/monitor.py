"""The command `monitor`: recorded masks replayed one after another, as a training run would see them."""

import argparse
import json

import dropstats
from dropstats.cli.common import Parser, add_default, add_recording_arguments, declared_law, integer, recording_of
from dropstats.cli.printing import in_words

SUMMARY = "replay recorded masks and say at which step the monitor would have raised an alarm"
EXAMPLES = """\
  dropstats monitor masks.npy --p 0.1
  dropstats monitor masks.npz --law 'Channels(64, 8 * 8, 0.2)' --json
  dropstats monitor masks.npz --false-alarm 1e-6 --plot evidence.png

exit status: 0 no alarm, 1 an alarm, 2 bad input"""

# Neurons read at a time.
_NEURONS = 2**22


def add_arguments(parser: Parser) -> None:
    """Take a file, what it is held against, and how it is answered."""
    add_recording_arguments(parser)
    add_default(parser, "--false-alarm", 1e-3, "A", "probability that a correct implementation ever raises an alarm")
    parser.add_argument("--every", type=integer, default=1, metavar="K", help="test after every K masks; 1 by default")
    parser.add_argument("--plot", metavar="FILE", help="draw the evidence over the steps: .png, .svg or .pdf")


def run(arguments: argparse.Namespace) -> int:
    """Replay the masks, print what was found, and return the exit status."""
    if arguments.plot is not None:
        dropstats.plots.check_picture_path(arguments.plot)  # before the work, not after it
    law = declared_law(arguments)
    recording = recording_of(arguments.file, arguments.p, law)
    if recording.known is not None:
        needed = "a monitor needs masks in which it is known of every neuron if it is dropped"
        raise ValueError(f"{arguments.file}: {needed}")
    declared = dropstats.Layer(recording.n, recording.p) if law is None else law
    monitor = dropstats.Monitor(declared, false_alarm=arguments.false_alarm, every=arguments.every)
    rows = max(1, _NEURONS // max(recording.n, 1))
    for start in range(0, recording.trials, rows):
        monitor.update(recording.masks(start, start + rows))
    print(json.dumps(monitor.to_dict(), allow_nan=False, ensure_ascii=False) if arguments.json else in_words(monitor))
    if arguments.plot is not None:
        plots = dropstats.plots
        with plots.style():
            plots.save(monitor.plot(plots.Figure().subplots()), arguments.plot)
    return 1 if monitor.alarm else 0
