"""The library's methods on every published family: samplers, guidance, inpainting, inversion and likelihoods.

The nets have weights of a seed, so what they draw is no picture and may be large. A result is judged by being finite,
by an example's being the same alone and in a batch, and by what its method promises exactly. A few steps show all of
that. The order of accuracy of step rules is measured on the noise of each family with an exact net, which receives and
returns what the original does, for data of a mixture of Gaussians in one dimension.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax.parallel.dispatch import loops_are_slow
from diffjax.published.family import PublishedModel
from diffjax.published.models import find_family
from diffjax.sampling import blockwise, masked_autoregressive
from diffjax.sampling.driver import sample_for
from tests.published.golden_files import GOLDEN, read_case
from tests.quickly import few
from tests.steps.test_order_of_accuracy import MEANS, STDS, WEIGHTS, padded, quantile

SMOOTH = ("sit_64", "edm_ddpmpp_64", "edm_ncsnpp_64", "edm_adm_64", "edm2_64")  # eps of a seed is not, divided by alpha
FAMILIES = ("dit_64", *SMOOTH, "unet_2d_small_16", "adm_64")
MAR = "mar_64"
GRIDS = {"uniform": dj.grids.uniform, "karras": dj.grids.karras}
EXAMPLES, STEPS, BLOCKS = 3, 3, 4
SCALE = 2.5  # of guidance
MAX_DIFFERENCE = 1e-5  # of an example alone and in a batch, relative to the largest number of the batch
MAX_ROUNDED_DIFFERENCE = 1e-4  # of bits, sums of large squares, and of x after x_1, of 80 times its size for EDM
MAX_ROUND_TRIP = 0.1  # root mean square, of pictures of standard deviation 0.6


class Task(NamedTuple):
    """A published model with its denoiser, and examples: a key, a picture and a class of each."""

    model: PublishedModel
    denoise: dj.Denoise
    keys: jax.Array
    x: jax.Array
    cond: jax.Array

    @property
    def known(self) -> np.ndarray:
        """Whether a pixel is in the left half, which is known where the rest is inpainted."""
        height, width, _ = self.model.shape
        return np.tile(np.arange(width) < width // 2, (height, 1))


@functools.cache
def make_task(name: str) -> Task:
    file = read_case(GOLDEN / f"{name}.npz").file
    model = find_family(file).read(file)
    x = np.tanh(np.random.default_rng(0).standard_normal((EXAMPLES, *model.shape), np.float32))
    denoise = dj.denoiser(model.noise, model.net, {"params": model.params})
    return Task(model, denoise, dj.keys(0, EXAMPLES), jnp.asarray(x), jnp.asarray([0, 2, 5]))


def last_example(task: Task) -> Task:
    return task._replace(keys=task.keys[-1:], x=task.x[-1:], cond=task.cond[-1:])


def make_grid(model: PublishedModel, steps: int = STEPS) -> jax.Array:
    """The family's grid."""
    return GRIDS[model.grid](model.noise, steps)


def draw(task: Task, step: dj.Step, **options: Any) -> jax.Array:
    model = task.model
    settings = {"order": model.order, "denoise": task.denoise, "grid": make_grid(model), **options}
    return sample_for(model.net)(task.keys, model.noise, shape=model.shape, cond=task.cond, step=step, **settings)


def guided(task: Task, scale: Any) -> dj.Denoise:
    return dj.guidance.cfg(task.denoise, scale, task.model.net.null_cond)


def draw_guided(task: Task, scale: Any) -> jax.Array:
    return draw(task, dj.steps.ddim(), denoise=guided(task, scale))


def inpaint(task: Task, method: dj.edit.Method, **options: Any) -> jax.Array:
    model = task.model
    settings = {"order": model.order, "grid": make_grid(model), **options}
    observation = dj.edit.inpaint(task.x, task.known)
    return dj.edit.solve(
        task.keys,
        model.noise,
        denoise=task.denoise,
        observation=observation,
        cond=task.cond,
        method=method,
        **settings,
    )


def inpaint_by_hook(task: Task, **options: Any) -> jax.Array:
    return draw(task, dj.steps.ddim(), hook=dj.edit.inpaint(task.x, task.known), **options)


