"""Relations over GF(2): rank, nullity, bounds on relations that are chance, and generators by their lags."""

import numpy as np
import pytest
from faults import lagged
from scipy import special

from dropstats import Layer
from dropstats.auditing import TESTS, audit, gf2, nulls, triples
from dropstats.auditing.checks import complexity, linear
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case, Finding
from dropstats.recording import Recording


def case_of(kept, law):
    return Case(Evidence(Recording.from_masks(kept)), law)


def eliminated(bits):
    """Return the rank over GF(2), by the textbook."""
    rows, done = [row for row in bits.astype(int).tolist() if any(row)], 0
    while rows:
        pivot = rows.pop()
        lead = pivot.index(1)
        rows = [[a ^ b for a, b in zip(row, pivot, strict=True)] if row[lead] else row for row in rows]
        rows, done = [row for row in rows if any(row)], done + 1
    return done


@pytest.mark.parametrize("seed", range(40))
def test_rank_nullity_and_relation(seed):
    rng = np.random.default_rng(seed)
    vectors, bits = rng.integers(3, 20), rng.integers(5, 150)
    kept = rng.random((vectors, bits)) >= 0.5
    if seed % 2:
        kept[2] = kept[0] ^ kept[1] ^ (seed % 4 == 1)  # or its complement
    changed = kept ^ kept[:, :1]
    words = gf2.words(np.packbits(kept, axis=1), bits)
    assert gf2.rank(words) == eliminated(changed)
    distinct = np.unique(changed, axis=0)
    distinct = distinct[distinct.any(axis=1)]
    assert gf2.nullity(words) == len(distinct) - eliminated(distinct)
    found = gf2.relation(words)
    assert bool(found) == (vectors > eliminated(changed))
    assert not np.bitwise_xor.reduce(changed[found], axis=0).any()


@pytest.mark.parametrize("bits", [64, 128, 192])
def test_every_bit_of_every_word_counts(bits):
    single = np.random.default_rng(bits).permutation(np.eye(bits, dtype=np.uint8))
    even = single ^ np.roll(single, 1, axis=0)  # all of weight two, which span the vectors of even weight
    for vectors, expected in ((single, bits), (even, bits - 1)):
        assert gf2.rank(np.packbits(vectors, axis=1).view(">u8").astype(np.uint64)) == expected


@pytest.mark.parametrize("p", [0.5, 0.2])
@pytest.mark.parametrize(("vectors", "bits"), [(3, 3), (3, 4), (4, 3)])
def test_p_values_of_nullities_are_valid_by_enumeration(p, vectors, bits):
    kept = (np.arange(2 ** (vectors * bits))[:, None] >> np.arange(vectors * bits)) & 1
    chance = np.prod(np.where(kept, 1 - p, p), axis=1)
    log_expected = gf2.log_relations(vectors, bits, abs(1 - 2 * p))
    pvalues = np.array([
        gf2.pvalue(gf2.nullity(gf2.words(np.packbits(one.reshape(vectors, bits), axis=1), bits)), log_expected)
        for one in kept
    ])  # fmt: skip
    for value in np.unique(pvalues):
        assert chance[pvalues <= value].sum() <= value + 1e-12


def test_relations_expected_by_chance_are_exact_for_fair_bits():
    # each set of at least 3 of k vectors adds up to 0 or to 1 with probability 2 / 2^bits
    sets = sum(special.comb(10, w) for w in range(3, 11))
    assert gf2.log_relations(10, 40, 0.0) == pytest.approx(np.log(2 * sets) - 40 * np.log(2))


def test_shape_holds_what_it_promises():
    for vectors, bits, bias in ((1000, 1024, 0.0), (64, 4096, 0.8), (1000, 1024, 0.98), (10_000, 10_000, 0.4)):
        found = gf2.shape(vectors, bits, vectors * bits, bias, 1e-5)
        assert found.vectors <= vectors
        assert found.bits <= bits
        assert found.log_expected <= np.log(1e-5) - 10
        assert gf2.log_relations(found.vectors, found.bits - 1, bias) > np.log(1e-5) - 10
    assert gf2.shape(20, 20, 400, 0.0, 1e-5) is None
    assert gf2.shape(2, 10**6, 10**7, 0.0, 1e-5) is None


@pytest.mark.parametrize(("bits", "length"), [([0] * 20, 0), ([0] * 19 + [1], 20), ([1] * 20, 1), ([0, 1] * 20, 2)])
def test_linear_complexity_of_what_is_known(bits, length):
    assert gf2.linear_complexity(bits) == length


def test_triples_are_those_of_their_definition():
    rng = np.random.default_rng(1)
    kept = rng.random((40, 50)) >= 0.3
    seen = Evidence(Recording.from_masks(kept))
    found = triples.worst(seen, 0.3)
    x = (~kept).ravel() - 0.3
    near, far = found.near, found.far
    size = (x.size - far) // 8 * 8
    total = (x[far:] * x[far - near : x.size - near] * x[: x.size - far])[:size].sum()
    assert found.correlation == pytest.approx(total / size / 0.21**1.5)
    assert found.pvalue > 0.01


