"""assert_dropout: passes what is right, fails what is not, and says why."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import dropstats as ds
from dropstats.testing import assert_dropout


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
