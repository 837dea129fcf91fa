"""The noise of diffusers' schedulers: alpha² at each step is theirs, and what is not known is refused by name."""

from itertools import pairwise
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import predict, schedule
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.protocols import Schedule
from diffjax.published.schedulers import noise_of_scheduler, schedule_text, scheduler_beside
from tests.published.golden_files import GOLDEN, read_case

PATH = Path("scheduler_config.json")
CASE = read_case(GOLDEN / "schedulers.npz")
CONFIGS = CASE.about["configs"]
COUNTS = [config.get("num_train_timesteps", 1000) for config in CONFIGS]
STARTS = np.cumsum([0, *COUNTS])
ALPHA2 = [CASE.arrays["alpha2"][first:end] for first, end in pairwise(STARTS)]
PREDICTIONS = {"epsilon": predict.eps, "sample": predict.x0, "v_prediction": predict.v}
MAX_ERROR = 1e-6


@pytest.mark.parametrize(("config", "alpha2"), list(zip(CONFIGS, ALPHA2, strict=True)))
def test_step_n_has_the_alpha_and_the_level_of_the_scheduler(config, alpha2) -> None:
    noise = noise_of_scheduler(config, PATH)
    n = np.arange(len(alpha2))
    t = jnp.asarray((n + 1) / len(alpha2), jnp.float32)
    m = noise.coefficients(t)
    assert np.abs(np.asarray(m.alpha, np.float64) ** 2 - alpha2).max() <= MAX_ERROR
    assert np.abs(np.asarray(m.sigma, np.float64) ** 2 - (1 - alpha2)).max() <= MAX_ERROR
    np.testing.assert_allclose(noise.level(t), n, atol=1e-3)
    assert noise.parameterization is PREDICTIONS[config.get("prediction_type", "epsilon")]


def test_the_net_receives_x_unscaled() -> None:
    noise = noise_of_scheduler({}, PATH)
    x = jnp.full((2, 4, 4, 3), 7.0)
    assert (noise.feed(x, jnp.full((2, 1, 1, 1), 0.5)) == x).all()


@pytest.mark.parametrize("config", CONFIGS)
def test_a_text_is_the_schedule(config) -> None:
    text = schedule_text(config, PATH)
    if text:
        assert specs.parse_value(schedule, text, "", Schedule) is noise_of_scheduler(config, PATH).schedule


def test_texts_are_of_linear_and_cosine_betas() -> None:
    assert [bool(schedule_text(config, PATH)) for config in CONFIGS] == [True, True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("_class_name", {"_class_name": "FlowMatchEulerDiscreteScheduler"}),
        ("beta_schedule", {"beta_schedule": "sigmoid"}),
        ("beta_schedule", {"beta_schedule": 3}),
        ("prediction_type", {"prediction_type": "flow_prediction"}),
        ("use_flow_sigmas", {"use_flow_sigmas": True}),
        ("timestep_type", {"timestep_type": "continuous"}),
        ("predict_epsilon", {"predict_epsilon": False}),
        ("num_train_timesteps", {"num_train_timesteps": 0}),
        ("num_train_timesteps", {"num_train_timesteps": 10**30}),
        ("num_train_timesteps", {"num_train_timesteps": "1000"}),
        ("beta_start", {"beta_start": 0}),
        ("beta_end", {"beta_end": float("nan")}),
        ("trained_betas", {"trained_betas": [0.1, 0.2]}),
        ("trained_betas", {"trained_betas": [0.1, 1.5], "num_train_timesteps": 2}),
        ("rescale_betas_zero_snr", {"rescale_betas_zero_snr": True}),
        ("betas", {"rescale_betas_zero_snr": True, "prediction_type": "sample", "num_train_timesteps": 1}),
    ],
)
def test_an_unknown_noise_is_one_line_that_names_the_field(name, config) -> None:
    with pytest.raises(UserError) as caught:
        noise_of_scheduler(config, PATH)
    text = str(caught.value)
    assert text.startswith(f"{PATH}: ")
    assert name in text
    assert "\n" not in text


def test_the_scheduler_is_found_in_the_folder_and_in_the_pipeline(tmp_path) -> None:
    folder = tmp_path / "unet"
    folder.mkdir()
    assert scheduler_beside(folder).config == {}
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"num_train_timesteps": 7}')
    assert scheduler_beside(folder).config == {"num_train_timesteps": 7}
    (folder / "scheduler_config.json").write_text('{"num_train_timesteps": 8}')
    assert scheduler_beside(folder).config == {"num_train_timesteps": 8}
    for damage in ("{", "[]", "\xff"):
        (folder / "scheduler_config.json").write_text(damage)
        with pytest.raises(UserError, match=r"scheduler_config\.json: "):
            scheduler_beside(folder)
