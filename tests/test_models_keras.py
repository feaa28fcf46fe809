"""Audits of Keras models, on the backend that Keras is set to: correct ones pass, each defect is found by its check."""

import os
from collections import Counter
from importlib import util

import numpy as np
import pytest

import dropstats as ds

if not util.find_spec("tensorflow"):  # which Keras asks for where no backend is named
    os.environ.setdefault("KERAS_BACKEND", "torch" if util.find_spec("torch") else "jax")
keras = pytest.importorskip("keras", minversion="3.0", reason="keras is not installed")
pytestmark = [pytest.mark.framework, pytest.mark.filterwarnings("ignore")]

from keras import layers, ops  # noqa: E402

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(32, 256)).astype("float32")
WORDS = RNG.normal(size=(16, 6, 16)).astype("float32")


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.clear_session()  # names of layers are counted from 0 again
    keras.utils.set_random_seed(0)


def rates(report):
    return {name: round(site.p, 6) for name, site in report.sites.items()}


def failing(report):
    return {result.name for result in report.results if result.verdict == "fail"}


def functional():
    """Return a model of attention and a recurrent layer."""
    given = keras.Input((6, 16))
    x = layers.MultiHeadAttention(2, 8, dropout=0.1, name="attention")(given, given)
    x = layers.LSTM(24, dropout=0.2, recurrent_dropout=0.3, name="lstm")(x)
    x = layers.BatchNormalization()(layers.Dense(64, activation="relu")(x))
    return keras.Model(given, layers.Dense(1)(layers.Dropout(0.4, name="drop")(x)))


# one mask for each of the four gates, of the input and of the state
EXPECTED = {0.1: 1, 0.2: 4, 0.3: 4, 0.4: 1}


def test_a_functional_model_passes():
    report = ds.audit_model(functional(), WORDS, calls=24)
    assert report.passed, str(report)
    assert Counter(rates(report).values()) == EXPECTED
    assert next(iter(report.sites)) == "attention.dropout"
    assert {"lstm.lstm_cell:1", "lstm.lstm_cell:8", "drop"} < set(report.sites)
    assert all(site.recorder == "function" and site.draws == 24 for site in report.sites.values())
    for name in ("coverage", "evaluation", "state", "seeds", "gradient", "sites", "scale", "mean"):
        assert report[name].verdict == "pass", report[name]
    assert "drawn and not used: lstm.lstm_cell" in report["evaluation"].message
    assert report["coverage"].expected == 5  # of the attention and its dropout, two of the cell, of the last layer


def compiled():
    model = functional()
    model.compile("sgd", "mse")
    return model


def fit(model, **options):
    # the last batch is smaller
    return model.fit(WORDS, np.zeros((16, 1)), batch_size=6, verbose=0, shuffle=False, **options)


def test_fit_is_watched_and_trains_as_without():
    model = compiled()
    start = model.get_weights()
    with ds.watch(model) as draws:
        fit(model, epochs=4, validation_data=(WORDS, np.zeros((16, 1))))
    report = draws.audit()
    assert report.passed, str(report)
    assert Counter(rates(report).values()) == EXPECTED
    assert report.passes == 12
    assert report.sites["drop"].draws == 12
    assert report.sites["drop"].n == 4 * 64  # of the smaller batch, in every mask
    assert report["evaluation"].verdict == "pass"
    watched = model.get_weights()
    keras.utils.set_random_seed(0)
    plain = compiled()
    assert all(map(np.array_equal, start, plain.get_weights()))
    fit(plain, epochs=4, validation_data=(WORDS, np.zeros((16, 1))))
    assert all(map(np.array_equal, watched, plain.get_weights()))
    fit(model, epochs=1)  # no longer seen
    assert report.sites["drop"].draws == draws.audit().sites["drop"].draws


