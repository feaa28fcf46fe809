"""Neuron, Layer, Network: values, words, sampling, bad input."""

import copy
import itertools
import json
import math
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import EDGE_LAWS, FALSE_ALARM, LAWS
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import dropstats as ds
from dropstats import Layer, Network, Neuron, laws
from dropstats.laws.foreign import is_law, law_like

NUMBERS = json.loads((Path(__file__).parent / "reference" / "article_numbers.json").read_text())["galeone_n1024_p0.5"]
ALL_LAWS = [case.law for case in LAWS] + list(EDGE_LAWS)


# --- probabilities in words ------------------------------------------------------------------------------------------


def test_the_opening_example():
    layer = Layer(1024, 0.5)
    assert layer.prob(dropped=512) == pytest.approx(float(NUMBERS["P(Y=512)"]), rel=1e-14)
    for reach in (16, 32, 48):
        assert layer.prob(dropped=(512 - reach, 512 + reach)) == pytest.approx(
            float(NUMBERS[f"P(|Y-512|<={reach})"]), rel=1e-13
        )
    assert layer.prob(dropped=(None, 480)) == pytest.approx(float(NUMBERS["P(Y<=480)"]), rel=1e-13)
    assert layer.prob(dropped=(600, None)) == pytest.approx(float(NUMBERS["P(Y>=600)"]), rel=1e-13)
    assert list(layer.dropped.interval(0.95)) == NUMBERS["central95"]


def test_prob_of_kept_mirrors_dropped():
    layer = Layer(30, 0.2)
    assert layer.prob(kept=30) == layer.prob(dropped=0)
    assert layer.prob(kept=(25, None)) == layer.prob(dropped=(None, 5))
    assert layer.prob(kept=(10, 20), log=True) == pytest.approx(layer.prob(dropped=(10, 20), log=True), rel=1e-14)


@pytest.mark.parametrize("law", [Layer(300, 0.2), Layer(300, np.linspace(0.01, 0.4, 300))], ids=["binomial", "general"])
@pytest.mark.parametrize("low", [None, -5, 0, 1, 30, 59, 61, 200, 299, 300, 301])
@pytest.mark.parametrize("high", [None, -1, 0, 40, 60, 80, 299, 300, 400])
def test_prob_of_intervals_sums_the_pmf(law, low, high):
    if low is not None and high is not None and low > high:
        return
    k = np.arange(0 if low is None else max(low, 0), (300 if high is None else min(high, 300)) + 1)
    # a sum of positive terms is right to the last digits but for its own rounding
    truth = math.fsum(law.dropped.pmf(k))
    assert law.prob(dropped=(low, high)) == pytest.approx(truth, rel=1e-12)
    log = law.prob(dropped=(low, high), log=True)
    assert math.exp(log) == pytest.approx(truth, rel=1e-11)
    assert log <= 0


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.45), (0.55, 0.7), (0.499, 0.501), (0.5, 0.7)])
def test_prob_of_wide_intervals(low, high):
    """Intervals of more counts than are summed, in either tail and about the mean, against their complements."""
    n = 10**9
    low, high = int(low * n), int(high * n)
    layer = Layer(n, 0.5)
    inside = layer.prob(dropped=(low, high))
    log = layer.prob(dropped=(low, high), log=True)
    assert log == pytest.approx(math.log(inside) if inside > 0 else log, rel=1e-9, abs=1e-12)
    parts = [layer.prob(dropped=(None, low - 1), log=True), layer.prob(dropped=(high + 1, None), log=True), log]
    assert np.logaddexp.reduce(parts) == pytest.approx(0, abs=1e-12)
    assert math.isfinite(log)


