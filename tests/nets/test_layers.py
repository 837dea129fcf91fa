"""Layers equal the plain formulas of their papers."""

from math import gcd

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import DTypeLike
from jaxtyping import PyTree

from diffjax.nets.layers import GroupNorm, Modulation


def perturbed(variables: PyTree, seed: int) -> PyTree:
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, moved)


@pytest.mark.parametrize("shape", [(2, 5, 4, 24), (3, 7, 12), (2, 2, 3, 2, 16), (2, 4, 4, 5)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_group_norm_is_that_of_flax_and_modulation_after_it(shape: tuple[int, ...], dtype: DTypeLike) -> None:
    """In bfloat16 Flax rounds between the norm and the modulation."""
    features = shape[-1]
    x = (2 * jax.random.normal(jax.random.key(0), shape) + 1).astype(dtype)
    embedding = jax.random.normal(jax.random.key(1), (len(x), 6))
    norm, modulation = GroupNorm(dtype), Modulation(jnp.float32)
    plain = nn.GroupNorm(gcd(8, features), dtype=dtype)
    variables = perturbed(plain.init(jax.random.key(2), x), 3)
    of_modulation = perturbed(modulation.init(jax.random.key(4), x, embedding), 5)
    scale_and_shift: PyTree = modulation.apply(of_modulation, embedding, features, method="scale_and_shift")
    normalized: PyTree = plain.apply(variables, x)
    modulated: PyTree = modulation.apply(of_modulation, normalized, embedding)
    tolerance = 5e-6 if dtype == jnp.float32 else 0.05
    alone: PyTree = norm.apply(variables, x)
    np.testing.assert_allclose(alone, normalized, atol=tolerance, rtol=tolerance)
    found: PyTree = norm.apply(variables, x, scale_and_shift)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, modulated, atol=tolerance, rtol=tolerance)
