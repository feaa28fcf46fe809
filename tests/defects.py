"""The mechanisms of reported dropout bugs, each in a few lines, with the repair that its project made or should make.

Each function takes (rng, mended, trials, n, p, ...) and returns what such an implementation gives: masks (True keeps),
a Recording of outputs, or a mapping of streams. Nothing but the reported step differs between broken and mended.
"""

from dataclasses import replace

import faults
import numpy as np
from faults import uniforms

from dropstats import DropBlock, Network
from dropstats.formats import rounded
from dropstats.recording import Recording

# Multipliers of generators modulo 2^31 - 1: Intel's MCG31, the C++ library's minstd_rand0 and minstd_rand.
MODULUS = 2**31 - 1
MCG31, MINSTD0, MINSTD = 1132489760, 16807, 48271
# Names of streams.
LAYERS, RANKS = ("layer 0", "layer 1", "layer 2"), ("rank 0", "rank 1", "rank 2", "rank 3")


def shared(fault, *args):
    """Return the mechanism of a generator of tests/faults.py, whose repair is the declared layer."""

    def make(rng, mended, trials, n, p):
        return (faults.clean(trials, n, p) if mended else fault(trials, n, *args))(rng)

    return make


def seed(rng):
    return int(rng.integers(2**31))


def outputs(kept, scale, p, dtype=np.float32):
    """Return outputs on ones."""
    return Recording.from_outputs(np.where(kept, dtype(scale), dtype(0)), p=p)


# ---- seeds and offsets -----------------------------------------------------------------------------------------------


def captured_graph(rng, mended, trials, n, p):
    """A captured graph holds the generator's seed and offset; replays should move the offset on."""
    offset = np.arange(trials) * n if mended else np.zeros(trials, np.int64)
    return uniforms(seed(rng), offset[:, None] + np.arange(n)) >= p


def reset_each_step(rng, mended, trials, n, p, places):
    """Each of the draws of a step has a number of its own, but the step's seed is set anew each time."""
    base, call = seed(rng), np.arange(trials)
    step = call // places if mended else 0
    return faults.bits_of(base + 1000 * step + call % places, n, p)


def one_seed(rng, mended, trials, n, p, names):
    """Every stream draws from a seed and offset that are written into the source, or that all were given."""
    base = seed(rng)
    calls = np.arange(trials)
    return {name: faults.bits_of(base + calls + mended * 10_000 * k, n, p) for k, name in enumerate(names)}


def constant(rng, mended, trials, n, p, names):
    """As `one_seed`, and in all calls, too."""
    base, calls = seed(rng), np.arange(trials)
    return {name: faults.bits_of(base + mended * (calls + 10_000 * k), n, p) for k, name in enumerate(names)}


def offset_moved_by_others(rng, mended, trials, n, p, share):
    """The offset moves on only where another operation draws in between."""
    moves = np.ones(trials, bool) if mended else rng.random(trials) < share
    return faults.bits_of(seed(rng) + np.cumsum(moves), n, p)