def test_prob_where_doubles_end():
    layer = Layer(100_000, 0.5)
    assert layer.prob(dropped=0) == 0.0
    assert layer.prob(dropped=0, log=True) == pytest.approx(-100_000 * math.log(2), rel=1e-15)
    assert layer.prob(dropped=-3) == 0.0
    assert layer.prob(dropped=-3, log=True) == -math.inf


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "prob takes one of dropped=, kept= and fraction="),
        ({"dropped": 1, "kept": 1}, TypeError, "prob takes one of dropped=, kept= and fraction="),
        ({"dropped": 1.5}, ValueError, "dropped must be an integer; got 1.5"),
        ({"dropped": "1"}, TypeError, r"an integer or a pair \(low, high\), both ends included; got '1' of type str"),
        ({"dropped": range(3)}, TypeError, r"or a pair \(low, high\), both ends included; got range\(0, 3\) of type"),
        ({"dropped": True}, TypeError, "dropped must be an integer; got True of type bool"),
        ({"dropped": math.nan}, ValueError, "dropped must be an integer; got nan"),
        ({"dropped": math.inf}, ValueError, "dropped must be an integer; got inf"),
        ({"kept": (5, 2)}, ValueError, re.escape("kept must be an interval (low, high) with low <= high; got (5, 2)")),
        ({"kept": (1, 2, 3)}, ValueError, re.escape("kept must be an integer or a pair (low, high); got (1, 2, 3)")),
        ({"dropped": (1, 2.5)}, ValueError, re.escape("dropped[1] must be an integer; got 2.5")),
        ({"dropped": 10**30}, ValueError, "dropped must be at most"),
    ],
)
def test_prob_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        Layer(10, 0.5).prob(**arguments)


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ALL_LAWS, ids=repr)
def test_laws_are_values(law):
    names = {name: getattr(ds, name) for name in ds.__all__ if name != "plots"}
    for again in (eval(repr(law), names), pickle.loads(pickle.dumps(law)), copy.deepcopy(law), copy.copy(law)):
        assert again == law
        assert hash(again) == hash(law)
        assert again.n == law.n
        if law.n:
            assert again.prob(kept=law.n, log=True) == law.prob(kept=law.n, log=True)
    assert law != Layer(3, [0.1, 0.2, 0.4])
    assert law != "law"
    with pytest.raises((AttributeError, TypeError)):
        law.p = 0.1
    with pytest.raises((AttributeError, TypeError)):
        law.n = 3


def test_pickle_after_use_still_answers():
    network = Network(Layer(20, 0.1), Layer(20, 0.4))
    before = network.dropped.pmf(3), network.kept.sf(30), network.rates.sum()
    again = pickle.loads(pickle.dumps(network))
    assert (again.dropped.pmf(3), again.kept.sf(30), again.rates.sum()) == before


def test_equal_rates_are_one_rate():
    assert Layer(4, [0.3] * 4) == Layer(4, 0.3)
    assert hash(Layer(4, [0.3] * 4)) == hash(Layer(4, 0.3))
    assert repr(Layer(4, np.full(4, 0.3, dtype=np.float64))) == "Layer(4, 0.3)"
    assert Layer(2, [0.0, -0.0]) == Layer(2, 0)
    assert Layer(2, [0.1, 0.2]) != Layer(2, [0.2, 0.1])
    assert Network(Layer(2, 0.1)) != Layer(2, 0.1)


def test_repr_is_abbreviated_beyond_a_thousand_rates():
    thousand = Layer(1000, np.linspace(0, 1, 1000))
    assert eval(repr(thousand)) == thousand
    assert repr(Neuron(0.2)) == "Neuron(0.2)"
    assert repr(Layer(1001, np.linspace(0, 1, 1001))) == "Layer(1001, [0.0, 0.001, 0.002, ..., 1.0])"


def test_the_caller_keeps_his_array():
    rates = np.array([0.1, 0.2])
    layer = Layer(2, rates)
    rates[0] = 0.9
    assert layer.p.tolist() == [0.1, 0.2]


def test_rates_are_a_read_only_view_that_costs_nothing():
    rates = Layer(2**53, 0.25).rates
    assert rates.shape == (2**53,)
    assert rates.strides == (0,)
    assert rates[2**52] == 0.25
    assert Network(Layer(2**52, 0.25), Layer(2**52, 0.25)).rates.strides == (0,)
    network = Network(Layer(2, 0.25), Network(Neuron(0.5), Layer(2, [0.1, 0.2])), Layer(0, 0.3))
    assert network.rates.tolist() == [0.25, 0.25, 0.5, 0.1, 0.2]
    for law in (network, Layer(2, 0.1), Layer(2, [0.1, 0.2]), Neuron(0.5)):
        with pytest.raises(ValueError, match="read-only"):
            law.rates[0] = 0.0


