"""The tables that generic tests run over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import faults
import numpy as np

from dropstats import (
    AlphaDropout,
    AttentionDropout,
    Channels,
    DropBlock,
    DropConnect,
    DropPath,
    FixedCount,
    GaussianDropout,
    Layer,
    Network,
    Neuron,
)

# One level for all statistical tests of sampling in the suite: a right law fails a single test once in a million.
FALSE_ALARM = 1e-6


# --- LAWS: each with a law that is wrong for its masks, close enough that only a test with teeth tells them apart ----


class LawCase(NamedTuple):
    """A law and a wrong law of as many neurons."""

    name: str
    law: object
    wrong: object


_RATES = np.linspace(0.05, 0.6, 40)

LAWS = (
    LawCase("neuron", Neuron(0.3), Neuron(0.31)),
    LawCase("layer", Layer(64, 0.5), Layer(64, 0.502)),
    LawCase("layer, dyadic p", Layer(70, 0.125), Layer(70, 0.127)),
    LawCase("layer, small p", Layer(100, 0.003), Layer(100, 0.0033)),
    LawCase("layer, large p", Layer(33, 0.97), Layer(33, 0.968)),
    LawCase("layer, a p for each", Layer(40, _RATES), Layer(40, _RATES[::-1])),
    LawCase("layer, some certain", Layer(5, [0, 1, 0.5, 0.25, 1]), Layer(5, [0, 1, 0.5, 0.255, 1])),
    LawCase(
        "network",
        Network(Layer(20, 0.2), Layer(30, 0.5), Neuron(0.1)),
        Network(Layer(20, 0.2), Layer(30, 0.5), Neuron(0.11)),
    ),
    LawCase(
        "nested network",
        Network(Network(Layer(10, 0.2), Layer(5, 0.3)), Layer(8, 0.2)),
        Network(Network(Layer(10, 0.205), Layer(5, 0.3)), Layer(8, 0.2)),
    ),
    LawCase("channels", Channels(6, 9, 0.2), Channels(9, 6, 0.2)),
    LawCase("channels, a p for each", Channels(3, 4, [0.1, 0.2, 0.5]), Channels(3, 4, [0.1, 0.5, 0.2])),
    LawCase(
        "noise shape",
        Channels.with_noise_shape((2, 3, 4), (None, 1, 4), 0.3),
        Channels.with_noise_shape((2, 3, 4), (None, 3, 1), 0.3),
    ),
    LawCase("locked", Channels.locked(5, 7, 0.25), Channels.locked(7, 5, 0.25)),
    LawCase("dropblock", DropBlock(6, 5, 3, p=0.2), DropBlock(6, 5, 3, p=0.206)),
    LawCase("dropblock, exactly p", DropBlock.exactly(7, 7, 3, 0.1), DropBlock(7, 7, 3, p=0.1)),
    LawCase("dropblock of one neuron", DropBlock(4, 4, 1, p=0.3), DropBlock(4, 4, 1, p=0.305)),
    LawCase(
        "dropblock on the whole map",
        DropBlock(5, 4, 3, gamma=0.05, seeds="map"),
        DropBlock(5, 4, 3, gamma=0.0515, seeds="map"),
    ),
    LawCase("fixed count", FixedCount(20, 7), FixedCount(20, 8)),
    LawCase("dropconnect", DropConnect(6, 5, 0.3), DropConnect(6, 5, 0.305)),
    LawCase("drop path", DropPath(12, 0.4, "huang"), DropPath(12, 0.4, "timm")),
    LawCase("drop path, uniform", DropPath(12, 0.4, "uniform"), DropPath(12, 0.4, "torchvision")),
    LawCase("attention", AttentionDropout(6, 6, 0.1, causal=True), AttentionDropout(7, 3, 0.104)),
    LawCase(
        "rounded",
        Layer.rounded(64, 0.1, rule="flash-attention-2"),
        Layer.rounded(64, 0.1, rule="transformer-engine"),
    ),
    LawCase(
        "network of variants",
        Network(Channels(4, 5, 0.3), Layer(10, 0.2), FixedCount(6, 2), DropBlock(3, 3, 2, p=0.25)),
        Network(Channels(4, 5, 0.3), Layer(10, 0.2), FixedCount(6, 2), DropBlock(3, 3, 2, p=0.28)),
    ),
)

# Laws at the ends of the arguments' ranges: everything must answer, silently.
EDGE_LAWS = (
    Neuron(0.0),
    Neuron(1.0),
    Neuron(1e-300),
    Layer(0, 0.5),
    Layer(0, []),
    Layer(7, 0.0),
    Layer(7, 1.0),
    Layer(3, [0.0, 1.0, 0.0]),
    Layer(2, [0.0, 0.5]),
    Layer(2, [0.5, 1.0]),
    Layer(50, 5e-324),
    Layer(50, 1 - 2**-53),
    Layer(2**53, 0.5),
    Layer(2**53, 1e-15),
    Layer(2**53, 0.0),
    Network(),
    Network(Layer(0, 0.2)),
    Network(Layer(3, 1.0), Layer(4, 0.0)),
    Network(Layer(2**52, 0.25), Layer(2**52, 0.25)),
    Channels(0, 3, 0.5),
    Channels(4, 1, 0.5),
    Channels(3, 2**40, 1.0),
    Channels(2**20, 2**33, 0.25),
    FixedCount(0, 0),
    FixedCount(5, 5),
    FixedCount(2**53, 3),
    DropBlock(1, 1, 1, p=0.5),
    DropBlock(4, 3, 2, gamma=0.0),
    DropBlock(4, 3, 2, gamma=1.0),
    DropBlock(4, 4, 4, gamma=1e-300),
    DropBlock(7, 7, 2, gamma=1e-20),
    DropBlock(4, 3, 2, gamma=1.0, seeds="map"),
    DropBlock(1, 1, 1, p=0.5, seeds="map"),
    DropBlock(5, 5, 4, gamma=1e-120, seeds="map"),
    DropConnect(0, 3, 0.5),
    DropConnect(2**26, 2**26, 0.1),
    DropPath(0, 0.5, "huang"),
    DropPath(1, 0.5, "timm"),
    AttentionDropout(0, 0, 0.1, causal=True),
    Layer.rounded(3, 1e-9, rule="transformer-engine"),
    Network(FixedCount(3, 1), Channels(2, 3, 0.0)),
    Network(DropBlock(7, 7, 2, gamma=1e-20), Channels(2, 3, 1e-200)),
)


# --- FAULTS: broken generators, the test that must catch each, and what it must say -------------------------------


@dataclass(frozen=True)
class Fault:
    """A broken generator at a stated size, with the test that catches it and a pattern of its diagnosis."""

    name: str
    trials: int
    n: int
    p: float
    make: Callable[[Any], Any]  # rng -> masks or Recording
    test: str
    says: str
    right_rate: bool = False  # its rate is p: the test of the rate must not fail
    law: Any = None  # what is declared, where that is not Layer(n, p)
    clean: Any = None  # rng -> what is right, where that is not masks of the law
    tests: Any = None  # names of the tests that are asked for
    expect: str = "independent"  # of several streams


def _fault(name, trials, n, p, make, test, says, *args, right_rate=False):
    return Fault(name, trials, n, p, make(trials, n, *args), test, says, right_rate)


def _variant(name, trials, law, make, test, says, *args, right_rate=False):
    rate = float(np.mean(law.rates))
    return Fault(name, trials, law.n, rate, make(trials, law.n, *args), test, says, right_rate, law)


def _noise(name, trials, n, law, make, test, says, *args, right_rate=False):
    return Fault(name, trials, n, law.p, make(trials, n, *args), test, says, right_rate, law)


FAULTS = (
    # the rate
    _fault("8-bit threshold, up", 1400, 1024, 0.1, faults.thresholds, "rate", "26/256: p rounded up.*8-bit", 8, 26),
    _fault("8-bit threshold, down", 1000, 1024, 0.1, faults.thresholds, "rate", "25/256: p rounded down.*8-bit", 8, 25),
    _fault("bfloat16 uniforms", 1000, 1024, 0.3, faults.thresholds, "rate", "39/128.*bfloat16 uniforms", 7, 39),
    _fault("float16 uniforms", 3000, 1024, 0.05, faults.thresholds, "rate", "52/1024.*float16 uniforms", 10, 52),
    _fault("keep for drop", 200, 256, 0.1, faults.at_rate, "rate", "keep probability given as p", 0.9),
    _fault("<= for <", 2000, 512, 0.5, faults.thresholds, "rate", "129/256.*<= for <", 8, 129),
    _fault("applied twice", 200, 256, 0.1, faults.at_rate, "rate", "applied twice", 0.19),
    _fault("zeros after ReLU", 200, 256, 0.1, faults.zeros_after_relu, "rate", "zeros of a ReLU", 0.1),
    _fault("left in evaluation", 200, 256, 0.1, faults.at_rate, "rate", "nothing is dropped", 0.0),
    _fault(
        "transformers: floor(rand(bfloat16) + keep)", 500, 1024, 0.01, faults.thresholds, "rate",
        r"3/256: p rounded up to a multiple of 1/256", 8, 3,
    ),
    _fault("an 8-bit threshold of 0", 100, 256, 0.002, faults.thresholds, "rate", "nothing is dropped", 8, 0),
    _fault("dropped only where two masks drop", 200, 256, 0.1, faults.at_rate, "rate", "p.2: two masks", 0.01),
    _fault("half the rate", 200, 256, 0.1, faults.at_rate, "rate", "consistent with p/2", 0.05),
    _fault("one random neuron is kept", 2000, 16, 0.3, faults.one_kept, "rate", "^drops 0.28", 0.3),
    # positions
    _fault(
        "every 64th element always kept", 400, 256, 0.1, faults.with_columns, "positions",
        "^4 positions are never dropped: 0, 64, 128, ...$", 0.1, slice(0, None, 64), True,
    ),
    _fault(
        "the rate goes up along the mask", 1000, 256, 0.1, faults.rising, "positions",
        "^positions 0 to 63 have drop rate 0.08",
        0.1, 0.02, right_rate=True,
    ),
    _fault(
        "dead tail", 1000, 1000, 0.1, faults.with_columns, "positions",
        "^positions 976 to 999 are never dropped$", 0.1, slice(976, None), True,
    ),
    _fault(
        "tail always dropped", 400, 256, 0.1, faults.with_columns, "positions",
        "^position 255 is always dropped$", 0.1, slice(255, None), False, right_rate=False,
    ),
    _fault(
        "first element always kept", 400, 256, 0.1, faults.with_columns, "positions",
        "^position 0 is never dropped$", 0.1, slice(0, 1), True, right_rate=True,
    ),
    _fault(
        "one neuron of another rate", 2500, 256, 0.1, faults.with_column_rate, "positions",
        "^position 17 has drop rate 0.1", 0.1, 17, 0.15, right_rate=True,
    ),
    # counts of masks
    _fault("fixed count", 400, 256, 0.1, faults.fixed_count, "dispersion", "exactly 26 neurons: a fixed count", 0.1),
    _fault(
        "rate jitters by mask", 400, 1024, 0.1, faults.row_jitter, "dispersion", "rate differs from call to call",
        0.1, 0.02, right_rate=True,
    ),
    _fault(
        "rate jitters by tile", 1000, 1024, 0.1, faults.tile_jitter, "tiles",
        r"^in tiles of (32|64|128) neurons the variance of the counts is 1\.\d+ times the law's: neighbours depend",
        0.1, 64, 0.012, right_rate=True,
    ),
    _fault(
        "rate jitters by warp", 1000, 1024, 0.5, faults.tile_jitter, "tiles",
        r"^in tiles of (16|32|64) neurons the variance of the counts is 1\.\d+ times the law's: neighbours depend",
        0.5, 32, 0.025, right_rate=True,
    ),
    _fault("masks never empty", 2000, 4, 0.5, faults.never_empty, "dispersion", "such masks seem to be prevented", 0.5),
    _fault("dead warm-up", 1000, 256, 0.1, faults.warm_up, "drift", "^calls 0 to 9 drop nothing: warm-up", 0.1, 10),
    _fault("drift", 1000, 512, 0.1, faults.drift, "drift", "drift", 0.1, 0.02, right_rate=True),
    _fault(
        "slow drift", 2000, 2048, 0.1, faults.drift, "drift",
        r"^the rate drifts from 0\.09[789]\d* at the first call to 0\.10[123]\d* at the last: a linear trend$",
        0.1, 0.0016, right_rate=True,
    ),
    _fault(
        "rate alternates", 1000, 1024, 0.1, faults.waves, "drift",
        r"^the rate oscillates by [23]\.?\d*% with a period of 2 calls$", 0.1, 0.03, 2, right_rate=True,
    ),
    _fault(
        "rate is periodic", 1000, 1024, 0.1, faults.waves, "drift",
        r"^the rate oscillates by [3456]\.?\d*% with a period of 7 calls$", 0.1, 0.045, 7, right_rate=True,
    ),
    _fault(
        "next mask a permutation of the last", 400, 256, 0.1, faults.permuted, "drift",
        r"^the counts of successive calls have correlation 0\.", 0.1, right_rate=True,
    ),
    _fault(
        "every tenth call drops nothing", 500, 256, 0.1, faults.with_calls, "dispersion",
        "^nothing is dropped in 50 calls, the first 0; the variance of the counts is 3.8", 0.1,
        slice(None, None, 10), True,
    ),
    _fault(
        "two dead calls", 500, 256, 0.1, faults.with_calls, "drift", "^calls 250 to 251 drop 0", 0.1, [250, 251], True,
        right_rate=True,
    ),
    _fault(
        "the rate steps up half way", 500, 256, 0.1, faults.stepped, "drift", "^the rate drifts from 0.09", 0.1, 0.115,
    ),
    _fault(
        "peft: int(p D) of D neurons", 500, 8, 0.3, faults.fixed_count, "dispersion",
        "exactly 2 neurons: a fixed count", 0.25,
    ),
    # dependence among neurons
    _fault(
        "neighbours are complements", 400, 64, 0.5, faults.complementary, "dispersion",
        "exactly 32 neurons: a fixed count", right_rate=True,
    ),
    _fault(
        "two masks in one", 400, 256, 0.3, faults.strided, "dispersion", "^neurons 128 positions apart drop together",
        0.3, 128, right_rate=True,
    ),
    _fault(
        "groups of 4", 400, 256, 0.1, faults.groups, "dispersion", "^groups of 4 neighbours drop together",
        0.1, 4, right_rate=True,
    ),
    _fault(
        "vector lanes of 8", 400, 256, 0.5, faults.groups, "pairs", "^groups of 8 neighbours drop together",
        0.5, 8, right_rate=True,
    ),
    _fault(
        "channel for element", 64, 4096, 0.2, faults.groups, "serial", "^groups of 64 neighbours drop together",
        0.2, 64, right_rate=True,
    ),
    _fault(
        "channel for element, channels last", 200, 1024, 0.2, faults.strided, "dispersion",
        "^neurons 16 positions apart drop together", 0.2, 16, right_rate=True,
    ),
    _fault(
        "half broadcast", 400, 256, 0.1, faults.half_broadcast, "pairs", "^neurons 128 positions apart drop together",
        0.1, right_rate=True,
    ),
    _fault(
        "two neurons equal", 400, 256, 0.1, faults.equal_columns, "pairs", "^neurons 3 and 190 always drop together",
        0.1, 3, 190, right_rate=True,
    ),
    _fault(
        "neighbours correlate", 1000, 256, 0.1, faults.lane_correlation, "serial", "^neurons 1 apart in the stream",
        0.1, 0.05, right_rate=True,
    ),
    # dependence over calls
    _fault(
        "sticky masks", 1000, 256, 0.1, faults.sticky, "lags", "^masks of successive calls have correlation",
        0.1, 0.05, right_rate=True,
    ),
    _fault(
        "antithetic masks", 200, 256, 0.5, lambda trials, n: faults.antithetic(trials, n), "lags",
        "^masks of successive calls have correlation -0.", right_rate=True,
    ),
    _fault("frozen seed", 200, 512, 0.1, faults.frozen, "duplicates", "^every mask is the same$", 0.1, right_rate=True),
    _fault(
        "period of 4096", 8000, 64, 0.1, faults.periodic, "duplicates", "^masks repeat every 4096 calls$",
        0.1, 4096, right_rate=True,
    ),
    _fault(
        "4096 seeds", 1000, 256, 0.1, faults.reseeded, "duplicates", r"as if drawn from about [345],\d00 seeds",
        0.1, 4096, right_rate=True,
    ),
    _fault(
        "2^31 seeds", 200_000, 40, 0.5, faults.reseeded, "duplicates", r"as if drawn from about 2\^3[0-2] seeds",
        0.5, 2**31, right_rate=True,
    ),
    _fault(
        "replayed steps", 1000, 256, 0.1, faults.replayed, "duplicates", "^calls 100 and 990 have the same mask",
        0.1, 10, right_rate=True,
    ),
    _fault(
        "microbatches share masks", 1000, 256, 0.1, faults.microbatches, "duplicates", "successive calls share a mask",
        0.1, 2, right_rate=True,
    ),
    _fault(
        "calls overlap by a neuron", 400, 256, 0.1, faults.counter_overlap, "lags",
        "^position 255 of a call is position 0 of the next one: calls overlap by 1 neuron$", 0.1, 255, right_rate=True,
    ),
    _fault(
        "calls overlap by 4 neurons", 800, 1024, 0.05, faults.counter_overlap, "lags",
        "^positions 1020 to 1023 of a call are positions 0 to 3 of the next one: calls overlap by 4 neurons$",
        0.05, 1020, right_rate=True,
    ),
    _fault(
        "calls overlap by 2 neurons, p = 1/2", 100, 4096, 0.5, faults.counter_overlap, "lags",
        "^positions 4094 to 4095 of a call are positions 0 to 1 of the next one: calls overlap", 0.5, 4094,
        right_rate=True,
    ),
    _fault(
        "a neuron carries over to another, 3 calls later", 400, 256, 0.1, faults.carried, "lags",
        "^position 200 of a call is position 17 of the one 3 calls later$", 0.1, 200, 17, 3, right_rate=True,
    ),
    # streams that overlap
    _fault(
        "counters overlap", 1000, 256, 0.1, faults.counter_overlap, "serial", "^neurons 128 apart in the stream",
        0.1, 128, right_rate=True,
    ),
    _fault(
        "one shifted overlap", 300, 4096, 0.1, faults.one_overlap, "overlaps",
        "^calls 17 and 203 share 3,072 elements, shifted by 1,024", 0.1, 17, 203, 1024, right_rate=True,
    ),
    _fault(
        "low bits of an LCG", 1000, 100, 0.25, faults.low_bits_of_lcg, "overlaps", "^masks repeat every 64 calls$",
        64, right_rate=True,
    ),
    # masks, neurons and streams that are sums of others
    _fault(
        "every third mask the xor of the two before", 60, 256, 0.5, faults.xor_of_two, "linear",
        "^20 masks of 60 are the xor of others: that of call 2 is that of calls 0 and 1$", 3, right_rate=True,
    ),
    _fault(
        "one mask the xor of the two before", 300, 512, 0.5, faults.xor_of_two, "linear",
        "^1 mask of 300 is the xor of others: that of call 299 is that of calls 297 and 298$", 300, right_rate=True,
    ),
    _fault(
        "R250", 400, 256, 0.5, faults.lagged, "linear",
        "^each neuron is the xor of those 103 and 250 before in the stream: R250$", 0.5, 103, 250, "xor",
        right_rate=True,
    ),
    _fault(
        "R250 at p = 0.1", 100, 256, 0.1, faults.lagged, "linear",
        "^neurons have triple correlation 0.* 103 and 250 before.*: R250$", 0.1, 103, 250, "xor", right_rate=True,
    ),
    _fault(
        "a shift register", 100, 256, 0.5, faults.xorshift128, "linear",
        "have rank 128 over GF.2.: a linear generator of 128 bits$", right_rate=True,
    ),
    _fault(
        "a lagged Fibonacci generator", 100, 256, 0.1, faults.lagged, "linear",
        "^neurons have triple correlation 0.* 24 and 55 before.*: Knuth's", 0.1, 24, 55, "-", right_rate=True,
    ),
    _fault(
        ".NET's System.Random", 100, 256, 0.3, faults.lagged, "linear",
        "^neurons have triple correlation 0.* 34 and 55 before.*: .NET's System.Random$", 0.3, 34, 55, "-",
        right_rate=True,
    ),
    _fault(
        "glibc's rand", 100, 256, 0.25, faults.lagged, "linear",
        "^neurons have triple correlation 0.* 3 and 31 before.*: glibc's rand$", 0.25, 3, 31, "+", right_rate=True,
    ),
    Fault(
        "the Mersenne Twister, where asked for", 256, 256, 0.5, faults.mersenne_twister(256, 256), "complexity",
        "linear complexity 19,93[78]: that of the Mersenne Twister MT19937$", right_rate=True,
        tests=("rate", "linear", "complexity"),
    ),
    Fault(
        "a rank the xor of two others", 20, 256, 0.5, faults.rank_of_others(20, 256), "linear",
        "^rank 2 is the xor of rank 0 and rank 1$", clean=faults.ranks(20, 256, 0.5, False),
    ),
    _fault(
        "a neuron the xor of two others", 400, 64, 0.5, faults.xor_of_neurons, "linear",
        "^1 neuron of 64 is the xor of others: that of position 40 is that of positions 3 and 17$", 3, 17, 40,
        right_rate=True,
    ),
    _fault(
        "R521", 100, 256, 0.5, faults.lagged, "linear",
        "^each neuron is the xor of those 168 and 521 before in the stream: R521$", 0.5, 168, 521, "xor",
        right_rate=True,
    ),
    # weak generators, seeded anew at each call
    _fault(
        "ONNX Runtime: minstd_rand0 reseeded", 100, 256, 0.1, faults.reseeded_minstd, "reseeding",
        r"^each call is reseeded with the next integer \(42, 43, ...\): minstd_rand0$", 0.1, 42, right_rate=True,
    ),
    _fault(
        "minstd_rand0 reseeded by a clock", 30, 64, 0.5, faults.reseeded_minstd, "reseeding",
        "^each call is reseeded with the next integer: minstd_rand0$", 0.5, 1_763_700_000, right_rate=True,
    ),
    _fault(
        "two layers count the seed up", 100, 64, 0.2, faults.reseeded_minstd, "reseeding",
        r"^each call is reseeded with the previous seed plus 2 \(1, 3, ...\): minstd_rand0$", 0.2, 1, 2,
        right_rate=True,
    ),
    _fault(
        "Java's Random reseeded", 40, 64, 0.25, faults.reseeded_java, "reseeding",
        r"^each call is reseeded with the next integer \(1,234, 1,235, ...\): Java's Random.nextFloat$", 0.25, 1234,
        right_rate=True,
    ),
    _fault(
        "xorshift32 reseeded", 40, 64, 0.5, faults.reseeded_xorshift, "reseeding",
        r"^each call is reseeded with the next integer \(100, 101, ...\): xorshift32$", 0.5, 100, right_rate=True,
    ),
    # the input
    Fault(
        "rate goes by the sign of the input", 200, 256, 0.3, faults.by_input(200, 256, 0.3, 0.02, "sign"), "inputs",
        r"^drops 0\.2[78]\d+ of negative inputs, 0\.3[123]\d+ of positive ones: the mask depends on the input$",
        right_rate=True, clean=faults.by_input(200, 256, 0.3, 0, "sign"),
    ),
    Fault(
        "rate goes by the size of the input", 200, 256, 0.1, faults.by_input(200, 256, 0.1, 0.015, "size"), "inputs",
        r"^drops 0\.08\d+ of inputs below 0\.6\d+ in magnitude, 0\.1[12]\d+ of larger ones: the mask depends",
        right_rate=True, clean=faults.by_input(200, 256, 0.1, 0, "size"),
    ),
    Fault(
        "the smallest are zeroed", 100, 256, 0.1, faults.smallest(100, 256, 0.1), "inputs",
        r"^drops [01]\.?\d* of inputs (below|from)", clean=faults.by_input(100, 256, 0.1, 0, "size"),
    ),
    # values
    _fault("not scaled", 100, 256, 0.1, faults.scaled, "scale", "not scaled", 0.1, 1.0),
    _fault("scaled by 1 - p", 100, 64, 0.1, faults.scaled, "scale", "multiplied by 1 - p", 0.1, 0.9),
    _fault(
        "a float16 scale in float32 outputs", 100, 64, 0.1, faults.in_dtypes, "scale", "float16", 0.1, np.float16,
        np.float32,
    ),
    _fault(
        "a float32 scale in float64 outputs", 100, 64, 0.1, faults.in_dtypes, "scale",
        r"^scale 1\.1111111640930176 is 1/\(1 - p\) rounded to float32, in outputs of float64$", 0.1, np.float32,
        np.float64,
    ),
    _fault(
        "ONNX Runtime, paddle: a float32 1 - p in float64 outputs", 100, 64, 0.1, faults.scaled_by_keep, "scale",
        r"^scale 1\.1111111405455\d+ is 1/\(1 - p\), of 1 - p rounded to float32, in outputs of float64$", 0.1,
    ),
    _fault("scaled by 1/p", 100, 256, 0.1, faults.scaled, "scale", "1/p: keep probability", 0.1, 10.0),
    _fault("scaled twice", 100, 256, 0.1, faults.scaled, "scale", "scaled twice", 0.1, 1 / 0.81),
    _fault("multiplied by 1 - p", 100, 256, 0.1, faults.scaled, "scale", "instead of divided", 0.1, 0.9),
    _fault("scaled by 1 + p", 100, 256, 0.3, faults.scaled, "scale", r"1 \+ p in place", 0.3, 1.3),
    _fault("two scales", 100, 256, 0.1, faults.two_scales, "scale", "kept neurons take 2 different values", 0.1),
    _fault(
        "scale forgets the rounding of the rate", 2000, 1024, 0.1, faults.scaled, "mean",
        r"^scale 1\.1111 with this rate loses 0\.\d+% of the mean", 0.1, 1 / 0.9, 26 / 256,
    ),
    _fault("mask multiplied", 200, 64, 0.2, faults.multiplied_infinities, "edges", "outputs are NaN", 0.2),
    # the ends
    _fault("p = 0 drops", 1000, 256, 0.0, faults.at_rate, "edges", "neurons of p = 0 are dropped", 1 / 256),
    _fault("p = 1 keeps", 1000, 256, 1.0, faults.at_rate, "edges", "neurons of p = 1 are kept", 255 / 256),
    # several streams
    _fault("same mask on every rank", 20, 256, 0.1, faults.ranks, "agreement", "identical masks", 0.1, True),
    _fault(
        "transposed fold-in", 4, 1024, 0.1, faults.folded, "transposed", "the key is symmetric in layer and step",
        0.1, True,
    ),
    Fault(
        "a rank a call behind another", 100, 256, 0.1,
        faults.rank_made_of(100, 256, 0.1, lambda masks, rng: np.roll(masks, 1, axis=0)), "duplicates",
        "^rank 2 has rank 0's masks 1 call later", clean=faults.ranks(100, 256, 0.1, False),
    ),
    Fault(
        "a rank that keeps what another drops", 50, 256, 0.5,
        faults.rank_made_of(50, 256, 0.5, lambda masks, rng: ~masks), "agreement",
        "^rank 0 keeps exactly what rank 2 drops$",
        clean=faults.ranks(50, 256, 0.5, False),
    ),
    Fault(
        "a rank that flips another's masks", 100, 256, 0.1,
        faults.rank_made_of(100, 256, 0.1, lambda masks, rng: masks[:, ::-1]), "agreement",
        "^rank 0 and rank 2 drop equally many neurons in every call: .* a permutation of the other's$",
        clean=faults.ranks(100, 256, 0.1, False),
    ),
    Fault(
        "ranks that share one neuron in twenty", 400, 256, 0.1,
        faults.rank_made_of(400, 256, 0.1, faults.shares_neurons(0.05)), "agreement",
        r"^rank 0 and rank 2 agree in 83\.\d*% of neurons: a correlation of 0\.05",
        clean=faults.ranks(400, 256, 0.1, False),
    ),
    Fault(
        "a rate that jitters on all ranks alike", 200, 1024, 0.1, faults.jitter_together(200, 1024, 0.1, 0.01),
        "agreement", r"^the counts of rank \d and rank \d have correlation 0\.5\d*: they vary together",
        clean=faults.ranks(200, 1024, 0.1, False),
    ),
    Fault(
        "a rank some neurons behind another", 50, 256, 0.1,
        faults.rank_made_of(50, 256, 0.1, lambda masks, rng: np.roll(masks.reshape(-1), 100).reshape(masks.shape)),
        "overlaps", "^rank 0 from call 0, neuron 0, and rank 2 from call 0, neuron 100, share 12,700 elements$",
        clean=faults.ranks(50, 256, 0.1, False),
    ),
    Fault(
        "recomputation draws anew", 20, 256, 0.1,
        faults.recomputed(20, 256, 0.1, lambda masks, rng: rng.random(masks.shape) >= 0.1), "identical",
        r"agree in 8\d.*% of neurons, as often as independent masks",
        clean=faults.recomputed(20, 256, 0.1, lambda m, rng: m),
        expect="identical",
    ),
    Fault(
        "recomputation differs in a bit", 20, 256, 0.1, faults.recomputed(20, 256, 0.1, faults.one_bit), "identical",
        "the same up to call 9 and differ from call 10 on", clean=faults.recomputed(20, 256, 0.1, lambda m, rng: m),
        expect="identical",
    ),
    Fault(
        "recomputation leaves out a call", 20, 256, 0.1,
        faults.recomputed(20, 256, 0.1, lambda masks, rng: masks[:-1]), "identical",
        "^forward made 20 calls, recomputed only 19: 1 call missing; the others are the same$",
        clean=faults.recomputed(20, 256, 0.1, lambda m, rng: m), expect="identical",
    ),
    # variants: groups
    _variant(
        "element for channel", 300, Channels(16, 16, 0.2), faults.at_rate, "groups",
        "^groups were declared, but neurons inside them differ.*dropped one by one", 0.2, right_rate=True,
    ),
    _variant(
        "channels last for first", 300, Channels(8, 32, 0.2), faults.strided, "groups",
        r"neurons 8 positions apart drop together instead, as under Channels.with_noise_shape\(\(32, 8\), \(1, 8\)",
        0.2, 8, right_rate=True,
    ),
    _variant(
        "last neuron of a channel on its own", 300, Channels(16, 16, 0.2), faults.cut_group, "groups",
        r"in call \d+ group \d+ drops (1|15) of its 16 neurons", 0.2, 16, right_rate=True,
    ),
    _variant(
        "mask redrawn at every step", 300, Channels.locked(10, 32, 0.25), faults.at_rate, "groups",
        "dropped one by one", 0.25, right_rate=True,
    ),
    _variant("channels dropped twice", 400, Channels(64, 9, 0.1), faults.groups, "rate", "applied twice", 0.19, 9),
    _variant(
        "one channel never dropped", 400, Channels(32, 8, 0.2), faults.with_group, "positions",
        "^group 5 is never dropped$", 0.2, 8, 5,
    ),
    _variant(
        "two channels equal", 400, Channels(32, 8, 0.2), faults.equal_groups, "pairs",
        "^groups 3 and 19 always drop together", 0.2, 8, 3, 19, right_rate=True,
    ),
    _variant(
        "channels in fours", 400, Channels(64, 4, 0.2), faults.groups, "pairs",
        "^groups of 4 neighbouring channels drop together", 0.2, 16, right_rate=True,
    ),
    _variant(
        "locked mask never redrawn", 200, Channels.locked(5, 256, 0.25), faults.locked_frozen, "duplicates",
        "^every mask is the same$", 0.25, 5, right_rate=True,
    ),
    # variants: masks of their own unit
    _variant(
        "whole inputs for weights", 400, DropConnect(16, 16, 0.1), faults.groups, "pairs",
        "^groups of 16 neighbours drop together", 0.1, 16, right_rate=True,
    ),
    _variant(
        "attention drops whole queries", 400, AttentionDropout(16, 16, 0.1), faults.groups, "pairs",
        "^groups of 16 neighbours drop together", 0.1, 16, right_rate=True,
    ),
    _variant(
        "one rate for all depths", 1000, DropPath(24, 0.5, "huang"), faults.at_rate, "positions",
        "^position 0 has drop rate 0.2", 0.5 * 25 / 48, right_rate=True,
    ),
    _variant(
        "threshold of another kernel", 1000, Layer.rounded(1024, 0.1, rule="flash-attention-2"), faults.thresholds,
        "rate", "^drops 0.097", 8, 25,
    ),
    # variants: a fixed count, DropBlock
    _variant(
        "a count that is fixed on average only", 100, FixedCount(256, 26), faults.at_rate, "dispersion",
        r"^\d+ masks do not drop 26 neurons$", 26 / 256,
    ),
    _variant(
        "a fixed count of neighbours", 500, FixedCount(256, 26), faults.one_run, "pairs",
        r"^neurons \d+ and \d+ drop together in \d+ masks, where 4\.979 are expected", 26, right_rate=True,
    ),
    _variant(
        "gamma for seeds at the border", 500, DropBlock(28, 28, 7, p=0.1), faults.squares, "rate",
        r"^drops 0\.0\d+ where 0\.0939422 was declared", 28, 7, 0.1 / 49,
    ),
    _variant(
        "timm: seeds on the whole map, gamma of the inner one", 200, DropBlock(8, 8, 3, p=0.1), faults.squares,
        "rate", "seeds on the whole map", 8, 3, DropBlock(8, 8, 3, p=0.1).gamma, "map",
    ),
    _variant(
        "squares cut at the border", 500, DropBlock(28, 28, 3, gamma=0.02), faults.cut_squares, "positions",
        r"^drop rates by position fit another law: seeds on the whole map, with the gamma for seeds inside$", 28, 3,
        0.02,
    ),
    _variant(
        "squares of another size", 500, DropBlock(28, 28, 7, p=0.1), faults.squares, "dispersion",
        r"^\d+ masks drop nothing, where 100\.\d are expected", 28, 5, 0.1 * 784 / (25 * 24**2), right_rate=True,
    ),
    _variant(
        "single neurons for squares", 500, DropBlock(28, 28, 7, p=0.1), faults.squares, "pairs",
        r"^neurons \d+ and \d+ drop together in \d+ masks, where", 28, 1, 0.094, right_rate=True,
    ),
    # noise that is no mask
    _noise(
        "alpha dropout of another p", 200, 256, AlphaDropout(0.1), faults.applied, "scale", "the values of p = 0.2$",
        AlphaDropout(0.2),
    ),
    _noise(
        "dropout for alpha dropout", 200, 256, AlphaDropout(0.1), faults.zeroed, "scale",
        "zeros, as dropout leaves them", 0.1,
    ),
    _noise(
        "alpha dropout not rescaled", 200, 256, AlphaDropout(0.1), faults.alpha_unscaled, "scale",
        "not rescaled by a and b", 0.1, right_rate=True,
    ),
    _noise(
        "alpha dropout by channel", 400, 256, AlphaDropout(0.1), faults.alpha_groups, "pairs",
        "^groups of 16 neighbours drop together", 0.1, 16, right_rate=True,
    ),
    _noise(
        "p for p/(1 - p)", 200, 256, GaussianDropout(0.3), faults.normal_factors, "scale", "it looks like p$", 0.3,
        right_rate=True,
    ),
    _noise(
        "uniform for normal factors", 200, 256, GaussianDropout(0.3), faults.uniform_factors, "shape",
        "from the normal distribution", 0.3 / 0.7, right_rate=True,
    ),
    _noise(
        "factors about 0", 200, 256, GaussianDropout(0.3), faults.centred_factors, "mean",
        "^the factor's mean is -?0.00", 0.3 / 0.7,
    ),
)  # fmt: skip
