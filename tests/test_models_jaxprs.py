"""Draws inside each transformation of JAX, and in backward passes: all are seen, and the output is the function's."""

import itertools

import numpy as np
import pytest

import dropstats as ds

jax = pytest.importorskip("jax", reason="jax is not installed")
pytestmark = [pytest.mark.framework, pytest.mark.filterwarnings("ignore")]

from jax import numpy as jnp  # noqa: E402

ROWS = jax.random.normal(jax.random.key(1), (16, 256))
WEIGHTS = jax.random.normal(jax.random.key(2), (256, 256)) / 16


def dropout(key, x, p=0.2):
    return jnp.where(jax.random.bernoulli(key, 1 - p, x.shape), x / (1 - p), 0)


def rates(report):
    return {name: round(site.p, 6) for name, site in report.sites.items()}


def failing(report):
    return {result.name for result in report.results if result.verdict == "fail"}


# Each is a function of a key, with the sites it has: the rate, and the neurons of a mask.


def scanned(key):
    def body(x, key):
        return jnp.tanh(dropout(key, x, 0.3)), None

    return jax.lax.scan(body, ROWS, jax.random.split(key, 3))[0]


def taken(key):
    x = jax.lax.cond(ROWS.sum() < 1e9, dropout, lambda key, x: x, key, ROWS)
    return jax.lax.cond(ROWS.sum() > 1e9, dropout, lambda key, x: x, key, x)


def rounds(key):
    def body(state):
        number, x = state
        return number + 1, jnp.tanh(dropout(jax.random.fold_in(key, number), x, 0.4))

    return jax.lax.while_loop(lambda state: state[0] < 3, body, (0, ROWS))[1]


def counted(key):
    return jax.lax.fori_loop(0, 4, lambda i, x: jnp.tanh(dropout(jax.random.fold_in(key, i), x, 0.1)), ROWS)


def compiled(key):
    return jax.jit(lambda key, x: jax.jit(dropout)(key, x) + 1)(key, ROWS)


def batched(key):
    return jax.vmap(dropout)(jax.random.split(key, len(ROWS)), ROWS)


def batched_branches(key):
    def row(key, x):
        return jax.lax.cond(x.sum() > 0, dropout, lambda key, x: x, key, x)

    return jax.vmap(row)(jax.random.split(key, len(ROWS)), ROWS)


def checkpointed(key):
    return jax.checkpoint(lambda key, x: jnp.tanh(dropout(key, x @ WEIGHTS)))(key, ROWS)


def nested(key):
    """Draw in a branch, chosen anew in each turn, inside a loop of unknown length in a loop."""

    def turn(state):
        number, key, x = state
        key, here, which = jax.random.split(key, 3)
        branches = [lambda key, x: x, lambda key, x: dropout(key, x, 0.25), lambda key, x: x]
        x = jax.lax.switch(jax.random.bits(which, dtype=jnp.uint32) % 3, branches, here, jnp.tanh(x))
        return number + 1, key, x

    def body(x, key):
        return jax.lax.while_loop(lambda state: state[0] < 5, turn, (0, key, x))[2], None

    return jax.lax.scan(body, ROWS, jax.random.split(key, 4))[0]


SEEN = [
    (scanned, {"dropout": 0.3}, 3 * ROWS.size),
    (taken, {"dropout": 0.2}, ROWS.size),
    (rounds, {"dropout": 0.4}, 3 * ROWS.size),
    (counted, {"dropout": 0.1}, 4 * ROWS.size),
    (compiled, {"dropout": 0.2}, ROWS.size),
    (batched, {"dropout": 0.2}, ROWS.size),
    (batched_branches, {"dropout": 0.2}, ROWS.size),
    (checkpointed, {"dropout": 0.2}, ROWS.size),
    (nested, {"dropout": 0.25}, None),
]


@pytest.mark.parametrize(("function", "expected", "neurons"), SEEN, ids=[function.__name__ for function, *_ in SEEN])
def test_a_draw_is_seen_inside(function, expected, neurons):
    from dropstats.models.jax import Passes
    from dropstats.models.sites import Sites

    report = ds.audit_model(function, calls=8)
    assert report.passed, str(report)
    assert rates(report) == expected
    (site,) = report.sites.values()
    assert site.draws == 8
    assert (site.n == neurons) if neurons else site.n % ROWS.size == 0
    assert not set(report.unjudged) - {"turn"}
    with Passes(function, (), {}) as passes:
        (seen,) = passes.run(Sites(), seed=5)
    np.testing.assert_allclose(seen, jax.jit(function)(jax.random.key(5)), rtol=1e-6, atol=1e-6)