def test_keeping():
    assert Layer.keeping(10, keep=0.75) == Layer(10, 0.25)
    assert Layer.keeping(2, keep=[0.5, 1.0]) == Layer(2, [0.5, 0.0])
    assert Layer.keeping(2, keep=0) == Layer(2, 1)
    # exact: the law keeps with probability 0.9 to the last bit
    assert Layer.keeping(100, 0.9).kept.mean() == 100 * 0.9
    with pytest.raises(ValueError, match="keep must be in"):
        Layer.keeping(2, keep=1.1)
    with pytest.raises(ValueError, match="keep must be 0 or at least"):
        Layer.keeping(2, keep=1e-17)


# --- what the audit asks ---------------------------------------------------------------------------------------------


def test_every_law_of_the_table_has_cases_and_a_wrong_law():
    masks = {name for name in laws.__all__ if not getattr(ds, name).is_noise}
    assert {type(case.law).__name__ for case in LAWS} >= masks
    assert {type(law).__name__ for law in EDGE_LAWS} >= masks
    assert set(laws.__all__) <= set(ds.__all__)
    assert all(case.law != case.wrong and case.law.n == case.wrong.n for case in LAWS)
    files = {path.stem.replace("_", "") for path in Path(laws.__file__).parent.glob("*.py")}
    assert {name.lower().removesuffix("dropout") for name in laws.__all__} <= files


SMALL = (
    Neuron(0.3),
    Layer(6, 0.2),
    Layer(5, [0, 1, 0.5, 0.25, 0.1]),
    ds.Channels(3, 2, [0.1, 0.2, 0.5]),
    ds.Channels.with_noise_shape((2, 3, 2), (None, 1, 2), 0.3),
    ds.Channels(2, 3, 1.0),
    ds.FixedCount(6, 2),
    ds.FixedCount(3, 3),
    ds.DropBlock(3, 4, 2, p=0.2),
    ds.DropBlock(4, 3, 3, gamma=0.9),
    ds.DropBlock(3, 3, 1, gamma=0.3),
    ds.DropBlock(4, 3, 3, gamma=0.1, seeds="map"),
    ds.DropBlock(3, 4, 2, p=0.3, seeds="map"),
    Layer.rounded(4, 0.1, rule="bfloat16"),
    Network(ds.Channels(2, 2, 0.3), Network(Layer(2, 0.2), ds.FixedCount(3, 1)), ds.DropBlock(2, 2, 2, gamma=0.3)),
)


def all_masks(law):
    """Every mask, and its probability: of a DropBlock by every choice of seeds."""
    masks = np.array(list(itertools.product([False, True], repeat=law.n)))
    if law.parts:
        probability, start = np.ones(len(masks)), 0
        for part in law.parts:
            table = dict(zip(*[[tuple(row) for row in x] if x.ndim == 2 else x for x in all_masks(part)], strict=True))
            probability *= [table[tuple(mask[start : start + part.n])] for mask in masks]
            start += part.n
        return masks, probability
    if isinstance(law, ds.DropBlock):
        chance = dict.fromkeys(map(tuple, masks), 0.0)
        high, wide = law.height - law.block + 1, law.width - law.block + 1
        before = 0
        if law.seeds == "map":
            # a square reaches as far before its seed as behind it, an even one a cell further behind
            high, wide, before = law.height, law.width, (law.block - 1) // 2
        for seeds in itertools.product([False, True], repeat=high * wide):
            kept = np.ones((law.height, law.width), bool)
            for row, column in zip(*np.nonzero(np.reshape(seeds, (high, wide))), strict=True):
                top, left = row - before, column - before
                kept[max(top, 0) : top + law.block, max(left, 0) : left + law.block] = False
            chance[tuple(kept.ravel())] += law.gamma ** sum(seeds) * (1 - law.gamma) ** (len(seeds) - sum(seeds))
        return masks, np.array(list(chance.values()))
    if isinstance(law, ds.FixedCount):
        return masks, ((~masks).sum(axis=1) == law.k) / math.comb(law.n, law.k)
    if isinstance(law, ds.Channels):
        groups = law.group(np.arange(law.n))
        p = law.groups.rates
        agree = [all(len(set(mask[groups == g])) == 1 for g in range(law.groups.n)) for mask in masks]
        first = masks[:, [int(np.argmax(groups == g)) for g in range(law.groups.n)]]
        return masks, np.where(agree, np.where(first, 1 - p, p).prod(axis=1), 0.0)
    return masks, np.where(masks, 1 - law.rates, law.rates).prod(axis=1)


