"""The loops of diffusers' schedulers in 20 steps, replayed by the texts of their configs, for a net that is a formula.

DEPARTURES are the cases in which theirs is not what its paper says, or the net has another level than x; ours is.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from quickly import few

from diffjax import order, predict, schedule
from diffjax.commands.image_sampler import build_image_sampler, sample_states
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.experiment.build import ModelParts, build_sampler
from diffjax.experiment.config import Sample
from diffjax.experiment.data_spec import DataSpec
from diffjax.nets import MLP
from diffjax.noise import Gaussian
from diffjax.published.scheduler_rules import LOOPS, Drawing, drawing_of_scheduler
from diffjax.published.schedulers import noise_of_scheduler
from diffjax.sampling.loop import stepwise
from diffjax.utils.prng import keys
from tests.published.golden_files import GOLDEN, read_case, relative_error
from tests.published.recorded_noise import replay_noise
from tests.published.seeded import seeded_input

PATH = Path("scheduler_config.json")
CASE = read_case(GOLDEN / "scheduler_rules.npz")
CONFIGS, STEPS, STOPS = (CASE.about[name] for name in ("configs", "steps", "stops"))
STATES = dict(zip(CONFIGS, CASE.arrays["states"], strict=True))
BATCH, *SHAPE = STATES["ddim"].shape[1:]
MAX_ERROR = 1e-5
QUICK = ("ddim", "ddim_zero_terminal", "pndm", "euler", "euler_karras", "euler_ancestral", "dpm", "unipc")
ROUNDED = ("dpm_karras", "dpm_karras_to_sigma_min", "unipc_karras")  # theirs gives the net the nearest whole step
DEPARTURES = {  # the error after the last step
    **dict.fromkeys(ROUNDED, 5.7e-4),
    "ddim_linspace": 5.8e-2,  # x is at 50 steps below the last, and the net is told the next one, 52 or 53 below
    "pndm_linspace": 4.6e-2,
    "pndm_v": 7.4e-2,  # v of several levels has one mean
    "ddpm_large_trailing": 0.2,  # noise is added in the last step too
    "euler_zero_terminal": 3.5e-4,  # 2^-12 of the signal is left, and by order 2 its log-SNR counts
    "dpm_zero_terminal": 5.5e-4,
    "unipc_zero_terminal": 1.6e-3,
}


def net(x: Array, n: Array) -> Array:
    return (1 - jnp.exp(-n / 300)) * x + 0.3 * jnp.tanh(2 * x + jnp.sin(n / 100))


def draw(name: str, monkeypatch: pytest.MonkeyPatch, read_step: Callable[[Array], Array] = lambda n: n) -> list[float]:
    """The error after each of the steps that are kept; the net receives the step that `read_step` makes of it."""
    noise = noise_of_scheduler(CONFIGS[name], PATH)
    drawing = drawing_of_scheduler(CONFIGS[name], PATH)
    step, grid = build_sampler(noise, order.together, step=drawing.sampler, grid=drawing.grid, count=STEPS)
    draws = seeded_input((1 + STEPS, BATCH, SHAPE[-1], *SHAPE[:-1])).transpose(0, 1, 3, 4, 2)
    examples = keys(0, BATCH)
    replay_noise(monkeypatch, examples, draws[1:])

    def denoise(x: Array, t: Array, cond: None) -> Array:
        return noise.read(net(noise.feed(x, t), read_step(noise.level(t))), x, t)

    start = jnp.asarray(draws[0])
    states = list(stepwise(examples, noise, order.together, denoise, tuple(SHAPE), grid=grid, step=step, start=start))
    assert len(states) == 1 + STEPS
    return [relative_error(np.asarray(states[k]), theirs) for k, theirs in zip(STOPS, STATES[name], strict=True)]


@pytest.mark.parametrize("name", few([name for name in CONFIGS if name not in DEPARTURES], *QUICK))
def test_states_are_those_of_diffusers(name, monkeypatch) -> None:
    assert max(draw(name, monkeypatch)) <= MAX_ERROR


@pytest.mark.parametrize("name", few(ROUNDED, "dpm_karras"))
def test_whole_steps_for_the_net_are_all_that_differs_with_karras_sigmas(name, monkeypatch) -> None:
    assert max(draw(name, monkeypatch, jnp.round)) <= MAX_ERROR


@pytest.mark.parametrize("name", few(DEPARTURES, "ddim_linspace"))
def test_departures_are_as_large_as_they_are_said_to_be(name, monkeypatch) -> None:
    *errors, last = draw(name, monkeypatch)
    assert DEPARTURES[name] / 1.1 < last < DEPARTURES[name] * 1.1
    if name == "ddpm_large_trailing":
        assert max(errors) <= MAX_ERROR


@pytest.mark.parametrize(
    ("config", "drawing"),
    [
        ({}, ("clipped(posterior(), 1.0)", "leading()")),
        (CONFIGS["pndm"], ("pndm()", "leading(offset=1, last='sigma_min')")),
        (CONFIGS["ddim_zero_terminal"], ("ddim()", "trailing()")),
        (CONFIGS["euler_karras_leading"], ("ddim()", "karras_chain(spacing='leading', offset=1)")),
        (CONFIGS["dpm_karras"], ("dpmpp_2m()", "karras_chain()")),
        (
            {"_class_name": "DDIMParallelScheduler", "num_train_timesteps": 400, "clip_sample_range": 2},
            ("ddim(limit=2.0)", "leading(train_steps=400)"),
        ),
        (
            {"_class_name": "DDPMScheduler", "variance_type": "learned_range", "clip_sample": False},
            ("posterior(learned_variance=True)", "leading()"),
        ),
    ],
)
def test_the_texts_of_a_config(config, drawing) -> None:
    assert drawing_of_scheduler(config, PATH) == Drawing(*drawing)


@pytest.mark.parametrize("name", few(CONFIGS, "pndm", "euler_karras_leading", "dpm"))
def test_texts_serve_any_number_of_steps(name) -> None:
    noise = noise_of_scheduler(CONFIGS[name], PATH)
    drawing = drawing_of_scheduler(CONFIGS[name], PATH)
    for count in (1, 2, 3, 7, 250):
        _, grid = build_sampler(noise, order.together, step=drawing.sampler, grid=drawing.grid, count=count)
        falls = np.diff(np.asarray(grid))
        assert len(grid) == count + 1
        assert np.all(falls[:-1] < 0)
        assert falls[-1] <= 0


KNOWN_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("DDPMScheduler", {"timestep_spacing": "even"}),
    ("DDPMScheduler", {"timestep_spacing": None}),
    ("DDPMScheduler", {"variance_type": "learned"}),
    ("DDPMScheduler", {"thresholding": True}),
    ("DDPMScheduler", {"steps_offset": -1}),
    ("DDPMScheduler", {"steps_offset": 1000}),
    ("DDPMScheduler", {"steps_offset": "1"}),
    ("DDIMScheduler", {"thresholding": 1}),
    ("DDIMScheduler", {"clip_sample_range": 0}),
    ("DDIMScheduler", {"clip_sample_range": float("inf")}),
    ("DDIMScheduler", {"clip_sample": "no"}),
    ("DDIMScheduler", {"set_alpha_to_one": 1}),
    ("PNDMScheduler", {"skip_prk_steps": None}),
    ("EulerDiscreteScheduler", {"use_beta_sigmas": True}),
    ("EulerDiscreteScheduler", {"use_exponential_sigmas": True}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": "yes"}),
    ("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}),
    ("EulerDiscreteScheduler", {"final_sigmas_type": "one"}),
    ("EulerDiscreteScheduler", {"sigma_max": 80.0, "use_karras_sigmas": True}),
    ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}),
    ("DPMSolverMultistepScheduler", {"solver_order": 3}),
    ("DPMSolverMultistepScheduler", {"solver_type": "heun"}),
    ("DPMSolverMultistepScheduler", {"use_lu_lambdas": True}),
    ("DPMSolverMultistepScheduler", {"lambda_min_clipped": -5.1}),
    ("DPMSolverMultistepScheduler", {"euler_at_final": True, "final_sigmas_type": "sigma_min"}),
    ("UniPCMultistepScheduler", {"solver_order": 3}),
    ("UniPCMultistepScheduler", {"solver_type": "bh3"}),
    ("UniPCMultistepScheduler", {"predict_x0": False}),
    ("UniPCMultistepScheduler", {"disable_corrector": [0]}),
    ("UniPCMultistepScheduler", {"solver_p": ["diffusers", "DDIMScheduler"]}),
    ("UniPCMultistepScheduler", {"lower_order_final": False}),
    ("UniPCMultistepScheduler", {"use_dynamic_shifting": True}),
]


@pytest.mark.parametrize(("kind", "config"), KNOWN_FIELDS)
def test_an_unknown_drawing_is_one_line_that_names_the_field_and_its_value(kind, config) -> None:
    with pytest.raises(UserError) as caught:
        drawing_of_scheduler({"_class_name": kind, **config}, PATH)
    text = str(caught.value)
    name, value = next(iter(config.items()))
    assert text.startswith(f"{PATH}: ")
    assert name in text
    assert repr(value) in text or "expected" in text
    assert "known" in text or "expected" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("kind", "nearest"),
    [
        ("HeunDiscreteScheduler", "EulerDiscreteScheduler"),
        ("KDPM2AncestralDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
        ("DPMSolverSinglestepScheduler", "DPMSolverMultistepScheduler"),
        ("EulerDiscreteSchedular", "EulerDiscreteScheduler"),
        ("?" * 10_000, ""),
    ],
)
def test_of_an_unknown_class_the_nearest_is_named(kind, nearest) -> None:
    with pytest.raises(UserError, match=f"^{PATH}: _class_name .*nearest that is known is {nearest}") as caught:
        drawing_of_scheduler({"_class_name": kind}, PATH)
    assert all(name in str(caught.value) for name in LOOPS)


def test_pictures_begin_with_noise_of_the_variance_of_x_where_a_grid_begins_below_1() -> None:
    noise, net = Gaussian(schedule.flow, predict.v), MLP(width=4, depth=1, classes=0)
    variables = net.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 1, 1, 1)), None)
    facts = DataSpec((4, 4, 1), 0, (), 256, (), "real")
    settings = Sample(sampler="ddim", grid="explicit([0.6, 0.599999])", steps=1)
    model = ModelParts(noise, order.together, net)
    sampler = build_image_sampler(denoiser(noise, net, variables), model, facts, settings)
    states = sample_states(sampler, jax.random.key(1), 500, 500, None)
    np.testing.assert_allclose(np.std(states), np.hypot(0.4, 0.6), rtol=0.04)
