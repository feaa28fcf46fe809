"""Audits of JAX functions and modules of Flax and Equinox: correct ones pass, each defect is found by its check."""

import numpy as np
import pytest

import dropstats as ds

jax = pytest.importorskip("jax", reason="jax is not installed")
pytestmark = [pytest.mark.framework, pytest.mark.filterwarnings("ignore")]

from jax import numpy as jnp  # noqa: E402

X = jax.random.normal(jax.random.key(0), (8, 12, 16))
ROWS = jax.random.normal(jax.random.key(1), (32, 256))


def rates(report):
    return {name: round(site.p, 6) for name, site in report.sites.items()}


def failing(report):
    return {result.name for result in report.results if result.verdict == "fail"}


def verdicts(report, *names):
    return {report[name].verdict for name in names}


# Models of Flax and Equinox


def linen_model(rate=0.3):
    linen = pytest.importorskip("flax.linen", reason="flax is not installed")

    class Block(linen.Module):
        rate: float

        @linen.compact
        def __call__(self, x, train):
            attention = linen.MultiHeadDotProductAttention(2, dropout_rate=0.1, broadcast_dropout=False)
            x = linen.Dropout(0.2)(attention(x, deterministic=not train), deterministic=not train)
            return linen.Dropout(self.rate, name="last")(linen.Dense(16)(x), deterministic=not train)

    class Net(linen.Module):
        @linen.compact
        def __call__(self, x, train):
            return linen.Dense(3)(Block(rate)(Block(rate)(x, train), train))

    net = Net()
    return net, net.init(jax.random.key(0), X, False)


def test_a_linen_module_is_audited_as_a_function_of_its_key():
    net, variables = linen_model()
    report = ds.audit_model(lambda key: net.apply(variables, X, train=True, rngs={"dropout": key}), calls=16)
    assert report.passed, str(report)
    inside = {"MultiHeadDotProductAttention_0": 0.1, "Dropout_0": 0.2, "last": 0.3}
    assert rates(report) == {f"Block_{i}.{name}": p for i in (0, 1) for name, p in inside.items()}
    assert report["coverage"].observed == report["coverage"].expected == 6
    assert verdicts(report, "seeds", "gradient", "sites", "scale", "mean") == {"pass"}
    assert verdicts(report, "evaluation", "state", "recomputed") == {"not applicable"}
    assert {(site.recorder, site.dtype, site.draws) for site in report.sites.values()} == {("jaxpr", "float32", 16)}


def test_the_output_is_that_of_the_function():
    from dropstats.models.jax import Passes
    from dropstats.models.sites import Sites

    net, variables = linen_model()

    def function(key):
        return net.apply(variables, X, train=True, rngs={"dropout": key})

    with Passes(function, (), {}) as passes:
        (seen,) = passes.run(Sites(), seed=5)
    np.testing.assert_allclose(seen, jax.jit(function)(jax.random.key(5)), rtol=1e-5, atol=1e-6)


def nnx_model(**options):
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")

    class Block(nnx.Module):
        def __init__(self, rngs):
            self.attention = nnx.MultiHeadAttention(
                2, 16, dropout_rate=0.1, broadcast_dropout=False, decode=False, rngs=rngs
            )
            self.norm = nnx.BatchNorm(16, rngs=rngs)
            self.drop = nnx.Dropout(0.2, rngs=rngs, **options)

        def __call__(self, x):
            return self.drop(self.norm(self.attention(x)))

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.blocks = nnx.List([Block(rngs), Block(rngs)])
            self.rest = nnx.Sequential(nnx.Linear(16, 4, rngs=rngs), nnx.Dropout(0.4, rngs=rngs))

        def __call__(self, x):
            for block in self.blocks:
                x = block(x)
            return self.rest(x)

    return nnx, Net(nnx.Rngs(0))