def test_masks_inside_loops_and_branches_are_those_that_were_used():
    from dropstats.models.jax import Passes
    from dropstats.models.sites import Sites

    def function(key):
        def body(x, turn):
            key, number = turn
            y = jax.lax.cond(number % 2 == 1, lambda: dropout(key, x, 0.5), lambda: x)
            return x, y

        return jax.lax.scan(body, jnp.ones((3, 40)), (jax.random.split(key, 4), jnp.arange(4)))[1]

    sites = Sites()
    with Passes(function, (), {}) as passes:
        (output,) = passes.run(sites)
    (site,) = sites
    assert site.shape == (2, 3, 40)  # of the second turn and the fourth
    np.testing.assert_array_equal(site.masks.matrix()[0].reshape(2, 3, 40), output[1::2] != 0)


def test_names_of_scopes_name_draws_inside_transformations():
    def function(key):
        def body(x, key):
            with jax.named_scope("inner"):
                return jnp.tanh(dropout(key, x)), None

        first, last = jax.random.split(key)
        with jax.named_scope("outer"):
            x = jax.lax.scan(jax.checkpoint(body), ROWS, jax.random.split(first, 2))[0]
        with jax.named_scope("rows"):
            return jax.vmap(dropout)(jax.random.split(last, len(x)), x)

    assert rates(ds.audit_model(function, calls=8)) == {"outer.inner": 0.2, "rows": 0.2}


def test_a_rate_that_varies_in_a_loop_is_asked_for():
    def function(key):
        def body(x, turn):
            return dropout(turn[0], x, turn[1]), None

        return jax.lax.scan(body, ROWS, (jax.random.split(key, 2), jnp.array([0.1, 0.3])))[0]

    with pytest.raises(ValueError, match="p and laws must name sites"):
        ds.audit_model(function, calls=8, p={"drop": 0.1})
    report = ds.audit_model(function, calls=8)
    assert report.unjudged == {"dropout": "p is not known: give p={'dropout': ...}"}
    law = ds.Network(ds.Layer(ROWS.size, 0.1), ds.Layer(ROWS.size, 0.3))
    assert ds.audit_model(function, calls=8, laws={"dropout": law}).passed


# Backward passes


@pytest.mark.parametrize("wrong", [False, True])
def test_recomputed_masks_are_held_against_the_forward_ones(wrong):
    numbers = itertools.count()

    def counted(data):  # on the host, where nothing knows that it is asked again
        return np.uint32(next(numbers))

    @jax.checkpoint
    def block(key, x):
        if wrong:
            number = jax.pure_callback(counted, jax.ShapeDtypeStruct((), np.uint32), jax.random.key_data(key)[0])
            key = jax.random.fold_in(key, number)
        return jnp.tanh(dropout(key, x @ WEIGHTS))

    def function(key):
        first, last = jax.random.split(key)
        return block(last, block(first, ROWS))

    report = ds.audit_model(function, calls=8)
    if wrong:
        assert failing(report) == {"seeds", "recomputed"}
        message = "2 recomputed masks differ from those of the forward pass, at dropout"
        assert report["recomputed"].message == message
    else:
        assert report.passed, str(report)
        assert report["recomputed"].message == "all 2 recomputed masks are those of the forward pass"


@pytest.mark.parametrize("wrong", [False, True])
def test_a_training_step_is_a_function_of_a_key(wrong):
    @jax.custom_vjp
    def by_hand(key, x):
        return dropout(key, x)

    def forward(key, x):
        return dropout(key, x), jax.random.split(key)[0] if wrong else key

    by_hand.defvjp(forward, lambda key, gradient: (None, dropout(key, gradient)))

    def loss(weights, key):
        def body(x, key):
            return jnp.tanh(dropout(key, x @ weights, 0.3)), None

        first, last = jax.random.split(key)
        x = jax.lax.scan(jax.checkpoint(body), ROWS, jax.random.split(first, 3))[0]
        return by_hand(last, x @ weights).sum()

    def step(key):
        value, gradient = jax.value_and_grad(loss)(WEIGHTS, key)
        return value, WEIGHTS - 0.1 * gradient

    report = ds.audit_model(step, calls=8)
    assert rates(report) == {"dropout:1": 0.3, "dropout:2": 0.2}  # once each, though they are drawn again
    assert report["recomputed"].verdict == "pass"
    assert report["recomputed"].observed == 8
    assert failing(report) == ({"gradient"} if wrong else set())
    if wrong:
        assert (
            "8 redrawn (in the backward pass) masks differ from those of the forward pass" in report["gradient"].message
        )


def test_a_function_without_a_gradient_says_so():
    def function(key):
        return jax.lax.while_loop(lambda x: x.sum() < 0, lambda x: x + 1, dropout(key, ROWS))

    report = ds.audit_model(function, calls=8)
    assert report.passed, str(report)
    assert report["gradient"].verdict == report["recomputed"].verdict == "not applicable"
    assert "the model has none: Reverse-mode differentiation does not work" in report["gradient"].message


def test_one_key_in_two_ways_is_found():
    """The second of three keys of a split is what 1 is folded into: here a layer draws the mask of another."""

    def function(key):
        x = dropout(jax.random.split(key, 3)[1], ROWS)
        return dropout(jax.random.fold_in(key, 1), jnp.tanh(x))

    assert failing(ds.audit_model(function, calls=8)) == {"sites"}
