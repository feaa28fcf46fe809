"""Live exhibits: what installed releases still do, found in the words of the museum; skipped where it is mended."""

import re
from importlib.metadata import version

import museum
import numpy as np
import pytest

import dropstats as ds

pytestmark = [
    pytest.mark.framework,
    # of these libraries, about themselves
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]


def library(name):
    return pytest.importorskip(name, reason=f"{name} cannot be imported", exc_type=ImportError)


def still(report, check, says, package):
    """Assert that a release has the defect, found by its check in its words; skip where it passes."""
    if report[check].verdict == "pass":
        pytest.skip(f"mended in {package} {version(package)}")
    assert report[check].verdict == "fail", str(report)
    assert re.search(says, report[check].message), str(report)


def words(name):
    """Return the words of the exhibit that models what a release does."""
    return museum.EXHIBITS[name].says


# ---- tensorflow and keras --------------------------------------------------------------------------------------------

LOW = {("bfloat16", 0.3): "39/128: p rounded up.*bfloat16", ("float16", 0.05): "52/1024: p rounded up.*float16"}


def tensorflow_package():
    for name in ("tensorflow", "tensorflow_cpu"):
        try:
            version(name)
        except ModuleNotFoundError:
            continue
        return name
    return "tensorflow"


@pytest.mark.parametrize(("dtype", "p"), LOW)
def test_tensorflow_compares_with_uniforms_of_the_input_s_dtype(dtype, p):
    tf = library("tensorflow")
    tf.random.set_seed(0)
    ones = tf.ones(8192, dtype)
    report = ds.audit(ds.record(lambda: tf.nn.dropout(ones, p), 512, p))
    still(report, "rate", LOW[dtype, p], tensorflow_package())


@pytest.mark.parametrize(("dtype", "p"), LOW)
def test_keras_on_tensorflow_does_the_same(dtype, p):
    library("tensorflow")
    keras = library("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip(f"keras runs on {keras.backend.backend()}")
    layer, ones = keras.layers.Dropout(p, dtype=dtype, seed=1), keras.ops.ones(8192, dtype)
    report = ds.audit(ds.record(lambda: layer(ones, training=True), 512, p))
    still(report, "rate", LOW[dtype, p], "keras")


# ---- jax and flax ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "p", "says"),
    [
        ("bfloat16", 0.05, "6/128.*p rounded down"),
        ("bfloat16", 0.005, "nothing is dropped.*p is below 1/128"),
        ("float16", 0.02, "20/1024: p rounded down.*float16"),
    ],
)
def test_jax_draws_in_the_dtype_of_the_probability(dtype, p, says):
    jax = library("jax")
    keep, keys = jax.numpy.asarray(1 - p, dtype), iter(jax.random.split(jax.random.key(0), 1000))
    draw = jax.jit(lambda key: jax.random.bernoulli(key, keep, (8192,)))
    still(ds.audit(ds.record(lambda: draw(next(keys)), 512, p)), "rate", says, "jax")


def test_jax_unsafe_rbg_folds_layer_and_step_in_alike():
    jax = library("jax")
    base = jax.random.key(0, impl="unsafe_rbg")

    def mask(layer, step):
        key = jax.random.fold_in(jax.random.fold_in(base, step), layer)
        return np.asarray(jax.random.bernoulli(key, 0.9, (4, 256)))

    report = ds.audit_streams({(i, j): mask(i, j) for i in range(4) for j in range(4)}, p=0.1)
    still(report, "transposed", words("fold_in by exclusive or"), "jax")


def test_jax_rbg_under_vmap_uses_the_first_key_only():
    jax = library("jax")
    keys = jax.random.split(jax.random.key(0, impl="rbg"), 8)

    def draw(key):
        return jax.random.bernoulli(key, 0.9, (256,))

    masks = {"loop": np.stack([np.asarray(draw(key)) for key in keys]), "vmap": np.asarray(jax.vmap(draw)(keys))}
    report = ds.audit_streams(masks, expect="identical", p=0.1)
    still(report, "identical", words("vmap is not the loop"), "jax")


def test_flax_joins_the_names_of_layers_to_one_path():
    nn = library("flax.linen")
    import jax

    class Inner(nn.Module):
        inner: str

        @nn.compact
        def __call__(self, x):
            return nn.Dropout(0.1, deterministic=False, name=self.inner)(x)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            names = (("ab", "cdef"), ("abc", "def"), ("abcd", "xyz"))
            return {"/".join(pair): Inner(pair[1], name=pair[0])(x) for pair in names}

    outputs = Model().apply({}, jax.numpy.ones((1, 256)), rngs={"dropout": jax.random.key(0)})
    report = ds.audit_streams({name: np.asarray(one) for name, one in outputs.items()}, p=0.1)
    still(report, "agreement", words("names that join to one path"), "flax")


def test_flax_split_sets_the_counter_of_other_streams_back():
    nnx = library("flax.nnx")
    import jax

    before = nnx.Rngs(params=1, dropout=2)
    masks = [np.asarray(jax.random.bernoulli(before.dropout(), 0.9, (256,))) for _ in range(8)]
    after = before.split({"params": 2, "dropout": None})
    masks += [np.asarray(jax.random.bernoulli(after.dropout(), 0.9, (256,))) for _ in range(8)]
    report = ds.audit(np.stack(masks), p=0.1)
    still(report, "duplicates", "^masks repeat every 8 calls$", "flax")


# ---- torch, transformers, timm ---------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    torch = library("torch")
    torch.manual_seed(0)
    return torch


def test_torch_makes_nan_of_a_dropped_infinity(torch):
    inputs = torch.ones(64)
    inputs[3] = float("inf")
    outputs = torch.stack([torch.nn.functional.dropout(inputs, 0.2) for _ in range(64)])
    report = ds.audit(ds.Recording.from_outputs(outputs, p=0.2, inputs=inputs))
    still(report, "edges", words("infinity becomes NaN"), "torch")


def test_transformers_adds_uniforms_in_bfloat16(torch):
    modeling = library("transformers.models.convnext.modeling_convnext")
    layer, ones = modeling.ConvNextDropPath(0.01).train(), torch.ones(8192, 1, dtype=torch.bfloat16)
    report = ds.audit(ds.record(lambda: layer(ones), 64, 0.01))
    still(report, "rate", "3/256: p rounded up.*a sum in bfloat16", "transformers")


def test_timm_has_seeds_on_the_whole_map(torch):
    layers = library("timm.layers")
    layer, ones = layers.DropBlock2d(0.1, 7).train(), torch.ones(256, 1, 28, 28)
    masks = (layer(ones) != 0).reshape(256, 784)
    report = ds.audit(np.asarray(masks), ds.DropBlock(28, 28, 7, p=0.1))
    still(report, "positions", words("blocks on the whole map"), "timm")