def test_an_nnx_module():
    nnx, model = nnx_model()
    kept = nnx.Any(nnx.Param, nnx.BatchStat, nnx.RngCount)
    before = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, kept)))
    report = ds.audit_model(model, X, calls=16)
    assert report.passed, str(report)
    inside = {"attention": 0.1, "drop": 0.2}
    expected = {f"blocks.{i}.{name}": p for i in (0, 1) for name, p in inside.items()}
    assert rates(report) == {**expected, "rest.layers.1": 0.4}
    checks = ("coverage", "evaluation", "state", "seeds", "gradient", "sites", "scale", "mean")
    assert verdicts(report, *checks) == {"pass"}
    after = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, kept)))
    assert all(map(np.array_equal, before, after))
    assert not model.blocks[0].drop.deterministic


def test_dropout_in_evaluation_is_found():
    nnx, _ = nnx_model()

    class Always(nnx.Module):
        def __init__(self, rngs):
            self.drop = nnx.Dropout(0.2, rngs=rngs)

        def __call__(self, x):
            return self.drop(x, deterministic=False)

    report = ds.audit_model(Always(nnx.Rngs(0)), ROWS, calls=8)
    assert failing(report) == {"evaluation"}
    message = report["evaluation"].message
    assert "draws in evaluation mode at drop" in message
    assert "give different outputs" in message
    assert "changes the model's random state" in message


def test_one_key_for_two_layers_is_found():
    nnx, _ = nnx_model()

    class Shared(nnx.Module):
        def __init__(self):
            self.first, self.last = (nnx.Dropout(0.2, rngs=nnx.Rngs(7)) for _ in "ab")

        def __call__(self, x):
            return self.last(self.first(x) + 1)

    assert failing(ds.audit_model(Shared(), ROWS, calls=8)) == {"sites"}


def equinox_model(p=0.3):
    eqx = pytest.importorskip("equinox", reason="equinox is not installed")

    class Net(eqx.Module):
        layers: list
        attention: eqx.nn.MultiheadAttention

        def __init__(self, key):
            first, third = jax.random.split(key)
            self.layers = [eqx.nn.Linear(16, 16, key=first), eqx.nn.Dropout(0.2), eqx.nn.Dropout(p)]
            self.attention = eqx.nn.MultiheadAttention(2, 16, dropout_p=0.1, key=third)

        def __call__(self, x, key):
            first, second, third = jax.random.split(key, 3)
            x = self.layers[1](jax.vmap(self.layers[0])(x), key=first)
            return self.layers[2](self.attention(x, x, x, key=second), key=third)

    return eqx, Net(jax.random.key(0))


def test_an_equinox_module():
    eqx, model = equinox_model()
    report = ds.audit_model(model, X[0], calls=32)
    assert report.passed, str(report)
    assert rates(report) == {"layers.1": 0.2, "attention.dropout": 0.1, "layers.2": 0.3}
    checks = ("coverage", "evaluation", "state", "seeds", "gradient", "sites", "scale", "mean")
    assert verdicts(report, *checks) == {"pass"}
    assert "__call__" in vars(eqx.nn.Dropout)
    # in inference mode, which an audit leaves for training
    assert ds.audit_model(eqx.nn.inference_mode(model), X[0], calls=32).passed
    # over a batch, as a function: its modules are not known by then
    report = ds.audit_model(lambda key: jax.vmap(model)(X, jax.random.split(key, 8)), calls=16)
    assert sorted(rates(report).values()) == [0.1, 0.2, 0.3]
    assert report.passed, str(report)


