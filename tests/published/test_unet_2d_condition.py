"""UNet2DConditionModel against its original, its condition of a text and of what inpainting knows, and its configs."""

import functools
import json
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import PyTree
from safetensors.numpy import save_file

from diffjax import predict
from diffjax.conditions import fill_condition
from diffjax.errors import UserError
from diffjax.nets.conditional_unet import ConditionalUNet
from diffjax.noise import Gaussian
from diffjax.protocols import ConditionPart
from diffjax.published.family import PublishedModel
from diffjax.published.latent_scale import LatentScale
from diffjax.published.models import find_family, load_published
from diffjax.published.tensor_mapping import net_shapes
from diffjax.published.unet_2d_condition import FAMILY, KIND, conditional_unet, with_null_text
from diffjax.traits import net_traits
from tests.published.golden_files import GOLDEN, MAX_ERROR, Case, read_case, relative_error, weight_file
from tests.published.seeded import seeded_input

CASES = sorted(path.stem for path in GOLDEN.glob("unet_2d_condition_*.npz"))
SMALL, INPAINTING = "unet_2d_condition_sd1_32", "unet_2d_condition_inpainting_32"
SD2 = {"use_linear_projection": True, "upcast_attention": True}
MAX_DIFFERENCE = 1e-5  # of an example alone and in a batch


class Task(NamedTuple):
    """A golden case as a model, its inputs, and its condition with all parts present."""

    case: Case
    model: PublishedModel
    x: jax.Array
    level: jax.Array
    cond: dict[str, ConditionPart]

    def call(self, cond: PyTree, rows: slice = slice(None)) -> np.ndarray:
        """The output for some of the inputs."""
        arguments = {"params": self.model.params}, self.x[rows], self.level[rows], cond
        return np.asarray(APPLY(self.model.net, *arguments))


APPLY = jax.jit(lambda net, *arguments: net.apply(*arguments), static_argnums=0)


@functools.cache
def make_task(name: str) -> Task:
    case = read_case(GOLDEN / f"{name}.npz")
    text = seeded_input(tuple(case.about["text"]["shape"]), case.about["text"]["seed"])
    model = with_null_text(FAMILY.read(case.file), jnp.zeros(text.shape[1:]))
    everything = jnp.asarray(case.arrays["x"].transpose(0, 2, 3, 1))
    channels = model.shape[-1]
    present = jnp.ones(len(text), bool)
    cond = {"text": ConditionPart(jnp.asarray(text), present)}
    if everything.shape[-1] > channels:
        cond["inpainting"] = ConditionPart(everything[..., channels:], present)
    level = jnp.asarray(case.about["steps"]).reshape(-1, 1, 1, 1)
    return Task(case, model, everything[..., :channels], level, cond)


def absent(part: ConditionPart, *rows: int) -> ConditionPart:
    """The part, with values that must not matter where it is not present."""
    return part._replace(present=part.present.at[jnp.asarray(rows)].set(False))


@pytest.mark.parametrize("name", CASES)
def test_a_net_is_its_original(name) -> None:
    task = make_task(name)
    assert find_family(task.case.file) is FAMILY
    assert task.model.shape == task.x.shape[1:]
    assert relative_error(task.call(task.cond), task.case.arrays["out"]) <= MAX_ERROR


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"attention_head_dim": 8, "cross_attention_dim": 768}, 859_520_964),  # Stable Diffusion 1
        ({**SD2, "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024}, 865_910_724),
    ],
)
def test_the_nets_of_stable_diffusion_have_their_parameters(settings, parameters) -> None:
    first = {"conv_in.weight": np.zeros((320, 4, 3, 3), np.float32)}
    net = conditional_unet(weight_file(first, "unet", KIND, settings))
    assert (net == ConditionalUNet()) == (parameters == 859_520_964)
    shapes = net_shapes(net, (8, 8, 4), None)
    assert shapes.pop("null_text") == (77, net.text_width)
    assert (len(shapes), sum(map(prod, shapes.values()))) == (686, parameters)


def test_absent_text_is_the_parameter_and_absent_inpainting_is_a_whole_mask() -> None:
    task = make_task(INPAINTING)
    null_text = jnp.asarray(seeded_input((77, 16), 3))
    model = with_null_text(task.model, null_text)
    task, present = task._replace(model=model), jnp.ones(3, bool)
    whole_mask = jnp.zeros((3, 5, 7, 5)).at[..., 0].set(1)
    text = ConditionPart(jnp.broadcast_to(null_text, (3, 77, 16)), present)
    expected = task.call({"text": text, "inpainting": ConditionPart(whole_mask, present)})
    nulls = {part: value._replace(present=~present) for part, value in task.cond.items()}
    for cond in (None, nulls, fill_condition(model.net.null_cond, 3, {})):
        np.testing.assert_allclose(task.call(cond), expected, atol=MAX_DIFFERENCE)
    for part in task.cond:
        one = {**nulls, part: task.cond[part]}
        assert np.abs(expected - task.call(one)).max() > 0.01


def test_the_text_of_the_empty_prompt_decides_the_number_of_tokens() -> None:
    model = with_null_text(make_task(INPAINTING).model, jnp.ones((20, 16)))
    assert model.net.null_cond["text"].value.shape == model.params["null_text"].shape == (20, 16)
    for embedding in (jnp.zeros((77, 23)), jnp.zeros((1, 77, 16)), jnp.zeros((0, 16))):
        with pytest.raises(UserError, match=r"null_text: expected .* \[tokens, 16\]"):
            with_null_text(model, embedding)


