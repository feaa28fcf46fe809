"""A function that is traced once and run with its masks as further outputs; its gradients, held against them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax.extend import core

from dropstats.models.jax.equations import checkpointed, is_float
from dropstats.models.jax.jaxprs import Mask, Reading
from dropstats.models.sites import READ, Declared, Sites

# Seed of the weights of outputs.
_SEED = 20_140_615


class Drawn(NamedTuple):
    """A mask as it was drawn in one pass: which of its place's, its bits, probability of a 1, outputs and inputs."""

    mask: Mask
    turn: int
    bits: Any
    one: float | None
    values: list[tuple[Any, Any]]


class Traced:
    """A function traced once, and compiled with its masks as outputs."""

    def __init__(self, function: Any, argument: Any, called: list[Declared], known: list[Declared]) -> None:
        self._closed, shape = jax.make_jaxpr(function, return_shape=True)(argument)
        self.tree: Any = jax.tree.structure(shape)
        self._own = {rate.path for rate in (*known, *called)}
        self._reading: Any = None
        self._run = jax.jit(self._evaluate)
        self._rounds: dict[Any, list[Any]] = defaultdict(list)

    def does_as(self, other: "Traced") -> bool:
        """Tell whether another trace is of the same operations, on the same values."""
        pairs = zip(self._closed.consts, other._closed.consts, strict=False)
        same = str(self._closed.jaxpr) == str(other._closed.jaxpr) and self.tree == other.tree
        return same and all(one is two or np.array_equal(one, two) for one, two in pairs)

    def _round(self, loop: Any, *drawn: Any) -> None:
        self._rounds[loop].append(drawn)

    def _evaluate(self, consts: Any, args: Any) -> Any:
        self._reading = reading = Reading(self._own, rounds=self._round)
        outs = reading.run(self._closed, consts, args)
        return outs, [(mask.bits, mask.one, mask.drawn, mask.values) for mask in reading.masks]

    def __call__(self, argument: Any) -> tuple[list[Any], list[Drawn], list[tuple[str, str]]]:
        """Return the outputs, the masks that were drawn, and where something was drawn that is none."""
        outs, held = self._run(self._closed.consts, jax.tree.leaves(argument))
        return outs, self._drawn(self._reading, held), self._reading.unread

    def _drawn(self, reading: Reading, held: Any) -> list[Drawn]:
        """Return the masks of a pass; those of branches that were passed by are left out."""
        if any(mask.loop for mask in reading.masks):
            jax.effects_barrier()
        found: list[Drawn] = []
        turns: Counter[str] = Counter()
        for mask, (*arrays, values) in zip(reading.masks, held, strict=True):
            turns[mask.place.site] += mask.place.phase == "forward"
            bits, one = _together(self._rounds[mask.loop]) if mask.loop else _alone(*arrays)
            if bits is not None:
                found.append(Drawn(mask, turns[mask.place.site], bits, one, values))
        self._rounds.clear()
        return found

    def compare(self, argument: Any, sites: Sites) -> None:
        """Hold gradients against masks: of what each mask is applied to, and of functions with their own derivative."""
        counts, args = sites.gradients, jax.tree.leaves(argument)
        if self._reading.hand_written:
            reading = Reading(self._own, compares=True)
            reading.run(self._closed, self._closed.consts, args)
            for site, output, gradient in reading.by_hand:
                counts.count(site, output.size, ((output == 0) != (gradient == 0)).sum())
        try:
            if self._reading.uses:
                self._tap(args, sites)
            forward = all(mask.place.phase == "forward" for mask in self._reading.masks)
            if forward and checkpointed(self._closed.jaxpr):
                self._recompute(args, sites)
        except (TypeError, ValueError, NotImplementedError) as error:  # as of a while_loop
            counts.reason = str(error).partition("\n")[0]

    def _tap(self, args: list[Any], sites: Sites) -> None:
        """Hold the gradient of what goes into each mask against that of what comes out."""
        taps = [(jnp.zeros(shape, dtype),) * 2 for _, shape, dtype in self._reading.uses]

        def loss(taps: Any, consts: Any, args: Any) -> Any:
            reading = Reading(self._own, taps)
            return _weighted(reading.run(self._closed, consts, args)), reading.kept

        found, kept = _compiled(jax.grad(loss, has_aux=True))(taps, self._closed.consts, args)
        for (site, _, _), (inner, outer), keeps in zip(self._reading.uses, found, kept, strict=True):
            shown = np.asarray(jnp.abs(outer) > jnp.finfo(outer.dtype).tiny * 16)
            wrong = np.asarray(inner == 0) != ~np.asarray(keeps)
            sites.gradients.count(site, shown.sum(), (wrong & shown).sum())

    def _recompute(self, args: list[Any], sites: Sites) -> None:
        """Hold what the backward pass draws again against what the forward pass drew."""
        leaves, size = [*self._closed.consts, *args], len(self._closed.consts)
        floats = {i: leaf for i, leaf in enumerate(leaves) if is_float(leaf)}

        def loss(floats: Any) -> Any:
            given = [floats.get(i, leaf) for i, leaf in enumerate(leaves)]
            closed = core.ClosedJaxpr(self._closed.jaxpr, given[:size])
            return _weighted(core.jaxpr_as_fun(closed)(*given[size:]))

        closed = jax.make_jaxpr(jax.grad(loss))(floats)
        reading = Reading(self._own, rounds=self._round)

        def run(consts: Any, args: Any) -> Any:
            reading.run(closed, consts, args)
            return [(mask.bits, mask.one, mask.drawn, []) for mask in reading.masks]

        held = _compiled(run)(closed.consts, jax.tree.leaves(floats))
        compare(self._drawn(reading, held), sites)


