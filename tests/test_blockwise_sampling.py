"""Block by block with a head: what the generic sampler draws, from the same keys and arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quickly import few

from diffjax import grids, guidance, nets, order, predict, schedule, steps
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.nets import DiT
from diffjax.noise import Gaussian
from diffjax.protocols import Step
from diffjax.sampling import blockwise
from diffjax.sampling.loop import sample
from diffjax.utils.prng import keys

NOISE, SHAPE = Gaussian(schedule.cosine, predict.v, data_std=0.7), (4, 4, 2)
SOME, COND = keys(3, 8), jnp.arange(8) % 3
INNER = grids.karras(NOISE, 4, sigma_min=0.05, sigma_max=20.0)
ORDERS = {
    "raster": order.blocks(16),
    "shuffled": order.blocks(16, shuffled=True),
    "four at a time": order.blocks(4, shuffled=True),
    "five or six at a time": order.blocks(3),
    "all at once": order.together,
}
RULES = dict.fromkeys(ORDERS, steps.posterior()) | {
    "shuffled": steps.ddim(),
    "five or six at a time": steps.dpmpp_2m(),  # whose memory of each position lasts from block to block
}


def made(net, classes: int = 3):
    """A denoiser with random weights, far from where outputs start at 0."""
    label = jnp.zeros(1, jnp.int32) if classes else None
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, *SHAPE)), jnp.zeros((1, 1, 1, 1)), label)
    leaves, tree = jax.tree.flatten(variables)
    noises = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, noises, strict=True)]
    return denoiser(NOISE, net, tree.unflatten(moved))


NET = nets.MAR(width=16, depth=1, heads=2, head_width=16, head_depth=1, classes=3)
DENOISE = made(NET)


def both(which, denoise=DENOISE, step=None, cond=COND):
    """The nested and the generic sampler's draws."""
    given, grid = (SOME, NOISE, which, denoise, SHAPE), grids.repeat_per_block(INNER, which.blocks)
    return tuple(driver(*given, cond=cond, grid=grid, step=step) for driver in (blockwise.sample, sample))


@pytest.mark.parametrize("name", few(ORDERS, "shuffled", "five or six at a time"))
def test_samples_are_those_of_the_generic_path(name) -> None:
    fast, generic = both(ORDERS[name], step=RULES[name])
    np.testing.assert_allclose(fast, generic, atol=1e-4)  # steps from t = 1 divide rounding by alpha
    assert float(jnp.min(jnp.std(fast, axis=0))) > 0.1


def test_under_guidance_each_half_sees_with_its_own_condition() -> None:
    guided = guidance.cfg(DENOISE, 2.5, NET.null_cond)
    fast, generic = both(ORDERS["four at a time"], guided)
    np.testing.assert_allclose(fast, generic, atol=1e-4)
    assert float(jnp.max(jnp.abs(fast - both(ORDERS["four at a time"])[0]))) > 1e-2


def test_patches_of_pixels_that_move_together() -> None:
    unconditional = made(nets.MAR(patch=2, width=16, depth=1, heads=2, head_width=16, head_depth=1), classes=0)
    fast, generic = both(order.blocks(8, shuffled=True), unconditional, cond=None)  # of pixels here and there
    np.testing.assert_allclose(fast, generic, atol=1e-4)


def test_the_large_part_is_called_once_a_block_and_the_head_on_one_block() -> None:
    """Counted in the program: dense layers of the large part do not stand within the inner scan."""
    which, seen = ORDERS["four at a time"], []

    class Spied:
        traits, init = NET.traits, NET.init

        def apply(self, variables, x, *more, method):
            seen.append((method, x.shape, [leaf.shape for leaf in more if isinstance(leaf, jax.Array)]))
            return NET.apply(variables, x, *more, method=method)

    spied = denoiser(NOISE, Spied(), DENOISE.variables)
    program = jax.make_jaxpr(lambda: blockwise.sample(SOME, NOISE, which, spied, SHAPE, cond=COND, steps=4 * 7))()
    assert [method for method, *_ in seen] == ["context", "places", "head"]
    (outer,) = scans(program.jaxpr)
    (inner,) = scans(outer.params["jaxpr"].jaxpr)
    assert (outer.params["length"], inner.params["length"]) == (4, 7)
    assert seen[2][2][-1] == (8, 4)  # the patches of each example's block


def scans(jaxpr) -> list:
    """The scans of a program that stand in no other."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            found.append(equation)
        else:
            inner = [part for part in equation.params.values() if hasattr(part, "jaxpr")]
            found += [scan for part in inner for scan in scans(part.jaxpr)]
    return [scan for scan in found if scan.params["num_carry"]]


def test_an_example_depends_on_its_own_key_alone() -> None:
    which = ORDERS["four at a time"]
    whole = blockwise.sample(SOME, NOISE, which, DENOISE, SHAPE, cond=COND, steps=8)
    part = blockwise.sample(SOME[5:7], NOISE, which, DENOISE, SHAPE, cond=COND[5:7], steps=8)
    np.testing.assert_allclose(part, whole[5:7], atol=1e-4)


def test_a_grid_is_block_by_block_when_each_takes_as_many_steps() -> None:
    four = order.blocks(4)
    assert blockwise.is_blockwise(grids.repeat_per_block(INNER, 4), four)
    assert blockwise.is_blockwise(jnp.linspace(1.0, 0.0, 13), four)
    assert not blockwise.is_blockwise(jnp.linspace(1.0, 0.0, 14), four)
    assert not blockwise.is_blockwise(jnp.linspace(1.0, 0.0, 13) ** 2, four)
    assert not blockwise.is_blockwise(jnp.linspace(1.0, 0.0, 13), order.rolling(0.25))
    assert not blockwise.is_blockwise(jnp.linspace(1.0, 0.5, 5), order.together)


def test_mistakes_are_told() -> None:
    twice = Step(lambda x: None, steps.posterior().update, evaluations=2, per_position=True)
    headless = made(DiT(patch=1, width=16, depth=1, heads=2, classes=3))
    for changes, told in (
        ({"denoise": headless}, r"dj\.sample"),
        ({"denoise": lambda x, t, cond: x}, "MAR"),
        ({"order": order.rolling(0.5)}, r"order\.blocks"),
        ({"order": order.shuffled}, r"order\.blocks"),
        ({"steps": 10}, "4 blocks.*grid.*10"),
        ({"grid": grids.repeat_per_block(INNER, 4) ** 2}, "4 blocks.*grid"),
        ({"step": twice}, "posterior"),
        ({"order": order.blocks(99), "steps": 99}, "^order: .*99"),
    ):
        given = {"order": order.blocks(4), "denoise": DENOISE, **changes}
        with pytest.raises(UserError, match=told):
            blockwise.sample(SOME, NOISE, given.pop("order"), given.pop("denoise"), SHAPE, cond=COND, **given)
