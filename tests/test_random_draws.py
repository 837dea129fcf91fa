"""A function whose bits are drawn first, by one program, returns what it would have returned."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, PyTree

import diffjax as dj
from diffjax.protocols import Net
from diffjax.training.optimizers import adamw
from diffjax.training.state import create as create_state
from diffjax.utils import random_draws
from diffjax.utils.random_draws import draw_bits, evaluate_with_bits

KEY = jax.random.key(7)


def scanned(key: Array) -> Array:
    """Draws inside a loop, which are not drawn first, and one outside."""
    inside = jax.lax.scan(lambda key, _: (jax.random.fold_in(key, 1), jax.random.normal(key, (3,))), key, length=4)[1]
    return inside + jax.random.uniform(key, (4, 3))


def of_drawn(key: Array) -> Array:
    """A key that depends on drawn numbers."""
    return jax.random.normal(jax.random.fold_in(key, jax.random.bits(key)), (5,))


FUNCTIONS: dict[str, Callable[[Array], PyTree]] = {
    "shapes": lambda key: [jax.random.truncated_normal(key, -2, 2, shape) for shape in [(), (3, 5), (0, 2), (1, 7, 1)]],
    "kinds": lambda key: (jax.random.normal(key, (9,), jnp.bfloat16), jax.random.bits(key, (3,), jnp.uint8)),
    "batched keys": lambda key: jax.vmap(jax.nn.initializers.orthogonal(), (0, None))(jax.random.split(key, 3), (4, 4)),
    "in a loop": scanned,
    "of drawn numbers": of_drawn,
    "nothing drawn": lambda key: jnp.ones(3),
    "another generator": lambda key: jax.random.normal(jax.random.key(3, impl="rbg"), (5,)),
}


def drawn_first(function: Callable[[Array], PyTree], key: Array) -> tuple[PyTree, int]:
    """What a function returns whose bits are drawn first, and how many were."""
    traced, tree = jax.make_jaxpr(function, return_shape=True)(key)
    bits = draw_bits(traced, traced.consts, [key])
    leaves = jax.jit(partial(evaluate_with_bits, traced))(bits, traced.consts, [key])
    return jax.tree.unflatten(jax.tree.structure(tree), leaves), 0 if bits is None else bits.size


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numbers_are_those_of_the_function(name: str) -> None:
    found, _ = drawn_first(FUNCTIONS[name], KEY)
    jax.tree.map(np.testing.assert_array_equal, found, jax.jit(FUNCTIONS[name])(KEY))


def test_what_can_be_drawn_first_is() -> None:
    counts = {name: drawn_first(function, KEY)[1] for name, function in FUNCTIONS.items()}
    assert {name for name, count in counts.items() if count} == {"shapes", "batched keys", "in a loop"}  # 32 bits each


@pytest.mark.parametrize(
    ("net", "x"),
    [
        (dj.nets.UNet(width=8), jnp.zeros((1, 4, 4, 1))),
        (dj.nets.DiT(width=8, heads=2, depth=2, scan=True), jnp.zeros((1, 4, 4, 1))),
        (dj.nets.Transformer(shape=(6,), vocab=5, width=8, heads=2, depth=2), jnp.zeros((1, 6), jnp.int32)),
    ],
    ids=["UNet", "DiT in a scan", "Transformer"],
)
def test_parameters_of_a_net_are_those_of_its_init(net: Net, x: Array) -> None:
    init_key, _ = jax.random.split(KEY)
    params = create_state(KEY, net, adamw(10), (0.9,), x, None).params
    plain = jax.jit(net.init)(init_key, x, jnp.zeros((1,) * x.ndim))["params"]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), params, plain)  # bits; XLA fuses otherwise


def test_states_of_many_keys_are_those_of_each() -> None:
    net, x = dj.nets.UNet(width=8), jnp.zeros((1, 4, 4, 1))

    def create(key: Array) -> PyTree:
        return create_state(key, net, adamw(10), (0.9,), x, None).params

    many = jax.jit(jax.vmap(create))(jax.random.split(KEY, 3))
    one = create(jax.random.split(KEY, 3)[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-6, atol=1e-9), many, one)


def test_too_many_numbers_are_not_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_draws, "MAX_BITS", 20)
    found, count = drawn_first(FUNCTIONS["shapes"], KEY)
    assert count == 0
    jax.tree.map(np.testing.assert_array_equal, found, jax.jit(FUNCTIONS["shapes"])(KEY))
