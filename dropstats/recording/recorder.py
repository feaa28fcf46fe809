"""Recorder: makes a recording call by call without storing any output."""

from collections.abc import Callable
from typing import Any

from dropstats import _progress, _validate
from dropstats.recording import arrays, readers
from dropstats.recording.inputs import Inputs
from dropstats.recording.packing import Rows
from dropstats.recording.recording import Recording


class Recorder:
    """Make a recording call by call in your own loop; only bits and sums are stored, no outputs.

    Parameters
    ----------
    p : float, optional
        Declared probability that a neuron is dropped.
    source : str
        Origin of the masks; by default the library, its version and the device.
    trials : int
        Expected number of calls, for which memory is reserved; more may be added. 1 by default.

    Examples
    --------
    >>> import numpy as np
    >>> recorder = Recorder(p=0.2)
    >>> for output in ([1.25, 0.0, 1.25], [1.25, 1.25, 1.25]):
    ...     recorder.add(np.array(output))
    >>> recorder.recording()
    Recording(trials=2, shape=(3,), p=0.2, source='', dropped=1, judged=6, scales={1.25: 5}, dtype='float64')
    """

    p: float | None
    source: str
    trials: int

    def __init__(self, p: float | None = None, source: str = "", trials: int = 1) -> None:
        self.p = None if p is None else _validate.probability(p)
        self.source = source
        self.trials = 0
        self._room = _validate.trials(trials)
        self._rows: Rows | None = None

    def __repr__(self) -> str:
        return f"Recorder(p={self.p}, source={self.source!r}, trials={self.trials})"

    def add(self, output: Any, inputs: Any = None) -> None:
        """Add the output of one call.

        Parameters
        ----------
        output : array
            Output of dropout on an input of ones (or on `inputs`), or a mask of booleans or integers; it must have
            the same shape in all calls.
        inputs : array, optional
            Input of dropout in this call, of the output's shape; give it in every call or in none. Ones by default.

        Raises
        ------
        TypeError, ValueError
            If the output is not an array of numbers, or its shape differs from that of the first call.

        Examples
        --------
        >>> import numpy as np
        >>> recorder = Recorder(p=0.5)
        >>> recorder.add(np.array([2.0, 0.0]))
        >>> recorder.trials
        1
        """
        y = arrays.array(output)
        blocks = arrays.Blocks([y[None]], 1, "outputs")
        if self._rows is None:
            self._rows = Rows(blocks.n, self._room)
            is_mask = inputs is None and blocks.dtype.startswith(("bool", "int", "uint"))
            self._reader = readers.MaskReader() if is_mask else readers.OutputReader()
            self._shape, self._with_inputs = blocks.shape, inputs is not None
            self.source = self.source or arrays.origin(y)
        if blocks.shape != self._shape:
            raise ValueError(
                f"outputs must all have the first one's shape {self._shape}; got {blocks.shape}, index {self.trials}"
            )
        if self._with_inputs != (inputs is not None):
            raise ValueError(f"inputs must be given in every call or in none; got a change at index {self.trials}")
        given = Inputs(inputs, 1, blocks.shape)
        for rows, columns, values in blocks.pieces():
            row = slice(self.trials, self.trials + 1)
            kept, known = self._reader.read(row, columns, values, given.piece(rows, columns))
            self._rows.write(row, columns, kept, known)
        self.trials += 1

    def recording(self) -> Recording:
        """Return the recording of the calls so far; later calls do not change it.

        Raises
        ------
        ValueError
            If nothing was added yet.

        Examples
        --------
        >>> import numpy as np
        >>> recorder = Recorder()
        >>> recorder.add(np.array([True, False]))
        >>> recorder.recording().dropped
        1
        """
        if self._rows is None or not self.trials:
            raise ValueError("a recording needs at least one call; nothing was added yet")
        packed, known = self._rows.read(self.trials)
        return Recording(
            self.trials,
            self._rows.n,
            self._shape,
            self.p,
            self.source,
            packed,
            known,
            **self._reader.found(self._shape),
        )


def record(
    call: Callable[[], Any],
    trials: int,
    p: float | None = None,
    progress: Any = None,
    inputs: Any = None,
    source: str = "",
) -> Recording:
    """Call an implementation `trials` times and record its masks.

    Parameters
    ----------
    call : callable
        Takes no arguments and returns the output of dropout on an input of ones (or on `inputs`), or a mask of
        booleans or integers; always of the same shape.
    trials : int
        Number of calls.
    p : float, optional
        Declared probability that a neuron is dropped.
    progress : bool or callable, optional
        True shows a progress bar; a callable such as `tqdm.tqdm` wraps the iterable of calls.
    inputs : array, optional
        Input to which `call` applies dropout, the same in every call; ones by default.
    source : str
        Origin of the masks; by default the library, its version and the device.

    Returns
    -------
    Recording
        One bit per neuron; the outputs themselves are not stored.

    Raises
    ------
    TypeError, ValueError
        If `call` is not callable, or returns something other than arrays of numbers of one shape.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> recording = record(lambda: rng.random((4, 8)) >= 0.5, trials=100, p=0.5)
    >>> recording.trials, recording.shape, recording.dropped / recording.judged
    (100, (4, 8), 0.5103125)
    """
    if not callable(call):
        raise TypeError(f"call must be callable without arguments; got {type(call).__name__}")
    trials = _validate.trials(trials)
    recorder = Recorder(p, source, trials)
    for _ in _progress.shown(range(trials), trials, "recording", "call", progress):
        recorder.add(call(), inputs)
    return recorder.recording()
