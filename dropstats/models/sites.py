"""Draws of a model, gathered by the place that makes them: the only thing that recorders and checks share."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dropstats.models.replays import Replays, Seen
from dropstats.recording import Recording
from dropstats.recording.packing import Rows, unpack

Bits = NDArray[np.bool_]
Phase = Literal["forward", "recomputed", "backward"]

# Neurons that a site keeps over all calls.
NEURONS = 2**24
# A mask is not cut to fewer positions than this; instead, later calls are left out.
_FEWEST = 64
# Neurons of a mask by which masks drawn again are recognised and which a monitor sees: they are read in any case.
READ = 2**16
# Calls whose values and hashes are kept.
_CALLS = 64


class Draw(NamedTuple):
    """One mask as a recorder saw it drawn.

    `site` is the path of the module that draws, with the function's name for the call of a function; `bits` are the
    mask's first positions, flattened in C order, as many as `Sites.width` asked for; `one` is the probability of a 1
    that the call asked for, where it can be told. `regions` are the stretches of the forward pass that the draw lies in
    and that may be run again; of a mask drawn again, in the backward pass of number `run`, the first is the one that
    is, and the others are nested in it, to be run once more. `turn` says which of the module's draws in a pass it is,
    from 1; 0 where they come in order. Of noise that is no mask, `factors` are what the first ones among inputs of 1
    become, `bits` tell which factors are above 1, and `one` is that of dropout of the same variance.
    """

    site: str
    bits: Bits
    shape: tuple[int, ...]
    one: float | None
    dtype: str
    device: str
    phase: Phase = "forward"
    training: bool | None = True
    module: str | None = None
    recorder: str = "operations"
    known: Bits | None = None
    regions: tuple[int, ...] = ()
    run: int = 0
    turn: int = 0
    factors: NDArray[np.floating[Any]] | None = None


class Declared(NamedTuple):
    """A dropout rate that a module declares.

    `own` says that the module is a dropout module: its draws, all of them, are at this p. Of other modules it is an
    attribute, and some draw in the module, or in one of those it contains, is at this p. `each` says that p is the rate
    of a draw's neurons, not that of the blocks they are seeds of; `active` that the module is in training mode when the
    model is.
    """

    path: str
    attribute: str
    p: float
    own: bool
    each: bool = True
    active: bool = True


class Masks:
    """The masks of one site, bit-packed, of at most `limit` neurons: the first positions of each, in call order."""

    left_out: int
    width: int

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: Rows | None = None
        self._sizes = array("q")
        self.width = limit
        self.left_out = 0

    def add(self, bits: Bits, known: Bits | None) -> None:
        """Keep the first positions of one more mask."""
        row, longest = len(self._sizes), 0 if self._rows is None else self._rows.n
        n = max(min(bits.size, self.width), longest)
        while (row + 1) * n > self._limit and n > _FEWEST:
            n = self.width = max(_FEWEST, -(-n // 16) * 8)
        if (row + 1) * n > self._limit:
            self.left_out += 1
            return
        if self._rows is None:
            self._rows = Rows(n, 1)
        elif n != longest:
            self._rows.resize(n)
        bits = bits[:n]
        sure = np.ones((1, 1), bool) if known is None else known[None, :n]
        self._rows.write(slice(row, row + 1), slice(0, bits.size), bits[None], sure)
        self._sizes.append(bits.size)

    def __len__(self) -> int:
        return len(self._sizes) + self.left_out

    def matrix(self) -> tuple[Bits, Bits | None]:
        """Return the masks as booleans (calls, width) and where they are known (None: everywhere).

        Of masks of unlike length the width is the one that loses the fewest neurons; shorter ones are left out.
        """
        if self._rows is None:
            return np.empty((0, 0), bool), None
        sizes = np.minimum(self._sizes, self._rows.n)
        widths = np.unique(sizes)
        width = int(widths[np.argmax([size * np.count_nonzero(sizes >= size) for size in widths])])
        packed, known = self._rows.read(sizes.size)
        sure = None if known is None else unpack(known[sizes >= width], width)
        return unpack(packed[sizes >= width], width), None if sure is None or sure.all() else sure


@dataclass
class Site:
    """What was seen at one place of the model.

    `ones` counts the probabilities of a 1 that its calls asked for, `keeps` how often a 1 was seen to keep (True) or
    to drop (False); `digests` are hashes of the first masks in call order. A bit is applied to `shared` neurons.
    """

    # values of a call that are kept, factors of a call, and calls whose factors are
    VALUES: ClassVar[int] = 1024
    FACTORS: ClassVar[int] = 2**12
    NOISY: ClassVar[int] = 2**10

    base: str
    module: str | None
    masks: Masks
    shape: tuple[int, ...]
    dtype: str
    device: str
    recorder: str
    training: Counter[bool | None] = field(default_factory=Counter)
    ones: Counter[float | None] = field(default_factory=Counter)
    keeps: Counter[bool] = field(default_factory=Counter)
    shapes: int = 1
    shared: int = 1
    largest: int = 0
    digests: list[int] = field(default_factory=list)
    values: list[tuple[Any, Any]] = field(default_factory=list)
    factors: list[NDArray[np.floating[Any]]] = field(default_factory=list)

    @property
    def wants_values(self) -> bool:
        """Tell whether values of one more call are of use."""
        return len(self.values) < _CALLS

    def add_values(self, outputs: Any, inputs: Any) -> None:
        """Keep the first outputs of a call and their inputs."""
        if not len(outputs):
            return
        self.values.append((outputs, inputs))

    def one_keeps(self, declared: float | None) -> bool:
        """Tell whether a 1 keeps: as it was seen to be used, else as the declared p has it, else as is usual."""
        if self.keeps:
            return self.keeps[True] >= self.keeps[False]
        one = self.one
        if declared is None or one is None:
            return True
        return abs(1 - one - declared) <= abs(one - declared)

    @property
    def one(self) -> float | None:
        """The probability of a 1 that most calls asked for."""
        known = [(count, one) for one, count in self.ones.items() if one is not None]
        return max(known)[1] if known else None

    def asked(self, declared: float | None) -> list[float]:
        """Return the drop probabilities that calls asked for, the most frequent first."""
        keeps = self.one_keeps(declared)
        known = sorted(((count, one) for one, count in self.ones.items() if one is not None), reverse=True)
        return [round(1 - one if keeps else one, 12) for _, one in known]

    def noise(self) -> NDArray[np.floating[Any]]:
        """Return the factors of noise (calls, width): of the calls that have as many as the first."""
        return np.stack([one for one in self.factors if one.size == self.factors[0].size])

    def recording(self, p: float | None, source: str) -> Recording:
        """Return the masks as a recording, with the values that were seen."""
        bits, known = self.masks.matrix()
        kept = bits if self.one_keeps(p) else ~bits
        if known is None:
            recording = Recording.from_masks(kept, p, source)
        else:
            seen = Recording.from_outputs((kept & known).astype(np.float32), p, known.astype(np.float32), source)
            recording = replace(seen, scales=None, dtype=None, scale_tolerance=0.0)
        if self.shapes == 1 and recording.n == int(np.prod(self.shape)):
            recording = replace(recording, shape=self.shape)
        return with_values(recording, self.values)


_OF_VALUES = (
    "scales", "scale_tolerance", "dtype", "other_scales", "unscaled", "moved", "nonzero", "nans", "nans_of_infs",
    "infs",
)  # fmt: skip


def values_of(recording: Recording) -> dict[str, Any]:
    """Return what a recording says of values, by the names of its attributes."""
    return {name: getattr(recording, name) for name in _OF_VALUES}


def with_values(recording: Recording, pairs: list[tuple[Any, Any]]) -> Recording:
    """Return the recording with the scale that pairs (outputs, inputs) show."""
    width = min((int(outputs.shape[0]) for outputs, _ in pairs), default=0)
    if not width:
        return recording
    outputs, inputs = ([pair[side][:width] for pair in pairs] for side in (0, 1))
    seen = Recording.from_outputs(outputs, recording.p, inputs)
    return replace(recording, **values_of(seen)) if seen.scales else recording


@dataclass
class Gradients:
    """How many gradients were compared with masks, by site, and how many of them were zero in other places.

    `reason` says why the model has no gradient. `blank` are kept neurons whose output is 0, for their input was;
    `inferred` those of them whose gradient is zero.
    """

    wrong: Counter[str] = field(default_factory=Counter)
    neurons: Counter[str] = field(default_factory=Counter)
    reason: str = ""
    blank: Counter[str] = field(default_factory=Counter)
    inferred: Counter[str] = field(default_factory=Counter)

    def count(self, site: str, neurons: Any, wrong: Any) -> None:
        """Count the neurons of a site that were compared, and those whose gradient disagrees with the mask."""
        self.neurons[site] += int(neurons)
        self.wrong[site] += int(wrong)


class Sites:
    """All draws of a model, by site, in order of first use.

    A recorder calls `begin` and `end` where an outermost module is called and returns, `width` for how much of a mask
    to copy, `add` for each mask. A draw that is no mask is counted in `unread`, a module whose draws cannot be seen is
    named in `unseen`; where it sees the calls of modules in training, it counts them in `called`.
    """

    replays: Replays
    gradients: Gradients
    passes: int

    def __init__(self, neurons: int = NEURONS) -> None:
        self._neurons = neurons
        self._sites: dict[tuple[str, int], Site] = {}
        self._turn: Counter[str] = Counter()
        self.passes = 0
        self.modes: Counter[bool] = Counter()
        self.trained: set[int] = set()  # passes in evaluation mode with gradients
        self.unread: Counter[tuple[str, str]] = Counter()
        self.unread_at: defaultdict[str, set[float]] = defaultdict(set)  # rates of these, where they are known
        self.unseen: dict[str, str] = {}
        self.called: Counter[str] = Counter()
        self.replays = Replays()
        self.evaluated: Counter[str] = Counter()
        self.unused: Counter[str] = Counter()  # drawn in evaluation mode, and applied to nothing
        self.gradients = Gradients()
        # told of each mask of a forward pass in training, and of the end of each pass
        self.on_mask: Callable[[Site, Bits], None] | None = None
        self.on_end: Callable[[], None] | None = None

    def __iter__(self) -> Iterator[Site]:
        return iter(self._sites.values())

    def __len__(self) -> int:
        return len(self._sites)

    def __contains__(self, key: tuple[str, int]) -> bool:
        return key in self._sites

    def named(self) -> dict[str, Site]:
        """Return the sites by name; those of a module that draws several times in a pass are numbered from 1."""
        several = {base for base, turn in self._sites if turn > 1}
        return {f"{base}:{turn}" if base in several else base: site for (base, turn), site in self._sites.items()}

    def begin(self, training: bool) -> None:
        """Start a pass: a module that draws several times in it has several sites."""
        self.passes += 1
        self.modes[training] += 1
        self._turn.clear()

    def end(self) -> None:
        """End a pass."""
        if self.on_end is not None:
            self.on_end()

    def width(self, site: str, turn: int = 0) -> int:
        """Return how many positions of the site's next mask, or of the one of this turn, are to be copied."""
        known = self._sites.get((site, turn or self._turn[site] + 1))
        return max(known.masks.width, READ) if known else self._neurons

    def last(self, site: str) -> Site | None:
        """Return the site of this name that drew last in this pass."""
        return self._sites.get((site, self._turn[site]))

    def add(self, draw: Draw) -> Site | None:
        """Take one mask; return its site where it is of a forward pass in training."""
        seen = Seen(draw.site, hash(np.packbits(draw.bits[:READ]).tobytes()))
        if draw.phase != "forward":
            region = draw.regions[0] if draw.regions else None
            self.replays.again(seen, region, draw.run, draw.phase == "recomputed")
            self.replays.forward(seen, draw.regions[1:], -1 - draw.run)  # no number of a forward pass
            return None
        if draw.training is False:
            self.evaluated[draw.site] += 1
            return None
        self._turn[draw.site] = draw.turn or self._turn[draw.site] + 1
        key = (draw.site, self._turn[draw.site])
        site = self._sites.get(key)
        if site is None:
            masks = Masks(self._neurons)
            site = Site(draw.site, draw.module, masks, draw.shape, draw.dtype, draw.device, draw.recorder)
            self._sites[key] = site
        site.shapes += draw.shape != site.shape
        site.largest = max(site.largest, int(np.prod(draw.shape)))
        site.training[draw.training] += 1
        site.ones[draw.one] += 1
        site.masks.add(draw.bits, draw.known)
        if len(site.digests) < _CALLS:
            site.digests.append(seen.digest)
        if draw.factors is not None:
            if len(site.factors) < site.NOISY:
                site.factors.append(draw.factors)
        elif self.on_mask is not None and (draw.known is None or draw.known.all()):
            self.on_mask(site, draw.bits)
        if draw.regions:
            self.replays.forward(seen, draw.regions, self.passes)
        return site
