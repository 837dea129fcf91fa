"""Models at other sizes than those of their training: samples and edits of the right size, known pixels exact."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffjax import nets, order, predict, schedule
from diffjax.commands import edit_requests, sample_request
from diffjax.commands.condition_inputs import ConditionRequest
from diffjax.commands.edit_inputs import EditRequest
from diffjax.commands.edit_run import EditContext
from diffjax.commands.sample_request import SampleRequest
from diffjax.commands.sample_run import sample_provenance
from diffjax.commands.size_flag import SizeRequest, apply_size
from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.experiment.config import Config, Model, Sample
from diffjax.experiment.data_spec import DataSpec, PartSpec
from diffjax.experiment.model_info import ModelInfo
from diffjax.experiment.other_size import resize_model
from diffjax.experiment.trained_model import TrainedModel
from diffjax.nets.condition_encoders import Number, Picture
from diffjax.noise import Gaussian
from diffjax.parallel.batch_progress import BatchProgress

TRAINED = (8, 6)  # height and width
SIDES = range(17, 41)
NETS = {
    "UNet": nets.UNet(width=4, multipliers=(1, 1), heads=1),
    "DiT": nets.DiT(patch=3, width=8, depth=1, heads=1),
}
NOISE = Gaussian(schedule.cosine, predict.v)


def trained(net, shape=(*TRAINED, 3), parts=(), weights=True) -> TrainedModel:
    """A model with random weights, or without any, as if trained on pictures of this shape."""
    x = jnp.zeros((1, *shape))
    variables = jax.jit(net.init)(jax.random.key(0), x, jnp.zeros((1,) * x.ndim)) if weights else {"params": {}}
    variables = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), variables)
    config = Config(model=Model(net=f"{type(net).__name__}(width=8)"))
    info = ModelInfo(net, DataSpec(shape, 0, (), 256, (), "unit", parts), config, 0, "0.9")
    return TrainedModel(denoiser(NOISE, net, variables), NOISE, order.together, info)


@functools.cache
def small_model(name: str) -> TrainedModel:
    return trained(NETS[name])


@pytest.fixture
def picture(tmp_path: Path):
    """Writes a picture of random pixels, or of these, and gives its path."""

    def write(height: int, width: int, name: str = "in.png", pixels=None) -> str:
        random = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(random if pixels is None else pixels).save(tmp_path / name)
        return str(tmp_path / name)

    return write


def test_a_net_whose_condition_has_no_picture_stays_as_it_is() -> None:
    net = nets.ConditionalUNet()
    assert resize_model(trained(net, (64, 64, 3), weights=False), (96, 64)).info.net is net


def draw(model: TrainedModel, name: str, steps: int = 2, **flags):
    """Two images of an edit."""
    request = EditRequest(model.info.data, **flags)
    edit = edit_requests.build_edit(name, request)
    settings = SampleRequest(Sample(sampler="ddim", steps=steps, grid="uniform"))
    ready = sample_request.prepare_request(model, settings, 2, random_labels=False)
    return edit.draw(EditContext(ready.sampler, ready.root, 2, 8, ready.cond, None)).images


def check_inpainting(model: TrainedModel, picture, height: int, width: int) -> None:
    """The size is right, and known pixels are exact."""
    resized = resize_model(model, (height, width))
    image = picture(height, width)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 2 :, 3:] = 255
    masked = picture(height, width, "mask.png", mask)
    images = draw(resized, "inpaint", image=(image,), mask=masked, method="replacement")
    assert images.shape == (2, height, width, 3)
    kept = mask == 0
    np.testing.assert_array_equal(images[:, kept], np.asarray(Image.open(image))[None, kept].repeat(2, 0))
    assert (images[0] != images[1]).any()


def check_super_resolution(model: TrainedModel, picture, height: int, width: int) -> None:
    """The size is right, and the means of blocks, of which those at the ends may be cut, are the input's pixels."""
    resized = resize_model(model, (height, width))
    ready = sample_request.prepare_request(resized, SampleRequest(Sample(sampler="ddim", steps=2)), 2)
    small = picture(-(-height // 2), -(-width // 2), "small.png")
    edit = edit_requests.build_edit("super_resolve", EditRequest(resized.info.data, image=(small,), method="ddnm"))
    assert not edit.inputs.notes
    x = np.asarray(edit.sample(ready.sampler, jax.random.split(ready.root, 2), None))
    assert x.shape == (2, height, width, 3)
    means = np.asarray(Image.open(small)) / 127.5 - 1
    for row, column in ((0, 0), (-1, 0), (0, -1), (-1, -1), (2, 3)):
        rows = slice(2 * (row % means.shape[0]), 2 * (row % means.shape[0]) + 2)
        columns = slice(2 * (column % means.shape[1]), 2 * (column % means.shape[1]) + 2)
        block = x[:, rows, columns].mean(axis=(1, 2))
        np.testing.assert_allclose(block, means[row, column][None].repeat(len(x), 0), atol=1e-4)


CHECKS = {"inpaint": check_inpainting, "super_resolve": check_super_resolution}


@pytest.mark.parametrize(("name", "edit", "size"), [("DiT", "super_resolve", (17, 40)), ("UNet", "inpaint", (39, 18))])
def test_edits_have_the_size_and_keep_what_is_known(name, edit, size, picture, one_device) -> None:
    CHECKS[edit](small_model(name), picture, *size)


@pytest.mark.long
@pytest.mark.parametrize("edit", CHECKS)
@pytest.mark.parametrize("height", SIDES)
def test_every_height_and_every_width(height, edit, picture, one_device) -> None:
    for name, width in (("DiT", 57 - height), ("UNet", 17 + (5 * height) % 24)):
        CHECKS[edit](small_model(name), picture, height, width)


def test_the_size_is_in_the_provenance_and_the_shape_is_that_of_the_samples(one_device) -> None:
    model = small_model("DiT")
    resized = apply_size(model, SizeRequest("9x14"))
    request = SampleRequest(Sample(steps=1))
    assert json.loads(json.dumps(sample_provenance(resized.info, request)))["size"] == "9x14"
    ready = sample_request.prepare_request(resized, request, 2)
    assert ready.images(2, 8, BatchProgress(2, quiet=True)).shape == (2, 9, 14, 3)
    same = apply_size(model, SizeRequest("8x6"))
    assert same is model
    assert "size" not in sample_provenance(same.info, request)
    assert apply_size(model, SizeRequest()) is model


def test_the_size_of_a_picture(picture) -> None:
    model, path = small_model("DiT"), picture(9, 13)
    for name, size in (("inpaint", (9, 13)), ("variations", (9, 13)), ("super_resolve", (18, 26))):
        assert apply_size(model, SizeRequest("image", None, name, [path])).info.size == size
    other = picture(9, 12, "other.png")
    for name, images, message in (
        ("outpaint", [path], "outpaint"),
        ("interpolate", [path, other], "other.png is 12 wide and 9 high.*13 wide and 9 high"),
        ("interpolate", [], "--image, --low_res"),
        (None, [], "--image, --low_res"),
        ("paint", [path], "--edit: unknown"),
    ):
        with pytest.raises(UserError, match=message):
            apply_size(model, SizeRequest("image", None, name, images))


@pytest.mark.parametrize("name", ["variations", "colourise"])
def test_an_edit_of_a_picture_of_its_own_size_fits_nothing(name, picture, one_device) -> None:
    path = picture(10, 7)
    model = apply_size(small_model("DiT"), SizeRequest("image", None, name, [path]))
    assert not edit_requests.build_edit(name, EditRequest(model.info.data, image=(path,))).inputs.notes
    assert draw(model, name, image=(path,)).shape == (2, 10, 7, 3)


def test_pictures_of_a_condition_grow_with_the_size(one_device) -> None:
    """Those of the size of x, and those of half of it; a size that gives no whole half is refused."""
    encoders = (Picture(shape=(8, 6, 1)), Picture(part="low_res", shape=(4, 3, 3)), Number())
    parts = (PartSpec("sketch", (8, 6, 1)), PartSpec("low_res", (4, 3, 3)), PartSpec("number", ()))
    for net in (NETS["DiT"].clone(conditions=encoders), nets.control(NETS["UNet"].clone(conditions=encoders))):
        model = trained(net, parts=parts)
        resized = resize_model(model, (10, 14))
        shapes = {part.part: part.shape for part in resized.info.data.parts}
        assert shapes == {"sketch": (10, 14, 1), "low_res": (5, 7, 3), "number": ()}
        condition = ConditionRequest(numbers=("number=1",))
        ready = sample_request.prepare_request(resized, SampleRequest(Sample(steps=1, guidance=2.0), condition), 2)
        assert ready.cond["low_res"].value.shape == (2, 5, 7, 3)
        with pytest.raises(UserError, match=r"^--size: .*'low_res'.*8 / 4"):
            resize_model(model, (9, 14), "--size")


def test_tiles_draw_larger_pictures_by_nets_of_one_size(picture, one_device) -> None:
    """A picture of the condition is cut with x, and the size follows from it."""
    encoders = (Picture(part="low_res", shape=(4, 3, 3)),)
    model = trained(nets.MLP(width=8, conditions=encoders), parts=(PartSpec("low_res", (4, 3, 3)),))
    path = picture(6, 8)
    tiled = apply_size(model, SizeRequest("image", 2, low_res=path))
    request = SampleRequest(Sample(steps=1), ConditionRequest(low_res=path))
    assert sample_provenance(tiled.info, request)["tile_overlap"] == 2
    ready = sample_request.prepare_request(tiled, request, 2)
    images = ready.images(2, 8, BatchProgress(2, quiet=True))
    assert images.shape == (2, 12, 16, 3)
    for size, overlap, message in (
        ("8x6", 2, "--size: .*6 wide and 8 high"),
        ("12x12", 6, "overlap"),
        (None, 2, "--size"),
    ):
        with pytest.raises(UserError, match=message):
            sample_request.prepare_request(apply_size(model, SizeRequest(size, overlap)), request, 2)


def test_what_draws_one_size_alone_is_one_line() -> None:
    for net in (nets.MLP(width=8), nets.MAR(width=8, heads=1), NETS["DiT"].clone(adaln_zero=False)):
        with pytest.raises(UserError, match=rf"^--size: {type(net).__name__}.* 6 wide and 8 high.*UNet"):
            resize_model(trained(net, weights=False), (9, 9), "--size")
    with pytest.raises(UserError, match=r"^--size: is for pictures.*\(12, 2\)"):
        resize_model(trained(nets.UNet(width=4, heads=1), shape=(12, 2), weights=False), (9, 9), "--size")
    for text in ("0", "9x", "big"):
        with pytest.raises(UserError, match=r"^--size: expected HEIGHTxWIDTH"):
            apply_size(small_model("DiT"), SizeRequest(text))
