"""Recording: the masks of an implementation in the order of its calls, bit-packed."""

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
    """Masks of an implementation in the order of its calls, with the declared p and their origin.

    Create one with `record` or a `Recorder`, or from arrays or a file with the class methods.

    Attributes
    ----------
    trials, n : int
        Number of masks (calls) and of neurons in each.
    shape : tuple of int
        Shape of one mask; neurons are numbered in C order, and the product is `n`.
    p : float or None
        Declared probability that a neuron is dropped.
    source : str
        Origin of the masks: the library, its version and the device.
    packed : ndarray of uint8, shape (trials, ceil(n / 8))
        The masks in the bit order of `numpy.packbits`; 1 = kept. Padding bits are 0.
    known : ndarray of uint8 or None
        Packed like the masks: 1 if it is known whether the neuron was dropped. It is not known if the input was 0 or
        NaN, or the output NaN; the mask's bit is then 0 and has no meaning. None: all neurons are known.
    scales : mapping of float to int, or None
        The distinct values of kept outputs on ones and how often each occurs; None for masks without values. For
        inputs other than ones it is their common factor, known to a relative `scale_tolerance`.
    scale_tolerance : float
        Relative uncertainty of that factor, from rounding of the outputs; 0 if the inputs were ones or powers of two.
    distinct_scales : int
        Number of distinct values of kept outputs on ones, counted up to 65,536.
    neuron_scales : ndarray of float64, shape (n,), or None
        The scale of each neuron if there are several scales: NaN for a neuron with several, 0 for one that was never
        kept. None if there is one scale, or if every neuron has several.
    dtype : str or None
        dtype of the outputs, such as "bfloat16", or of masks of floats; None for other masks.
    other_scales : int
        Number of kept values that `scales` leaves out: it holds the first 1000 distinct ones.
    unscaled, nonzero : int
        Number of kept values that differ from scale * input beyond rounding, and of nonzero outputs for an input of 0.
    nans, nans_of_infs, infs : int
        Number of outputs that are NaN where the input was not; of those whose input was infinite (0 * inf is NaN); of
        outputs that are infinite where the input was finite.
    nan_inputs, nan_inputs_dropped : int
        Number of NaN inputs, and how many of them became exactly 0: none if dropout multiplies by the mask.
    input_bins : InputBins or None
        Number of dropped neurons by the value of their input, in 16 bins; None without inputs, or if all were equal.
    moved : tuple (shape, axes) of tuples of int, or None
        Set if the kept outputs are the factor times `inputs.reshape(shape).transpose(axes)`, not their own input.

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
        """Return masks start, ..., stop - 1 as booleans of shape (k, n); True = kept.

        Examples
        --------
        >>> Recording.from_masks([[1, 0], [1, 1]]).masks()
        array([[ True, False],
               [ True,  True]])
        """
        return packing.unpack(self.packed[start:stop], self.n)

    def known_masks(self, start: int = 0, stop: int | None = None) -> NDArray[np.bool_]:
        """Return, in the shape of `masks`, whether it is known if a neuron was dropped.

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
        """Number of neurons over all masks for which it is known whether they were dropped."""
        return self.trials * self.n if self.known is None else int(packing.row_sums(self.known).sum())

    @property
    def dropped(self) -> int:
        """Number of dropped neurons over all masks, among the `judged` ones."""
        return self.judged - int(packing.row_sums(self.packed).sum())

    def mask_drops(self) -> Ints:
        """Return the number of neurons dropped in each mask, among the known ones; shape (trials,).

        Examples
        --------
        >>> Recording.from_masks([[1, 0, 0], [1, 1, 1]]).mask_drops()
        array([2, 0])
        """
        return (self.n if self.known is None else packing.row_sums(self.known)) - packing.row_sums(self.packed)

    def neuron_drops(self) -> Ints:
        """Return how often each neuron was dropped, among the masks where that is known; shape (n,).

        Examples
        --------
        >>> Recording.from_masks([[1, 0, 0], [1, 1, 0]]).neuron_drops()
        array([0, 1, 2])
        """
        kept = packing.column_sums(self.packed, self.n)
        return np.subtract(self.neuron_trials(), kept, out=kept)  # in place: it may be as large as memory allows

    def neuron_trials(self) -> Ints:
        """Return for each neuron the number of masks where it is known whether it was dropped; shape (n,), read-only.

        Examples
        --------
        >>> Recording.from_outputs([[2.0, 0.0], [2.0, 2.0]], inputs=[[1.0, 0.0], [1.0, 1.0]]).neuron_trials()
        array([2, 1])
        """
        if self.known is None:
            return np.broadcast_to(np.int64(self.trials), (self.n,))
        return packing.column_sums(self.known, self.n)

    def tally(self, law: Law | None = None) -> Tally:
        """Return the tally of the masks; given a network, also those of its parts (see `dropstats.tally`).

        Raises
        ------
        ValueError
            If it is not known for some neurons whether they were dropped, or the law has another number of neurons.

        Examples
        --------
        >>> Recording.from_masks([[1, 0, 0], [1, 1, 0]]).tally().histogram
        array([0, 1, 1, 0])
        """
        return tally(self, law)

    def calls(self, start: int = 0, stop: int | None = None) -> Self:
        """Return the recording of calls start, ..., stop - 1.

        Its scales are known if the whole has one scale, or one per neuron. Counts of broken rules, such as `nans` and
        `unscaled`, belong to the whole recording only.

        Raises
        ------
        ValueError
            If the range holds no call.

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
        """Return the recording of some of the neurons, in the given order, with masks of shape (k,).

        Use it, for example, to separate the parts of a network. Its scales are those that `calls` would keep.

        Parameters
        ----------
        columns : slice or ndarray of int64, shape (k,)
            Which neurons of the flattened mask.

        Raises
        ------
        TypeError, ValueError
            If the indices are not integers from 0 to n - 1.

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
        """Return the recording with one bit per group, that of its first known neuron; masks have shape (groups,).

        What is known of the values is kept; `nan_inputs` becomes the smallest number of groups that can hold them.

        Parameters
        ----------
        group_of : ndarray of int64, shape (n,)
            The group of each neuron, 0 to the number of groups - 1, none of them empty.

        Raises
        ------
        TypeError, ValueError
            If the groups are not such integers.

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
        """Return the recording of masks given as an array.

        Parameters
        ----------
        masks : array of shape (trials, ...), or a sequence of arrays of one shape
            Booleans, or 0 and 1 in any dtype (1 = kept), of numpy or any framework.
        p : float, optional
            Declared probability that a neuron is dropped.
        source : str
            Origin of the masks.

        Raises
        ------
        TypeError, ValueError
            If a mask holds values other than 0 and 1, or the shapes differ.

        Examples
        --------
        >>> import numpy as np
        >>> Recording.from_masks(np.ones((100, 28, 28)), p=0.0).n
        784
        """
        return cls(**readers.read(arrays.blocks(masks, "masks"), readers.MaskReader(), p, source))

    @classmethod
    def from_outputs(cls, outputs: Any, p: float | None = None, inputs: Any = None, source: str = "") -> Self:
        """Return the recording of outputs of dropout; an output that is exactly 0 counts as dropped.

        Parameters
        ----------
        outputs : array of shape (trials, ...), or a sequence of arrays of one shape
            Outputs of dropout: arrays of numpy, torch, jax, tensorflow, keras or another library.
        p : float, optional
            Declared probability that a neuron is dropped.
        inputs : array, optional
            Inputs of dropout, of the outputs' shape, or of one output's shape if they are the same in every call;
            ones by default. Where the input is 0 or NaN, it is not known whether the neuron was dropped.
        source : str
            Origin of the outputs; by default the library, its version and the device.

        Raises
        ------
        TypeError, ValueError
            If the arguments are not arrays of numbers, or the shapes differ.

        Examples
        --------
        >>> recording = Recording.from_outputs([[1.25, 0.0, 1.25], [1.25, 1.25, 1.25]], p=0.2)
        >>> recording.dropped, dict(recording.scales)
        (1, {1.25: 5})
        """
        return cls(**readers.read(arrays.blocks(outputs, "outputs"), readers.OutputReader(), p, source, inputs))

    @classmethod
    def of(cls, values: Any, p: float | None = None, source: str = "") -> Self:
        """Return a recording of a recording, of masks or of outputs on ones, by the type of the values.

        Booleans and integers are masks, floats are outputs on ones, except that floats which are all 0 or 1 are masks.
        A recording is returned unchanged.

        Parameters
        ----------
        values : Recording, array of shape (trials, ...), or a sequence of arrays of one shape
            Masks or outputs, in the order of the calls.
        p : float, optional
            Declared probability that a neuron is dropped; it replaces that of a recording.
        source : str
            Origin of an array; by default the library, its version and the device.

        Raises
        ------
        TypeError, ValueError
            If the values are not arrays of numbers, integers are not 0 and 1, or the shapes differ.

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
        return replace(found, **readers.NO_VALUES | {"dtype": found.dtype}) if is_mask else found

    @classmethod
    def load(cls, path: str | PathLike[str], p: float | None = None) -> Self:
        """Return the recording stored in a file.

        The file was written by `save`, or is a `.npy` or `.npz` file with one array of masks (booleans, or 0 and 1) or
        of outputs of dropout on ones. A `.npy` file is memory-mapped. Nothing is unpickled.

        Parameters
        ----------
        path : str or PathLike
            Name of the file.
        p : float, optional
            Declared probability; it replaces that of the file.

        Raises
        ------
        OSError
            If there is no such file, or it cannot be read.
        ValueError
            If the file has other contents, or is truncated or damaged.
        """
        found: Self = files.load(cls, path, p)
        return found

    def save(self, path: str | PathLike[str]) -> None:
        """Write the recording to a compressed `.npz` file at exactly this path.

        The file holds the arrays `version` (1), `keep` (the packed masks), `shape` (trials, n), `p`, `source`, `scale`
        if there is a single one, and the other attributes under their names unless they have their default values.
        """
        files.save(self, path)