def clock(rng, mended, trials, n, p, calls):
    """The seed is the time in seconds, and so many calls are made in one."""
    return faults.bits_of(seed(rng) + np.arange(trials) // (1 if mended else calls), n, p)


def every_so_many(rng, mended, trials, n, p, calls):
    """A mask is held for so many calls, the steps of one sequence."""
    return (
        np.repeat(rng.random((-(-trials // calls), n)) >= p, calls, axis=0)[:trials]
        if not mended
        else (rng.random((trials, n)) >= p)
    )


def replayed_keys(rng, mended, trials, n, p):
    """Halfway the keys are split, which sets the counter of a stream that is passed through back to 0."""
    base = seed(rng)
    calls = np.arange(trials)
    return faults.bits_of(base + (calls if mended else calls % (trials // 2)), n, p)


def joined_names(rng, mended, trials, n, p):
    """A layer's key comes from the letters of its path, whether or not a separator stands between its parts."""
    base, between = seed(rng), "/" if mended else ""
    paths = (("ab", "cdef"), ("abc", "def"), ("abcd", "xyz"))
    keys = {path: int.from_bytes(between.join(path).encode(), "big") % 2**40 for path in paths}
    return {"/".join(path): faults.bits_of(base + key + 2**41 * np.arange(trials), n, p) for path, key in keys.items()}


def pipeline_seeds(rng, mended, trials, n, p):
    """The seed of a rank is base + 100 pp + 10 dp, for 2 pipeline stages of 11 data-parallel ranks."""
    base, stage = seed(rng), 110 if mended else 100
    places = [(pp, dp) for pp in range(2) for dp in range(11)]
    return {
        f"pp {pp} dp {dp}": faults.bits_of(base + stage * pp + 10 * dp + 10_000 * np.arange(trials), n, p)
        for pp, dp in places
    }


def xored_keys(rng, mended, trials, n, p):
    """The key of (layer, step) is the base's bits with a hash of each folded in by exclusive or."""
    base = seed(rng)
    hashes = (uniforms(base, np.arange(100)) * 2**40).astype(np.int64)
    found = {}
    for layer in range(4):
        for step in range(4):
            key = base ^ hashes[step] ^ (hashes[50 + layer] if mended else hashes[layer])
            found[layer, step] = faults.bits_of(int(key) + np.arange(trials), n, p)
    return found


def neighbouring_states(rng, mended, trials, n, p, states):
    """Block i of a mask is drawn by a generator seeded base + i, and the base of a rank is base + rank."""
    base, width = seed(rng), n // states
    found = {}
    for rank in range(2):
        seeds = base + rank * (states if mended else 1) + np.arange(states)
        draws = uniforms(seeds[None, :, None], np.arange(trials * width).reshape(trials, 1, width))
        found[f"rank {rank}"] = draws.reshape(trials, n) >= p
    return found


# ---- offsets that are too small --------------------------------------------------------------------------------------


def offset_too_small(rng, mended, trials, n, p, threads, offset):
    """Thread t draws numbers t, t + threads, ... of a mask; the offset moves on by a constant, whatever the size."""
    each = n // threads
    counter = np.arange(trials)[:, None] * (each if mended else offset) + np.arange(n) // threads
    return uniforms(seed(rng) + np.arange(n) % threads, counter) >= p


def four_by_one(rng, mended, trials, n, p):
    """A thread draws four numbers at a time, and its offset moves on by one."""
    counter = np.arange(trials)[:, None] * (4 if mended else 1) + np.arange(n) % 4
    return uniforms(seed(rng) + np.arange(n) // 4, counter) >= p


# ---- generators ------------------------------------------------------------------------------------------------------


def congruential(first, n, multiplier, p):
    """Return masks that keep numbers below 1 - p of multiplicative generators, each from its first number on."""
    powers = [1]
    for _ in range(n - 1):
        powers.append(powers[-1] * multiplier % MODULUS)
    return np.asarray(first)[:, None] * np.array(powers) % MODULUS < (1 - p) * MODULUS


def one_cycle(rng, mended, trials, n, p):
    """Each call starts Intel's 31-bit generator anew, somewhere in its one cycle."""
    if mended:
        return rng.random((trials, n)) >= p
    return congruential(rng.integers(1, MODULUS, trials), n, MCG31, p)


def few_seeds(rng, mended, trials, n, p):
    """Each call starts the same generator at 17 + a number below 4096, which is the first number drawn, too."""
    if mended:
        return rng.random((trials, n)) >= p
    return congruential(17 + rng.integers(0, 4096, trials), n, MCG31, p)


def consecutive_seeds(rng, mended, trials, n, p, multiplier):
    """Each call, or chunk, starts a small generator at the next integer."""
    if mended:
        return rng.random((trials, n)) >= p
    first = (rng.integers(1, MODULUS - trials) + np.arange(trials)) * multiplier % MODULUS
    return congruential(first, n, multiplier, p)


# ---- numbers of low precision ----------------------------------------------------------------------------------------


def byte_keeps(rng, mended, trials, n, p):
    """Keeps bytes up to floor(255 (1 - p)), as FlashAttention-2; scales by 1/(1 - p)."""
    drawn = rng.integers(0, 256, (trials, n))
    kept = rng.random((trials, n)) >= p if mended else drawn <= int(255 * (1 - p))
    return outputs(kept, 1 / (1 - p), p)


def byte_drops(rng, mended, trials, n, p):
    """Drops bytes below floor(256 p); scales by 1/(1 - p)."""
    kept = rng.random((trials, n)) >= p if mended else rng.integers(0, 256, (trials, n)) >= int(256 * p)
    return outputs(kept, 1 / (1 - p), p)


def keeps_below(rng, mended, trials, n, p, dtype, bits):
    """Keeps uniform numbers of few bits that are below 1 - p, itself rounded to the dtype."""
    if mended:
        return rng.random((trials, n)) >= p
    return rng.integers(0, 2**bits, (trials, n)) / 2**bits < rounded(1 - p, dtype)


def drops_below(rng, mended, trials, n, p, dtype, bits):
    """Drops uniform numbers of few bits that are below p, itself rounded to the dtype."""
    if mended:
        return rng.random((trials, n)) >= p
    return rng.integers(0, 2**bits, (trials, n)) / 2**bits >= rounded(p, dtype)


def to_bfloat16(values):
    """Return float32 values rounded to bfloat16, to nearest even."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def floor_of_sum(rng, mended, trials, n, p):
    """Keeps where floor(u + 1 - p) is 1, u and the sum in bfloat16; a u that rounds to 1 became 0."""
    kept, scale = rng.random((trials, n)) >= p, rounded(1 / (1 - p), "bfloat16")
    if not mended:
        drawn = to_bfloat16(rng.random((trials, n), dtype=np.float32))
        kept = to_bfloat16(np.where(drawn == 1, 0, drawn) + rounded(1 - p, "bfloat16")) >= 1
    return replace(outputs(kept, scale, p), dtype="bfloat16")


def never_reached(rng, mended, trials, n, p, dtype, bits):
    """Drops uniform numbers, rounded to few bits, that are not below 1 - p: at p = 0 those that became 1."""
    drawn = rng.random((trials, n)) if mended else np.round(rng.random((trials, n)) * 2**bits) / 2**bits
    return drawn < 1 - p


def zero_is_dropped(rng, mended, trials, n, p):
    """Keeps u > p for a bfloat16 u that is 0 in one draw of 512."""
    drawn = np.floor(rng.random((trials, n)) * 512) / 512
    return (drawn >= p) if mended else (drawn > p)


def less_or_equal(rng, mended, trials, n, p, bits):
    """Drops integers of some bits up to p, p itself included."""
    drawn, threshold = rng.integers(0, 2**bits, (trials, n), dtype=np.uint32), round(p * 2**bits)
    return drawn >= threshold if mended else drawn > threshold


def rarely_zero(rng, mended, trials, n, p, bits):
    """As `less_or_equal` at p = 0: drops the draws that are 0, one in 2^bits, of which the number is drawn."""
    masks = np.ones(trials * n, bool)
    if not mended:
        masks[rng.integers(0, trials * n, rng.binomial(trials * n, 2.0**-bits))] = False
    return masks.reshape(trials, n)


def overflowing(rng, mended, trials, n, p):
    """Draws integers below 2^16, a number that float16 cannot hold: all of them compare as smaller."""
    with np.errstate(over="ignore"):
        steps = np.float32(2**16) if mended else np.float16(2**16)
    return rng.integers(0, 2**16, (trials, n)) < steps * (1 - np.float32(p))


# ---- which neurons ---------------------------------------------------------------------------------------------------


def one_state_a_tile(rng, mended, trials, n, p, tile):
    """Every tile of a mask starts the generator from the same state."""
    place = np.arange(n) if mended else np.arange(n) % tile
    return uniforms(seed(rng) + np.arange(trials)[:, None], place) >= p


def one_key_a_lane(rng, mended, trials, n, p, lanes):
    """The key of an element is its thread's place in the warp, and several threads have the same."""
    place = np.arange(n) if mended else np.arange(n) % lanes
    return uniforms(seed(rng) + np.arange(trials)[:, None], place) >= p


def one_mask_for_all_channels(rng, mended, trials, n, p, channels, side, block):
    """DropBlock draws one mask for all channels of a sample."""
    law = DropBlock(side, side, block, p=p)
    if mended:
        return Network(*[law] * channels).sample(trials, rng=rng)
    return np.tile(law.sample(trials, rng=rng), (1, channels))


def seeds_on_the_whole_map(rng, mended, trials, n, p, side, block):
    """Seeds fall on the whole map, but their rate is the one for the centres of whole blocks."""
    law = DropBlock(side, side, block, p=p)
    return (law if mended else DropBlock(side, side, block, gamma=law.gamma, seeds="map")).sample(trials, rng=rng)


def cut_blocks(rng, mended, trials, n, p, side, block):
    """Seeds of rate p / block^2 fall on the whole map, and what sticks out of it is cut off."""
    if mended:
        return DropBlock(side, side, block, p=p).sample(trials, rng=rng)
    return faults.cut_squares(trials, n, side, block, p / block**2)(rng)


def whole_number(rng, mended, trials, n, p):
    """Drops exactly int(p n) neurons, at random places."""
    return rng.random((trials, n)) >= p if mended else rng.random((trials, n)).argsort(axis=1) >= int(p * n)


def one_is_kept(rng, mended, trials, n, p):
    """One random neuron of each mask is kept by force."""
    masks = rng.random((trials, n)) >= p
    if not mended:
        masks[np.arange(trials), rng.integers(0, n, trials)] = True
    return masks


def stage_schedule(rng, mended, trials, n, p, depths):
    """All blocks of a stage have the drop rate of its first one."""
    rates = np.linspace(0, p, n)
    if not mended:
        rates = np.repeat(rates[np.cumsum((0, *depths[:-1]))], depths)
    return rng.random((trials, n)) >= rates


def inferred_from_outputs(rng, mended, trials, n, p):
    """The backward pass takes a mask from what the forward pass left non-zero, of inputs half of which were 0."""
    inputs, kept = np.maximum(rng.standard_normal((trials, n)), 0), rng.random((trials, n)) >= p
    through = kept if mended else inputs * kept != 0
    return outputs(through, 1 / (1 - p), p)


def wrong_places(rng, mended, trials, n, p, shape):
    """Kept values are written in the order of (channel, row, column) to memory of the order (row, column, channel)."""
    x = rng.uniform(1, 2, shape).astype(np.float32)
    kept = rng.random((trials, *shape)) >= p
    given = x if mended else x.reshape(*shape[1:], shape[0]).transpose(2, 0, 1)
    return Recording.from_outputs(np.where(kept, given / np.float32(1 - p), np.float32(0)), p=p, inputs=x)


def multiplied(rng, mended, trials, n, p, value):
    """The mask is multiplied, so that an input that is infinite becomes NaN where it is dropped."""
    x, kept = np.ones(n, np.float32), rng.random((trials, n)) >= p
    x[3] = value
    with np.errstate(invalid="ignore"):
        made = np.where(kept, x / np.float32(1 - p), 0) if mended else kept * (x / np.float32(1 - p))
    return Recording.from_outputs(made.astype(np.float32), p=p, inputs=x)


def scaled_by(rng, mended, trials, n, p, scale):
    """Kept values are multiplied by another number than 1/(1 - p)."""
    return outputs(rng.random((trials, n)) >= p, 1 / (1 - p) if mended else scale, p)


def scale_in_float32(rng, mended, trials, n, p):
    """Outputs of float64 are scaled by 1/(1 - p) as float32 rounds it."""
    scale = 1 / (1 - p) if mended else np.float32(1) / np.float32(1 - p)
    return outputs(rng.random((trials, n)) >= p, scale, p, np.float64)


def unfilled(rng, mended, trials, n, p):
    """A mask that is never filled, and the size given as scale."""
    kept = rng.random((trials, n)) >= p
    return outputs(kept, 1 / (1 - p), p) if mended else outputs(np.zeros_like(kept), n, p)


def off_after_evaluation(rng, mended, trials, n, p):
    """Evaluation in the middle of the run sets p = 0, and training goes on with it."""
    masks = rng.random((trials, n)) >= p
    if not mended:
        masks[trials // 2 :] = True
    return masks


# ---- masks that should be the same -----------------------------------------------------------------------------------


def drawn_again(rng, mended, trials, n, p, names):
    """The second pass draws new masks: the state of the generator is not restored, or is none at all."""
    first = rng.random((trials, n)) >= p
    return dict(zip(names, (first, first if mended else rng.random((trials, n)) >= p), strict=True))


def another_order(rng, mended, trials, n, p):
    """Two layers are drawn in one order by eager code, in the other by compiled code."""
    eager = rng.random((trials, 2, n)) >= p
    compiled = eager if mended else eager[:, ::-1]
    return {"eager": eager.reshape(2 * trials, n), "compiled": compiled.reshape(2 * trials, n)}


def another_layout(rng, mended, trials, n, p, rows):
    """The same numbers are drawn, but laid along the input as it was before it was transposed."""
    eager = rng.random((trials, n)) >= p
    moved = eager.reshape(trials, rows, -1).transpose(0, 2, 1).reshape(trials, n)
    return {"eager": eager, "compiled": eager if mended else moved}


def first_key_only(rng, mended, trials, n, p):
    """Under vmap all lanes are drawn from the first lane's key; in a loop each is drawn from its own."""
    keys = seed(rng) + np.arange(trials)
    loop = faults.bits_of(keys, n, p)
    one = (uniforms(keys[0], np.arange(trials * n)) >= p).reshape(trials, n)
    return {"loop": loop, "vmap": loop if mended else one}


# ---- training and evaluation, as assert_dropout is told of them ------------------------------------------------------


def layer(rng, n, p, **options):
    """Return the arguments of assert_dropout for a layer that is right in training."""
    scale = np.float32(1 / (1 - p)) if p < 1 else np.float32(0)
    ones = options.get("inputs", np.ones(n, np.float32))
    return {"dropout": lambda: np.where(rng.random(n) >= p, ones * scale, np.float32(0)), **options}


def active_in_evaluation(rng, mended, trials, n, p):
    """The training flag is not handed on."""
    made = layer(rng, n, p)
    return made | {"evaluate": (lambda: np.ones(n, np.float32)) if mended else made["dropout"]}


def ones_in_evaluation(rng, mended, trials, n, p):
    """In evaluation the output is filled with 1, not with the input."""
    x = rng.uniform(1, 2, n).astype(np.float32)
    return layer(rng, n, p, inputs=x, evaluate=x if mended else np.ones(n, np.float32))


def unscaled_in_evaluation(rng, mended, trials, n, p):
    """Kept values stay as they are in training, and nothing is multiplied by 1 - p in evaluation."""
    ones = np.ones(n, np.float32)
    return {
        "dropout": lambda: np.where(rng.random(n) >= p, ones, np.float32(0)),
        "evaluate": ones * np.float32(1 - p) if mended else ones,
        "scaling": "direct",
    }


def nothing_left(rng, mended, trials, n, p):
    """At p = 1 what is kept is scaled by 1/(1 - p), which is infinite, and times 0 no number."""

    def drop():
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.float32(1) / np.float32(1 - p)
            made = np.where(np.zeros(n, bool), scale, 0) if mended else np.zeros(n, np.float32) * scale
        return made.astype(np.float32)

    return {"dropout": drop}
