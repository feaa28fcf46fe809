"""Recording: masks that an implementation made, in call order, bit-packed.

Outputs are read in their own library (numpy, torch, jax, tensorflow, keras): ``y != 0`` is taken there, so
that neither bfloat16 nor ``requires_grad`` nor a device stands in the way, and only bits move.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from os import PathLike
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.recording import arrays, files, readers

Packed = NDArray[np.uint8]
R = TypeVar("R", bound="Recording")


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """Masks of an implementation in call order, with what was declared and where they come from.

    Made by `Recording.from_masks`, `Recording.from_outputs`, `record` or `Recording.load`.

    Attributes
    ----------
    trials, n : int
        Number of masks (calls) and of neurons in each.
    shape : tuple of int
        Shape of one mask before it was flattened, in C order; its product is `n`.
    p : float or None
        Declared probability that a neuron is dropped.
    source : str
        Where the masks come from.
    packed : ndarray of uint8, shape (trials, ceil(n / 8))
        The masks in the bit order of `numpy.packbits`; 1 keeps. Bits beyond the n-th are 0.
    known : ndarray of uint8 or None
        Packed like the masks: 1 where it can be told whether the neuron was dropped. Where it cannot (the
        input was 0 or NaN, the output NaN), the mask's own bit is 0 and says nothing. None: all are known.
    scales : mapping of float to int, or None
        The distinct values that kept ones became and how often; None where masks carried no values. With
        inputs other than one this is their common factor, known to a relative `scale_tolerance`.
    scale_tolerance : float
        0 where the inputs were ones; otherwise the rounding of the outputs' dtype.
    dtype : str or None
        dtype of the outputs, such as "bfloat16"; None where masks carried no values.
    other_scales : int
        Kept values beyond the first 1000 distinct ones, which `scales` leaves out.
    unscaled : int
        Kept values that are not scale * input within rounding.
    nonzero : int
        Outputs that are not exactly 0 where the input is 0.
    nans, infs : int
        Outputs that are NaN (or infinite) where the input was not: 0 * inf or 0 / 0 instead of an exact 0.
    nan_inputs, nan_inputs_dropped : int
        Inputs that were NaN, and how many of these became an exact 0: none where a mask is multiplied.

    Examples
    --------
    >>> recording = Recording.from_masks([[1, 0, 1], [0, 1, 1]], p=0.3)
    >>> recording.trials, recording.n, recording.dropped
    (2, 3, 2)
    >>> recording.masks(1)
    array([[False,  True,  True]])
    """

    trials: int
    n: int
    shape: tuple[int, ...]
    p: float | None
    source: str
    packed: Packed
    known: Packed | None = None
    scales: Mapping[float, int] | None = None
    scale_tolerance: float = 0.0
    dtype: str | None = None
    other_scales: int = 0
    unscaled: int = 0
    nonzero: int = 0
    nans: int = 0
    infs: int = 0
    nan_inputs: int = 0
    nan_inputs_dropped: int = 0

    def __repr__(self) -> str:
        said = [f"trials={self.trials}", f"shape={self.shape}", f"p={self.p}", f"source={self.source!r}"]
        said += [f"dropped={self.dropped}", f"judged={self.judged}"]
        if self.scales is not None:
            first = [f"{value!r}: {count}" for value, count in islice(self.scales.items(), 3)]
            said += ["scales={" + ", ".join(first) + (", ...}" if len(self.scales) > 3 else "}")]
            said += [f"dtype={self.dtype!r}"]
        said += [f"{name}={getattr(self, name)}" for name in files.COUNTS if getattr(self, name)]
        return f"Recording({', '.join(said)})"

    def masks(self, start: int = 0, stop: int | None = None) -> NDArray[np.bool_]:
        """Return masks start, ..., stop - 1 as booleans of shape (k, n); True keeps.

        Examples
        --------
        >>> Recording.from_masks([[1, 0], [1, 1]]).masks()
        array([[ True, False],
               [ True,  True]])
        """
        return _unpack(self.packed[start:stop], self.n)

    def known_masks(self, start: int = 0, stop: int | None = None) -> NDArray[np.bool_]:
        """Return, like `masks`, where it can be told whether the neuron was dropped.

        Examples
        --------
        >>> Recording.from_outputs([[2.0, 0.0]], inputs=[[1.0, 0.0]]).known_masks()
        array([[ True, False]])
        """
        if self.known is None:
            return np.ones((len(range(self.trials)[start:stop]), self.n), bool)
        return _unpack(self.known[start:stop], self.n)

    @property
    def judged(self) -> int:
        """Number of neurons, over all masks, of which it is known whether they were dropped."""
        return self.trials * self.n if self.known is None else arrays.bit_count(self.known)

    @property
    def dropped(self) -> int:
        """Number of neurons dropped over all masks, of those that are `judged`."""
        return self.judged - arrays.bit_count(self.packed)

    @classmethod
    def from_masks(cls, masks: Any, p: float | None = None, source: str = "") -> Self:
        """Return the recording of given masks.

        Parameters
        ----------
        masks : array of shape (trials, ...), or a sequence of arrays of one shape
            Booleans, or 0 and 1 in any dtype; 1 keeps. Of numpy or of any of the frameworks.
        p : float, optional
            Declared probability that a neuron is dropped.
        source : str
            Where the masks come from.

        Raises
        ------
        TypeError, ValueError
            If a mask holds anything but 0 and 1, or the shapes differ.

        Examples
        --------
        >>> import numpy as np
        >>> Recording.from_masks(np.ones((100, 28, 28)), p=0.0).n
        784
        """
        return _read(cls, arrays.blocks(masks, "masks"), readers.MaskReader(), p, source)

    @classmethod
    def from_outputs(cls, outputs: Any, p: float | None = None, inputs: Any = None, source: str = "") -> Self:
        """Return the recording of dropout outputs; an output that is exactly 0 was dropped.

        Parameters
        ----------
        outputs : array of shape (trials, ...), or a sequence of arrays of one shape
            What dropout made of its inputs: an array of numpy, torch, jax, tensorflow or keras.
        p : float, optional
            Declared probability that a neuron is dropped.
        inputs : array, optional
            What dropout was applied to, of the outputs' shape or, if the same in every call, of one output's
            shape; ones by default. Where the input is 0 or NaN it is not known whether it was dropped.
        source : str
            Where the outputs come from; by default the library, its version and the device.

        Raises
        ------
        TypeError, ValueError
            If these are no arrays of numbers, or the shapes differ.

        Examples
        --------
        >>> recording = Recording.from_outputs([[1.25, 0.0, 1.25], [1.25, 1.25, 1.25]], p=0.2)
        >>> recording.dropped, dict(recording.scales)
        (1, {1.25: 5})
        """
        return _read(cls, arrays.blocks(outputs, "outputs"), readers.OutputReader(inputs), p, source)

    @classmethod
    def load(cls, path: str | PathLike[str], p: float | None = None) -> Self:
        """Return the recording in a file.

        Three kinds are read, none by unpickling: what `save` writes; a `.npy` file, read in slices through a
        memory map, of masks (booleans, 0 and 1) or of dropout outputs on ones; an `.npz` file with one such
        array.

        Parameters
        ----------
        path : str or PathLike
        p : float, optional
            Declared probability, in place of the file's.

        Raises
        ------
        OSError
            If there is no such file, or it cannot be read.
        ValueError
            If it holds something else, is cut off or damaged.
        """
        return files.load(cls, path, p)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the recording to a compressed `.npz` file at exactly this path.

        Its arrays are `version` (1), `keep` (the packed masks), `shape` (trials, n), `p`, `source`, `scale`
        where there is a single one, and the other attributes under their names where they say something.
        """
        files.save(self, path)