def test_fit_is_monitored():
    model = keras.Sequential([keras.Input((256,)), layers.Dropout(0.1, name="drop"), layers.Dense(1)])
    model.compile("sgd", "mse")
    alarms = []
    with ds.watch(model, monitor=True, on_alarm=lambda site, alarm: alarms.append((site, alarm.check))) as draws:
        model.fit(ROWS, np.zeros((32, 1)), batch_size=8, epochs=3, verbose=0)
        assert not draws.alarms
        model.layers[0].rate = 0.2
        model.train_function = None
        model.fit(ROWS, np.zeros((32, 1)), batch_size=8, epochs=5, verbose=0)
    assert alarms == [("drop", "rate")]
    report = draws.audit()
    assert "drop declares rate = 0.1 and draws at 0.2 (20 of 32 calls)" in report["coverage"].message


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="RematScope of Keras fails by itself on other backends")
@pytest.mark.parametrize("seed", [None, 1])
def test_recomputed_masks_are_held_against_the_forward_ones(seed):
    with keras.RematScope(mode="full"):
        parts = [layers.Dense(256), layers.Dropout(0.3, seed=seed), layers.Dense(256), layers.Dropout(0.2, seed=seed)]
        model = keras.Sequential([keras.Input((256,)), *parts, layers.Dense(1)])
    model.compile("sgd", "mse")
    with ds.watch(model) as draws:
        model.fit(ROWS, np.zeros((32, 1)), batch_size=8, epochs=2, verbose=0)
    report = draws.audit()
    assert report.passes == 8
    assert {site.draws for site in report.sites.values()} == {8}
    if seed is None:
        assert report.passed, str(report)
        assert report["recomputed"].verdict == "pass"
        assert report["recomputed"].observed >= 16
    else:  # on torch a layer of Keras that has a seed draws on when it is run again
        assert report["recomputed"].verdict == "fail"
        assert "recomputed masks differ from those of the forward pass" in report["recomputed"].message


def test_every_layer_of_keras_that_drops():
    given = keras.Input((8, 8, 16))
    x = layers.SpatialDropout2D(0.1, name="maps")(given)
    x = layers.Reshape((8, 8, 16, 1))(x)
    x = layers.SpatialDropout3D(0.15, name="volumes")(layers.Conv3D(64, 1)(x))
    x = layers.Reshape((64, 1024))(x)
    x = layers.SpatialDropout1D(0.2, name="channels")(x)
    x = layers.Dropout(0.25, noise_shape=(None, 1, 1024), name="shared")(layers.Dense(1024)(x))
    x = layers.AlphaDropout(0.3, name="alpha")(layers.Dense(32)(x))
    x = layers.GaussianNoise(0.1, name="noise")(layers.GaussianDropout(0.35, name="gaussian")(x))
    x = layers.Attention(dropout=0.4, name="dot")([x, x])
    x = layers.AdditiveAttention(dropout=0.45, name="sum")([x, x])
    x = layers.GroupQueryAttention(8, 4, 2, dropout=0.5, name="grouped")(x, x)
    x = layers.GRU(16, dropout=0.55, return_sequences=True, name="gru")(x)
    x = layers.SimpleRNN(16, recurrent_dropout=0.6, name="simple")(x)
    images = np.random.default_rng(1).normal(size=(4, 8, 8, 16)).astype("float32")
    report = ds.audit_model(keras.Model(given, x), images, calls=6)
    assert report.passed, str(report)
    assert rates(report) == {
        "maps": 0.1, "volumes": 0.15, "channels": 0.2, "shared": 0.25, "alpha": 0.3, "gaussian": 0.35,
        "noise": 0.009901, "dot": 0.4, "sum": 0.45,
        "grouped.dropout": 0.5, "gru.gru_cell": 0.55, "simple.simple_rnn_cell": 0.6,
    }  # fmt: skip
    assert [report.sites[name].n for name in ("maps", "volumes", "channels", "shared")] == [64, 256, 4096, 4096]
    assert not report.unjudged
    assert {report.sites[name]["shape"].verdict for name in ("gaussian", "noise")} == {"pass"}


class DropPath(layers.Layer):
    """A layer of somebody's own, as many wrote it: one bit a row."""

    def __init__(self, rate, wrong=None, **options):
        super().__init__(**options)
        self.drop_prob, self.wrong = rate, wrong
        self.generator = keras.random.SeedGenerator()

    def call(self, x, training=False):
        if not training and self.wrong != "evaluation":
            return x
        keep = 1 - self.drop_prob
        given = self.drop_prob if self.wrong == "keep" else keep
        bits = ops.floor(given + keras.random.uniform((ops.shape(x)[0], 1), seed=self.generator))
        y = x / keep * bits
        if self.wrong == "gradient":
            other = keras.random.uniform(ops.shape(x), seed=self.generator) < keep
            y = ops.stop_gradient(y - x * ops.cast(other, x.dtype)) + x * ops.cast(other, x.dtype)
        return y


def own(rate=0.2, wrong=None):
    return keras.Sequential([keras.Input((256,)), DropPath(rate, wrong, name="path"), layers.Dense(1)])


def test_a_layer_of_ones_own_is_seen_by_its_outputs():
    report = ds.audit_model(own(), ROWS, calls=32)
    assert report.passed, str(report)
    assert rates(report) == {"path": 0.2}
    assert report.sites["path"].recorder == "outputs"
    assert report.sites["path"].n == 32
    assert report["gradient"].verdict == report["scale"].verdict == "pass"


def test_keep_probability_given_as_p_is_found():
    report = ds.audit_model(own(wrong="keep"), ROWS, calls=32)
    assert "keep probability given as p" in report.sites["path"]["rate"].message