def invert_and_back(task: Task, steps: int = STEPS, **options: Any) -> jax.Array:
    model = task.model
    settings = {"order": model.order, "grid": make_grid(model, steps), **options}
    latents = dj.invert(task.keys, model.noise, denoise=task.denoise, x=task.x, cond=task.cond, **settings)
    return draw(task, dj.steps.ddim(), start=latents, **settings)


def bits(task: Task, order: dj.Order, method: str, **options: Any) -> jax.Array:
    model = task.model
    options["scan"] = not loops_are_slow(model.net)
    arguments = (task.keys, model.noise, order, task.denoise, task.x, task.cond)
    return jnp.asarray(dj.likelihood.bits_per_dim(*arguments, method=method, **options).bits)


Method = Callable[[Task], jax.Array]
METHODS: dict[str, Method] = {
    "ddim": lambda task: draw(task, dj.steps.ddim()),
    "dpmpp_2m": lambda task: draw(task, dj.steps.dpmpp_2m()),
    "unipc": lambda task: draw(task, dj.steps.unipc()),
    "cfg": lambda task: draw_guided(task, SCALE),
    "cfg in an interval": lambda task: draw_guided(task, dj.guidance.interval(SCALE, 0.2, 0.8)),
    "inpaint by a hook": inpaint_by_hook,
    "inpaint by ddnm": lambda task: inpaint(task, dj.edit.ddnm()),
    "invert and back": invert_and_back,
    "bits by the ODE": lambda task: bits(task, task.model.order, "ode", steps=2, probes=2, check=0),
    "bits by the bound": lambda task: bits(task, task.model.order, "bound", draws=2),
}


def in_blocks(model: PublishedModel) -> dict[str, Any]:
    """The settings of a draw in a few blocks, each along the whole grid."""
    grid = dj.grids.repeat_per_block(make_grid(model), BLOCKS)
    return {"order": dj.order.blocks(BLOCKS, shuffled=True), "grid": grid}


def draw_blockwise(task: Task, step: dj.Step) -> jax.Array:
    model = task.model
    return blockwise.sample(
        task.keys,
        model.noise,
        denoise=task.denoise,
        shape=model.shape,
        cond=task.cond,
        step=step,
        **in_blocks(model),
    )


def draw_autoregressive(task: Task, denoise: dj.Denoise, step: dj.Step) -> jax.Array:
    model = task.model
    arguments = (task.keys, model.noise, dj.order.shuffled, denoise, model.shape)
    settings = {"cond": task.cond, "blocks": BLOCKS, "grid": make_grid(model), "step": step}
    return masked_autoregressive.sample(*arguments, **settings)


def draw_autoregressive_guided(task: Task, scale: Any) -> jax.Array:
    """With the learned variance, as MAR's authors draw."""
    return draw_autoregressive(task, dj.with_variance(guided(task, scale)), dj.steps.posterior(learned_variance=True))


BLOCK_METHODS: dict[str, Method] = {  # of MAR, whose positions have levels of their own
    "in blocks by ddim": lambda task: draw_blockwise(task, dj.steps.ddim()),
    "in blocks by dpmpp_2m": lambda task: draw_blockwise(task, dj.steps.dpmpp_2m()),
    "in growing blocks": lambda task: draw_autoregressive(task, task.denoise, dj.steps.ddim()),
    "cfg in growing blocks": lambda task: draw_autoregressive_guided(
        task, masked_autoregressive.growing_scale(SCALE, BLOCKS)
    ),
    "cfg in an interval, in growing blocks": lambda task: draw_autoregressive_guided(
        task, dj.guidance.interval(SCALE, 0.2, 0.8)
    ),
    "inpaint by a hook, in blocks": lambda task: inpaint_by_hook(task, **in_blocks(task.model)),
    "inpaint by clamp": lambda task: inpaint(task, dj.edit.clamp(), **in_blocks(task.model)),
    "invert and back in blocks": lambda task: invert_and_back(task, **in_blocks(task.model)),
    "bits of blocks by the bound": lambda task: bits(task, in_blocks(task.model)["order"], "bound", draws=2),
}
CASES = [(name, method) for name in FAMILIES for method in METHODS] + [(MAR, method) for method in BLOCK_METHODS]
SHORT = {
    *(("dit_64", method) for method in ("cfg in an interval", "inpaint by a hook")),
    *(("unet_2d_small_16", method) for method in ("unipc", "inpaint by ddnm")),
}