def record(
    call: Callable[[], Any],
    trials: int,
    p: float | None = None,
    progress: Any = None,
    inputs: Any = None,
    source: str = "",
) -> Recording:
    """Call an implementation `trials` times and return the recording of what it returned.

    Parameters
    ----------
    call : callable
        Takes nothing and returns dropout's output on an input of ones (or on `inputs`), or a mask of booleans
        or integers, always of one shape.
    trials : int
        Number of calls.
    p : float, optional
        Declared probability that a neuron is dropped.
    progress : bool or callable, optional
        True shows a progress bar; a callable such as `tqdm.tqdm` wraps the calls.
    inputs : array, optional
        What `call` applies dropout to, the same in every call; ones by default.
    source : str
        Where the masks come from; by default the library, its version and the device.

    Returns
    -------
    Recording
        Packed as the calls are made: no output is held beyond its own call.

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
    turns: Iterable[Any] = range(trials)
    if progress:
        if progress is True:
            from tqdm import tqdm as progress
        turns = progress(turns, total=trials, desc="recording", unit="call")
    results = (arrays.array(call()) for _ in turns)
    first = next(results)
    is_mask = inputs is None and arrays.dtype(first).startswith(("bool", "int", "uint"))
    reader = readers.MaskReader() if is_mask else readers.OutputReader(inputs)
    calls = chain([first], results)
    return _read(Recording, arrays.Blocks((y[None] for y in calls), trials, "call's results"), reader, p, source)


def _unpack(packed: Packed, n: int) -> NDArray[np.bool_]:
    return np.unpackbits(packed, axis=1, count=n).view(np.bool_)


def _read(cls: type[R], blocks: arrays.Blocks, reader: readers.Reader, p: float | None, source: str) -> R:
    """Return the recording of blocks, packed piece by piece."""
    p = None if p is None else _validate.probability(p)
    trials, n = blocks.trials, blocks.n
    width = -(-n // 8)
    _validate.memory(trials * width, f"a recording of {trials} masks of {n} neurons")
    reader.check(trials, blocks.shape)
    packed = np.zeros((trials, width), np.uint8)
    known: Packed | None = None
    for rows, columns, values in blocks.pieces():
        kept, sure = reader.read(rows, columns, values)
        place = (rows, slice(columns.start // 8, -(-columns.stop // 8)))
        packed[place] = np.packbits(kept, axis=1)
        if not sure.all():
            if known is None:
                known = np.repeat(np.packbits(np.ones((1, n), bool), axis=1), trials, axis=0)
            known[place] = np.packbits(sure, axis=1)
    for array in (packed, known):
        if array is not None:
            array.flags.writeable = False
    source = source or arrays.origin(blocks.first)
    return cls(trials, n, blocks.shape, p, source, packed, known, **reader.found())
