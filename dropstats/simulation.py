"""Simulation: trials in blocks, in bounded memory."""

from typing import Any

from dropstats import _validate, tallies
from dropstats.laws import Law

_BLOCK_NEURONS = 2**22


def simulate(law: Law, trials: int, rng: _validate.RNG = None, progress: Any = None) -> tallies.Tally:
    """Return the tally of `trials` simulated masks of `law`."""
    trials = _validate.trials(trials)
    generator = _validate.generator(rng)
    block = max(1, _BLOCK_NEURONS // max(law.n, 1))
    result = tallies.empty(law)
    done = 0
    while done < trials:
        size = min(block, trials - done)
        result = result + tallies._tally(law.sample(size, generator), law)
        done += size
    return result