@pytest.mark.parametrize(("trials", "n"), [(1, 14), (3, 5), (4, 4), (2, 12), (6, 40), (16, 64)])
@pytest.mark.parametrize("p", [0.3, 0.5, 0.9])
def test_the_worst_triple_of_all_lags_is_that_of_its_definition(trials, n, p):
    kept = np.random.default_rng(n).random((trials, n)) >= p
    kept[-2:] = kept[-5:-3] ^ kept[-6:-4] if trials > 5 else kept[-2:]
    x, q, size = (~kept).ravel() - p, 1 - p, trials * n
    calls = [(a * n, b * n) for b in (2, 3, 4) for a in range(1, b)]  # two of the last four calls
    each = {}
    for near, far in {*triples.GENERATORS, *calls}:
        stop = far + (size - far) // 8 * 8  # whole bytes of the stream
        if stop > far:
            before = x[far - near : stop - near] * x[: stop - far]
            total = float(before @ x[far:stop])
            chance = nulls.product_bound(total, before, np.ones(before.size, int), (p * q) ** 2, p * q, 1.0)
            each[chance, near, far] = total / before.size / (p * q) ** 1.5
    found = triples.worst(Evidence(Recording.from_masks(kept)), p)
    chance, near, far = min(each, default=(1.0, 0, 0))
    assert found[1:] == (near, far, pytest.approx(each.get((chance, near, far), 0.0)))
    assert found.pvalue == pytest.approx(min(1.0, chance * len(each) if each else 1.0), rel=1e-9)


@pytest.mark.parametrize("lags", triples.GENERATORS)
@pytest.mark.parametrize("how", ["xor", "+", "-"])
def test_every_generator_is_known_by_its_lags(lags, how):
    kept = lagged(400, 256, 0.3, *lags, how)(np.random.default_rng(3))
    found = triples.worst(Evidence(Recording.from_masks(kept)), 0.3)
    assert (found.near, found.far) == lags
    assert found.pvalue < 1e-30


def test_neurons_of_one_rate_are_held_against_each_other():
    rng = np.random.default_rng(5)
    rates = np.tile([0.5, 0.2, 0.5], 40)
    kept = rng.random((400, 120)) >= rates
    kept[:, 0] = kept[:, 2] ^ kept[:, 3]
    finding = linear.measure(case_of(kept, Layer(120, rates)))
    assert finding.pvalue < 1e-6
    said = linear.explain(finding, case_of(kept, Layer(120, rates)), True)
    assert said.startswith("1 neuron of 80 is the xor of others")
    assert said.endswith("(80 neurons of rate 0.5)")


def test_equal_and_complementary_masks_are_no_sums():
    rng = np.random.default_rng(6)
    kept = rng.random((60, 400)) >= 0.5
    kept[7], kept[8], kept[9] = kept[3], ~kept[4], True
    assert linear.measure(case_of(kept, Layer(400, 0.5))).pvalue == 1


@pytest.mark.parametrize("size", [1, 2, 3, 6, 11])
def test_law_of_the_linear_complexity_by_enumeration(size):
    lengths = np.array([gf2.linear_complexity([value >> k & 1 for k in range(size)]) for value in range(2**size)])
    for length in range(size + 1):
        expected = ((lengths <= length).mean(), (lengths >= length).mean())
        assert complexity.tails(length, size) == pytest.approx(expected)


def test_complexity_runs_only_where_it_is_asked_for():
    kept = Layer(64, 0.5).sample(100, rng=0)
    assert "complexity" not in TESTS
    assert "complexity" not in [result.name for result in audit(kept, p=0.5)]
    assert audit(kept, p=0.5, tests="complexity")["complexity"].verdict == "pass"
    assert audit(kept[:, :2], p=0.5, tests="complexity")["complexity"].pvalue is not None
    assert audit(kept[:3, :3], p=0.5, tests="complexity")["complexity"].verdict == "inconclusive"
    assert audit(kept, p=0.4, tests="complexity")["complexity"].verdict == "not applicable"
    assert audit(kept, Layer(64, [0.5] * 60 + [0.4] * 4), tests="complexity")["complexity"].verdict == "pass"


def test_complexity_is_that_of_the_first_neurons_of_the_stream():
    kept = np.ones((10, 10), bool)
    kept[0, 0] = False
    case = case_of(kept, Layer(10, 0.5))
    finding = complexity.measure(case)
    assert (finding.observed, finding.pvalue) == (1, pytest.approx(6 / 2**100))  # as 000..., 111... and 100...
    # Rueppel (1986): the mean is n / 2 + 2 / 9 at even n, but for less than n / 2^n
    assert finding.expected == pytest.approx(50 + 2 / 9, abs=0.25)
    kept[0, 0], kept[-1, -1] = True, False
    assert complexity.measure(case_of(kept, Layer(10, 0.5))).observed == 100


def test_complexity_is_that_of_neurons_known_in_every_mask():
    rng = np.random.default_rng(7)
    inputs = np.where(np.arange(40) % 4 == 1, 0.0, 1.0)
    outputs = inputs * (rng.random((50, 40)) >= 0.5) * 2
    result = audit(Recording.from_outputs(outputs, p=0.5, inputs=inputs), tests="complexity")["complexity"]
    expected = gf2.linear_complexity((outputs[:, inputs > 0] == 0).reshape(-1).tolist())
    assert (result.verdict, result.observed) == ("pass", expected)
    assert result.message.startswith("the first 1,500 neurons of the stream have linear complexity ")


@pytest.mark.parametrize(
    ("bits", "name"),
    [
        (19937, "the Mersenne Twister MT19937"), (1024, "WELL1024"), (512, "WELL512"), (250, "R250"),
        (128, "xorshift128"), (113, "LFSR113"), (88, "taus88"),
    ],
)  # fmt: skip
def test_a_generator_is_known_by_the_bits_of_its_state(bits, name):
    case = case_of(np.ones((10, 10), bool), Layer(10, 0.5))
    for length in (bits, bits + 1):  # of the complements
        finding = Finding(0.0, float(length), numbers={"size": 65_536})
        assert complexity.explain(finding, case, True).endswith(f"complexity {length:,}: that of {name}")
    other = Finding(0.0, float(bits + 2), numbers={"size": 65_536})
    assert complexity.explain(other, case, True).endswith(": a linear generator")