def test_dropout_in_evaluation_is_found():
    report = ds.audit_model(own(wrong="evaluation"), ROWS, calls=32)
    assert failing(report) == {"evaluation"}
    assert "give different outputs" in report["evaluation"].message


class Numpy(layers.Layer):
    """Draws by what Keras does not see, with a gradient of another mask where `wrong`."""

    def __init__(self, wrong=False, **options):
        super().__init__(**options)
        self.rate, self.wrong = 0.3, wrong
        self.dropout_rng = np.random.default_rng(0)

    def call(self, x, training=False):
        if not training:
            return x
        masks = [ops.convert_to_tensor(self.dropout_rng.random(x.shape) >= self.rate, x.dtype) for _ in "yz"]
        y, z = (x * mask / (1 - self.rate) for mask in masks)
        return ops.stop_gradient(y - z) + z if self.wrong else y


class NumpyDropout(Numpy):
    pass


def test_draws_that_keras_does_not_see_are_read_off_the_outputs():
    model = keras.Sequential([NumpyDropout(name="own"), layers.Dense(1)])
    report = ds.audit_model(model, ROWS, calls=8)
    # its generator knows nothing of the seed
    assert failing(report) == {"seeds"}
    assert (report.sites["own"].p, report.sites["own"].recorder) == (0.3, "outputs")
    assert report["gradient"].verdict == "pass"
    wrong = ds.audit_model(keras.Sequential([NumpyDropout(True, name="own"), layers.Dense(1)]), ROWS, calls=8)
    assert "gradient" in failing(wrong)
    assert "at own are zero, or not, in disagreement with the mask" in wrong["gradient"].message


def test_one_seed_for_two_layers_is_found_by_sites():
    model = keras.Sequential(
        [layers.Dropout(0.2, seed=1), layers.Dense(256), layers.Dropout(0.2, seed=1), layers.Dense(1)]
    )
    assert failing(ds.audit_model(model, ROWS, calls=8)) == {"sites"}


class Fixed(layers.Layer):
    """Draws from a number, not from a generator: the same mask in each call."""

    def call(self, x, training=False):
        return keras.random.dropout(x, 0.3, seed=7) if training else x


def test_a_fixed_seed_is_found():
    report = ds.audit_model(keras.Sequential([layers.Dropout(0.2), Fixed(name="fixed"), layers.Dense(1)]), ROWS)
    assert "seeds" in failing(report)
    assert not report.sites["fixed.dropout"].passed
    assert "two different seeds give the same masks at fixed.dropout" in report["seeds"].message


class Never(keras.Model):
    """Forgets one of its layers, and does not pass on in which mode it is to the other."""

    def __init__(self):
        super().__init__()
        self.drop, self.forgotten = layers.Dropout(0.2, name="drop"), layers.Dropout(0.3, name="forgotten")
        self.last = layers.Dense(1)

    def call(self, x):
        return self.last(self.drop(x))


def test_a_layer_that_never_draws_is_found_in_a_model_that_is_built_by_its_first_call():
    report = ds.audit_model(Never(), ROWS, calls=8)
    assert failing(report) == {"coverage"}
    assert report["coverage"].message == "1 of 2 declared rates: forgotten declares rate = 0.3 and never drew"
    assert rates(report) == {"drop": 0.2}


def test_the_model_is_left_as_it_was():
    model = functional()
    model.compile("sgd", "mse")
    fit(model, epochs=1)
    before = [variable.numpy() for variable in model.variables]
    ds.audit_model(model, WORDS, calls=4)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.variables, strict=True))
    assert "call" not in vars(model)


class Wide(layers.GaussianDropout):
    """Takes the rate for a standard deviation."""

    def call(self, x, training=False):
        return x * keras.random.normal(ops.shape(x), 1.0, self.rate, seed=self.seed_generator) if training else x


def test_noise_is_judged_by_its_factors():
    report = ds.audit_model(keras.Sequential([Wide(0.35, name="noise"), layers.Dense(1)]), ROWS, calls=8)
    assert failing(report) == {"coverage", "scale"}
    assert "noise declares rate = 0.35 and draws at 0.109131" in report["coverage"].message
    assert "it looks like p^2" in report.sites["noise"]["scale"].message
    assert report.notes == ("noise: noise, judged by 4,096 of 8,192 factors in 8 of 8 calls",)
    report = ds.audit_model(layers.GaussianNoise(0.5, dtype="float16"), ROWS, calls=2)
    assert report.unjudged == {"GaussianNoise": "noise in float16 is not judged, in float32 or float64 it is"}


