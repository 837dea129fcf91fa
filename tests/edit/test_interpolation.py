"""Interpolation: arcs, mixed conditions, inversion and back, and ends that are the images themselves."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import SCHEDULES
from jax.tree_util import Partial
from quickly import few

from diffjax import edit, oracles, order, predict, schedule, steps
from diffjax.errors import UserError
from diffjax.noise import Gaussian, Masking
from diffjax.sampling.loop import invert, sample
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
MEANS = np.array([[0.5, -1.0], [-1.5, 0.5]])
COV = np.array([[1.0, 0.6], [0.6, 0.5]])
A, B = jax.random.normal(jax.random.key(0), (2, 5, 4, 4, 1))


def of_class(means, x_t, t, cond):
    """The exact denoiser of two Gaussians of one covariance, one for each class."""
    predictions = [oracles.gaussian(NOISE, mean, COV)(x_t, t, None) for mean in means]
    return jnp.where(cond.reshape(-1, 1) == 0, *predictions)


CLASSES = Partial(Partial(of_class, MEANS))


def norm(x) -> np.ndarray:
    return np.linalg.norm(np.asarray(x).reshape(len(x), -1), axis=1)


def test_an_arc_goes_from_end_to_end_at_constant_speed() -> None:
    b = B * (norm(A) / norm(B)).reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(edit.slerp(A, B, 0.0), A)
    np.testing.assert_array_equal(edit.slerp(A, B, 1.0), B)
    shares = np.linspace(0, 1, 11)
    points = [edit.slerp(A, b, w) for w in shares]
    np.testing.assert_allclose([norm(point) for point in points], np.tile(norm(A), (11, 1)), rtol=1e-5)
    turns = [norm(q - p) for p, q in pairwise(points)]
    np.testing.assert_allclose(turns, np.tile(turns[0], (10, 1)), rtol=1e-4)


def test_norms_are_linear_and_weights_may_differ_between_examples() -> None:
    w = jnp.linspace(0, 1, 5)
    points = edit.slerp(A, 3 * B, w)
    np.testing.assert_allclose(norm(points), norm(A) * (1 - w) + 3 * norm(B) * w, rtol=1e-5)
    np.testing.assert_allclose(points[1:2], edit.slerp(A[1:2], 3 * B[1:2], 0.25), rtol=1e-5)
    np.testing.assert_allclose(edit.slerp(A, B, 0.3), edit.slerp(B, A, 0.7), rtol=1e-4, atol=1e-6)


def test_arcs_without_a_plane() -> None:
    """Of equal, opposite, one-dimensional and zero vectors."""
    np.testing.assert_allclose(edit.slerp(A, A, 0.4), A, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(edit.slerp(A, 2 * A, 0.5), 1.5 * A, rtol=1e-6, atol=1e-6)
    half = edit.slerp(A, -A, 0.5)
    np.testing.assert_allclose(norm(half), norm(A), rtol=1e-5)
    np.testing.assert_allclose(np.sum(half * A, axis=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_array_equal(edit.slerp(A, -A, 1.0), -A)
    one = jnp.ones((1, 1))
    np.testing.assert_allclose(edit.slerp(one, -one, 0.5), 0, atol=1e-6)
    np.testing.assert_allclose(edit.slerp(0 * A, A, 0.5), np.sin(np.pi / 4) * A / 2, rtol=1e-5)
    np.testing.assert_array_equal(edit.slerp(0 * A, 0 * A, 0.5), 0 * A)


def test_the_mix_of_two_gaussians_of_one_covariance_is_the_gaussian_of_the_mean_between() -> None:
    """p(x|a)^(1-w) p(x|b)^w is that Gaussian, at every level."""
    x, t = jax.random.normal(jax.random.key(1), (3, 2)), jnp.full((3, 1), 0.6)
    zero, one, w = jnp.zeros(3, jnp.int32), jnp.ones(3, jnp.int32), jnp.asarray([0.0, 0.3, 1.0])
    classes = jax.jit(CLASSES)
    mixed = jax.jit(edit.mixed(CLASSES))(x, t, edit.MixedCondition(zero, one, w))
    between = jax.jit(oracles.gaussian(NOISE, 0.7 * MEANS[0] + 0.3 * MEANS[1], COV))(x, t, None)
    expected = [classes(x, t, zero)[0], between[1], classes(x, t, one)[2]]
    np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", few(SCHEDULES, "cosine", "edm", "linear_beta"))
def test_inversion_and_back_is_the_image_under_every_schedule(name) -> None:
    """At 50 steps of a second-order rule."""
    noise = Gaussian(SCHEDULES[name], predict.v)
    denoise, x0 = oracles.gaussian(noise, MEANS[0], COV), jnp.asarray([[0.7, -1.4], [1.5, -0.2], [-0.6, -2.0]])
    grid = edit.inversion_grid(noise, 50)
    assert len(grid) == 51
    assert bool(jnp.all(jnp.diff(grid) < 0))
    at = {"grid": grid, "step": steps.midpoint()}
    latent = invert(keys(0, 3), noise, order.together, denoise, x0, **at)
    back = sample(keys(0, 3), noise, order.together, denoise, (2,), start=latent, **at)
    np.testing.assert_allclose(back, x0, atol=1e-3)


@pytest.fixture(scope="module")
def path() -> tuple:
    """From one class to the other, in five images."""
    a = jnp.asarray([[0.7, -1.4], [1.5, -0.2]])
    b = jnp.asarray([[-1.2, 0.9], [-2.5, 0.1]])
    shares = jnp.linspace(0, 1, 5)
    zero = jnp.zeros(2, jnp.int32)
    arguments = (NOISE, order.together, CLASSES, (a, b), shares)
    return a, b, edit.interpolate(keys(0, 2), *arguments, cond=zero, cond_b=zero + 1), shares


def test_the_ends_are_the_images_and_no_step_is_large(path) -> None:
    a, b, frames, _ = path
    assert frames.shape == (5, 2, 2)
    np.testing.assert_allclose(frames[0], a, atol=1e-3)
    np.testing.assert_allclose(frames[-1], b, atol=1e-3)
    steps_taken = np.linalg.norm(np.diff(frames, axis=0), axis=-1)
    assert steps_taken.max() < 0.6 * np.linalg.norm(b - a, axis=-1).max()


def test_an_example_does_not_depend_on_its_batch(path) -> None:
    a, b, frames, shares = path
    zero = jnp.zeros(1, jnp.int32)
    alone = edit.interpolate(
        keys(0, 2)[1:], NOISE, order.together, CLASSES, (a[1:], b[1:]), shares[1:3], cond=zero, cond_b=zero + 1
    )
    np.testing.assert_allclose(alone[:, 0], frames[1:3, 1], atol=1e-5)


def test_tokens_are_refused() -> None:
    tokens = jnp.ones((1, 2), jnp.int32)
    denoise = oracles.joint(Masking(vocab=2), np.full((2, 2), 0.25))
    with pytest.raises(UserError, match=r"^interpolate: Masking"):
        edit.interpolate(keys(0, 1), Masking(vocab=2), order.together, denoise, (tokens, tokens), jnp.ones(1))


def test_a_stochastic_rule_is_refused() -> None:
    x = jnp.zeros((1, 2))
    denoise = oracles.gaussian(NOISE, MEANS[0], COV)
    with pytest.raises(UserError, match="stochastic"):
        edit.interpolate(keys(0, 1), NOISE, order.together, denoise, (x, x), jnp.ones(1), step=steps.posterior())
    with pytest.raises(TypeError, match="grids"):
        edit.interpolate(keys(0, 1), NOISE, order.together, denoise, (x, x), jnp.ones(1), grids=None)
    with pytest.raises(UserError, match="steps"):
        edit.inversion_grid(NOISE, 0)
