"""Conditions of several parts: in a chain 1 is neutral; composed it is the product of each part's evidence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import guidance
from diffjax.errors import UserError

NOISY = 0.5  # variance of what is observed
APART, TOGETHER = jnp.diag(jnp.array([1.0, 0.6])), jnp.array([[1.0, 0.5], [0.5, 0.6]])
B = 3
X, T = jax.random.normal(jax.random.key(0), (B, 2)), jnp.array([[0.9], [0.5], [0.1]])


def part(value, present=True):
    value = jnp.asarray(value)
    return {"value": value, "present": jnp.broadcast_to(jnp.asarray(present), value.shape)}


COND = {"first": part([0.5, -1.0, 2.0]), "second": part([1.0, 0.3, -0.4])}
NULL = {"first": part(0.0, False), "second": part(0.0, False)}


def exact(cov):
    """E[x0|x_t, parts] for x0 ~ N(0, cov) of two numbers, each part one of them + N(0, 0.5); flow's alpha and sigma."""

    def denoise(x_t, t, cond):
        known = [cond[name]["present"] / NOISY for name in ("first", "second")]
        pull = [cond[name]["value"] * each for name, each in zip(("first", "second"), known, strict=True)]
        seen = (1 - t) / t**2
        precision = jnp.linalg.inv(cov)[None] + jnp.eye(2)[None] * (((1 - t) * seen) + jnp.stack(known, 1))[:, None]
        return jnp.linalg.solve(precision, (seen * x_t + jnp.stack(pull, 1))[..., None])[..., 0]

    return denoise


def given(denoise, *names):
    """The prediction given these parts alone."""
    nothing = jax.tree.map(lambda each: jnp.broadcast_to(each, (B,)), NULL)
    return denoise(X, T, {**nothing, **{name: COND[name] for name in names}})


@pytest.mark.parametrize(
    ("scales", "names"),
    [
        ({"first": 1.0, "second": 1.0}, ("first", "second")),
        ({"second": 1.0, "first": 1.0}, ("first", "second")),
        ({"first": 0.0, "second": 0.0}, ()),
        ({"first": 1.0, "second": 0.0}, ("first",)),
        ({"second": 1.0, "first": 0.0}, ("second",)),
    ],
)
def test_at_one_and_zero_a_chain_is_the_model_itself(scales, names) -> None:
    denoise = exact(TOGETHER)
    guided = guidance.several(denoise, scales, NULL)
    np.testing.assert_allclose(guided(X, T, COND), given(denoise, *names), rtol=1e-5, atol=1e-6)


def test_a_chain_at_one_is_the_joint_model_bit_for_bit() -> None:
    def net(x_t, t, cond):
        return jnp.sin(x_t * (1 + sum(cond[name]["value"] * cond[name]["present"] for name in cond))[:, None]) + t

    for order in (("first", "second"), ("second", "first")):
        guided = guidance.several(net, dict.fromkeys(order, 1.0), NULL)
        np.testing.assert_array_equal(guided(X, T, COND), net(X, T, COND))


@pytest.mark.parametrize("names", [("first", "second"), ("second", "first")])
def test_a_chain_is_instruct_pix2pix(names) -> None:
    """Brooks et al. 2023, eq. 3; the order of the mapping says which part is the image, also when compiled."""
    denoise, (one, other) = exact(TOGETHER), (1.5, 7.5)
    expected = given(denoise) + one * (given(denoise, names[0]) - given(denoise))
    expected += other * (given(denoise, *names) - given(denoise, names[0]))
    guided = guidance.several(denoise, dict(zip(names, (one, other), strict=True)), NULL)
    np.testing.assert_allclose(jax.jit(lambda g: g(X, T, COND))(guided), expected, rtol=1e-4, atol=1e-5)


def test_composed_is_each_part_alone() -> None:
    """Liu et al. 2022: at 1 the joint model where the parts speak of independent numbers, and not elsewhere."""
    scales = {"first": 3.0, "second": -0.5}
    denoise = exact(TOGETHER)
    expected = given(denoise) + sum(w * (given(denoise, name) - given(denoise)) for name, w in scales.items())
    np.testing.assert_allclose(guidance.composed(denoise, scales, NULL)(X, T, COND), expected, rtol=1e-4, atol=1e-5)
    ones = dict.fromkeys(scales, 1.0)
    apart, together = (guidance.composed(exact(cov), ones, NULL)(X, T, COND) for cov in (APART, TOGETHER))
    np.testing.assert_allclose(apart, given(exact(APART), "first", "second"), rtol=1e-4, atol=1e-5)
    assert float(jnp.max(jnp.abs(together - given(denoise, "first", "second")))) > 0.05


@pytest.mark.parametrize("make", [guidance.several, guidance.composed])
def test_a_part_without_a_scale_is_given_throughout(make) -> None:
    denoise = exact(TOGETHER)
    guided = make(denoise, {"second": 2.0}, NULL)
    expected = 2 * given(denoise, "first", "second") - given(denoise, "first")
    np.testing.assert_allclose(guided(X, T, COND), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [guidance.several, guidance.composed])
def test_all_predictions_are_one_call(make) -> None:
    calls = []

    def denoise(x_t, t, cond):
        calls.append(x_t)
        return exact(TOGETHER)(x_t, t, cond)

    make(denoise, {"first": 2.0, "second": guidance.interval(3.0, 0.2, 0.6)}, NULL)(X, T, COND)
    (x_t,) = calls
    np.testing.assert_array_equal(x_t, jnp.repeat(X, 3, axis=0))  # the copies of an example side by side


def test_under_grad_and_vmap_and_on_tokens() -> None:
    guided = guidance.several(exact(TOGETHER), {"first": 2.0, "second": 3.0}, NULL)
    slope = jax.grad(lambda x: jnp.sum(guided(x, T, COND)))(X)
    assert bool(jnp.all(jnp.isfinite(slope)))

    def one(x, t, cond):
        return guided(x[None], t[None], jax.tree.map(lambda leaf: leaf[None], cond))[0]

    np.testing.assert_allclose(jax.vmap(one)(X, T, COND), guided(X, T, COND), rtol=1e-4, atol=1e-5)

    def logits(x_t, t, cond):
        return (x_t[..., None] + cond["first"]["value"][:, None, None]) * jnp.arange(4.0)[None, None]

    tokens = guidance.several(logits, {"first": guidance.interval(2.0, 0.2, 0.6)}, NULL)
    assert tokens(jnp.ones((B, 5), jnp.int32), jnp.full((B, 5), 0.5), COND).shape == (B, 5, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: guidance.several(exact(APART), {"third": 1.0}, NULL), "'third'.*first, second"),
        (lambda: guidance.several(exact(APART), {}, NULL), "^several: scales .*first, second"),
        (lambda: guidance.several(exact(APART), {"first": 1.0}, jnp.asarray(3)), "^several: null"),
        (lambda: guidance.composed(exact(APART), {"first": np.inf}, NULL), "^composed: first: scale"),
        (lambda: guidance.several(exact(APART), {"first": 1.0}, NULL)(X, T, jnp.ones(3)), "^several: cond"),
        (lambda: guidance.several(exact(APART), {"first": 1.0}, NULL)(X, T, None), "cond="),
        (
            lambda: guidance.several(exact(APART), {"first": 1.0}, NULL)(X, T, {"first": COND["first"]}),
            "^several: null",
        ),
    ],
)
def test_mistakes_are_named(make, message) -> None:
    with pytest.raises(UserError, match=message):
        make()
