"""UNet2DModel: what a config may say, whose names its tensors have, and what its net does with labels and sides."""

import json
from math import prod
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from diffjax import predict
from diffjax.errors import UserError
from diffjax.nets.ddpm_unet import DDPMUNet
from diffjax.noise import Gaussian
from diffjax.published.latent_scale import LatentScale
from diffjax.published.tensor_mapping import net_shapes
from diffjax.published.unet_2d import FAMILY, KIND
from diffjax.published.weight_files import is_weight_file, read_weight_file
from tests.published.golden_files import GOLDEN, read_case, weight_file

CASE = read_case(GOLDEN / "unet_2d_small_16.npz")
TENSORS = {name: tensor.read() for name, tensor in CASE.file.tensors.items()}
CONFIG = CASE.about["config"]
OLD_NAMES = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


def read(tensors: dict[str, np.ndarray] = TENSORS, **changes: object):
    return FAMILY.read(weight_file(tensors, "unet", KIND, CONFIG | changes))


def test_the_default_net_is_that_of_google_ddpm_cifar10_32() -> None:
    shapes = net_shapes(DDPMUNet(), (32, 32, 3), None)
    assert (len(shapes), sum(map(prod, shapes.values()))) == (328, 35_746_307)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("down_block_types", ["SkipDownBlock2D"]),
        ("up_block_types", ["UpBlock2D", "UpBlock2D"]),
        ("act_fn", "gelu"),
        ("time_embedding_type", "fourier"),
        ("time_embedding_dim", 24),
        ("mid_block_type", None),
        ("downsample_type", "resnet"),
        ("downsample_padding", 2),
        ("resnet_time_scale_shift", "spatial"),
        ("class_embed_type", "timestep"),
        ("in_channels", 6),
        ("in_channels", {"in_channels": 5, "out_channels": 5}),
        ("sample_size", None),
        ("sample_size", [8, -8]),
        ("block_out_channels", ["16"]),
        ("layers_per_block", "2"),
        ("groups", {"norm_num_groups": 7}),
        ("head_width", {"attention_head_dim": 5}),
    ],
)
def test_an_unknown_setting_is_one_line_that_names_it(name, value) -> None:
    changes = value if isinstance(value, dict) else {name: value}
    with pytest.raises(UserError) as caught:
        read(**changes)
    text = str(caught.value)
    assert text.startswith("unet: ")
    assert name in text
    assert "\n" not in text
    assert name != "down_block_types" or "SkipDownBlock2D" in text


def test_tensors_that_do_not_fit_are_named() -> None:
    name = "mid_block.attentions.0.to_q.weight"
    with pytest.raises(UserError, match=f"^unet: has no tensor '{name}'"):
        read({key: tensor for key, tensor in TENSORS.items() if key != name})
    with pytest.raises(UserError, match=f"^unet: '{name}' of shape"):
        read(TENSORS | {name: TENSORS[name][:5]})
    with pytest.raises(UserError, match=r"^unet: .* 'surplus'"):
        read(TENSORS | {"surplus": np.zeros(3, np.float32)})


def test_old_names_of_attention_are_read() -> None:
    renamed = {}
    for name, tensor in TENSORS.items():
        for new, old in OLD_NAMES.items():
            name = name.replace(new, old)
        renamed[name] = tensor
    assert renamed.keys() != TENSORS.keys()
    jax.tree.map(np.testing.assert_array_equal, read(renamed).params, read().params)


def test_the_null_label_adds_nothing() -> None:
    model, plain = read(), read(TENSORS | {"class_embedding.weight": np.zeros((6, 64), np.float32)})
    assert model.classes == model.net.null_cond == 6
    call = jax.jit(model.net.apply)
    x = jnp.asarray(CASE.arrays["x"].transpose(0, 2, 3, 1))[:3]
    level, labels = jnp.full((3, 1, 1, 1), 300.0), jnp.asarray([6, 0, 5])
    out = call({"params": model.params}, x, level, labels)
    without = call({"params": plain.params}, x, level, labels)
    np.testing.assert_array_equal(out[0], without[0])
    assert (np.abs(out - without)[1:].max((1, 2, 3)) > 1e-3).all()
    null = call({"params": model.params}, x, level, jnp.full(3, 6))
    np.testing.assert_allclose(null, call({"params": model.params}, x, level), atol=1e-5)


def test_an_example_does_not_depend_on_the_batch_and_gradients_are_finite() -> None:
    model = read()
    x = jax.random.normal(jax.random.key(0), (3, 5, 4, 3))  # other sides than the config has
    level, labels = jnp.asarray([0.0, 400.0, 999.0]).reshape(3, 1, 1, 1), jnp.asarray([1, 2, 6])
    together = jax.jit(model.net.apply)({"params": model.params}, x, level, labels)
    alone = jax.jit(model.net.apply)({"params": model.params}, x[1:2], level[1:2], labels[1:2])
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)

    def loss(params: dict) -> jax.Array:
        return jnp.mean(model.net.apply({"params": params}, x[:1], level[:1], labels[:1]) ** 2)

    gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(model.params))
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


def test_inputs_that_the_net_cannot_take() -> None:
    level = jnp.zeros((1, 1, 1, 1))
    with pytest.raises(UserError, match="divide by 8"):
        DDPMUNet().apply({}, jnp.zeros((1, 8, 12, 3)), level)
    with pytest.raises(UserError, match="unconditional"):
        DDPMUNet().apply({}, jnp.zeros((1, 8, 8, 3)), level, jnp.zeros(1, jnp.int32))


def write_model(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"_class_name": KIND, **CONFIG}))
    save_file(TENSORS, folder / "diffusion_pytorch_model.safetensors")


def test_a_pipeline_is_its_net_with_the_scheduler_beside_it(tmp_path) -> None:
    write_model(tmp_path / "unet")
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')
    (tmp_path / "scheduler").mkdir()
    config = {"_class_name": "DDIMScheduler", "num_train_timesteps": 50, "prediction_type": "v_prediction"}
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    assert is_weight_file(tmp_path)
    file = read_weight_file(tmp_path)
    assert file.path == tmp_path / "unet"
    assert FAMILY.matches(file)
    model = FAMILY.read(file)
    assert isinstance(model.noise, Gaussian)
    assert model.noise.parameterization is predict.v
    assert float(model.noise.level(jnp.ones(()))) == 49
    assert (model.shape, model.latents) == ((6, 6, 3), None)
    (tmp_path / "vqvae").mkdir()
    (tmp_path / "vqvae" / "config.json").write_text('{"scaling_factor": 0.5}')
    assert FAMILY.read(file).latents == LatentScale(0.5)


def test_a_flat_folder_has_its_own_scheduler_and_weights_alone_are_refused(tmp_path) -> None:
    write_model(tmp_path)
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "scheduler_config.json").write_text('{"num_train_timesteps": 60}')
    file = read_weight_file(tmp_path)
    assert file.path == tmp_path
    assert float(FAMILY.read(file).noise.level(jnp.ones(()))) == 59
    alone = read_weight_file(tmp_path / "diffusion_pytorch_model.safetensors")
    assert FAMILY.matches(alone)
    with pytest.raises(UserError, match=r"without its config\.json"):
        FAMILY.read(alone)


def test_a_pipeline_without_a_net_is_refused(tmp_path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UserError, match="unet or transformer"):
        read_weight_file(tmp_path)