def mark_long(cases: list[tuple[str, str]], short: set[tuple[str, str]]) -> list[Any]:
    """The cases as parameters of a test; but for the short ones they are long."""
    assert short <= set(cases)
    return [pytest.param(*case, marks=[] if case in short else pytest.mark.long) for case in cases]


@pytest.mark.parametrize(("name", "method"), mark_long(CASES, SHORT))
def test_a_result_is_finite_and_of_its_example_alone(name, method) -> None:
    task, call = make_task(name), (METHODS | BLOCK_METHODS)[method]
    batch, alone = np.asarray(call(task)), np.asarray(call(last_example(task)))
    assert np.isfinite(batch).all()
    assert np.ptp(batch, axis=0).max() > 0
    limit = MAX_ROUNDED_DIFFERENCE if method.startswith(("bits", "invert")) else MAX_DIFFERENCE
    np.testing.assert_allclose(alone[0], batch[-1], rtol=0, atol=limit * np.abs(batch).max())
    if method.startswith("inpaint"):
        np.testing.assert_array_equal(batch[:, task.known], task.x[:, task.known])
        assert (batch[:, ~task.known] != task.x[:, ~task.known]).mean() > 0.9


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_guidance_is_by_its_scale(name) -> None:
    """1 is no guidance, and an interval of all levels is the scale itself."""
    task = make_task(name)
    plain, scaled = METHODS["ddim"](task), METHODS["cfg"](task)
    limit = MAX_DIFFERENCE * float(jnp.max(jnp.abs(scaled)))
    np.testing.assert_allclose(draw_guided(task, 1.0), plain, rtol=0, atol=limit)
    np.testing.assert_allclose(draw_guided(task, dj.guidance.interval(SCALE, 0.0, 1.0)), scaled, rtol=0, atol=limit)
    assert float(jnp.max(jnp.abs(scaled - plain))) > 100 * limit


@pytest.mark.parametrize("name", few(SMOOTH, "sit_64"))
def test_inversion_is_undone_by_sampling(name) -> None:
    """With an error of order 1 in the number of steps, of ddim."""
    task = make_task(name)
    errors = [float(jnp.sqrt(jnp.mean((invert_and_back(task, steps) - task.x) ** 2))) for steps in (12, 50)]
    assert errors[1] < min(MAX_ROUND_TRIP, errors[0] / 3), errors


def test_what_needs_one_level_for_all_positions_says_so() -> None:
    task = make_task(MAR)
    with pytest.raises(dj.UserError, match=r"unipc needs one level for all positions"):
        METHODS["unipc"](task)
    with pytest.raises(dj.UserError, match=r"the ODE needs Gaussian noise under order\.together"):
        METHODS["bits by the ODE"](task)


Output = Callable[[jax.Array, jax.Array], jax.Array]  # of an original, of its x and its own level


@dataclass(frozen=True)
class ExactNet:
    """A net without parameters."""

    output: Output

    def init(self, *_: Any) -> dict[str, Any]:
        return {"params": {}}

    def apply(self, variables: Any, x: jax.Array, level: jax.Array, cond: None) -> jax.Array:
        return self.output(x, level)