@pytest.mark.parametrize("law", SMALL, ids=repr)
def test_the_probability_of_masks_and_of_equal_masks_by_enumeration(law):
    masks, probability = all_masks(law)
    assert probability.sum() == pytest.approx(1, rel=1e-13)
    got, equal = np.exp(law.log_prob_mask(masks)), math.exp(law.log_prob_equal)
    if law.prob_mask_exact:
        np.testing.assert_allclose(got, probability, rtol=1e-13, atol=0)
    else:
        assert np.all(got >= probability * (1 - 1e-13))
        assert np.all((got > 0) == (probability > 0))
        # a bound worth its name: most of the probability is met exactly
        assert probability[got <= probability * (1 + 1e-12)].sum() > 0.5
    truth = (probability**2).sum()
    if law.prob_equal_exact:
        assert equal == pytest.approx(truth, rel=1e-13)
    else:
        assert truth * (1 - 1e-13) <= equal < 1
    # neurons apart are independent of one another, groups agree
    together = (np.where(masks[:, :, None] | masks[:, None, :], 0, 1) * probability[:, None, None]).sum(axis=0)
    apart = np.arange(law.n) if law.apart is None else law.apart
    assert (law.apart is None) == law.independent
    product = np.multiply.outer(law.rates, law.rates)
    off = ~np.eye(len(apart), dtype=bool)
    np.testing.assert_allclose(together[np.ix_(apart, apart)][off], product[np.ix_(apart, apart)][off], rtol=1e-12)
    if law.group_of is not None:
        possible = masks[probability > 0]
        assert set(law.group_of) == set(range(law.reduced.n))
        for group in range(law.reduced.n):
            assert (
                possible[:, law.group_of == group].min(axis=1) == possible[:, law.group_of == group].max(axis=1)
            ).all()
        np.testing.assert_allclose(law.reduced.rates[law.group_of], law.rates)
    counts = (~masks).sum(axis=1)
    mean = counts @ probability
    assert law.variance == pytest.approx((counts - mean) ** 2 @ probability, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("law", ALL_LAWS, ids=repr)
def test_every_law_answers_the_audit(law):
    assert law.rate is None or law.rate == law.rates[0]
    assert law.log_prob_equal <= 0
    assert law.has_counts
    assert law.variance == pytest.approx(float(law.dropped.var()), rel=1e-11, abs=1e-300)
    assert law.is_noise is False
    if law.n < 1000:
        assert (law.rate is None) == (len(set(law.rates.tolist())) != 1)
        masks = law.sample(5, rng=1)
        logs = law.log_prob_mask(masks)
        assert np.all((logs <= 0) & np.isfinite(logs))
        reduced = law.reduced
        assert (reduced is law) == (law.group_of is None)
        assert reduced.group_of is None
        if law.group_of is not None:
            _, first = np.unique(law.group_of, return_index=True)
            np.testing.assert_allclose(reduced.log_prob_mask(masks[:, first]), logs)
        else:
            assert law.reduce("recording") == ("recording", law)


def test_answers_cost_nothing_where_rates_are_equal():
    huge = Network(Layer(2**52, 0.25), Layer(2**52, 0.25))
    assert huge.rate == 0.25
    assert huge.log_prob_equal == pytest.approx(2**53 * math.log(0.625), rel=1e-15)
    assert huge.apart is huge.group_of is None
    assert Layer(10, 1e-300).log_prob_equal == pytest.approx(-2e-299, rel=1e-14)
    assert Network(Layer(3, 0.25), ds.Channels(2, 2, 0.25)).rate == 0.25
    assert Network(Layer(3, 0.25), Layer(3, 0.5)).rate is None
    large = Network(ds.DropBlock(28, 28, 7, p=0.1), Layer(3, 0.5))
    assert not large.has_counts
    assert large.variance == large.parts[0].variance + 0.75
    # 16 places 7 apart along both axes, of which the last of a map of 28 are at its border
    assert large.parts[0].apart.size == 16
    with pytest.raises(ValueError, match=r"masks must be booleans of shape \(k, 3\); got bool of shape \(2, 4\)"):
        Layer(3, 0.5).log_prob_mask(np.ones((2, 4), bool))


class Strange:
    """A law of somebody else's: the least there is."""

    n, rates = 4, np.full(4, 0.5)
    dropped = Layer(4, 0.5).dropped

    def sample(self, size=1, rng=None):
        return np.ones((size, 4), bool)


class StrangeButIndependent(Strange):
    independent = True


def test_laws_of_others_are_given_the_words_they_lack():
    law = law_like(Strange())
    assert (law.n, law.rate, law.parts, law.independent) == (4, 0.5, (), False)
    assert law.variance == 1
    assert law.prob(kept=4) == 1 / 16
    assert law.apart.tolist() == [0]
    # that of one neuron: more is not known
    assert law.log_prob_equal == pytest.approx(math.log(0.5))
    assert law.log_prob_mask([[1, 0, 0, 0]]) == pytest.approx(math.log(0.5))
    assert (law.prob_equal_exact, law.reduced, law.group_of) == (False, law, None)
    for word in (law.entropy_bits, lambda: law.log2_subnetworks, lambda: law.covariance(0, 1)):
        with pytest.raises(NotImplementedError, match="the law does not define it"):
            word()
    independent = law_like(StrangeButIndependent())
    assert independent.log_prob_equal == pytest.approx(4 * math.log(0.5))
    assert Network(Layer(2, 0.5), StrangeButIndependent()).independent
    assert law_like(Layer(3, 0.5)) == Layer(3, 0.5)
    for wrong, shown in (("x", "'x' of type str"), (Layer, "<class 'dropstats.laws.layer.Layer'> of type type")):
        assert not is_law(wrong)
        message = f"law must be a law, such as Layer(n, p) or Channels(channels, size, p); got {shown}"
        with pytest.raises(TypeError, match=re.escape(message)):
            law_like(wrong)


# --- networks --------------------------------------------------------------------------------------------------------

NETWORKS = json.loads((Path(__file__).parent / "reference" / "dynamics.json").read_text())["network"]


@pytest.mark.parametrize("case", NETWORKS, ids=lambda case: str(case["layers"]))
def test_network_words_match_reference(case):
    network = Network(*(Layer(n, float(p)) for n, p in case["layers"]))
    assert network.log2_subnetworks == case["log2_subnetworks"]
    assert network.entropy_bits() == pytest.approx(float(case["entropy_bits"]), rel=1e-13)
    # subnormal probabilities have fewer digits
    assert network.prob_any_dead() == pytest.approx(float(case["P_some_layer_dead"]), rel=1e-13)


def test_any_dead_of_parts():
    assert Network(Layer(3, 1.0), Layer(4, 0.1)).prob_any_dead() == 1
    assert Network(Layer(0, 1.0), Layer(4, 0.0)).prob_any_dead() == 0
    nested = Network(Network(Layer(2, 0.5), Neuron(0.1)), Layer(3, [0.1, 0.2, 0.3]))
    assert nested.prob_any_dead() == pytest.approx(1 - 0.75 * 0.9 * (1 - 0.006), rel=1e-14)
    assert Network().prob_any_dead() == 0
    assert math.copysign(1, Network().prob_any_dead()) == 1


def test_certain_neurons_make_no_subnetworks():
    assert Layer(4, [0, 1, 0.5, 0.1]).log2_subnetworks == 2
    assert Layer(4, [0, 1, 0.5, 0.5]).entropy_bits() == 2
    assert Neuron(0.5).entropy_bits() == 1


def test_network_of_nested_networks_has_the_flat_law():
    flat = Network(Layer(10, 0.2), Layer(5, 0.3), Layer(8, 0.2))
    nested = Network(Network(Layer(10, 0.2), Layer(5, 0.3)), Layer(8, 0.2))
    k = np.arange(24)
    np.testing.assert_array_equal(flat.dropped.pmf(k), nested.dropped.pmf(k))
    assert flat.dropped.parts == nested.dropped.parts == ((0.2, 18), (0.3, 5))


def test_two_groups_vary_less_than_one_binomial_of_their_mean():
    """Hoeffding (1956): n pbar qbar minus the spread of the rates."""
    law = Network(Layer(512, 0.1), Layer(512, 0.5))
    assert law.dropped.mean() == pytest.approx(1536 / 5)
    assert law.dropped.var() == pytest.approx(4352 / 25)
    assert Layer(1024, 0.3).dropped.var() == pytest.approx(5376 / 25)


# --- sampling --------------------------------------------------------------------------------------------------------


def fits(law, masks):
    """Whether masks follow the law: dropped counts and every neuron's rate, each at half the false-alarm rate."""
    trials = masks.shape[0]
    dropped = np.bincount((~masks).sum(axis=1), minlength=law.n + 1)
    expected = trials * law.dropped.pmf(np.arange(law.n + 1))
    cells = expected >= 10  # the rule of thumb that keeps the chi-square law close
    observed, expected = (
        np.append(dropped[cells], dropped[~cells].sum()),
        np.append(expected[cells], expected[~cells].sum()),
    )
    possible = expected > 0
    shape = (
        stats.chisquare(observed[possible], expected[possible], sum_check=False).pvalue if possible.sum() > 1 else 1.0
    )
    drops = (~masks).sum(axis=0)
    columns = [
        2 * min(stats.binom.cdf(d, trials, p), stats.binom.sf(d - 1, trials, p))
        for d, p in zip(drops, law.rates, strict=True)
    ]
    impossible = dropped[law.dropped.pmf(np.arange(law.n + 1)) == 0].any()
    return shape > FALSE_ALARM / 2 and min(columns) > FALSE_ALARM / 2 / law.n and not impossible


@pytest.mark.parametrize("case", LAWS, ids=lambda case: case.name)
def test_samples_follow_the_law_and_not_the_wrong_one(case):
    # enough for the closest of the wrong laws, Layer(64, 0.502), whose rate is off by 0.002
    trials = 400_000
    masks = case.law.sample(trials, rng=11)
    assert masks.shape == (trials, case.law.n)
    assert masks.dtype == bool
    assert fits(case.law, masks)
    assert not fits(case.wrong, masks)


def test_the_same_rng_gives_the_same_masks():
    law = Network(Layer(20, 0.2), Layer(30, 0.5))
    one = law.sample(7, rng=3)
    np.testing.assert_array_equal(one, law.sample(7, rng=3))
    np.testing.assert_array_equal(one, law.sample(7, rng=np.random.SeedSequence(3)))
    assert not np.array_equal(one, law.sample(7, rng=4))
    generator = np.random.default_rng(3)
    first, second = law.sample(7, rng=generator), law.sample(7, rng=generator)
    assert not np.array_equal(first, second)
    assert not np.array_equal(law.sample(7), law.sample(7))


def test_certain_neurons_are_certain():
    masks = Layer(4, [0, 1, 0, 1]).sample(1000, rng=0)
    assert masks.all(axis=0).tolist() == [True, False, True, False]
    assert not masks[:, [1, 3]].any()
    assert Layer(0, 0.5).sample(3).shape == (3, 0)
    assert Layer(3, 0.5).sample(0).shape == (0, 3)
    assert Layer(3, 0.5).sample().shape == (1, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 1.5}, ValueError, "size must be an integer; got 1.5"),
        ({"size": -1}, ValueError, "size must be at least 0; got -1"),
        ({"size": 2**62}, MemoryError, "would need"),
        ({"rng": "0"}, TypeError, "rng must be None, an int, a SeedSequence or a Generator; got '0' of type str"),
        ({"rng": -1}, ValueError, "rng must not be negative; got -1"),
        ({"rng": True}, TypeError, "rng must be None, an int"),
    ],
)
def test_sample_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        Layer(10, 0.5).sample(**arguments)


