"""Broken generators of dropout masks, modelled on defects that shipped; True (or a value) keeps."""

import numpy as np

from dropstats import AlphaDropout, DropBlock, Layer
from dropstats.recording import Recording


def clean(trials, n, p):
    return lambda rng: Layer(n, p).sample(trials, rng=rng)


def at_rate(trials, n, rate):
    """Return masks of a rate that is not the declared one."""
    return lambda rng: rng.random((trials, n)) >= rate


def thresholds(trials, n, bits, dropped):
    """Return masks that drop where an integer of some bits is below `dropped`."""
    return lambda rng: rng.integers(0, 2**bits, (trials, n), dtype=np.uint16) >= dropped


def uniforms(seeds, counters):
    """Return uniform numbers of pairs of a seed and a counter, which broadcast: through the SplitMix64 finaliser."""
    seeds, counters = (np.asarray(numbers).astype(np.uint64) for numbers in (seeds, counters))
    x = seeds * np.uint64(0x9E3779B97F4A7C15) + counters * np.uint64(0xD1342543DE82EF95)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


def bits_of(seeds, n, p):
    """Return for each seed one mask: its first n uniform numbers, compared with p."""
    return uniforms(seeds[:, None], np.arange(n)) >= p


def frozen(trials, n, p):
    return lambda rng: np.repeat(rng.random((1, n)) >= p, trials, axis=0)


def periodic(trials, n, p, period):
    return lambda rng: np.resize(rng.random((period, n)) >= p, (trials, n))


def reseeded(trials, n, p, seeds):
    return lambda rng: bits_of(rng.integers(0, seeds, trials), n, p)


def counter_overlap(trials, n, p, step):
    """Return masks whose counter moves on by less than a mask is long."""

    def make(rng):
        stream = rng.random(trials * step + n) >= p
        return np.lib.stride_tricks.sliding_window_view(stream, n)[::step][:trials]

    return make


def carried(trials, n, p, first, second, lag):
    """Return masks one neuron of which does what another one did some calls before."""

    def make(rng):
        masks = rng.random((trials, n)) >= p
        masks[lag:, second] = masks[:-lag, first]
        return masks

    return make


def one_overlap(trials, n, p, first, second, shift):
    """Return clean masks but for two calls, of which one is the other shifted."""

    def make(rng):
        masks = rng.random((trials, n)) >= p
        masks[second, : n - shift] = masks[first, shift:]
        return masks

    return make