def posterior_mean(x: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
    """E[x0 | x] of the mixture for x = alpha x0 + sigma eps."""
    variances = alpha**2 * STDS[None] ** 2 + sigma**2
    distances = x - alpha * MEANS[None]
    shares = jax.nn.softmax(jnp.log(WEIGHTS)[None] - distances**2 / variances / 2 - jnp.log(variances) / 2)
    means = MEANS[None] + alpha * STDS[None] ** 2 / variances * distances
    return jnp.sum(shares * means, axis=1, keepdims=True)


def noise_of_chain(betas: np.ndarray) -> Output:
    """E[eps | x] at step 0 … 999 (Ho et al. 2020). Between two steps the angle atan(sigma / alpha) is linear."""
    angles = np.append(0, np.arccos(np.sqrt(np.cumprod(1 - betas))))

    def output(x: jax.Array, level: jax.Array) -> jax.Array:
        angle = jnp.interp(level, jnp.arange(-1, len(betas)), jnp.asarray(angles))
        return (x - jnp.cos(angle) * posterior_mean(x, jnp.cos(angle), jnp.sin(angle))) / jnp.sin(angle)

    return output


def velocity_to_noise(x: jax.Array, level: jax.Array) -> jax.Array:
    """E[eps - x0 | x], x = level x0 + (1 - level) eps: minus that of Ma et al. 2024, whose last layer is negated."""
    x0 = posterior_mean(x, level, 1 - level)
    return (x - x0) / (1 - level)


def preconditioned(x: jax.Array, level: jax.Array) -> jax.Array:
    """F of Karras et al. 2022, table 1, of c_in x and ln(sigma) / 4, for data of deviation 0.5."""
    sigma = jnp.exp(4 * level)
    spread = jnp.sqrt(sigma**2 + 0.5**2)
    x0 = posterior_mean(x * spread, jnp.ones_like(sigma), sigma)
    return (x0 - 0.5**2 / spread**2 * x * spread) / (sigma * 0.5 / spread)


STEP_NUMBERS = np.arange(1001)
COSINES = np.cos((STEP_NUMBERS / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
LINEAR_CHAIN = noise_of_chain(np.linspace(1e-4, 0.02, 1000))
COSINE_CHAIN = noise_of_chain(np.minimum(1 - COSINES[1:] / COSINES[:-1], 0.999))  # of Nichol & Dhariwal 2021
EXACT = {  # with the clock's values between which the ODE is solved, where the noise still knows the data
    "dit_64": (LINEAR_CHAIN, 0.3, 0.1),
    "sit_64": (velocity_to_noise, 0.8, 0.2),
    **dict.fromkeys(("edm_ddpmpp_64", "edm2_64"), (preconditioned, 3 / 80, 0.3 / 80)),
    "unet_2d_small_16": (LINEAR_CHAIN, 0.3, 0.1),
    "adm_64": (COSINE_CHAIN, 0.8, 0.2),
    MAR: (COSINE_CHAIN, 0.8, 0.2),
}
ORDERS = {
    "ddim": (dj.steps.ddim(), 1),
    "heun": (dj.steps.heun(), 2),
    "dpmpp_2m": (dj.steps.dpmpp_2m(), 2),
    "unipc": (dj.steps.unipc(), 3),
}
COUNTS = (12, 24, 48)
# The slopes of alpha and sigma jump at the 1,000 steps of a chain. With linear betas that adds an error of order 1 to a
# rule that uses slopes, of 1e-5 here.
JUMPS = {("dit_64", "heun"), ("unet_2d_small_16", "heun")}
MAX_JUMP_ERROR = 1e-4


@pytest.mark.parametrize(
    ("name", "rule"),
    mark_long(
        [(name, rule) for name in EXACT for rule in ORDERS],
        {("dit_64", "heun"), ("sit_64", "dpmpp_2m"), ("edm_ddpmpp_64", "unipc")},
    ),
)
def test_rules_keep_their_order_on_the_noise_of_a_family(name, rule) -> None:
    step, attained = ORDERS[rule]
    output, first, last = EXACT[name]
    noise = make_task(name).model.noise
    assert isinstance(noise, dj.Gaussian)
    with jax.enable_x64(True):
        denoise = dj.denoiser(noise, ExactNet(output), {"params": {}})
        share = jnp.array([[0.07], [0.28], [0.45], [0.9]])
        start, end = quantile(noise, first, share), quantile(noise, last, share)
        ends = noise.log_snr(jnp.asarray([first, last]))
        errors = []
        for count in COUNTS:
            levels = padded(float(ends[0]), float(ends[1]), count, max(COUNTS))
            grid = noise.time(levels).at[0].set(first).at[count:].set(last)
            x = dj.sample(dj.keys(0, 4), noise, dj.order.together, denoise, (1,), grid=grid, step=step, start=start)
            errors.append(float(jnp.max(jnp.abs(x - end))))
    slope = -np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]
    if (name, rule) in JUMPS:
        attained -= 1
        assert errors[-1] < MAX_JUMP_ERROR
    assert slope > attained - 0.2, (slope, errors)
