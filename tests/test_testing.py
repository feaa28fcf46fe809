"""assert_dropout: passes what is right, fails what is not, and says why."""

import os
import subprocess
import sys
import textwrap
import traceback
from functools import partial

import numpy as np
import pytest

import dropstats as ds
from dropstats import testing
from dropstats.auditing import TESTS

# What is tested here is seen in less than what the default draws to see p rounded to 8 bits.
assert_dropout = partial(testing.assert_dropout, detect=0.01)


def dropout(p, n=4096, seed=0, rate=None, scale=None, dtype=np.float32):
    """Return a callable that drops ones with probability `rate` (p), and scales by `scale` (1 / (1 - p))."""
    rng = np.random.default_rng(seed)
    kept = np.dtype(dtype).type(1 / (1 - p) if scale is None else scale)
    return lambda: np.where(rng.random(n) >= (p if rate is None else rate), kept, kept.dtype.type(0))


@pytest.mark.parametrize("p", [0.0, 0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_right_one_passes(p, dtype):
    report = assert_dropout(dropout(p, dtype=dtype), p, evaluate=np.ones(4096, dtype))
    assert report.passed, report
    assert report.trials >= 32


def test_the_ends_of_p():
    assert assert_dropout(lambda: np.zeros(1000, np.float32), 1.0).passed
    assert assert_dropout(lambda: np.ones(1000, np.float32), 0.0).passed
    with pytest.raises(AssertionError, match="edges: 32,000 neurons of p = 1 are kept"):
        assert_dropout(lambda: np.ones(1000, bool), 1.0, tests=["edges"])
    calls = iter(range(10**6))
    with pytest.raises(AssertionError, match=r"edges: 1 neurons? of p = 0 (is|are) dropped"):
        assert_dropout(lambda: np.arange(1000) + (next(calls) > 0) > 0, 0.0)


def test_masks_and_recordings_will_do():
    rng = np.random.default_rng(0)
    assert assert_dropout(lambda: rng.random((64, 64)) >= 0.25, 0.25).passed
    masks = rng.random((200, 1000)) >= 0.25
    assert assert_dropout(masks, 0.25).passed
    assert assert_dropout(ds.Recording.from_masks(masks), 0.25).passed
    assert assert_dropout(list(np.where(masks, 4 / 3, 0)), 0.25).passed


def test_direct_scaling():
    assert assert_dropout(dropout(0.1, scale=1), 0.1, scaling="direct", evaluate=np.full(9, np.float32(0.9))).passed
    with pytest.raises(
        AssertionError, match=r"evaluate: 9 of 9 outputs are not 0.9 times the input: 1 at index \(0,\)"
    ):
        assert_dropout(dropout(0.1, scale=1), 0.1, scaling="direct", evaluate=np.ones(9))


def test_inputs_other_than_ones():
    inputs = np.random.default_rng(1).normal(size=(32, 64)).astype(np.float32)
    inputs[0] = 0
    rng = np.random.default_rng(0)
    call = lambda: np.where(rng.random(inputs.shape) >= 0.1, inputs / np.float32(0.9), 0)  # noqa: E731
    assert assert_dropout(call, 0.1, inputs=inputs, evaluate=lambda: inputs).passed
    with pytest.raises(AssertionError, match=r"evaluate: 1,984 of 2,048 outputs are not the input itself"):
        assert_dropout(call, 0.1, inputs=inputs, evaluate=lambda: inputs * 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (dropout(0.1, rate=0.11), ["rate: drops 0.11", "expected 0.1", "in [0.10", "confidence 1 - 1e-06"]),
        (dropout(0.1, rate=0.09), ["rate: drops 0.09"]),
        (dropout(0.1, rate=0.9), ["rate: ", "keep probability given as p"]),
        (dropout(0.1, scale=1.0), ["scale: ", "not scaled"]),
        (dropout(0.1, scale=0.9), ["scale: ", "expected 1.11111"]),
    ],
)
def test_a_wrong_one_fails_and_says_why(call, said):
    with pytest.raises(AssertionError) as error:
        assert_dropout(call, 0.1)
    message = str(error.value)
    assert message.startswith("dropout with p = 0.1 fails ")
    for words in said:
        assert words in message, message


def test_nan_is_never_right():
    with pytest.raises(AssertionError, match=r"dropout with p = 0.1: 117,\d+ of 131,072 outputs are NaN where the"):
        assert_dropout(dropout(0.1, scale=np.nan), 0.1)


def test_a_frozen_seed():
    with pytest.raises(AssertionError, match="duplicates: every mask is the same"):
        assert_dropout(lambda: np.random.default_rng(7).random(4096) >= 0.1, 0.1)


def test_a_neuron_that_is_never_dropped():
    rng = np.random.default_rng(0)

    def call():
        kept = rng.random(512) >= 0.1
        kept[0] = True
        return kept

    with pytest.raises(AssertionError, match="positions: position 0 is never dropped"):
        assert_dropout(call, 0.1, trials=1000)


def test_evaluation_that_still_drops():
    call = dropout(0.1)
    with pytest.raises(AssertionError, match="evaluate: 4,096 of 4,096 outputs are not the input itself"):
        assert_dropout(call, 0.1, evaluate=call)
    assert assert_dropout(call, 0.1, evaluate=lambda: np.ones(4096, np.float32)).passed


@pytest.mark.parametrize("detect", [0.02, 0.01])
def test_draws_as_much_as_it_needs(detect):
    report = assert_dropout(dropout(0.1), 0.1, detect=detect, tests=["rate"])
    needed = ds.neurons_needed(0.1, detect, 1e-6, 0.999)
    assert needed <= report.trials * report.n < max(needed + 4096, 33 * 4096)
    # and does see what it says: the shift itself, ten times
    for seed in range(10):
        with pytest.raises(AssertionError, match=r"rate: drops 0\.1"):
            assert_dropout(dropout(0.1, rate=0.1 + detect, seed=seed), 0.1, detect=detect, tests=["rate"])


def test_the_first_call_is_judged_too():
    rng = np.random.default_rng(0)
    calls = iter(range(10**6))
    with pytest.raises(AssertionError, match=r"(rows|dispersion): "):
        assert_dropout(lambda: np.ones(4096, bool) if next(calls) == 0 else rng.random(4096) >= 0.1, 0.1)


def test_too_small_an_array_is_no_pass():
    masks = np.random.default_rng(0).random((10, 100)) >= 0.1
    with pytest.raises(
        ValueError, match=r"1,000 neurons cannot show that p = 0.1 is off by 0.01 .*: [\d,]+ are needed"
    ):
        assert_dropout(masks, 0.1)
    assert assert_dropout(masks, 0.1, detect=0.12).passed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p": 1.2}, r"p must be in \[0, 1\]; got 1.2"),
        ({"detect": 0}, "shift must change p"),
        ({"detect": 1.0}, r"detect must leave p \+ detect or p - detect in \[0, 1\]; got 1.0 for p = 0.1"),
        ({"power": 1}, r"power must be in \(0, 1\)"),
        ({"trials": 0}, "trials must be at least 1"),
        ({"tests": "rates"}, "tests must be among rate, .*; got 'rates'"),
        ({"dropout": lambda: np.ones((3, 0))}, r"dropout must return at least one neuron; got shape \(3, 0\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        assert_dropout(**{"dropout": dropout(0.1), "p": 0.1, **arguments})


def test_it_works_under_plain_pytest_and_the_message_is_shown(tmp_path):
    tmp_path.joinpath("test_mine.py").write_text(
        textwrap.dedent("""
        import numpy as np
        from dropstats.testing import assert_dropout

        def test_wrong():
            rng = np.random.default_rng(0)
            assert_dropout(lambda: rng.random(4096) >= 0.15, 0.1)

        def test_right():
            rng = np.random.default_rng(0)
            assert_dropout(lambda: rng.random(4096) >= 0.1, 0.1)
        """)
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    )
    assert ran.returncode == 1
    assert "1 failed, 1 passed" in ran.stdout
    assert "rate: drops 0.1" in ran.stdout
    assert "def _message" not in ran.stdout  # the trace ends in the user's own test


# ---------------------------------------------------------------- what is drawn by default


def off_by_bits(p, levels, rule, seed=0):
    """Return dropout that compares p with random integers or numbers of few bits."""
    rate = ds.Layer.rounded(1, p, levels, rule=rule).p if rule else round(p * levels) / levels
    return dropout(p, n=65536, rate=rate, seed=seed)


@pytest.mark.parametrize(
    ("p", "levels", "rule"),
    [
        (0.1, 256, None),  # README's own: round(256 p) of 256
        (0.1, 256, "flash-attention-2"),
        (0.1, 256, "transformer-engine"),
        (0.1, 256, "bfloat16"),
        (0.3, 256, "bfloat16"),
        (0.2, 256, "bfloat16"),
        (0.05, 256, "flash-attention-2"),
        (0.9, 256, "bfloat16"),
        (0.01, 256, "transformer-engine"),
    ],
)
def test_p_rounded_to_eight_bits_or_to_bfloat16_fails_by_default(p, levels, rule):
    with pytest.raises(AssertionError, match=r"rate: drops 0\.\d+ where"):
        testing.assert_dropout(off_by_bits(p, levels, rule), p, tests=["rate"])


def test_the_readmes_own_broken_dropout_fails():
    rng = np.random.default_rng(0)

    def broken(x, p=0.1):
        return np.where(rng.integers(256, size=x.shape) >= round(256 * p), x / (1 - p), 0)

    with pytest.raises(AssertionError, match="as a comparison with bfloat16 uniforms or an 8-bit threshold gives"):
        testing.assert_dropout(lambda: broken(np.ones(4096)), 0.1)


@pytest.mark.parametrize(("p", "millions"), [(0.5, 0.3), (0.1, 2.7), (1 / 32, 9.2), (0.001, 0.4), (0.9, 2.7)])
def test_what_the_default_draws(p, millions):
    level = 1e-6 / (len(TESTS) + 1)  # of one test of all
    report = testing.assert_dropout(dropout(p, n=8192), p, false_alarm=level, tests=["rate"])
    assert report.trials * report.n == pytest.approx(millions * 1e6, rel=0.1)
    shift = max(min(p, 1 - p) / 64, 2**-11)
    at_least = max(ds.neurons_needed(p, sign * shift, level, 0.999) for sign in (1, -1))
    assert at_least <= report.trials * report.n < at_least + 8192


# ---------------------------------------------------------------- any law


def test_channels_dropped_whole_are_asserted_as_what_they_are():
    law = ds.Channels(64, 16, 0.2)
    rng = np.random.default_rng(0)
    report = assert_dropout(lambda: law.sample(1, rng)[0] / np.float32(0.8), law=law, detect=0.02)
    assert report.passed
    # a channel is one of 16 neurons that say the same: so many more are drawn
    assert report.trials * 64 >= ds.neurons_needed(0.2, 0.02, 1e-6, 0.999)
    with pytest.raises(AssertionError, match="groups of 16 neighbours drop together") as error:
        assert_dropout(lambda: law.sample(1, rng)[0], 0.2, detect=0.02)
    assert "hint: these masks drop whole groups of 16 neurons: they fit Channels(64, 16, 0.2)" in str(error.value)
    with pytest.raises(AssertionError, match=r"dropout that declares Channels\(64, 16, 0.2\) fails"):
        assert_dropout(lambda: rng.random(1024) >= 0.2, law=law, detect=0.02)


@pytest.mark.parametrize(
    "law", [ds.FixedCount(300, 60), ds.Layer(300, np.repeat([0.1, 0.3], 150)), ds.DropBlock(8, 8, 3, 0.1)]
)
def test_laws_of_other_kinds(law):
    rng = np.random.default_rng(0)
    assert assert_dropout(lambda: law.sample(1, rng)[0], law=law, detect=0.05, trials=300).passed
    with pytest.raises(AssertionError, match="dropout that declares "):
        assert_dropout(lambda: rng.random(law.n) >= 0.45, law=law, detect=0.05, trials=300)


@pytest.mark.parametrize("law", [ds.AlphaDropout(0.1), ds.GaussianDropout(0.2)])
def test_noise_that_is_no_mask(law):
    rng = np.random.default_rng(0)
    ones = np.ones(4096)
    call = lambda: law.apply(ones, rng).astype(np.float32)  # noqa: E731
    assert assert_dropout(call, law=law, evaluate=ones, detect=0.02).passed
    assert assert_dropout(np.stack([call() for _ in range(60)]), law.p, law=law, detect=0.02).passed
    with pytest.raises(AssertionError, match="dropout that declares "):
        assert_dropout(lambda: type(law)(0.25).apply(ones, rng).astype(np.float32), law=law, detect=0.02)
    with pytest.raises(ValueError, match="is tested on inputs of ones; got others"):
        assert_dropout(call, law=law, inputs=2 * ones)
    with pytest.raises(ValueError, match="4,096 neurons cannot show that"):
        assert_dropout(call()[None], law=law, detect=0.01)


def test_p_beside_a_law_must_be_its_own():
    law = ds.Layer.rounded(4096, 0.1, rule="bfloat16")
    real = dropout(0.1, rate=law.p)
    assert assert_dropout(real, 0.1, law=law).passed  # by what is declared
    with pytest.raises(ValueError, match=r"p must be that of the law where both are given; got 0.2 and Layer.rounded"):
        assert_dropout(real, 0.2, law=law)
    with pytest.raises(TypeError, match="assert_dropout needs p= or law=, where neither a module nor a recording says"):
        assert_dropout(real)
    recording = ds.Recording.from_masks(ds.Layer(4096, 0.1).sample(100, rng=0), p=0.1)
    assert assert_dropout(recording).passed


# ---------------------------------------------------------------- modules


class Module:
    """A module such as torch has, of parts that share a mode until somebody sets them apart."""

    def __init__(self, p=0.1, evaluates=True, parts=()):
        self.p, self.training, self.parts = p, True, parts
        self.evaluates, self.rng, self.seen = evaluates, np.random.default_rng(0), []

    def modules(self):
        yield self
        yield from self.parts

    def train(self, mode=True):
        for part in self.modules():
            part.training = mode
        return self

    def eval(self):
        return self.train(False)

    def __call__(self, x):
        self.seen.append(self.training)
        if not self.training and self.evaluates:
            return x
        return np.where(self.rng.random(x.shape) >= self.p, x / np.float32(1 - self.p), np.float32(0))


@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_called_in_both_modes_and_left_in_its_own(training):
    frozen = Module()
    module = Module(parts=[frozen]).train(training)
    frozen.training = not training
    assert assert_dropout(module).passed  # it says p itself
    assert module.seen[-1] is False
    assert set(module.seen[:-1]) == {True}
    assert (module.training, frozen.training) == (training, not training)
    with pytest.raises(AssertionError, match="rate: "):
        assert_dropout(module, 0.2)
    assert (module.training, frozen.training) == (training, not training)


def test_a_module_that_drops_in_evaluation_mode():
    module = Module(evaluates=False)
    with pytest.raises(AssertionError, match="evaluate: 65,536 of 65,536 outputs are not the input itself"):
        assert_dropout(module)
    assert module.training


def test_a_module_on_inputs_and_one_of_a_law():
    x = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    report = assert_dropout(Module(), inputs=x)
    assert report.n == 64 * 64
    law = ds.Layer(1000, 0.1)
    assert assert_dropout(Module(), law=law).n == 1000


def test_what_a_module_raises_is_shown_and_its_mode_restored():
    class Failing(Module):
        def __call__(self, x):
            raise ValueError("mine")

    module = Failing().eval()
    with pytest.raises(ValueError, match="mine") as error:
        assert_dropout(module)
    assert not module.training
    assert "__call__" in [frame.name for frame in traceback.extract_tb(error.tb)]


@pytest.mark.framework
def test_modules_of_torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for mode in (True, False):
        layer = torch.nn.Dropout(0.1).train(mode)
        assert testing.assert_dropout(layer).passed
        assert layer.training is mode
    spatial = torch.nn.Dropout2d(0.2)
    law = ds.Channels(64, 16, 0.2)
    assert assert_dropout(spatial, law=law, inputs=torch.ones(1, 64, 4, 4), detect=0.02).passed
    assert assert_dropout(torch.nn.AlphaDropout(0.1), law=ds.AlphaDropout(0.1), detect=0.02).passed
    with pytest.raises(AssertionError, match="rate: "):
        assert_dropout(layer, 0.2)


# ---------------------------------------------------------------- the exception


def test_the_report_is_on_the_exception_and_notes_in_the_message():
    with pytest.raises(AssertionError) as error:
        assert_dropout(dropout(0.1, rate=0.12), 0.1)
    report = error.value.report
    assert isinstance(report, ds.Report)
    assert report["rate"].verdict == "fail"
    assert "mean: explained by rate: " in str(error.value)
    with pytest.raises(AssertionError) as error:
        assert_dropout(dropout(0.1, scale=np.nan), 0.1)
    assert error.value.report is None


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"p": 1.2}, ValueError),
        ({"p": "half"}, TypeError),
        ({"tests": ["rates"]}, ValueError),
        ({"dropout": lambda: np.ones((3, 0))}, ValueError),
        ({"dropout": lambda: "text"}, TypeError),
        ({"dropout": np.ones((3, 4), bool)}, ValueError),
        ({"scaling": "other"}, ValueError),
        ({"inputs": np.ones(3)}, ValueError),
        ({"law": 3, "p": None}, TypeError),
    ],
)
def test_wrong_arguments_show_no_frame_of_ours_but_one(arguments, kind):
    """And pytest hides that one, as it does all whose local __tracebackhide__ is true."""
    with pytest.raises(kind) as error:
        testing.assert_dropout(**{"dropout": dropout(0.1), "p": 0.1, **arguments})
    frames = [
        entry.frame for entry in error.traceback if "dropstats" in str(entry.path) and "tests" not in str(entry.path)
    ]
    assert frames
    assert all(frame.f_locals.get("__tracebackhide__") for frame in frames), frames
    assert error.value.__suppress_context__