# --- bad laws --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "error", "message"),
    [
        (1.2, ValueError, r"p must be in \[0, 1\]; got 1.2"),
        (-1e-300, ValueError, r"p must be in \[0, 1\]; got -1e-300"),
        (math.nan, ValueError, r"p must be in \[0, 1\]; got nan"),
        (math.inf, ValueError, r"p must be in \[0, 1\]; got inf"),
        ("0.5", TypeError, "p must be real numbers; got '0.5'"),
        (0.5 + 0j, TypeError, r"p must be real numbers; got \(0.5\+0j\) of dtype complex128"),
        (True, TypeError, "p must be real numbers; got True of dtype bool"),
        (None, TypeError, "p must be real numbers; got None"),
        ([[0.5]], ValueError, r"p must be"),
    ],
)
def test_bad_p(p, error, message):
    for law in (lambda: Neuron(p), lambda: Layer(3, p)):
        with pytest.raises(error, match=message):
            law()


@pytest.mark.parametrize(
    ("p", "error", "message"),
    [
        ([0.1, 1.2, 0.3], ValueError, r"p must be in \[0, 1\]; got 1.2 at index 1"),
        ([0.1, 0.2, math.nan], ValueError, r"p must be in \[0, 1\]; got nan at index 2"),
        ([0.1, 0.2], ValueError, r"p must be a number or an array of shape \(3,\); got shape \(2,\)"),
        ([[0.1], [0.2], [0.3]], ValueError, r"p must be a number or an array of shape \(3,\); got shape \(3, 1\)"),
        ([0.1, [0.2], 0.3], TypeError, "p must be real numbers; got"),
        (["a", "b", "c"], TypeError, "p must be real numbers; got"),
    ],
)
def test_bad_rates(p, error, message):
    with pytest.raises(error, match=message):
        Layer(3, p)


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (-1, ValueError, "n must be at least 0; got -1"),
        (1.5, ValueError, "n must be an integer; got 1.5"),
        (math.nan, ValueError, "n must be an integer; got nan"),
        (2**53 + 1, ValueError, f"n must be at most {2**53}; got {2**53 + 1}"),
        (10**400, ValueError, f"n must be at most {2**53}; got 1000"),
        (1e30, ValueError, f"n must be at most {2**53}; got 1e\\+30"),
        ("10", TypeError, "n must be an integer; got '10' of type str"),
        (True, TypeError, "n must be an integer; got True of type bool"),
        (None, TypeError, "n must be an integer; got None"),
        (3 + 0j, TypeError, "n must be an integer"),
    ],
)
def test_bad_n(n, error, message):
    with pytest.raises(error, match=message):
        Layer(n, 0.5)


