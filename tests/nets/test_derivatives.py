"""Every net under jit, jvp, linearize, grad, grad of jvp and vmap: the derivatives agree with each other.

Derivatives of samplers, likelihoods and flow maps go forwards through nets, and those of training backwards.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from diffjax.nets import MLP, DiT, UNet
from diffjax.protocols import Net

# One side divides by patches and halvings, and the other is padded.
X, DIRECTION, COTANGENT = (jax.random.normal(jax.random.key(seed), (2, 4, 3, 1)) for seed in range(3))
LEVEL = jnp.array([0.3, -0.6]).reshape(2, 1, 1, 1)
NETS: dict[str, Net] = {
    "MLP": MLP(width=8, depth=1),
    "UNet": UNet(width=8, multipliers=(1, 2), heads=2, attention=(0,)),
    "UNet, remat": UNet(width=8, multipliers=(1, 2), heads=2, remat=True),
    "DiT": DiT(width=8, depth=2, heads=2, patch=2),
    "DiT, scan": DiT(width=8, depth=2, heads=2, patch=1, scan=True),
    "DiT, remat": DiT(width=8, depth=2, heads=2, patch=1, remat="products"),
    "DiT, no gates": DiT(width=8, depth=2, heads=2, patch=1, adaln_zero=False),
}

Function = Callable[[Array], Array]


@pytest.fixture(scope="module", params=NETS)
def function(request: pytest.FixtureRequest) -> Function:
    """A net of x alone, with random weights."""
    net = NETS[request.param]
    leaves, tree = jax.tree.flatten(jax.jit(net.init)(jax.random.key(0), X, LEVEL))
    moved = [leaf + 0.1 * jax.random.normal(jax.random.key(i), leaf.shape) for i, leaf in enumerate(leaves)]
    variables = jax.tree.unflatten(tree, moved)
    return lambda x: net.apply(variables, x, LEVEL[: len(x)])


def assert_near(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * float(jnp.max(jnp.abs(expected)) + 1))


def test_forward_and_backward_derivatives_agree(function: Function) -> None:
    """<u, J v> by jvp is <J' u, v> by vjp; linearize and jit give the same J v; a central difference is near it."""
    value, tangent = jax.jvp(function, (X,), (DIRECTION,))
    assert_near(value, jax.jit(function)(X))
    linear_value, linear = jax.linearize(function, X)
    assert_near(linear_value, value)
    assert_near(linear(DIRECTION), tangent)
    assert_near(jax.jit(lambda x, v: jax.jvp(function, (x,), (v,))[1])(X, DIRECTION), tangent)
    _, pull_back = jax.vjp(function, X)
    assert_near(jnp.vdot(pull_back(COTANGENT)[0], DIRECTION), jnp.vdot(COTANGENT, tangent))
    step = 1e-2
    difference = (function(X + step * DIRECTION) - function(X - step * DIRECTION)) / (2 * step)
    scale = float(jnp.max(jnp.abs(tangent)))
    np.testing.assert_allclose(difference, tangent, atol=2e-2 * scale)


def test_second_derivatives_do_not_depend_on_the_order_of_modes(function: Function) -> None:
    """The gradient of <u, J v> in x: backward over forward, as a flow map is trained, and forward over backward."""

    def backward_over_forward(x: Array) -> Array:
        return jax.grad(lambda x: jnp.vdot(COTANGENT, jax.jvp(function, (x,), (DIRECTION,))[1]))(x)

    def forward_over_backward(x: Array) -> Array:
        gradient = jax.grad(lambda x: jnp.vdot(COTANGENT, function(x)))
        return jax.jvp(gradient, (x,), (DIRECTION,))[1]

    assert_near(jax.jit(backward_over_forward)(X), jax.jit(forward_over_backward)(X))


def test_many_tangents_are_each_of_them(function: Function) -> None:
    directions = jnp.stack([DIRECTION, COTANGENT, X])
    push = jax.jit(lambda v: jax.jvp(function, (X,), (v,))[1])
    assert_near(jax.jit(jax.vmap(push))(directions)[1], push(COTANGENT))
    assert_near(jax.vmap(lambda x: function(x[None])[0])(X[:1]), function(X[:1]))
