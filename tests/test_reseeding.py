"""Generators seeded anew at each call: their numbers, the test's null, and what it names."""

import numpy as np
import pytest
from scipy import stats

from dropstats import DropBlock, Layer
from dropstats.auditing import audit
from dropstats.auditing.checks import reseeding
from dropstats.auditing.evidence import Evidence
from dropstats.auditing.finding import Case
from dropstats.auditing.generators import LATTICES, SCRAMBLED, steps
from dropstats.recording import Recording

BY_NAME = {one.name: one for one in (*LATTICES, *SCRAMBLED)}

# First numbers for the seeds 1, 42 and 100000: g++ 12's <random> and srand48, Java 17's Random; xorshift32 for the seed
# 1 is in the literature (270369, 67634689), as is Visual C's rand (41, 18467, 6334).
NUMBERS = {
    "minstd_rand0": np.array(
        [[16807, 282475249, 1622650073], [705894, 1126542223, 1579310009], [1680700000, 1672491009, 1142932680]]
    )
    / (2**31 - 1),
    "minstd_rand": np.array(
        [[48271, 182605794, 1291394886], [2027382, 1226992407, 551494037], [532132706, 525949559, 559487655]]
    )
    / (2**31 - 1),
    "minstd_rand0, two numbers a neuron": [
        [0.1315377877, 0.4586501320, 0.2189591862],
        [0.5245871018, 0.2633055408, 0.1962858256],
        [0.7788143169, 0.0131923447, 0.9186328093],
    ],
    "drand48": [
        [0.0416303448, 0.4544924447, 0.8348172182],
        [0.7445250001, 0.3427014787, 0.1110852824],
        [0.4016945950, 0.7963263470, 0.6526259904],
    ],
    "Java's Random.nextFloat": [
        [0.7308782, 0.100473166, 0.4100808],
        [0.7275637, 0.054665208, 0.6832234],
        [0.5373718, 0.5901295, 0.7536898],
    ],
    "Java's Random.nextDouble": [
        [0.7308781907032909, 0.41008081149220166, 0.20771484130971707],
        [0.7275636800328681, 0.6832234717598454, 0.30871945533265976],
        [0.5373718230445609, 0.7536898540750544, 0.35979729350984953],
    ],
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_of_the_generators_themselves(name):
    found = BY_NAME[name].uniforms(np.array([1, 42, 100_000], np.uint64), 3)
    np.testing.assert_allclose(found, NUMBERS[name], atol=1e-7)


def test_numbers_known_from_the_literature():
    one = np.array([1], np.uint64)
    assert (BY_NAME["xorshift32"].uniforms(one, 2)[0] * 2**32).tolist() == [270369, 67634689]
    assert np.floor(BY_NAME["Visual C's rand"].uniforms(one, 3)[0] * 2**15).tolist() == [41, 18467, 6334]
    # Marsaglia (2003): the first of xorshift128 from his seeds x = 123456789, ... is 3701687786
    assert BY_NAME["xorshift128"].uniforms(np.array([123456789], np.uint64), 1)[0, 0] * 2**32 == 3701687786


@pytest.mark.parametrize("generator", LATTICES, ids=lambda one: one.name)
def test_lattices_go_up_by_a_constant(generator):
    seeds = np.arange(50_000, 50_300, dtype=np.uint64)
    moved = np.diff(generator.uniforms(seeds, 8), axis=0) - steps(generator, 8)
    assert np.abs(moved - np.round(moved)).max() < 1e-12


def case_of(kept, p):
    return Case(Evidence(Recording.from_masks(kept)), Layer(kept.shape[1], p))


@pytest.mark.parametrize("p", [0.5, 0.1])
@pytest.mark.parametrize("generator", [*LATTICES, *SCRAMBLED], ids=lambda one: one.name)
def test_each_generator_is_named(generator, p):
    for first, stride in ((5, 1), (3_000_000, 1), (3_000_000, 3)):
        if generator in SCRAMBLED and first > 4000:
            continue
        seeds = first + stride * np.arange(200, dtype=np.uint64)
        case = case_of(generator.uniforms(seeds, 20) >= p, p)
        finding = reseeding.measure(case)
        assert finding.pvalue < 1e-12
        said = reseeding.explain(finding, case, True)
        assert said.startswith("each call is reseeded with ")
        assert ("the previous seed plus 3" in said) == (stride == 3)
        assert said.endswith(generator.name)
        if generator.name != "xorshift128":  # whose first numbers hardly depend on the seed
            assert ("(5, 6, ...)" in said) == (first == 5)


RATES = np.array([0.4, 0.0, 0.3, 0.5, 0.6, 0.4, 0.2, 0.5, 1.0, 0.4])
MAY = (RATES > 0) & (RATES < 1)


def log_ratios(predicted, drops):
    """Return how much likelier each prediction, of which 1 neuron in 200 is wrong, makes drops, summed over calls."""
    law = np.where(drops, np.log(RATES[MAY]), np.log1p(-RATES[MAY]))
    return (np.where(predicted == drops, np.log(0.995), np.log(0.005)) - law).sum(axis=-2)


@pytest.mark.parametrize("below", [True, False])
def test_p_values_of_small_seeds_are_those_of_their_definition(below):
    numbers = BY_NAME["Java's Random.nextDouble"].uniforms(7 + np.arange(8, dtype=np.uint64), 10)
    drops = numbers < RATES if below else numbers >= 1 - RATES
    predicted = drops[:, MAY].copy()
    drops[2, 0] ^= True
    drops[4, 4] ^= True
    finding = reseeding.measure(Case(Evidence(Recording.from_masks(~drops)), Layer(10, RATES)))
    ratio = float(log_ratios(predicted, drops[:, MAY]).sum())
    # five generators, seeds below 4096, either tail; and lattices, which take the other half of the level
    assert finding.pvalue == pytest.approx(2 * 5 * 4096 * 2 * np.exp(-ratio), rel=1e-6)
    assert finding["found"][:4] == (pytest.approx(ratio), "Java's Random.nextDouble", 7, 1)


@pytest.mark.parametrize("stride", [1, 4])
def test_p_values_of_lattices_are_those_of_their_definition(stride):
    drops = BY_NAME["drand48"].uniforms(3_000_000 + stride * np.arange(14, dtype=np.uint64), 10) < RATES
    drops[5, 3] ^= True
    starts, found = (np.arange(512) + 0.5) / 512, {}
    for generator in LATTICES:
        for step in range(1, 5):
            turns = np.multiply.outer(np.arange(14), step * steps(generator, 10)[MAY])
            logs = log_ratios((starts[:, None, None] + turns) % 1 < RATES[MAY], drops[:, MAY])
            found[generator.name, step] = float(np.log(np.exp(logs).mean(axis=0)).sum())
    finding = reseeding.measure(Case(Evidence(Recording.from_masks(~drops)), Layer(10, RATES)))
    name = max(found, key=found.get)
    assert name == ("drand48", stride)
    assert finding.pvalue == pytest.approx(2 * len(found) * np.exp(-found[name]), rel=1e-6)
    assert finding["found"][:4] == (pytest.approx(found[name]), "drand48", -1, stride)


def test_no_generator_is_named_where_others_would_do():
    seeds = 7 + np.arange(300, dtype=np.uint64)
    case = case_of(BY_NAME["xorshift64"].uniforms(seeds, 64) >= 0.01, 0.01)  # its first neuron is always dropped
    finding = reseeding.measure(case)
    assert finding.pvalue < 1e-12
    assert "reseeded with successive integers, as by a weak generator such as" in reseeding.explain(finding, case, True)


@pytest.mark.parametrize("p", [0.5, 0.1])
def test_p_values_are_valid(p):
    rng = np.random.default_rng(0)
    pvalues = np.array([reseeding.measure(case_of(rng.random((60, 12)) >= p, p)).pvalue for _ in range(300)])
    for level in (0.2, 0.05):
        assert (pvalues <= level).sum() <= stats.binom.isf(1e-6, 300, level)


def test_what_is_no_reseeding():
    assert audit(Layer(8, 0.5).sample(2, rng=0), p=0.5)["reseeding"].verdict == "inconclusive"
    block = DropBlock(6, 6, 3, p=0.1)
    assert audit(block.sample(50, rng=0), block)["reseeding"].verdict == "not applicable"
    certain = Layer(20, [0.0] * 16 + [0.5] * 4)
    assert audit(certain.sample(50, rng=0), certain)["reseeding"].verdict == "not applicable"


def test_what_follows_from_reseeding_is_listed_under_it():
    masks = BY_NAME["minstd_rand0"].uniforms(42 + np.arange(1000, dtype=np.uint64), 64) >= 0.5
    report = audit(masks, p=0.5)
    failing = {result.name: result.explained_by for result in report.failures}
    assert failing.pop("reseeding") == ""
    assert failing["positions"] == "reseeding"
    assert set(failing.values()) == {"reseeding"}
