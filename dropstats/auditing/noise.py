"""Outputs of noise that is no mask, read as bits and as factors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.auditing.checks import OF_NORMAL, OF_TWO_VALUES
from dropstats.auditing.checks.shape import Factors
from dropstats.auditing.finding import Check
from dropstats.formats import resolution
from dropstats.recording import Recording, arrays


@dataclass(frozen=True)
class Read:
    """What outputs of noise hold: a bit of each, such as a layer of rate `p` gives, and the values themselves."""

    masks: NDArray[np.bool_]
    p: float
    factors: Factors
    checks: tuple[Check, ...]  # that judge the factors
    note: str  # what the bits are
    trials: int  # shape of the outputs
    n: int
    ordered: bool = True  # whether the bits stand at their own calls and neurons


def read(outputs: Any, law: Any) -> Read:
    """Return what outputs of noise on ones, an array or for two-valued noise a recording, hold."""
    if isinstance(outputs, Recording):
        return _of_recording(outputs, law)
    blocks = arrays.blocks(outputs, "outputs")
    _validate.memory(8 * blocks.trials * blocks.n, f"{blocks.trials} outputs of {blocks.n} neurons")
    y = np.empty((blocks.trials, blocks.n))
    for rows, columns, values in blocks.pieces():
        y[rows, columns] = arrays.floats(values)
    spacing = resolution(blocks.dtype)
    if law.two_valued:
        found, counts = np.unique(y, return_counts=True)
        factors = Factors(law, dict(zip(found.tolist(), counts.tolist(), strict=True)), np.zeros(0), spacing)
        note = "dropped: negative outputs, as inputs of ones become a + b > 0"
        return Read(y > 0, law.p, factors, OF_TWO_VALUES, note, *y.shape)
    if spacing > 1e-6:
        raise ValueError(f"an audit against {law!r} needs outputs in float32 or float64; got {blocks.dtype}")
    factors = Factors(law, {}, np.sort(y, axis=None), spacing)
    if not law.p:
        return Read(y == 1, 0.0, factors, OF_NORMAL, "at p = 0 nothing is multiplied", *y.shape)
    note = "rate and dependence are judged by one bit a factor, below its mean 1 or above, each with probability 1/2"
    return Read(y > 1, 0.5, factors, OF_NORMAL, note, *y.shape)


def _of_recording(recording: Recording, law: Any) -> Read:
    """Return what the values of a recording say: how many were dropped, not which."""
    if not law.two_valued:
        raise TypeError(f"an audit against {law!r} needs the outputs on ones; got a Recording")
    if not recording.scales:
        raise ValueError(f"an audit against {law!r} needs outputs; got a recording without values")
    factors = Factors(law, recording.scales, np.zeros(0), resolution(recording.dtype or "float32"))
    low = sum(count for value, count in recording.scales.items() if value < 0) + recording.dropped
    kept = np.arange(recording.judged) >= low
    note = "the recording's values say how many were dropped, not which: give audit the outputs themselves for that"
    return Read(kept[None], law.p, factors, OF_TWO_VALUES, note, recording.trials, recording.n, ordered=False)
