"""Settings that are chosen from the size and number of pictures: which, when, and that a run keeps them."""

from dataclasses import replace

import pytest

from diffjax.errors import UserError
from diffjax.experiment import build, config_files, meaning, picture_defaults
from diffjax.experiment.config import Config
from diffjax.experiment.data_spec import DataSpec, PartSpec
from diffjax.experiment.picture_defaults import UNSET, choose_settings, describe_choice, unset_fields

SPEC = DataSpec((32, 32, 3), 0, (), 256, (), "unit")


def spec_of(*shape: int) -> DataSpec:
    return replace(SPEC, shape=shape)


def unset() -> Config:
    return meaning.unflatten_config({**meaning.flatten_config(Config()), **UNSET})


def chosen(spec: DataSpec, images: int = 2_000, devices: int = 1) -> dict[str, object]:
    return {choice.path: choice.value for choice in choose_settings(spec, images, devices)}


def test_every_unset_field_is_chosen_with_a_reason() -> None:
    choices = choose_settings(SPEC, 2_000, 1)
    assert {choice.path for choice in choices} == UNSET.keys()
    for choice in choices:
        assert choice.reason
        assert f"config.{choice.path}=" in describe_choice(choice)
        assert choice.value != UNSET[choice.path]


def test_an_unset_config_has_the_right_types_and_so_has_the_chosen_one() -> None:
    config = unset()
    config_files.check_types(config, "config")
    config_files.check_types(meaning.unflatten_config({**meaning.flatten_config(config), **chosen(SPEC)}), "config")


def test_no_field_of_a_default_config_is_unset() -> None:
    assert not unset_fields(meaning.flatten_config(Config()))


@pytest.mark.parametrize("side", [8, 16, 24, 25, 28, 32, 48, 64, 96, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_net_takes_pictures_of_the_size(side: int, channels: int) -> None:
    spec = spec_of(side, side, channels)
    values = chosen(spec)
    config = meaning.unflatten_config({**meaning.flatten_config(unset()), **values, "model.data_std": 0.5})
    built = build.build_model(config.model, spec)
    import jax
    import jax.numpy as jnp

    x = jnp.zeros((1, side, side, channels))
    shapes = jax.eval_shape(built.net.init, jax.random.key(0), x, jnp.zeros((1, 1, 1, 1)), None)
    assert jax.tree.leaves(shapes)
    build.build_sampler(built.noise, built.order, step="dpmpp_2m", grid=config.sample.grid, count=4)


def test_the_schedule_is_shifted_by_the_resolution() -> None:
    """The log-SNR by 2 log(64 / side), so that sigma/alpha by side / 64 (Hoogeboom et al. 2023, eq. 5)."""
    assert chosen(spec_of(64, 64, 3))["model.schedule"] == "shift(cosine, 1)"
    assert chosen(spec_of(32, 32, 3))["model.schedule"] == "shift(cosine, 0.5)"
    assert chosen(spec_of(32, 128, 3))["model.schedule"] == "shift(cosine, 1)"


@pytest.mark.parametrize("devices", [1, 3, 8])
def test_the_batch_divides_by_the_devices(devices: int) -> None:
    assert chosen(SPEC, devices=devices)["data.batch_size"] % devices == 0


@pytest.mark.parametrize("images", [1, 140, 1_320, 23_000, 10**6])
def test_steps_are_epochs_within_limits(images: int) -> None:
    values = chosen(SPEC, images)
    steps, batch = values["train.steps"], values["data.batch_size"]
    assert isinstance(steps, int)
    assert isinstance(batch, int)
    epochs = picture_defaults.MAX_EPOCHS * images / batch
    low, high = picture_defaults.MIN_STEPS, picture_defaults.MAX_STEPS
    assert steps == pytest.approx(min(max(epochs, low), high), abs=1)


def test_pictures_are_mirrored_unless_a_condition_shows_them() -> None:
    assert chosen(SPEC)["data.augment"] == ("flip()",)
    sketched = replace(SPEC, parts=(PartSpec("sketch", (32, 32, 1)),))
    assert chosen(sketched)["data.augment"] == ()
    assert chosen(replace(SPEC, parts=(PartSpec("text", (64,), 257),)))["data.augment"] == ("flip()",)


def test_tokens_and_arrays_are_refused_by_the_name_of_the_field() -> None:
    for spec in (replace(SPEC, form="tokens"), spec_of(256, 2)):
        with pytest.raises(UserError, match=r"model\.net"):
            choose_settings(spec, 100, 1)


def test_a_value_that_is_set_is_kept() -> None:
    fields = {**meaning.flatten_config(unset()), "train.learning_rate": 3e-4}
    assert "train.learning_rate" not in unset_fields(fields)


def test_a_run_that_resumes_has_the_values_that_it_recorded() -> None:
    saved = meaning.unflatten_config({**meaning.flatten_config(unset()), **chosen(SPEC), "model.data_std": 0.5})
    assert meaning.inherit_measured(unset(), saved) == saved
    other = meaning.unflatten_config({**meaning.flatten_config(unset()), "train.learning_rate": 3e-4})
    assert meaning.inherit_measured(other, saved).train.learning_rate == 3e-4


def test_fields_make_the_config_that_they_are_of() -> None:
    config = replace(Config(), data=replace(Config().data, name="photos", augment=("flip()",)))
    assert meaning.unflatten_config(meaning.flatten_config(config)) == config