def test_noise_is_watched():
    model = keras.Sequential([keras.Input((256,)), layers.GaussianDropout(0.2, name="noise"), layers.Dense(1)])
    model.compile("sgd", "mse")
    with ds.watch(model, monitor=True) as draws:
        model.fit(ROWS, np.zeros((32, 1)), batch_size=12, epochs=3, verbose=0)
    report = draws.audit()
    assert report.passed, str(report)
    assert report.sites["noise"].draws == 9
    assert report.notes == ("noise: noise, judged by 3,072 of 3,072 factors in 6 of 9 calls",)
    assert not draws.monitors  # of masks alone


class CachedDropout(layers.Layer):
    """Draws a mask once."""

    def __init__(self, **options):
        super().__init__(**options)
        self.rate, self.kept = 0.3, None

    def call(self, x, training=False):
        if not training:
            return x
        if self.kept is None:
            self.kept = keras.random.uniform(x.shape, seed=3) >= self.rate
        return ops.where(self.kept, x / (1 - self.rate), 0.0)


def test_a_cached_mask_is_found():
    report = ds.audit_model(keras.Sequential([CachedDropout(name="own"), layers.Dense(1)]), ROWS, calls=8)
    assert "seeds" in failing(report)
    assert "two different seeds give the same masks at own" in report["seeds"].message
    assert report.sites["own"]["duplicates"].verdict == "fail"


class Sticky(layers.Layer):
    """Stays off once it was off."""

    def __init__(self, **options):
        super().__init__(**options)
        self.drop, self.off = layers.Dropout(0.3, name="drop"), False

    def call(self, x, training=False):
        self.off = self.off or not training
        return self.drop(x, training=not self.off)


def test_dropout_left_off_after_evaluation_is_found_by_state():
    layer = Sticky(name="sticky")
    layer.built = layer.drop.built = True
    report = ds.audit_model(layer, ROWS, calls=8)
    assert failing(report) == {"state"}
    assert "nothing is drawn at drop" in report["state"].message


class Failing(layers.Dropout):
    def call(self, x, training=False):
        if not training:
            raise RuntimeError("no statistics yet")
        return super().call(x, training=training)


def test_a_schedule_in_fit_is_found_by_coverage():
    model = keras.Sequential([keras.Input((256,)), layers.Dropout(0.1, name="drop"), layers.Dense(1)])
    model.compile("sgd", "mse", run_eagerly=True)

    def scheduled(epoch, logs):
        model.layers[0].rate = 0.3

    with ds.watch(model) as draws:
        callback = keras.callbacks.LambdaCallback(on_epoch_end=scheduled)
        model.fit(ROWS, np.zeros((32, 1)), batch_size=8, epochs=3, verbose=0, callbacks=[callback])
    report = draws.audit()
    assert failing(report) == {"coverage", "scale", "mean"}
    assert "drop declares rate = 0.1 and draws at 0.3 (8 of 12 calls)" in report["coverage"].message


def test_bad_input():
    layer = Failing(0.2)
    layer.built = True
    with pytest.raises(RuntimeError, match="no statistics yet") as raised:
        ds.audit_model(layer, ROWS, calls=2)
    assert raised.value.__notes__ == ["dropstats: raised by the model in evaluation mode"]
    with pytest.raises(TypeError, match="evaluation is for functions of a JAX key; a Dropout has modes of its own"):
        ds.audit_model(layers.Dropout(0.1), ROWS, evaluation=lambda key: None)
    for model in ("model", layers.Dropout):
        with pytest.raises(TypeError, match=r"model must be a keras Model or Layer, a torch\.nn\.Module, a flax nnx"):
            ds.audit_model(model, ROWS)
        told = r"model must be a keras Model or Layer or a torch\.nn\.Module, its library"
        with pytest.raises(TypeError, match=told), ds.watch(model):
            pass

    with pytest.raises(ValueError, match=r"model must have dropout; got Sequential, in which no module"):
        ds.audit_model(keras.Sequential([layers.Dense(1)]), ROWS)
    with pytest.raises(ValueError, match="256") as raised:
        ds.audit_model(own(), ROWS[:, :3])
    assert "raised by the model in training mode, call 1 of 64, on inputs of shape (32, 3)" in raised.value.__notes__[0]
    with pytest.raises(ValueError, match=r"p and laws must name sites of the model, which are path; got 'drop'"):
        ds.audit_model(own(), ROWS, calls=4, p={"drop": 0.1})
    with pytest.raises(ValueError, match="too few calls to test any site"):
        ds.audit_model(own(), ROWS[:2], calls=2)


def test_a_layer_on_its_own_and_half_precision():
    report = ds.audit_model(layers.Dropout(0.3, dtype="float16"), ROWS, calls=8)
    assert report.passed, str(report)
    assert rates(report) == {"Dropout": 0.3}
    assert report.sites["Dropout"].dtype == "float16"