def test_modules_that_transformations_copy_are_told_apart_where_they_keep_their_path():
    nnx, _ = nnx_model()

    class Block(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(16, 16, rngs=rngs)
            self.drop = nnx.Dropout(0.3, rngs=rngs)

        def __call__(self, x):
            return self.drop(self.linear(x))

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.one = Block(rngs)
            self.many = nnx.split_rngs(splits=3)(nnx.vmap(Block))(rngs)

        def __call__(self, x):
            x = nnx.scan(lambda x, block: block(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.many)
            return nnx.jit(lambda block, x: block(x))(self.one, x)

    report = ds.audit_model(Net(nnx.Rngs(0)), X, calls=16)
    assert report.passed, str(report)
    assert rates(report) == {"many.drop": 0.3, "one.drop": 0.3}
    assert report.sites["many.drop"].n == 3 * X.size
    eqx, inner = equinox_model()

    class Batch(eqx.Module):
        net: eqx.Module

        def __call__(self, x, key):
            return eqx.filter_vmap(self.net)(x, jax.random.split(key, len(x)))

    report = ds.audit_model(Batch(inner), X, calls=16)
    assert report.passed, str(report)
    assert sorted(rates(report).values()) == [0.1, 0.2, 0.3]
    assert report["coverage"].observed == 3


def test_what_equinox_compiles_is_audited_as_what_it_was():
    eqx, model = equinox_model()
    report = ds.audit_model(eqx.filter_jit(lambda key: dropout(key, ROWS)), calls=8)
    assert report.passed, str(report)
    assert rates(report) == {"dropout": 0.2}
    assert verdicts(report, "evaluation", "state") == {"not applicable"}
    report = ds.audit_model(eqx.filter_jit(model), X[0], calls=32)
    assert report.passed, str(report)
    assert report["coverage"].observed == 3
    assert report["evaluation"].verdict == "pass"


def test_a_rate_that_is_not_drawn_at_is_found():
    eqx, model = equinox_model()

    class Halved(eqx.nn.Dropout):
        def __call__(self, x, *, key=None, inference=None):
            return x if self.inference else eqx.nn.Dropout(self.p / 2)(x, key=key)

    report = ds.audit_model(eqx.tree_at(lambda net: net.layers[1], model, Halved(0.2)), X[0], calls=32)
    assert "coverage" in failing(report)
    assert "layers.1 declares p = 0.2 and draws at 0.1" in report["coverage"].message
    assert not report.sites["layers.1"].passed


# Functions


def dropout(key, x, p=0.2):
    return jnp.where(jax.random.bernoulli(key, 1 - p, x.shape), x / (1 - p), 0)


def test_every_way_to_write_dropout_is_read():
    def floor(key, x):
        return x / 0.9 * jnp.floor(0.9 + jax.random.uniform(key, (len(x), 1)))

    def at_least(key, x):
        return x * (jax.random.uniform(key, x.shape) >= 0.3) / 0.7

    def dropped(key, x):
        return jnp.where(jax.random.uniform(key, x.shape) < 0.25, 0, x / 0.75)

    def inverted(key, x):
        return x * (1 - jax.random.bernoulli(key, 0.15, x.shape).astype(x.dtype)) / 0.85

    @jax.jit
    def compiled(key, x):
        return dropout(key, x, 0.35)

    @jax.checkpoint
    def checkpointed(key, x):
        return dropout(key, x, 0.45)

    def looped(key, x):
        def body(x, key):
            return x * jax.random.bernoulli(key, 0.6, x.shape) / 0.6, None

        return jax.lax.scan(body, x, jax.random.split(key, 3))[0]

    def all_of_them(key, x):
        functions = (floor, at_least, dropped, inverted, compiled, checkpointed, looped)
        for function, one in zip(functions, jax.random.split(key, len(functions)), strict=True):
            x = function(one, 1 + jnp.tanh(x) / 2)
        return x

    report = ds.audit_model(all_of_them, ROWS, calls=16)
    assert report.passed, str(report)
    assert rates(report) == {
        "floor": 0.1, "at_least": 0.3, "dropped": 0.25, "inverted": 0.15, "dropout:1": 0.35, "dropout:2": 0.45,
        "body": 0.4,
    }  # fmt: skip
    assert report.sites["body"].n == 3 * ROWS.size
    assert "not compared: body" in report["gradient"].message


def test_draws_that_are_no_masks_are_listed():
    def function(key):
        noise = jax.random.normal(key, ROWS.shape) + jax.random.gamma(key, 2.0, ROWS.shape)
        return dropout(key, ROWS) + noise + jax.random.uniform(key, ROWS.shape)

    report = ds.audit_model(function, calls=8)
    assert list(report.sites) == ["dropout"]
    listed = "no mask came of normal (8 times), gamma (8 times), uniform (8 times)"
    assert report.unjudged == {"function": listed}


def defective(wrong):
    def function(key, x):
        keys = jax.random.split(key, 2)
        if wrong == "seeds":
            keys = jax.random.split(jax.random.key(3), 2)
        if wrong == "sites":
            keys = [key, key]
        x = jnp.tanh(dropout(keys[0], x)) + 1
        if wrong == "scale":
            return jnp.where(jax.random.bernoulli(keys[1], 0.8, x.shape), x * 1.0, 0)
        return dropout(keys[1], x)

    return function


@pytest.mark.parametrize("wrong", ["seeds", "sites", "scale"])
def test_each_check_finds_its_defect(wrong):
    report = ds.audit_model(defective(wrong), ROWS, calls=8)
    assert wrong in failing(report)
    assert failing(report) <= {wrong, "mean"} | ({"sites"} if wrong == "seeds" else set())


@pytest.mark.parametrize("wrong", [False, True])
def test_a_derivative_written_by_hand_is_compared(wrong):
    @jax.custom_vjp
    def by_hand(key, x):
        return dropout(key, x)

    def forward(key, x):
        return dropout(key, x), jax.random.split(key)[0] if wrong else key

    def backward(key, gradient):
        return None, dropout(key, gradient)

    by_hand.defvjp(forward, backward)
    report = ds.audit_model(by_hand, ROWS, calls=8)
    assert failing(report) == ({"gradient"} if wrong else set())
    assert report["gradient"].verdict == ("fail" if wrong else "pass")


def test_keep_probability_given_as_p_is_found():
    report = ds.audit_model(lambda key: dropout(key, ROWS, 0.9), calls=8, p={"dropout": 0.1})
    assert "keep probability given as p" in report.sites["dropout"]["rate"].message


@pytest.mark.parametrize("wrong", [False, True])
def test_a_function_is_judged_in_evaluation_where_that_is_given(wrong):
    net, variables = linen_model()

    def trained(key, x):
        return net.apply(variables, x, train=True, rngs={"dropout": key})

    def evaluated(key, x):
        return net.apply(variables, x, train=wrong, rngs={"dropout": key})

    report = ds.audit_model(trained, X[:4], calls=8, evaluation=evaluated)
    assert failing(report) == ({"evaluation"} if wrong else set())
    assert report["state"].verdict == "pass"
    assert (
        "draws in evaluation mode at Block_1.MultiHeadDotProductAttention_0" in report["evaluation"].message
    ) == wrong


def test_dropout_in_evaluation_is_found_in_an_equinox_module():
    eqx, _ = equinox_model()

    class Always(eqx.Module):
        drop: eqx.nn.Dropout

        def __call__(self, x, key):
            return self.drop(x, key=key, inference=False)

    report = ds.audit_model(Always(eqx.nn.Dropout(0.2)), ROWS, calls=8)
    assert failing(report) == {"evaluation"}


def test_dropout_left_off_after_evaluation_is_found_by_state():
    nnx, _ = nnx_model()

    class Sticky(nnx.Module):
        def __init__(self, rngs):
            self.drop = nnx.Dropout(0.2, rngs=rngs)

        def __call__(self, x):
            return self.drop(x)

        def train(self, **attributes):
            """Forget what `eval` turned off."""

    report = ds.audit_model(Sticky(nnx.Rngs(0)), ROWS, calls=8)
    assert failing(report) == {"state"}
    assert "nothing is drawn at drop" in report["state"].message


def test_a_key_made_anew_in_each_call_is_found():
    nnx, _ = nnx_model()

    class Renewed(nnx.Module):
        def __init__(self):
            self.drop = nnx.Dropout(0.2)

        def __call__(self, x):
            return self.drop(x, rngs=nnx.Rngs(0))

    report = ds.audit_model(Renewed(), ROWS, calls=8)
    assert failing(report) == {"seeds"}
    assert "two different seeds give the same masks at drop" in report["seeds"].message
    assert report.sites["drop"]["duplicates"].verdict == "fail"


def refuses(model, *inputs, **options):
    """Return the error that an audit raises, with its notes."""
    with pytest.raises((ValueError, TypeError, RuntimeError)) as raised:
        ds.audit_model(model, *inputs, **options)
    return "; ".join([f"{type(raised.value).__name__}: {raised.value}", *getattr(raised.value, "__notes__", ())])


def test_bad_functions():
    message = refuses(lambda key: ROWS)
    assert "ValueError: model must have dropout; got <lambda>, which draws nothing from its key or any other" in message
    message = refuses(lambda: ROWS)
    assert "TypeError: model is called as model(key, *inputs), with 0 inputs; got <lambda>(): too many" in message
    message = refuses(lambda x, key: x * jax.random.bernoulli(key, 0.9, x.shape), ROWS)
    assert "model(key, *inputs), with 1 inputs; got <lambda>(x, key): the key comes first" in message
    message = refuses(dropout, ROWS, rate=0.3)
    assert "model(key, *inputs), with 1 inputs; got dropout(key, x, p=0.2): got an unexpected keyword" in message
    message = refuses(dropout, ROWS, calls=4, p={"drop": 0.1})
    assert "p and laws must name sites of the model, which are dropout; got 'drop'" in message
    assert "too few calls to test any site" in refuses(dropout, ROWS[0, :4], calls=2)
    message = refuses(lambda key: dropout(key, ROWS) @ ROWS, calls=2)
    assert "dot_general requires contracting dimensions" in message
    assert "dropstats: raised by the model in training mode, call 1 of 2, on inputs of shape none" in message
    message = refuses(linen_model()[0], X)
    assert "TypeError: model must be a keras Model or Layer, a torch.nn.Module, a flax nnx Module, an" in message
    told = r"as a step of JAX is a function of its key: audit_model\(step, \.\.\.\); got"
    with pytest.raises(TypeError, match=told), ds.watch(dropout):
        pass


def test_bad_modules():
    eqx, model = equinox_model()
    nnx, _ = nnx_model()
    message = refuses(model, X)
    assert "dropstats: raised by the model in training mode, call 1 of 64, on inputs of shape (8, 12, 16)" in message

    class Keyless(eqx.Module):
        def __call__(self, x):
            return x

    message = refuses(Keyless(), X[0])
    assert "TypeError: model is called as model(*inputs, key=key), with 1 inputs; got Keyless(x)" in message
    assert "evaluation is for functions of a JAX key; a Net has modes of its own" in refuses(
        model, X[0], evaluation=dropout
    )
    assert "model must have dropout; got Linear, in which no module declares a rate" in refuses(
        nnx.Linear(16, 4, rngs=nnx.Rngs(0)), X
    )

    class Failing(nnx.Module):
        def __init__(self, rngs):
            self.drop = nnx.Dropout(0.2, rngs=rngs)

        def __call__(self, x):
            if self.drop.deterministic:
                raise RuntimeError("no statistics yet")
            return self.drop(x)

    message = refuses(Failing(nnx.Rngs(0)), ROWS, calls=2)
    assert message.startswith("RuntimeError: no statistics yet")
    assert message.endswith("dropstats: raised by the model in evaluation mode")
