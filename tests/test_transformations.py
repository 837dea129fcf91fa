"""The sampler is a function like any other: under jit, shardings, pmap, vmap, shard_map and grad, and exported."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import diffjax as dj

NOISE, ORDER = dj.Gaussian(dj.schedule.cosine, dj.predict.v), dj.order.together
KEYS, SHARDS = dj.keys(0, 8), 4
MESH = jax.make_mesh((SHARDS,), ("batch",), axis_types=(AxisType.Auto,))
SPLIT = PartitionSpec("batch")
SEEN = dj.edit.inpaint(jnp.zeros(3), jnp.array([True, False, False]))
DENOISE = dj.oracles.gaussian(NOISE, jnp.array([0.3, -0.2, 0.1]), 0.5 * jnp.eye(3) + 0.2)


def ones(keys: Any) -> Any:
    return jnp.full((len(keys), 3), 0.4)


USES: dict[str, Callable[[Any], Any]] = {
    "sample": lambda keys: dj.sample(keys, NOISE, ORDER, DENOISE, (3,), steps=4),
    "multistep": lambda keys: dj.sample(keys, NOISE, ORDER, DENOISE, (3,), steps=4, step=dj.steps.unipc()),
    "grid": lambda keys: dj.sample(
        keys, NOISE, ORDER, DENOISE, (3,), grid=dj.grids.karras(NOISE, 4), start=ones(keys), step=dj.steps.dpmpp_3m()
    ),
    "invert": lambda keys: dj.invert(keys, NOISE, ORDER, DENOISE, ones(keys), steps=4),
    "hook": lambda keys: dj.sample(keys, NOISE, ORDER, DENOISE, (3,), steps=4, hook=SEEN),
    "edit": lambda keys: dj.edit.solve(keys, NOISE, ORDER, DENOISE, SEEN, method=dj.edit.pigdm(), steps=4),
    "vary": lambda keys: dj.edit.vary(keys, NOISE, ORDER, DENOISE, ones(keys), strength=0.4, steps=4),
    "bound": lambda keys: dj.likelihood.bits_per_dim(keys, NOISE, ORDER, DENOISE, ones(keys), draws=4)[0],
    "ode": lambda keys: dj.likelihood.bits_per_dim(
        keys, NOISE, ORDER, DENOISE, ones(keys), method="ode", steps=4, check=0
    )[0],
}
WAYS: dict[str, Callable[[Callable], Any]] = {
    "jit": lambda use: jax.jit(use)(KEYS),
    "sharded": lambda use: use(jax.device_put(KEYS, NamedSharding(MESH, SPLIT))),
    "jit, sharded": lambda use: jax.jit(use)(jax.device_put(KEYS, NamedSharding(MESH, SPLIT))),
    "pmap": lambda use: jax.pmap(use)(KEYS.reshape(SHARDS, -1)),
    "vmap": lambda use: jax.vmap(use)(KEYS.reshape(SHARDS, -1)),
    "shard_map": lambda use: jax.shard_map(use, mesh=MESH, in_specs=SPLIT, out_specs=SPLIT)(KEYS),
    "jit of shard_map": lambda use: jax.jit(jax.shard_map(use, mesh=MESH, in_specs=SPLIT, out_specs=SPLIT))(KEYS),
    "ahead of time": lambda use: jax.jit(use).lower(KEYS).compile()(KEYS),
    "exported": lambda use: export.export(jax.jit(lambda data: use(jax.random.wrap_key_data(data))))(
        jax.random.key_data(KEYS)
    ).call(jax.random.key_data(KEYS)),
}
QUICK = {("sample", way) for way in WAYS} | {(use, "shard_map") for use in USES} | {("vary", "jit"), ("ode", "pmap")}


@pytest.mark.parametrize(
    ("use", "way"),
    [
        pytest.param(use, way, marks=[] if (use, way) in QUICK else pytest.mark.long, id=f"{use}-{way}")
        for use in USES
        for way in WAYS
    ],
)
def test_any_transformation_gives_the_same_numbers(use, way) -> None:
    plain = np.asarray(USES[use](KEYS))
    np.testing.assert_allclose(np.asarray(WAYS[way](USES[use])).reshape(plain.shape), plain, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("use", ["sample", pytest.param("edit", marks=pytest.mark.long)])
def test_the_slope_of_what_is_drawn_is_a_difference_quotient(use) -> None:
    """By a parameter of the denoiser, whose tracer a closure holds."""

    def total(scale: Any) -> Any:
        def denoise(x: Any, t: Any, cond: Any) -> Any:
            return scale * DENOISE(x, t, cond)

        if use == "edit":
            return jnp.sum(dj.edit.solve(KEYS, NOISE, ORDER, denoise, SEEN, method=dj.edit.pigdm(), steps=4))
        return jnp.sum(dj.sample(KEYS, NOISE, ORDER, denoise, (3,), steps=4))

    with jax.enable_x64(True):
        h = 1e-5
        quotient = (total(1.0 + h) - total(1.0 - h)) / (2 * h)
        np.testing.assert_allclose(jax.grad(total)(1.0), quotient, rtol=1e-3)


@pytest.mark.parametrize("strength", [0.2, 0.55, 1.0])
def test_a_traced_strength_draws_what_a_known_one_does(strength) -> None:
    """One program for all strengths: the grid keeps its length, and its last stop is repeated."""

    def vary(strength: Any) -> Any:
        return dj.edit.vary(KEYS, NOISE, ORDER, DENOISE, ones(KEYS), strength=strength, steps=6)

    np.testing.assert_allclose(TRACED(strength), vary(strength), rtol=1e-4, atol=1e-5)


TRACED = jax.jit(lambda strength: dj.edit.vary(KEYS, NOISE, ORDER, DENOISE, ones(KEYS), strength=strength, steps=6))


def test_a_grid_that_is_known_stays_so_under_every_trace() -> None:
    """Also one that is made within: rules then plan their coefficients in float64 on the host."""
    seen: list[type] = []

    def inside(keys: Any) -> Any:
        seen.append(type(dj.grids.karras(NOISE, 4)))
        return jax.random.key_data(keys)

    jax.jit(inside)(KEYS)
    jax.shard_map(inside, mesh=MESH, in_specs=SPLIT, out_specs=SPLIT)(KEYS)
    jax.vmap(lambda key: inside(key[None]))(KEYS)
    assert not [kind for kind in seen if issubclass(kind, jax.core.Tracer)]