def groups(trials, n, p, size):
    return lambda rng: np.repeat(rng.random((trials, n // size)) >= p, size, axis=1)


def strided(trials, n, p, stride):
    return lambda rng: np.tile(rng.random((trials, stride)) >= p, (1, n // stride))


def with_columns(trials, n, p, columns, kept):
    """Return masks some of whose neurons are always kept, or always dropped."""

    def make(rng):
        masks = rng.random((trials, n)) >= p
        masks[:, columns] = kept
        return masks

    return make


def with_column_rate(trials, n, p, column, rate):
    def make(rng):
        masks = rng.random((trials, n)) >= p
        masks[:, column] = rng.random(trials) >= rate
        return masks

    return make


def fixed_count(trials, n, p):
    return lambda rng: rng.random((trials, n)).argsort(axis=1) >= round(n * p)


def row_jitter(trials, n, p, spread):
    return lambda rng: rng.random((trials, n)) >= np.clip(p + spread * rng.standard_normal((trials, 1)), 0, 1)


def tile_jitter(trials, n, p, size, spread):
    """Return masks whose rate goes up and down from one tile of neighbours to the next."""

    def make(rng):
        rates = p + spread * rng.standard_normal((trials, n // size))
        return rng.random((trials, n)) >= np.repeat(rates, size, axis=1)

    return make


def drift(trials, n, p, change):
    return lambda rng: rng.random((trials, n)) >= p + change * np.linspace(-1, 1, trials)[:, None]


def waves(trials, n, p, swing, period):
    """Return masks whose rate goes up and down by a share of it, over so many calls."""
    rates = p * (1 + swing * np.cos(2 * np.pi * np.arange(trials) / period))
    return lambda rng: rng.random((trials, n)) >= rates[:, None]


def permuted(trials, n, p):
    """Return masks of which every second one is the one before with its neurons in another order."""

    def make(rng):
        masks = rng.random((trials, n)) >= p
        masks[1::2] = rng.permuted(masks[::2], axis=1)[: trials // 2]
        return masks

    return make


def sticky(trials, n, p, share):
    """Return masks in which a share of the neurons keeps its state from call to call."""

    def make(rng):
        masks = rng.random((trials, n)) >= p
        stays = rng.random((trials, n)) < share
        for t in range(1, trials):
            masks[t, stays[t]] = masks[t - 1, stays[t]]
        return masks

    return make


def antithetic(trials, n):
    """Return masks of p = 1/2 of which every second one is the complement of the one before."""

    def make(rng):
        half = rng.random((trials // 2, n)) >= 0.5
        return np.stack([half, ~half], axis=1).reshape(trials, n)

    return make


def lane_correlation(trials, n, p, share):
    """Return masks in which a share of the neurons copies its left neighbour."""

    def make(rng):
        masks = rng.random((trials, n)) >= p
        copies = rng.random((trials, n)) < share
        copies[:, 0] = False
        fresh = masks.copy()
        masks[:, 1:][copies[:, 1:]] = fresh[:, :-1][copies[:, 1:]]
        return masks

    return make


def half_broadcast(trials, n, p):
    return lambda rng: np.tile(rng.random((trials, n // 2)) >= p, (1, 2))


def equal_columns(trials, n, p, first, second):
    def make(rng):
        masks = rng.random((trials, n)) >= p
        masks[:, second] = masks[:, first]
        return masks

    return make


def replayed(trials, n, p, steps):
    """Return masks of which some steps are replayed at the end, as after a restart."""

    def make(rng):
        masks = rng.random((trials, n)) >= p
        masks[-steps:] = masks[100 : 100 + steps]
        return masks

    return make


def microbatches(trials, n, p, repeat):
    return lambda rng: np.repeat(rng.random((trials // repeat, n)) >= p, repeat, axis=0)


def low_bits_of_lcg(trials, n, dropped):
    """Return masks from the low byte of a linear congruential generator, whose period is 256."""

    def make(rng):
        state = int(rng.integers(2**32))
        low = []
        for _ in range(256):
            state = (1664525 * state + 1013904223) % 2**32
            low.append(state & 255)
        return np.resize(np.array(low) >= dropped, (trials, n))

    return make


def xor_of_two(trials, n, every):
    """Return masks of p = 1/2 of which every so manieth one is the xor of the two before."""

    def make(rng):
        masks = rng.random((trials, n)) >= 0.5
        for call in range(every - 1, trials, every):
            masks[call] = masks[call - 1] ^ masks[call - 2]
        return masks

    return make


def lagged(trials, n, p, near, far, how):
    """Return masks of a lagged Fibonacci generator: 32-bit words from those `near` and `far` before, by xor, + or -."""

    def make(rng):
        state = rng.integers(0, 2**32, 10 * far + trials * n, dtype=np.uint32)
        for start in range(far, state.size, near):
            stop = min(start + near, state.size)
            first, second = (state[start - lag : stop - lag] for lag in (far, near))
            state[start:stop] = {"xor": first ^ second, "+": first + second, "-": first - second}[how]
        return state[10 * far :].reshape(trials, n) >= p * 2**32

    return make


def xorshift128(trials, n):
    """Return masks from the top bits of Marsaglia's xorshift128."""

    def make(rng):
        x, y, z, w = rng.integers(1, 2**32, 4).tolist()
        bits = []
        for _ in range(trials * n):
            t = x ^ (x << 11) % 2**32
            x, y, z, w = y, z, w, w ^ (w >> 19) ^ t ^ (t >> 8)
            bits.append(w >> 31)
        return np.array(bits, bool).reshape(trials, n)

    return make


def mersenne_twister(trials, n):
    """Return masks from the top bits of MT19937, which nothing but its linear complexity tells from chance."""
    return lambda rng: np.random.RandomState(rng.integers(2**32)).randint(0, 2**32, (trials, n), np.uint32) >= 2**31


def reseeded_minstd(trials, n, p, seed, layers=1):
    """Return masks of C++'s default generator, seeded anew at each call: as ONNX Runtime makes them."""

    def make(rng):
        masks = []
        for call in range(trials):
            state, row = seed + layers * call, []
            for _ in range(n):
                state = 16807 * state % (2**31 - 1)
                row.append((state - 1) / (2**31 - 2) >= p)
            masks.append(row)
        return np.array(masks)

    return make


def reseeded_java(trials, n, p, seed):
    """Return masks of Java's Random.nextFloat, seeded anew at each call."""

    def make(rng):
        masks = []
        for call in range(trials):
            state, row = (seed + call) ^ 0x5DEECE66D, []
            for _ in range(n):
                state = (0x5DEECE66D * state + 11) % 2**48
                row.append((state >> 24) / 2**24 >= p)
            masks.append(row)
        return np.array(masks)

    return make


def reseeded_xorshift(trials, n, p, seed):
    """Return masks of xorshift32, seeded anew at each call."""

    def make(rng):
        masks = []
        for call in range(trials):
            x, row = seed + call, []
            for _ in range(n):
                x ^= x << 13 & 0xFFFFFFFF
                x ^= x >> 17
                x ^= x << 5 & 0xFFFFFFFF
                row.append(x / 2**32 >= p)
            masks.append(row)
        return np.array(masks)

    return make


def by_input(trials, n, p, change, of):
    """Return dropout whose rate goes by the sign, or the size, of what it is applied to; by `change` up and down."""

    def make(rng):
        inputs = rng.standard_normal((trials, n)).astype(np.float32)
        high = inputs > 0 if of == "sign" else np.abs(inputs) > 0.6745  # half of them
        kept = rng.random((trials, n)) >= p + change * np.where(high, 1, -1)
        return Recording.from_outputs(np.where(kept, inputs / np.float32(1 - p), 0), p=p, inputs=inputs)

    return make


def xor_of_neurons(trials, n, first, second, third):
    """Return masks of p = 1/2 in which one neuron is the xor of two others."""

    def make(rng):
        masks = rng.random((trials, n)) >= 0.5
        masks[:, third] = masks[:, first] ^ masks[:, second]
        return masks

    return make


def complementary(trials, n):
    """Return masks of p = 1/2 in which every second neuron does what its left neighbour does not."""

    def make(rng):
        half = rng.random((trials, n // 2)) >= 0.5
        return np.stack([half, ~half], axis=2).reshape(trials, n)

    return make


def rising(trials, n, p, change):
    """Return masks whose rate goes up along the positions."""
    return lambda rng: rng.random((trials, n)) >= p + change * np.linspace(-1, 1, n)


def with_calls(trials, n, p, calls, kept):
    """Return masks of which some calls drop nothing, or everything."""

    def make(rng):
        masks = rng.random((trials, n)) >= p
        masks[calls] = kept
        return masks

    return make


def stepped(trials, n, p, rate):
    """Return masks of another rate in the second half of the calls."""
    rates = np.where(np.arange(trials) < trials // 2, p, rate)
    return lambda rng: rng.random((trials, n)) >= rates[:, None]


def one_kept(trials, n, p):
    """Return masks of which a random neuron is kept whatever was drawn."""

    def make(rng):
        masks = rng.random((trials, n)) >= p
        masks[np.arange(trials), rng.integers(0, n, trials)] = True
        return masks

    return make


def smallest(trials, n, p):
    """Return outputs of which the smallest inputs are zeroed, in place of random ones."""

    def make(rng):
        inputs = rng.standard_normal((trials, n)).astype(np.float32)
        kept = np.abs(inputs) >= np.quantile(np.abs(inputs), p)
        return Recording.from_outputs(np.where(kept, inputs / np.float32(1 - p), 0), p=p, inputs=inputs)

    return make


def in_dtypes(trials, n, p, of_scale, of_outputs):
    """Return outputs on ones whose scale is rounded to another dtype than their own."""

    def make(rng):
        scale = of_scale(1) / of_scale(1 - p)
        return Recording.from_outputs(((rng.random((trials, n)) >= p) * scale).astype(of_outputs), p=p)

    return make


def scaled_by_keep(trials, n, p):
    """Return float64 outputs divided by 1 - p, which is held in float32."""

    def make(rng):
        return Recording.from_outputs((rng.random((trials, n)) >= p) / np.float64(np.float32(1 - p)), p=p)

    return make


def warm_up(trials, n, p, steps):
    def make(rng):
        masks = rng.random((trials, n)) >= p
        masks[:steps] = True
        return masks

    return make


def never_empty(trials, n, p):
    """Return masks redrawn until they keep something."""

    def make(rng):
        masks = rng.random((4 * trials, n)) >= p
        return masks[masks.any(axis=1)][:trials]

    return make


def zeros_after_relu(trials, n, p):
    """Return dropout of a ReLU's output, its zeros read as dropped."""
    return lambda rng: np.maximum(rng.standard_normal((trials, n)), 0) * (rng.random((trials, n)) >= p) != 0


def scaled(trials, n, p, scale, rate=None):
    """Return float32 outputs on ones, of any scale and rate."""

    def make(rng):
        kept = rng.random((trials, n)) >= (p if rate is None else rate)
        return Recording.from_outputs(np.where(kept, np.float32(scale), np.float32(0)), p=p)

    return make


def two_scales(trials, n, p):
    def make(rng):
        kept = rng.random((trials, n)) >= p
        scale = np.where(np.arange(n) < 4, 1, 1 / (1 - p)).astype(np.float32)
        return Recording.from_outputs(kept * scale, p=p)

    return make


def multiplied_infinities(trials, n, p):
    """Return outputs of a mask that is multiplied: an infinite input that is dropped becomes NaN."""

    def make(rng):
        inputs = np.ones(n, np.float32)
        inputs[3] = np.inf
        kept = (rng.random((trials, n)) >= p).astype(np.float32)
        with np.errstate(invalid="ignore"):
            return Recording.from_outputs(kept * inputs / np.float32(1 - p), p=p, inputs=inputs)

    return make


def ranks(trials, n, p, same):
    """Return masks of four data-parallel ranks, on which they are the same or not."""

    def make(rng):
        one = rng.random((trials, n)) >= p
        return {f"rank {k}": one if same else rng.random((trials, n)) >= p for k in range(4)}

    return make


def rank_made_of(trials, n, p, change):
    """Return masks of four ranks, of which one is made from the first by a function."""

    def make(rng):
        made = ranks(trials, n, p, False)(rng)
        return made | {"rank 2": change(made["rank 0"], rng)}

    return make


def shares_neurons(share):
    """Return a function from a mask to one that has some of its neurons."""

    def change(masks, rng):
        fresh = rng.permuted(masks, axis=1)
        return np.where(rng.random(masks.shape) < share, masks, fresh)

    return change


def jitter_together(trials, n, p, spread):
    """Return masks of four ranks whose rate goes up and down for all of them alike."""

    def make(rng):
        rates = p + spread * rng.standard_normal((trials, 1))
        return {f"rank {k}": rng.random((trials, n)) >= rates for k in range(4)}

    return make


def recomputed(trials, n, p, change):
    """Return the masks of a forward pass and of its recomputation, which should be the same."""

    def make(rng):
        masks = rng.random((trials, n)) >= p
        return {"forward": masks, "recomputed": change(masks.copy(), rng)}

    return make


def one_bit(masks, rng):
    masks[masks.shape[0] // 2, 3] ^= True
    return masks


def rank_of_others(trials, n):
    """Return masks of four ranks, p = 1/2, of which one keeps where the two before it agree."""

    def make(rng):
        made = ranks(trials, n, 0.5, False)(rng)
        return made | {"rank 2": made["rank 0"] == made["rank 1"]}

    return make


def folded(trials, n, p, transposed):
    """Return the masks of (layer, step) from a key that is folded as layer + step, or as it should be."""

    def make(rng):
        base = int(rng.integers(2**32))
        keys = [(layer, step) for layer in range(4) for step in range(4)]
        seeds = {key: [base, *(sorted(key) if transposed else key)] for key in keys}
        return {key: np.random.default_rng(seed).random((trials, n)) >= p for key, seed in seeds.items()}

    return make


# --- variants ---------------------------------------------------------------------------------------------------------


def cut_group(trials, n, p, size):
    """Return masks of groups of which the last neuron is drawn on its own."""

    def make(rng):
        masks = groups(trials, n, p, size)(rng)
        masks[:, size - 1 :: size] = rng.random((trials, n // size)) >= p
        return masks

    return make


def with_group(trials, n, p, size, group):
    """Return masks of groups of which one is always kept."""

    def make(rng):
        masks = groups(trials, n, p, size)(rng)
        masks[:, size * group : size * (group + 1)] = True
        return masks

    return make


def equal_groups(trials, n, p, size, first, second):
    """Return masks of groups of which two are always the same."""
    return lambda rng: np.repeat(equal_columns(trials, n // size, p, first, second)(rng), size, axis=1)


def locked_frozen(trials, n, p, steps):
    """Return masks locked over the steps of a sequence, the same in every sequence."""
    return lambda rng: np.tile(frozen(trials, n // steps, p)(rng), (1, steps))


def one_run(trials, n, dropped):
    """Return masks that drop so many neighbours from a random place on, around the end."""
    return lambda rng: (np.arange(n) - rng.integers(0, n, (trials, 1))) % n >= dropped


def squares(trials, n, side, block, gamma, seeds="inside"):
    """Return masks of DropBlock with a block, a gamma, or places of seeds of its own."""
    return lambda rng: DropBlock(side, side, block, gamma=gamma, seeds=seeds).sample(trials, rng=rng)


def cut_squares(trials, n, side, block, gamma):
    """Return masks of DropBlock with seeds in the border, too, whose squares are cut off."""

    def make(rng):
        wide = side + 2 * (block // 2)
        masks = DropBlock(wide, wide, block, gamma=gamma).sample(trials, rng=rng).reshape(trials, wide, wide)
        inner = slice(block // 2, block // 2 + side)
        return masks[:, inner, inner].reshape(trials, n)

    return make


def applied(trials, n, law):
    """Return outputs on ones of noise that is not the declared one."""
    return lambda rng: law.apply(np.ones((trials, n)), rng)


def zeroed(trials, n, p):
    return lambda rng: (rng.random((trials, n)) >= p) / (1 - p)


def alpha_unscaled(trials, n, p):
    return lambda rng: np.where(rng.random((trials, n)) >= p, 1.0, AlphaDropout(p).alpha_prime)


def alpha_groups(trials, n, p, size):
    """Return outputs of alpha dropout that drops neighbours together."""
    law = AlphaDropout(p)
    return lambda rng: np.where(groups(trials, n, p, size)(rng), law.a + law.b, law.dropped_value)


def normal_factors(trials, n, variance):
    return lambda rng: rng.normal(1, variance**0.5, (trials, n))


def uniform_factors(trials, n, variance):
    return lambda rng: 1 + (3 * variance) ** 0.5 * rng.uniform(-1, 1, (trials, n))


def centred_factors(trials, n, variance):
    return lambda rng: rng.normal(0, variance**0.5, (trials, n))
