"""Attention in blocks of heads and rows is JAX's own, in value, gradient and tangent, whatever its mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.nets import dot_product

B, HEADS, D = 2, 3, 8
SIZES = {"whole": (40, 40), "blocks": (128, 128), "a last block in part": (150, 150), "other keys": (130, 17)}
MASKS = {
    "none": lambda n, m: None,
    "of keys": lambda n, m: jnp.asarray((np.arange(m) < np.array([[m], [m // 2]]))[:, None, None]),
    "shared": lambda n, m: jnp.asarray((np.arange(n)[:, None] // 4 >= np.arange(m) // 4)[None, None]),
}


def inputs(n: int, m: int) -> tuple[jax.Array, ...]:
    shapes = ((B, n, HEADS, D), (B, m, HEADS, D), (B, m, HEADS, D))
    return tuple(jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_attention_of_jax(size: str, mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dot_product, "BLOCK_NUMBERS", 3 * dot_product.ROWS * SIZES[size][1])  # two groups of heads
    arrays, chosen = inputs(*SIZES[size]), MASKS[mask](*SIZES[size])

    def both(attend):
        def total(*arrays):
            return jnp.sum(jnp.sin(attend(*arrays, mask=chosen)))

        out, tangent = jax.jvp(lambda *arrays: attend(*arrays, mask=chosen), arrays, arrays)
        return out, tangent, jax.grad(total, argnums=(0, 1, 2))(*arrays)

    ours, theirs = (jax.jit(lambda f=f: both(f))() for f in (dot_product.attend, jax.nn.dot_product_attention))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), ours, theirs)


@pytest.mark.parametrize("n", [40, 150])
def test_it_is_causal_where_it_is_asked_to_be(n: int) -> None:
    arrays = inputs(n, n)
    ours = dot_product.attend(*arrays, is_causal=True)
    np.testing.assert_allclose(ours, jax.nn.dot_product_attention(*arrays, is_causal=True), rtol=2e-5, atol=2e-5)