def compare(drawn: Sequence[Drawn], sites: Sites) -> None:
    """Hold the masks of a backward pass against those of the forward pass, wherever these stand."""
    known = {_digest(one) for one in drawn if one.mask.place.phase == "forward"}
    kinds = {(one.bits.shape, one.one) for one in drawn if one.mask.place.phase == "forward"}
    for one in drawn:
        site, _, phase = one.mask.place
        if phase == "forward":
            continue
        if phase == "backward" and (one.bits.shape, one.one) not in kinds:
            sites.unread[site, "a draw of the backward pass"] += 1
            continue
        counts = sites.replays.recomputed if phase == "recomputed" else sites.replays.redrawn
        if _digest(one) in known:
            counts.equal += 1
        else:
            counts.unequal.append(site)


def _digest(drawn: Drawn) -> int:
    bits = np.asarray(jnp.reshape(drawn.bits, (-1,))[:READ]) != 0
    return hash((drawn.bits.shape, np.packbits(bits).tobytes()))


def _alone(bits: Any, one: Any, drawn: Any) -> tuple[Any, float | None]:
    """Return the bits of a mask, of those leading positions that were drawn; None where there are none."""
    if drawn is None:
        return bits, _common(one)
    bits, found = _together([(bits, one, drawn)])
    return (bits[0] if bits is not None and not np.ndim(drawn) else bits), found


def _together(rounds: Sequence[Any]) -> tuple[Any, float | None]:
    """Return the bits that were drawn in the rounds of a loop, one below the other."""
    rows: list[Any] = []
    ones: list[Any] = []
    for bits, one, drawn in rounds:
        at = np.asarray(True if drawn is None else drawn)
        rows.append(np.asarray(bits)[at].reshape(int(at.sum()), *np.shape(bits)[at.ndim :]))
        if one is not None:
            ones.append(np.asarray(one)[at].reshape(-1))
    if not sum(map(len, rows)):
        return None, None
    return np.concatenate(rows), _common(np.concatenate(ones) if ones else None)


def _common(ones: Any) -> float | None:
    """Return the probability of a 1 as it was written, 0.7 for the nearest one in float32; None if it varies."""
    found: Any = [] if ones is None else np.unique(np.asarray(ones))
    if len(found) != 1:
        return None
    return float(str(found[0])) if found[0].dtype == np.float32 else float(found[0])


def _weighted(outs: Sequence[Any]) -> Any:
    """Return a sum of arrays, with weights by which no gradient cancels to 0."""
    outs = [out for out in outs if is_float(out)]
    keys = jax.random.split(jax.random.key(_SEED), max(1, len(outs)))
    weights = (jax.random.uniform(key, out.shape, minval=0.5) for key, out in zip(keys, outs, strict=False))
    return sum(((weight * out).sum() for weight, out in zip(weights, outs, strict=True)), 0.0)


def _compiled(function: Any) -> Any:
    """Compile what is run once: what is optimized little is compiled soon."""
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=options)
