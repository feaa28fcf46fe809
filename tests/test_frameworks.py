"""Recordings and audits of real frameworks, where they are installed."""

import sys
import warnings

import numpy as np
import pytest

import dropstats as ds
from dropstats import formats
from dropstats.testing import assert_dropout

pytestmark = pytest.mark.framework
DTYPES = ("float16", "bfloat16", "float32")


def torch_array(values, dtype):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    return torch.tensor(values, dtype=getattr(torch, dtype))


def torch_gradient(values, dtype):
    return torch_array(values, dtype).requires_grad_()


def jax_array(values, dtype):
    jax = pytest.importorskip("jax", reason="jax is not installed")
    return jax.numpy.asarray(values, dtype)


def tensorflow_array(values, dtype):
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    return tf.constant(values, dtype)


def keras_array(values, dtype):
    keras = pytest.importorskip("keras", reason="keras is not installed")
    return keras.ops.convert_to_tensor(values, dtype)


def keras_variable(values, dtype):
    keras = pytest.importorskip("keras", reason="keras is not installed")
    return keras.Variable(values, dtype=dtype)


def paddle_array(values, dtype):
    if "tensorflow" in sys.modules and "paddle" not in sys.modules:
        pytest.skip("paddle crashes where tensorflow was loaded before it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        paddle = pytest.importorskip("paddle", reason="paddle is not installed")
    return paddle.to_tensor(values, dtype="float32").astype(dtype)


def paddle_gradient(values, dtype):
    array = paddle_array(values, dtype)
    array.stop_gradient = False
    return array


def mlx_array(values, dtype):
    mlx = pytest.importorskip("mlx.core", reason="mlx is not installed")
    return mlx.array(np.asarray(values, np.float32)).astype(getattr(mlx, dtype))


ARRAYS = [
    paddle_array,  # before tensorflow
    paddle_gradient,
    torch_array,
    torch_gradient,
    jax_array,
    tensorflow_array,
    keras_array,
    keras_variable,
    mlx_array,
]


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_outputs_are_read_in_their_own_library(array, dtype):
    kept = np.random.default_rng(0).random((20, 3, 5)) >= 0.3
    outputs = array((kept * 1.4375).tolist(), dtype)  # exact in bfloat16, too
    recording = ds.Recording.from_outputs(outputs, p=0.3)
    assert np.array_equal(recording.masks(), kept.reshape(20, -1))
    assert recording.scales == {1.4375: kept.sum()}
    assert (recording.dtype, recording.shape) == (dtype, (3, 5))
    assert recording.source


@pytest.mark.parametrize("array", [torch_array, jax_array, tensorflow_array, paddle_array])
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_outputs_of_eight_bits_are_read(array, dtype):
    kept, scale = np.random.default_rng(0).random((20, 3, 5)) >= 0.3, formats.rounded(1 / 0.7, dtype)
    recording = ds.Recording.from_outputs(array((kept * scale).tolist(), dtype), p=0.3)
    assert np.array_equal(recording.masks(), kept.reshape(20, -1))
    assert (recording.scales, recording.dtype) == ({scale: kept.sum()}, dtype)
    inputs = formats.rounded(np.random.default_rng(1).standard_normal(kept.shape), dtype)
    outputs = np.where(kept, formats.rounded(inputs * scale, dtype), 0)
    recording = ds.Recording.from_outputs(array(outputs.tolist(), dtype), inputs=array(inputs.tolist(), dtype))
    assert recording.unscaled == 0
    assert abs(next(iter(recording.scales)) - scale) <= recording.scale_tolerance * scale


@pytest.mark.parametrize("array", ARRAYS)
def test_many_values_infinities_and_nan_are_read(array):
    values = np.arange(24.0).reshape(4, 6)
    values[0, 1:3] = np.nan, np.inf
    recording = ds.Recording.from_outputs(array(values.tolist(), "float32"))
    assert (recording.nans, recording.infs, recording.dropped) == (1, 1, 1)
    assert len(recording.scales) == 22


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_are_held_against_outputs(array, dtype):
    rng = np.random.default_rng(0)
    inputs = rng.choice([-2.0, -1.5, 0.0, 0.5, 1.75], size=(20, 40))
    kept = rng.random((20, 40)) >= 0.3
    outputs = array((inputs * kept * 1.25).tolist(), dtype)
    recording = ds.Recording.from_outputs(outputs, inputs=array(inputs.tolist(), dtype))
    assert np.array_equal(recording.masks(), kept & (inputs != 0))
    assert np.array_equal(recording.known_masks(), inputs != 0)
    assert (recording.unscaled, recording.nonzero, recording.nans) == (0, 0, 0)
    assert next(iter(recording.scales)) == pytest.approx(1.25, rel=max(recording.scale_tolerance, 1e-12))


@pytest.mark.parametrize("array", ARRAYS)
def test_masks_are_read(array):
    kept = np.random.default_rng(0).random((20, 40)) >= 0.3
    assert np.array_equal(ds.Recording.from_masks(array(kept.tolist(), "float32")).masks(), kept)
    assert np.array_equal(ds.Recording.from_masks(array(kept.tolist(), "float32") != 0).masks(), kept)
    with pytest.raises(ValueError, match=r"got 2.0 at index \(0, 2\)"):
        ds.Recording.from_masks(array((kept * 0 + np.eye(20, 40, 2) * 2).tolist(), "float32"))


def torch_dropout(p, dtype):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    layer, ones = torch.nn.Dropout(p), torch.ones(4096, dtype=getattr(torch, dtype), requires_grad=True)
    return lambda: layer(ones), lambda: layer.eval()(ones)


def flax_dropout(p, dtype):
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")
    from jax import numpy as jnp

    layer, ones = nnx.Dropout(p, rngs=nnx.Rngs(0)), jnp.ones(4096, dtype)
    return lambda: layer(ones), lambda: layer(ones, deterministic=True)


def tensorflow_dropout(p, dtype):
    tf = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    tf.random.set_seed(0)
    ones = tf.ones(4096, dtype)
    return lambda: tf.nn.dropout(ones, p), lambda: tf.nn.dropout(ones, 0.0)


def keras_dropout(p, dtype):
    keras = pytest.importorskip("keras", reason="keras is not installed")
    layer, ones = keras.layers.Dropout(p, dtype=dtype, seed=1), keras.ops.ones(4096, dtype)
    return lambda: layer(ones, training=True), lambda: layer(ones, training=False)


def paddle_dropout(p, dtype):
    ones = paddle_array(np.ones(4096).tolist(), dtype)
    paddle = pytest.importorskip("paddle")
    paddle.seed(1)
    layer = paddle.nn.Dropout(p)

    def evaluate():
        layer.eval()
        return layer(ones)

    return lambda: layer(ones), evaluate


def mlx_dropout(p, dtype):
    mlx = pytest.importorskip("mlx.core", reason="mlx is not installed")
    from mlx import nn

    mlx.random.seed(0)
    layer, ones = nn.Dropout(p), mlx.ones(4096, getattr(mlx, dtype))

    def evaluate():
        layer.eval()
        return layer(ones)

    return lambda: layer(ones), evaluate


@pytest.mark.parametrize(
    "dropout", [torch_dropout, flax_dropout, tensorflow_dropout, keras_dropout, paddle_dropout, mlx_dropout]
)
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_the_real_thing_passes_in_float32(dropout, p):
    train, evaluate = dropout(p, "float32")
    report = assert_dropout(train, p, evaluate=evaluate)
    assert report["scale"].verdict == report["mean"].verdict == "pass"


def test_torch_passes_in_bfloat16():
    train, evaluate = torch_dropout(0.3, "bfloat16")
    assert assert_dropout(train, 0.3, evaluate=evaluate).passed