def test_bad_networks():
    with pytest.raises(TypeError, match=r"law 0 of a network must be a law, such as .*; got <class .* of type type"):
        Network(Layer)
    with pytest.raises(TypeError, match=r"law 1 of a network must be a law, such as .*; got 0.5 of type float"):
        Network(Layer(2, 0.5), 0.5)
    with pytest.raises(ValueError, match="the network's n must be at most"):
        Network(Layer(2**53, 0.5), Layer(1, 0.5))
    with pytest.raises(MemoryError, match="the rates of"):
        _ = Network(Layer(2**52, 0.5), Layer(2**52, 0.4)).rates


@given(
    n=st.one_of(st.integers(), st.floats(), st.text(), st.none()),
    p=st.one_of(st.floats(), st.text(), st.complex_numbers(), st.lists(st.floats(), max_size=3)),
)
def test_any_arguments_make_a_law_or_a_clear_error(n, p):
    try:
        law = Layer(n, p)
    except (TypeError, ValueError) as error:
        message = str(error)
    else:
        message = "n must be right"
        assert law.n == n
        assert 0 <= law.prob(dropped=0) <= 1
    assert re.match(r"(n|p) must be ", message)


# --- the package -----------------------------------------------------------------------------------------------------


def test_import_is_light():
    code = "import sys, dropstats; print([m for m in ('scipy.stats', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("law", [Layer(10, 0.5), ds.Channels(3, 4, 0.1), ds.DropBlock(7, 7, 3, 0.1)], ids=repr)
def test_a_name_of_scipys_distributions_says_where_it_is(law):
    for name in ("pmf", "cdf", "mean", "interval"):
        assert not hasattr(law, name)
        with pytest.raises(AttributeError, match=rf"law\.dropped\.{name}, law\.kept\.{name}"):
            getattr(law, name)
    with pytest.raises(AttributeError, match=r"write law\.sample"):
        law.rvs(3)
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
        _ = law.nothing
    assert pickle.loads(pickle.dumps(law)) == law


def test_public_names_resolve_and_functions_stay_functions():
    for name in ds.__all__:
        assert getattr(ds, name) is not None
    import dropstats.simulation
    import dropstats.tallies  # noqa: F401

    assert callable(ds.simulate)
    assert callable(ds.tally)
    with pytest.raises(AttributeError, match="module 'dropstats' has no attribute 'nothing'"):
        _ = ds.nothing
