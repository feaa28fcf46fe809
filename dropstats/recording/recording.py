"""Recording: masks that an implementation made, in call order, bit-packed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dropstats import _validate
from dropstats.laws import Law
from dropstats.recording import arrays, files, packing, readers, showing
from dropstats.recording.inputs import InputBins
from dropstats.recording.values import of_part
from dropstats.tallies import Tally, tally

Packed = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """Masks of an implementation in call order, with what was declared and where they come from.

    Made by its class methods from arrays or a file, by `record`, or by a `Recorder`.

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
        0 where the inputs were ones, or powers of two. Otherwise every kept output confines the factor to an interval,
        for it was rounded; this is half the width of their intersection, with the rounding of a double added.
    distinct_scales : int
        Number of distinct values that kept ones became, counted up to 65,536.
    neuron_scales : ndarray of float64, shape (n,), or None
        Where there are several scales: the one that each neuron took, NaN where it took several, 0 where it was never
        kept. None where there are no several, or every neuron took several.
    dtype : str or None
        dtype of the outputs, such as "bfloat16"; None where masks carried no values.
    other_scales : int
        Kept values other than the first 1000 distinct ones, which `scales` leaves out.
    unscaled, nonzero : int
        Kept values that are not scale * input within rounding, and outputs that are not 0 where the input is.
    nans, nans_of_infs, infs : int
        Outputs that are NaN where the input was not (was infinite); that are infinite where it was neither.
    nan_inputs, nan_inputs_dropped : int
        Inputs that were NaN, and how many of these became an exact 0: none where a mask is multiplied.
    input_bins : InputBins or None
        Where inputs were given that are not all alike: how many neurons were dropped by the value of their input, in
        `edges`, `known` and `dropped`; 16 bins, 8 of about equal numbers by its magnitude for each sign.
    moved : tuple (shape, axes) of tuples of int, or None
        Where kept outputs are the factor times `inputs.reshape(shape).transpose(axes)`, not their own input.

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
    nans_of_infs: int = 0
    infs: int = 0
    nan_inputs: int = 0
    nan_inputs_dropped: int = 0
    distinct_scales: int = 0
    neuron_scales: NDArray[np.float64] | None = None
    input_bins: InputBins | None = None
    moved: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def __repr__(self) -> str:
        return showing.line(self)

    def _repr_html_(self) -> str:
        return showing.card(self)

    def masks(self, start: int = 0, stop: int | None = None) -> NDArray[np.bool_]:
        """Return masks start, ..., stop - 1 as booleans of shape (k, n); True keeps.

        Examples
        --------
        >>> Recording.from_masks([[1, 0], [1, 1]]).masks()
        array([[ True, False],
               [ True,  True]])
        """
        return packing.unpack(self.packed[start:stop], self.n)

    def known_masks(self, start: int = 0, stop: int | None = None) -> NDArray[np.bool_]:
        """Return, like `masks`, where it can be told whether the neuron was dropped.

        Examples
        --------
        >>> Recording.from_outputs([[2.0, 0.0]], inputs=[[1.0, 0.0]]).known_masks()
        array([[ True, False]])
        """
        if self.known is None:
            return np.ones((len(range(self.trials)[start:stop]), self.n), bool)
        return packing.unpack(self.known[start:stop], self.n)

    @property
    def judged(self) -> int:
        """Number of neurons, over all masks, of which it is known whether they were dropped."""
        return self.trials * self.n if self.known is None else int(packing.row_sums(self.known).sum())

    @property
    def dropped(self) -> int:
        """Number of neurons dropped over all masks, of those that are `judged`."""
        return self.judged - int(packing.row_sums(self.packed).sum())

    def mask_drops(self) -> Ints:
        """Return how many neurons each mask dropped, of those known; shape (trials,).

        Examples
        --------
        >>> Recording.from_masks([[1, 0, 0], [1, 1, 1]]).mask_drops()
        array([2, 0])
        """
        return (self.n if self.known is None else packing.row_sums(self.known)) - packing.row_sums(self.packed)

    def neuron_drops(self) -> Ints:
        """Return how often each neuron was dropped, of the masks in which that is known; shape (n,).

        Examples
        --------
        >>> Recording.from_masks([[1, 0, 0], [1, 1, 0]]).neuron_drops()
        array([0, 1, 2])
        """
        kept = packing.column_sums(self.packed, self.n)
        return np.subtract(self.neuron_trials(), kept, out=kept)  # in place: it may be as large as memory allows

    def neuron_trials(self) -> Ints:
        """Return in how many masks it is known of each neuron whether it was dropped; shape (n,), read-only.

        Examples
        --------
        >>> Recording.from_outputs([[2.0, 0.0], [2.0, 2.0]], inputs=[[1.0, 0.0], [1.0, 1.0]]).neuron_trials()
        array([2, 1])
        """
        if self.known is None:
            return np.broadcast_to(np.int64(self.trials), (self.n,))
        return packing.column_sums(self.known, self.n)

    def tally(self, law: Law | None = None) -> Tally:
        """Return the tally of the masks, as `dropstats.tally` does; of a network's parts as well, where it is given.

        Raises
        ------
        ValueError
            If of some neurons it is not known whether they were dropped, or the law has another number of neurons.

        Examples
        --------
        >>> Recording.from_masks([[1, 0, 0], [1, 1, 0]]).tally().histogram
        array([0, 1, 1, 0])
        """
        return tally(self, law)

    def calls(self, start: int = 0, stop: int | None = None) -> Self:
        """Return the recording of calls start, ..., stop - 1.

        Its scales are known where there was one, or one for each neuron; which rules were broken only the whole says.

        Raises
        ------
        ValueError
            If there is no such call.

        Examples
        --------
        >>> Recording.from_masks([[1, 0], [1, 1], [0, 0]]).calls(1, 3).masks()
        array([[ True,  True],
               [False, False]])
        """
        rows = slice(*slice(start, stop).indices(self.trials)[:2])
        if rows.stop <= rows.start:
            raise ValueError(f"calls must be among the recording's {self.trials}; got {start} to {stop}")
        known = None if self.known is None else self.known[rows]
        return self._part(self.packed[rows], known, slice(None), self.shape)

    def neurons(self, columns: slice | Ints) -> Self:
        """Return the recording of some neurons only, in the given order, its masks of shape (k,).

        Scales are known as of `calls`: of the parts of a network, say.

        Parameters
        ----------
        columns : slice or ndarray of int64, shape (k,)
            Which neurons of the flattened mask.

        Raises
        ------
        TypeError, ValueError
            If these are no integers from 0 to n - 1.

        Examples
        --------
        >>> Recording.from_masks([[1, 0, 0], [1, 1, 0]]).neurons(slice(1, 3)).masks()
        array([[False, False],
               [ True, False]])
        """
        chosen: slice | Ints
        if isinstance(columns, slice):
            start, stop, step = columns.indices(self.n)
            chosen = slice(start, max(start, stop)) if step == 1 else np.arange(start, stop, step)
        else:
            chosen = _validate.indices(columns, self.n, "columns").reshape(-1)
        k = chosen.stop - chosen.start if isinstance(chosen, slice) else chosen.size
        known = None if self.known is None else packing.take(self.known, chosen)
        return self._part(packing.take(self.packed, chosen), known, chosen, (k,))

    def by_group(self, group_of: Ints) -> Self:
        """Return the recording of one bit a group: that of its first neuron that is known; shape (groups,).

        What the values said stays as it is; of NaN inputs as many count as there are groups of them at least.

        Parameters
        ----------
        group_of : ndarray of int64, shape (n,)
            The group of each neuron, 0 to the number of groups - 1, none of them empty.

        Raises
        ------
        TypeError, ValueError
            If these are no such integers.

        Examples
        --------
        >>> Recording.from_masks([[1, 1, 0, 0]]).by_group(np.array([0, 0, 1, 1])).masks()
        array([[ True, False]])
        """
        group_of, sizes = packing.groups(group_of, self.n)
        m = sizes.size
        packed, known = packing.by_group(self.packed, self.known, group_of, m)
        part = replace(self, n=m, shape=(m,), packed=packed, known=known, input_bins=None, neuron_scales=None)
        part = replace(part, nan_inputs=-(-self.nan_inputs // int(sizes.min())), moved=None)
        return part if part.judged < part.trials * m else replace(part, known=None)

    def _part(self, packed: Packed, known: Packed | None, columns: slice | Ints, shape: tuple[int, ...]) -> Self:
        """Return the recording of some calls or neurons, with the scales there."""
        n = prod(shape)
        part = replace(self, trials=packed.shape[0], n=n, shape=shape, packed=packed, known=known, **readers.NO_VALUES)
        if known is not None and part.judged == part.trials * n:
            part = replace(part, known=None)
        return part if self.scales is None else replace(part, **of_part(self, part, columns))

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
        return cls(**readers.read(arrays.blocks(masks, "masks"), readers.MaskReader(), p, source))

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
        return cls(**readers.read(arrays.blocks(outputs, "outputs"), readers.OutputReader(), p, source, inputs))

    @classmethod
    def of(cls, values: Any, p: float | None = None, source: str = "") -> Self:
        """Return a recording as it is, an array of booleans or integers as masks, one of floats as outputs on ones.

        Floats that are only 0 and 1 are masks as well: they carry no scale.

        Parameters
        ----------
        values : Recording, array of shape (trials, ...), or a sequence of arrays of one shape
        p : float, optional
            Declared probability that a neuron is dropped; in place of a recording's own.
        source : str
            Where an array comes from; by default the library, its version and the device.

        Raises
        ------
        TypeError, ValueError
            If these are no arrays of numbers, if integers are others than 0 and 1, or the shapes differ.

        Examples
        --------
        >>> Recording.of([[1, 0, 1]]).scales, Recording.of([[1.0, 0.0, 1.0]]).scales
        (None, None)
        >>> Recording.of([[1.25, 0.0, 1.25]]).scales
        {1.25: 2}
        """
        if isinstance(values, cls):
            return values if p is None else replace(values, p=_validate.probability(p))
        blocks = arrays.blocks(values, "masks")
        if not blocks.dtype.startswith(("float", "bfloat")):
            return cls(**readers.read(blocks, readers.MaskReader(), p, source))
        found = cls(**readers.read(blocks, readers.OutputReader(), p, source))
        is_mask = not found.nans and set(found.scales or ()) <= {1.0}
        return replace(found, **readers.NO_VALUES) if is_mask else found

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
        found: Self = files.load(cls, path, p)
        return found

    def save(self, path: str | PathLike[str]) -> None:
        """Write the recording to a compressed `.npz` file at exactly this path.

        Its arrays are `version` (1), `keep` (the packed masks), `shape` (trials, n), `p`, `source`, `scale`
        where there is a single one, and the other attributes under their names where they say something.
        """
        files.save(self, path)
