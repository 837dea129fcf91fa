"""The published samplers' own loops of 20 steps, replayed by the step rules with the noise that they drew."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from diffjax import grids, guidance, order, steps
from diffjax.denoising import denoiser, with_variance
from diffjax.protocols import Denoise, Step
from diffjax.published.family import PublishedModel
from diffjax.published.models import find_family
from diffjax.sampling.loop import stepwise
from diffjax.utils.prng import keys
from tests.published.golden_files import GOLDEN, MAX_ERROR, Case, read_case, relative_error
from tests.published.recorded_noise import replay_noise
from tests.published.seeded import seeded_input

STEPS = 20
About = dict[str, Any]


class Replay(NamedTuple):
    """A step rule and a grid of diffjax, and what guides the denoiser, for the loop of an original."""

    step: Step
    grid: Callable[[PublishedModel, About], Array]
    guide: Callable[[Denoise, PublishedModel, About], Denoise] = lambda denoise, model, about: denoise
    start_scale: float = 1.0


def three_channels(unconditional, conditional, w, x_t, t):
    """Guidance of the first three channels, as in the published figures of DiT; of a net of three, of all."""
    guided = guidance.linear(unconditional, conditional, w, x_t, t)
    return jnp.where(jnp.arange(x_t.shape[-1]) < 3, guided, conditional)


def guide(denoise: Denoise, model: PublishedModel, about: About) -> Denoise:
    return with_variance(guidance.cfg(denoise, about["scale"], model.net.null_cond, rule=three_channels))


def chain(model: PublishedModel, about: About) -> Array:
    return jnp.asarray([*((step + 1) / 1000 for step in about["chain"][::-1]), 0.0])


def uniform(model: PublishedModel, about: About) -> Array:
    return grids.uniform(model.noise, STEPS)


def karras(model: PublishedModel, about: About) -> Array:
    return grids.karras(model.noise, STEPS)


def from_noise(model: PublishedModel, about: About) -> Array:
    return jnp.asarray(1 - np.asarray(about["times"]), jnp.float32)


CHURN = steps.edm_stochastic(churn=40.0, noise_scale=1.003, sigma_min=0.05, sigma_max=50.0)
REPLAYS = {
    "dit_3": Replay(steps.posterior(learned_variance=True), chain, guide),
    "dit_4": Replay(steps.posterior(learned_variance=True), chain, guide),
    "sit_euler": Replay(steps.euler(), uniform),
    "sit_heun2": Replay(steps.heun(), uniform),
    "sit_sigma": Replay(steps.euler_maruyama(diffusion="sigma", last="mean"), from_noise),
    "sit_sbdm": Replay(steps.euler_maruyama(), from_noise),
    "edm": Replay(CHURN, karras, start_scale=80.0),
}


def read(name: str) -> tuple[Case, PublishedModel]:
    case = read_case(GOLDEN / f"sampler_{name}.npz")
    return case, find_family(case.file).read(case.file)


def draw(name: str, case: Case, model: PublishedModel, monkeypatch: pytest.MonkeyPatch) -> list[Array]:
    """The start and the state after each step."""
    replay, labels = REPLAYS[name], jnp.asarray(case.about["labels"])
    height, width, channels = model.shape
    draws = seeded_input((1 + STEPS, len(labels), channels, height, width)).transpose(0, 1, 3, 4, 2)
    examples = keys(0, len(labels))
    replay_noise(monkeypatch, examples, draws[1:])
    denoise = replay.guide(denoiser(model.noise, model.net, {"params": model.params}), model, case.about)
    return list(
        stepwise(
            *(examples, model.noise, order.together, denoise, model.shape),
            cond=labels,
            grid=replay.grid(model, case.about),
            step=replay.step,
            start=replay.start_scale * jnp.asarray(draws[0]),
        )
    )


@pytest.mark.parametrize("name", REPLAYS)
def test_states_are_the_originals(name, monkeypatch) -> None:
    case, model = read(name)
    states = draw(name, case, model, monkeypatch)
    for stop, theirs in zip(case.about["stops"], case.arrays["states"], strict=True):
        assert relative_error(np.asarray(states[stop]), theirs) <= MAX_ERROR, stop


def test_the_last_step_of_heun2_asks_the_net_for_a_velocity_at_the_data(monkeypatch) -> None:
    """`steps.heun` takes Euler's step to sigma = 0; heun2 then averages with the velocity there."""
    case, model = read("sit_heun2")
    *_, before, ours = draw("sit_heun2", case, model, monkeypatch)
    level, labels = jnp.ones((len(ours), 1, 1, 1)), jnp.asarray(case.about["labels"])
    velocity = model.net.apply({"params": model.params}, ours, level, labels)
    averaged = (before + ours - velocity / STEPS) / 2
    assert relative_error(np.asarray(averaged), case.arrays["end"]) <= MAX_ERROR