def test_the_parts_are_in_the_traits() -> None:
    net = make_task(INPAINTING).model.net
    assert [encoder.part for encoder in net_traits(net).conditions] == ["text", "inpainting"]
    assert {part: null.value.shape for part, null in net.null_cond.items()} == {
        "text": (77, 16),
        "inpainting": (5, 7, 5),
    }
    null = ConditionalUNet().null_cond
    assert null.keys() == {"text"}
    assert null["text"].value.shape == (77, 768)
    assert not null["text"].present


def test_an_example_does_not_depend_on_the_batch_nor_on_whose_parts_are_present() -> None:
    task = make_task(INPAINTING)
    mixed = {part: absent(value, i) for i, (part, value) in enumerate(task.cond.items())}
    together = task.call(mixed)
    for i in range(3):
        row = slice(i, i + 1)
        alone = {part: ConditionPart(*(leaf[row] for leaf in value)) for part, value in mixed.items()}
        np.testing.assert_allclose(task.call(alone, row), together[row], atol=MAX_DIFFERENCE)
    full = task.call(task.cond)
    assert (np.abs(together - full).max((1, 2, 3)) > 0.01).tolist() == [True, True, False]


def test_gradients_are_finite() -> None:
    task = make_task(INPAINTING)
    cond = jax.tree.map(lambda leaf: leaf[:2], task.cond | {"text": absent(task.cond["text"], 0)})

    def loss(params: PyTree) -> jax.Array:
        return jnp.mean(task.model.net.apply({"params": params}, task.x[:2], task.level[:2], cond) ** 2)

    gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(task.model.params))
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


UNKNOWN: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "class_embed_type": "projection",
    "num_class_embeds": 1000,
    "dual_cross_attention": True,
    "only_cross_attention": [True, True],
    "encoder_hid_dim": 1024,
    "num_attention_heads": 8,
    "time_cond_proj_dim": 256,
    "mid_block_type": None,
    "down_block_types": ["CrossAttnDownBlock2D", "SimpleCrossAttnDownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "cross_attention_dim": [24, 24],
    "transformer_layers_per_block": [1, [1, 1]],
    "attention_head_dim": "8",
    "layers_per_block": [1, 2],
    "in_channels": 8,
    "norm_num_groups": None,
    "act_fn": "gelu",
    "sample_size": 7,
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_setting_is_one_line_that_names_it(name) -> None:
    with pytest.raises(UserError) as error:
        read_changed({name: UNKNOWN[name]})
    assert str(error.value).startswith("unet: ")
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_that_do_not_fit_each_other_are_refused() -> None:
    for changes, message in [
        ({"attention_head_dim": [8]}, "heads and transformer_depths must have an entry for each"),
        ({"attention_head_dim": [8, 3]}, "heads must divide"),
        ({"norm_num_groups": 7}, "groups must divide"),
        ({"cross_attention_dim": 25}, r"attn2\.to_k\.weight' of shape"),
        ({"in_channels": 9}, "has not in_channels 9"),
    ]:
        with pytest.raises(UserError, match=f"^unet: .*{message}"):
            read_changed(changes)


def read_changed(changes: Mapping[str, Any]) -> PublishedModel:
    """The small model with other settings."""
    file = make_task(SMALL).case.file
    tensors = {name: tensor.read() for name, tensor in file.tensors.items()}
    channels = changes.get("in_channels", 4)
    if channels == 8:  # so that the setting itself is what is not known
        tensors["conv_in.weight"] = np.zeros((32, channels, 3, 3), np.float32)
    return FAMILY.read(weight_file(tensors, "unet", KIND, {**file.config, **changes}))


def test_inputs_that_the_net_cannot_take() -> None:
    task = make_task(INPAINTING)
    net, level = task.model.net, jnp.zeros((1, 1, 1, 1))
    for x, cond, message in [
        (jnp.zeros((1, 5, 7, 4)), jnp.zeros(1, jnp.int32), "cond is a label"),
        (jnp.zeros((1, 5, 7, 4)), {"label": jnp.zeros(1, jnp.int32)}, "the condition has label"),
        (jnp.zeros((1, 5, 7, 4)), {"text": ConditionPart(jnp.zeros((1, 8, 16)), jnp.ones(1, bool))}, r"\(77, 16\)"),
        (jnp.zeros((1, 6, 7, 4)), None, r"sides \(5, 7\) do not fit"),
        (jnp.zeros((1, 5, 7, 3)), None, "extra_channels 5 .* do not fit"),
    ]:
        with pytest.raises(UserError, match=message):
            net.apply({"params": task.model.params}, x, level, cond)
    with pytest.raises(UserError, match="divide by 8"):
        ConditionalUNet().apply({}, jnp.zeros((1, 8, 12, 4)), level)


def test_a_pipeline_is_its_net_with_the_scheduler_and_the_codec_beside_it(tmp_path) -> None:
    task = make_task(SMALL)
    for folder in ("unet", "scheduler", "vae"):
        (tmp_path / folder).mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"_class_name": KIND, **task.case.file.config}))
    tensors = {name: tensor.read() for name, tensor in task.case.file.tensors.items()}
    save_file(tensors, tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    scheduler = {"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085}
    scheduler |= {"beta_end": 0.012, "prediction_type": "v_prediction"}
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (tmp_path / "vae" / "config.json").write_text("{}")
    model, family, _ = load_published(tmp_path)
    assert family is FAMILY
    assert (model.net, model.shape) == (task.model.net, (10, 6, 4))
    assert isinstance(model.noise, Gaussian)
    assert model.noise.parameterization is predict.v
    assert float(model.noise.level(jnp.ones(()))) == 999
    assert model.latents == LatentScale(0.18215)
    with pytest.raises(UserError, match=rf"a {KIND} without its config\.json"):
        load_published(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
