"""Laws of every method: known values are exact, samples finite and independent of the batch, under jit and grad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_schedule import SCHEDULES
from jax.tree_util import Partial
from quickly import few

import diffjax as dj
from diffjax import edit, order, predict, steps
from diffjax.edit import time_travel
from diffjax.edit.orthonormal import block_basis, channel_basis, hartley
from diffjax.errors import UserError
from diffjax.parallel import dispatch

NOISE = dj.Gaussian(dj.schedule.cosine, predict.v)
METHODS = {
    "clamp": edit.clamp(),
    "ddnm": edit.ddnm(),
    "ddrm": edit.ddrm(),
    "dps": edit.dps(),
    "pigdm": edit.pigdm(),
    "repaint": edit.repaint(2, 2),
    "replacement": edit.replacement(),
    "twisted": edit.twisted(8),
}
SHAPE = (4, 4, 3)
IMAGE = 0.5 * jax.random.normal(jax.random.key(1), SHAPE)
LEFT = np.arange(4)[None].repeat(4, axis=0) < 2
KNOWN = edit.inpaint(IMAGE, LEFT)
BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 16


def means_of(x):
    """Of blocks of 2 by 2."""
    return x.reshape(*x.shape[:-3], 2, 2, 2, 2, 3).mean(axis=(-2, -4))


def blur_of(x):
    """By rolling, one neighbour after the other."""
    return sum(BLUR[i + 1, j + 1] * jnp.roll(x, (i, j), axis=(-3, -2)) for i in (-1, 0, 1) for j in (-1, 0, 1))


OBSERVATIONS = {  # each observation, its operator H, and H of the image
    "inpaint": (edit.inpaint(IMAGE, LEFT), lambda x: x[..., :, :2, :], IMAGE[:, :2]),
    "downsampled": (edit.downsampled(means_of(IMAGE), 2), means_of, means_of(IMAGE)),
    "grey": (edit.grey(IMAGE.mean(axis=-1, keepdims=True)), lambda x: x.mean(axis=-1), IMAGE.mean(axis=-1)),
    "luma": (
        edit.grey(IMAGE @ jnp.array([[0.3], [0.6], [0.1]]), (0.3, 0.6, 0.1)),
        lambda x: x @ jnp.array([0.3, 0.6, 0.1]),
        IMAGE @ jnp.array([0.3, 0.6, 0.1]),
    ),
    "blurred": (edit.blurred(blur_of(IMAGE), BLUR), blur_of, blur_of(IMAGE)),
}


def tiny(weight, x_t, t, cond):
    """A denoiser that depends on all its arguments and compiles fast."""
    near = jnp.tanh(weight * x_t + 0.3 * jnp.roll(x_t, 1, axis=-2) + 0.1 * cond.reshape((-1,) + (1,) * (x_t.ndim - 1)))
    return near - 0.2 * t


DENOISE = Partial(tiny, 1.1)


def solve(method, seen=KNOWN, start=0, count=4, noise=NOISE, denoise=DENOISE, steps=5, **more):
    cond = (start + jnp.arange(count)) % 3
    given = (dj.keys(0, count, start=start), noise, order.together, denoise, seen)
    return edit.solve(*given, method=METHODS[method], cond=cond, steps=steps, **more)


@pytest.mark.parametrize("method", few(METHODS, "clamp", "ddrm", "dps", "repaint", "twisted"))
def test_known_pixels_are_exact_and_an_example_does_not_depend_on_its_batch(method) -> None:
    whole, alone = solve(method), solve(method, start=2, count=1)
    np.testing.assert_array_equal(whole[:, LEFT], np.broadcast_to(IMAGE[LEFT], (4, 8, 3)))
    np.testing.assert_allclose(alone[0], whole[2], atol=1e-5)
    assert len(np.unique(np.asarray(whole[:, 0, 3, 0]))) == 4


@pytest.mark.parametrize("name", [name for name in OBSERVATIONS if name != "inpaint"])
def test_an_operator_is_a_basis_and_samples_have_the_measured_values(name) -> None:
    seen, operator, measured = OBSERVATIONS[name]
    x = jax.random.normal(jax.random.key(0), (2, *SHAPE))
    np.testing.assert_allclose(seen.from_coordinates(seen.to_coordinates(x)), x, atol=1e-5)
    np.testing.assert_allclose(jnp.sum(seen.to_coordinates(x) ** 2), jnp.sum(x**2), rtol=1e-5)
    known = np.broadcast_to(np.isfinite(seen.std), SHAPE)
    np.testing.assert_allclose(seen.to_coordinates(IMAGE[None])[0][known], seen.values[known], atol=1e-5)
    samples = solve("pigdm" if name == "blurred" else "ddnm", seen)
    np.testing.assert_allclose(operator(samples), np.broadcast_to(measured, (4, *measured.shape)), atol=1e-5)
    assert float(jnp.min(jnp.max(jnp.abs(samples - IMAGE[None]), axis=(1, 2, 3)))) > 0.1


@pytest.mark.parametrize(
    "turn", [block_basis(2), block_basis(3), channel_basis((0.3, 0.6, 0.1)), channel_basis((1.0, 0.0, 0.0)), hartley]
)
def test_every_basis_is_orthonormal_and_its_own_inverse(turn) -> None:
    std = jnp.full((4, 4, 3), jnp.inf).at[:2].set(0.1)
    seen = edit.observed(turn, turn, jnp.ones(SHAPE), std)  # which checks the basis
    with pytest.raises(UserError, match=r"^clamp: "):
        solve("clamp", seen)


def test_an_observation_of_a_batch_is_those_of_its_images() -> None:
    images = jnp.stack([IMAGE, 2 * IMAGE, -IMAGE])
    every = [
        edit.inpaint(images, LEFT),
        edit.downsampled(means_of(images), 2),
        edit.grey(images.mean(axis=-1, keepdims=True)),
        edit.blurred(blur_of(images), BLUR),
    ]
    for i in (0, 2):
        ones = [
            edit.inpaint(images[i], LEFT),
            edit.downsampled(means_of(images[i]), 2),
            edit.grey(images[i].mean(axis=-1, keepdims=True)),
            edit.blurred(blur_of(images[i]), BLUR),
        ]
        for all_of, one in zip(every, ones, strict=True):
            assert all_of.batched
            assert not one.batched
            np.testing.assert_allclose(all_of.values[i], one.values, atol=1e-5)
            np.testing.assert_array_equal(jnp.broadcast_to(all_of.std, (3, *one.std.shape))[i], one.std)
    x = solve("ddnm", every[1], count=3)
    np.testing.assert_allclose(means_of(x), means_of(images), atol=1e-5)


@pytest.mark.parametrize("method", few(METHODS, "dps", "pigdm", "twisted"))
@pytest.mark.parametrize("make", few(SCHEDULES, "cosine"))
def test_finite_at_every_number_of_steps(method, make) -> None:
    noise = dj.Gaussian(SCHEDULES[make], predict.v)
    with_noise = edit.inpaint(IMAGE, LEFT, noise_std=0.3) if METHODS[method].noisy else KNOWN
    for seen, count in ((KNOWN, 1), (with_noise, 3)):
        assert bool(jnp.all(jnp.isfinite(solve(method, seen, noise=noise, steps=count))))


@pytest.mark.parametrize("method", few([name for name in METHODS if name != "twisted"], "pigdm", "repaint"))
def test_runs_under_jit_and_grad(method) -> None:
    """Except the particle filter, whose resampling has no gradient."""

    @jax.jit
    def total(weight):
        return jnp.sum(solve(method, denoise=Partial(tiny, weight), steps=3, count=2) ** 2)

    slope = jax.grad(total)(1.0)
    h = 1e-2
    np.testing.assert_allclose(slope, (total(1 + h) - total(1 - h)) / (2 * h), rtol=0.05)


def test_without_resampling_repaint_is_replacement() -> None:
    given = (dj.keys(0, 3), NOISE, order.together, DENOISE, KNOWN)
    x, y = (edit.solve(*given, method=m, cond=jnp.arange(3), steps=5) for m in (edit.repaint(1, 3), edit.replacement()))
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("method", ["ddnm", "repaint"])
def test_a_host_loop_equals_a_scan(method, monkeypatch) -> None:
    """Convolutional nets on CPUs are sampled by a host loop."""
    scanned = solve(method, count=2, steps=4)
    for module in (dispatch, time_travel):
        monkeypatch.setattr(module, "loops_are_slow", lambda *nets: True)
    np.testing.assert_allclose(solve(method, count=2, steps=4), scanned, atol=1e-5)


@pytest.mark.parametrize("method", ["clamp", "repaint"])
def test_under_a_rolling_order(method) -> None:
    given = (dj.keys(0, 3), NOISE, order.rolling(0.5), DENOISE, KNOWN)
    x = edit.solve(*given, method=METHODS[method], cond=jnp.arange(3), steps=6)
    np.testing.assert_array_equal(x[:, LEFT], np.broadcast_to(IMAGE[LEFT], (3, 8, 3)))


@pytest.mark.parametrize("rule", [steps.heun(), steps.dpmpp_3m()], ids=lambda rule: rule.name)
def test_other_step_rules_keep_known_pixels(rule) -> None:
    x = solve("pigdm" if rule.evaluations > 1 else "ddnm", step=rule)
    np.testing.assert_array_equal(x[:, LEFT], np.broadcast_to(IMAGE[LEFT], (4, 8, 3)))
    assert bool(jnp.all(jnp.isfinite(x)))


TOKENS = dj.Masking(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: solve("ddrm", step=steps.ddim()), "^ddrm: .*step"),
        (lambda: solve("twisted", step=steps.ddim()), "^twisted: .*step"),
        (lambda: solve("repaint", step=steps.dpmpp_3m()), "repaint: dpmpp_3m"),
        (lambda: solve("dps", step=steps.heun()), "^dps: heun "),
        (lambda: solve("repaint", edit.inpaint(IMAGE, LEFT, noise_std=0.1)), "^repaint: "),
        (lambda: solve("ddnm", edit.inpaint(IMAGE, LEFT, noise_std=0.1), step=steps.ddim()), "^ddnm .*ddim"),
        (lambda: solve("clamp", OBSERVATIONS["grey"][0]), "^clamp: "),
        (
            lambda: edit.solve(dj.keys(0, 2), NOISE, order.raster, DENOISE, KNOWN, method=edit.pigdm()),
            "^pigdm: .*order",
        ),
        (
            lambda: edit.solve(
                dj.keys(0, 2), NOISE, order.rolling(0.5), DENOISE, OBSERVATIONS["grey"][0], method=edit.replacement()
            ),
            "^replacement: ",
        ),
        (
            lambda: edit.solve(
                dj.keys(0, 2), TOKENS, order.raster, DENOISE, edit.inpaint(jnp.arange(4), LEFT[0]), method=edit.dps()
            ),
            "^dps: Masking|^dps: .*Masking",
        ),
        (lambda: edit.solve(dj.keys(0, 2), TOKENS, order.raster, DENOISE, KNOWN, method=edit.clamp()), "tokens"),
        (lambda: edit.repaint(0), "^repaint: resamples"),
        (lambda: edit.ddrm(eta=2.0), "^ddrm: eta"),
        (lambda: edit.dps(-1.0), "scale"),
        (lambda: edit.twisted(0), "^twisted: .*particles"),
        (lambda: edit.twisted(8, threshold=2.0), "threshold"),
        (lambda: edit.downsampled(IMAGE, 1), "^downsampled: "),
        (lambda: edit.downsampled(jnp.ones(3), 2), "^downsampled: "),
        (lambda: edit.downsampled(IMAGE, 2, sides=(6, 8)), "^downsampled: .*sides"),
        (lambda: edit.grey(IMAGE), "^grey: "),
        (lambda: edit.grey(IMAGE[..., :1], (0.0, 0.0, 0.0)), "^grey: .*weight"),
        (lambda: edit.blurred(IMAGE, BLUR[:2]), "^blurred: .*kernel"),
        (lambda: edit.blurred(IMAGE, BLUR + np.eye(3)[:, ::-1] * [0, 0, 1]), "^blurred: .*observed"),
        (lambda: edit.blurred(IMAGE, BLUR, noise_std=-0.1), "noise_std"),
    ],
)
def test_a_problem_that_a_method_does_not_serve_is_refused(call, message) -> None:
    with pytest.raises(UserError, match=message):
        call()
