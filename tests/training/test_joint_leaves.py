"""Joined leaves are the leaves, and an optimizer of joined leaves is the optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.typing import DTypeLike
from jaxtyping import PyTree

from diffjax.training import joint_leaves
from diffjax.training.joint_leaves import join, map_joined, map_parts, split
from diffjax.training.optimizers import adamw

SHAPES = {"Conv_0": {"kernel": (2, 2, 3, 4), "bias": (4,)}, "Norm": {"scale": (3, 1)}, "table": (0, 3), "gain": ()}


def tree(seed: int, dtype: DTypeLike = jnp.float32) -> PyTree:
    keys = iter(jax.random.split(jax.random.key(seed), 9))
    is_shape = lambda node: isinstance(node, tuple)  # noqa: E731
    return jax.tree.map(lambda shape: jax.random.normal(next(keys), shape, dtype), SHAPES, is_leaf=is_shape)


@pytest.mark.parametrize("limit", [0, 20, 2**18])
def test_what_is_joined_splits_into_the_same_leaves(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_leaves, "MAX_SIZE", limit)
    trees = {"half": tree(0, jnp.bfloat16), "full": tree(1), "count": jnp.arange(3), "key": jax.random.key(2)}
    found = split(join(trees), trees)
    assert jax.tree.structure(found) == jax.tree.structure(trees)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(trees), strict=True):
        assert one.dtype == other.dtype
        assert (one == other).all()


def test_small_leaves_become_one_vector_for_each_kind() -> None:
    shapes = {name: leaf.shape for name, leaf in join(tree(0)).items()}
    assert shapes == {"joined matrices float32": (48,), "joined vectors float32": (8,)}


def test_numbers_are_mapped_one_by_one() -> None:
    found = map_joined(lambda a, b: a * b + 1, tree(0), tree(1))
    expected = jax.tree.map(lambda a, b: a * b + 1, tree(0), tree(1))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_parts_like_a_tree_are_told_from_other_leaves() -> None:
    state = {"moments": (tree(0), tree(1)), "count": jnp.zeros(2)}
    found = map_parts(lambda part: len(jax.tree.leaves(part)), tree(2), state, elsewhere=lambda leaf: leaf.shape)
    assert found == {"moments": (5, 5), "count": (2,)}


def decayed(params: PyTree) -> PyTree:
    """Written out: what adamw's weights decay."""
    assert params.keys() == SHAPES.keys()
    return {"Conv_0": {"kernel": True, "bias": False}, "Norm": {"scale": False}, "table": True, "gain": False}


@pytest.mark.parametrize("limit", [0, 2**18])
def test_adamw_is_that_of_optax(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_leaves, "MAX_SIZE", limit)
    rate = optax.warmup_cosine_decay_schedule(0.01 / 6, 0.01, 5, 10, 0.01 / 100)
    plain = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(rate, b2=0.98, weight_decay=0.1, mask=decayed))
    ours = adamw(10, learning_rate=0.01, warmup_steps=5, weight_decay=0.1, clip_norm=0.5, beta2=0.98)
    params = {"ours": tree(0), "plain": tree(0)}
    states = {"ours": ours.init(tree(0)), "plain": plain.init(tree(0))}
    for step in range(4):
        for name, optimizer in (("ours", ours), ("plain", plain)):
            updates, states[name] = jax.jit(optimizer.update)(tree(step + 1), states[name], params[name])
            params[name] = optax.apply_updates(params[name], updates)
    assert jax.tree.structure(states["ours"]) == jax.tree.structure(states["plain"])
    for found, expected in ((params["ours"], params["plain"]), (states["ours"], states["plain"])):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected)
