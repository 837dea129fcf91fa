"""Observations: known values are exact in the samples, and what does not fit is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import diffjax as dj
from diffjax import edit
from diffjax.errors import UserError

NOISE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
SHAPE = (4, 4, 2)
IMAGE = jax.random.normal(jax.random.key(1), SHAPE)
LEFT = np.arange(4)[None].repeat(4, axis=0) < 2
KEYS = dj.keys(0, 3)


def tiny(weight, x_t, t, cond):
    """A denoiser that depends on all its arguments and compiles fast."""
    return jnp.tanh(weight * x_t + 0.1 * jnp.mean(x_t, axis=(1, 2), keepdims=True)) - 0.2 * t


DENOISE = Partial(tiny, 1.1)
TURN = jnp.asarray(np.linalg.qr(np.random.default_rng(0).normal(size=(32, 32)))[0], jnp.float32)


def by_matrix(matrix, x):
    return jnp.matmul(matrix, x.ravel(), precision="highest").reshape(x.shape)


@pytest.mark.parametrize("known", [LEFT, np.stack([LEFT, LEFT], axis=-1)], ids=["pixels", "numbers"])
@pytest.mark.parametrize("batched", [False, True])
def test_known_pixels_are_the_images_bit_for_bit(known, batched) -> None:
    image = jax.random.normal(jax.random.key(1), (3, *SHAPE)) if batched else IMAGE
    with jax.debug_nans(False):
        seen = edit.inpaint(jnp.where(jnp.asarray(LEFT)[..., None], image, jnp.nan), known)
    x = dj.sample(KEYS, NOISE, dj.order.together, DENOISE, SHAPE, steps=5, hook=seen)
    np.testing.assert_array_equal(x[:, LEFT], np.broadcast_to(image, (3, *SHAPE))[:, LEFT])
    assert bool(jnp.all(x[:, ~LEFT] != np.broadcast_to(image, (3, *SHAPE))[:, ~LEFT]))


def test_examples_may_have_different_masks() -> None:
    known = np.stack([LEFT, ~LEFT, LEFT])
    images = jnp.stack([IMAGE, 2 * IMAGE, 3 * IMAGE])
    x = dj.sample(KEYS, NOISE, dj.order.together, DENOISE, SHAPE, steps=5, hook=edit.inpaint(images, known))
    np.testing.assert_array_equal(x[known], images[known])


def test_other_values_compile_nothing() -> None:
    calls = 0

    def counted(x_t, t, cond):
        nonlocal calls
        calls += 1
        return 0.5 * x_t

    counting = Partial(counted)
    for scale in (1.0, 2.0):
        seen = edit.inpaint(scale * IMAGE, LEFT if scale > 1 else ~LEFT)
        for method in (edit.clamp(), edit.replacement()):
            edit.solve(KEYS, NOISE, dj.order.together, counting, seen, method=method, steps=3)
    assert calls == 2


@pytest.mark.parametrize(("factor", "sides"), [(2, (5, 7)), (3, (4, 5)), (4, (3, 9))])
def test_blocks_at_the_ends_are_cut(factor, sides) -> None:
    """The mean of each is exact, of whole blocks and of those with fewer pixels."""
    rows, columns = (np.arange(0, side, factor) for side in sides)
    low = jax.random.normal(jax.random.key(2), (len(rows), len(columns), 2))
    seen = edit.downsampled(low, factor, sides=sides)
    x = np.asarray(dj.sample(KEYS, NOISE, dj.order.together, DENOISE, (*sides, 2), steps=3, hook=seen))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            block = x[:, row : row + factor, column : column + factor].mean(axis=(1, 2))
            np.testing.assert_allclose(block, np.broadcast_to(low[i, j], block.shape), atol=1e-5)


def test_a_basis_must_be_orthonormal() -> None:
    turn, back = Partial(by_matrix, TURN), Partial(by_matrix, TURN.T)
    seen = edit.observed(turn, back, jnp.ones(SHAPE), jnp.where(jnp.arange(32) < 5, 0, jnp.inf).reshape(SHAPE))
    x = dj.sample(KEYS, NOISE, dj.order.together, DENOISE, SHAPE, steps=5, hook=seen)
    np.testing.assert_allclose(seen.to_coordinates(x).reshape(3, -1)[:, :5], 1, atol=1e-5)
    for forward, inverse in ((turn, turn), (lambda x: 2 * x, lambda z: z / 2), (jnp.ravel, lambda z: z)):
        with pytest.raises(UserError, match=r"^observed: forward"):
            edit.observed(forward, inverse, jnp.ones(SHAPE), jnp.zeros(SHAPE))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: edit.inpaint(IMAGE, LEFT[:3]), "^inpaint: known and image"),
        (lambda: edit.inpaint(jnp.stack([IMAGE, IMAGE]), np.stack([LEFT] * 3)), "^inpaint: known and image"),
        (lambda: edit.inpaint(IMAGE, LEFT * 1.0), "^inpaint: known"),
        (lambda: edit.inpaint(IMAGE, LEFT & False), "^inpaint: .*known"),
        (lambda: edit.inpaint(IMAGE, LEFT | True), "^inpaint: .*known"),
        (lambda: edit.inpaint(jnp.stack([IMAGE, IMAGE]), np.stack([LEFT, LEFT & False])), "^inpaint: .*known"),
        (lambda: edit.inpaint(IMAGE * jnp.inf, LEFT), "^inpaint: "),
        (lambda: edit.inpaint(IMAGE, LEFT, noise_std=-1.0), "noise_std"),
        (lambda: edit.inpaint(jnp.arange(4), LEFT[0], noise_std=1.0), "tokens"),
        (lambda: edit.inpaint(jnp.ones(()), LEFT), "^inpaint: "),
    ],
)
def test_bad_observations_are_refused(make, message) -> None:
    with pytest.raises(UserError, match=message), jax.debug_nans(False):
        make()


@pytest.mark.parametrize(
    ("seen", "shape", "message"),
    [
        (lambda: edit.inpaint(IMAGE, LEFT), (4, 4, 1), r"\(4, 4, 1\)"),
        (lambda: edit.inpaint(jnp.stack([IMAGE] * 2), LEFT), SHAPE, "2 examples"),
        (lambda: edit.inpaint(jnp.arange(4), LEFT[0]), (4,), "tokens"),
        (lambda: edit.inpaint(IMAGE, LEFT, noise_std=0.1), SHAPE, "^hook: "),
    ],
)
def test_an_observation_that_does_not_fit_is_refused(seen, shape, message) -> None:
    with pytest.raises(UserError, match=message):
        dj.sample(KEYS, NOISE, dj.order.together, DENOISE, shape, hook=seen())
