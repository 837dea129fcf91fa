"""EDM2 (Karras et al. 2024): files whose weights are those of `nets.edm2_unet.EDM2UNet`, of pixels or of latents.

A file is a pickled module, `Precond`, with the U-Net as its part `unet`; the preconditioning around it (Karras et al.
2022, eq. 7 and table 1) is `predict.edm` here. The uncertainty of the training loss (`logvar_fourier`,
`logvar_linear`; eq. 21) is not read. Models of 4 channels draw latents of Stable Diffusion's codec, each channel of
which was moved to mean 0 and scaled to standard deviation 0.5.
"""

import re

import jax.numpy as jnp

from diffjax import net_inputs, order, predict, schedule
from diffjax.errors import UserError
from diffjax.nets.edm2_unet import EDM2UNet
from diffjax.noise import Gaussian
from diffjax.published.family import Family, PublishedModel
from diffjax.published.latent_scale import LatentScale
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.tensor_mapping import net_shapes, place_tensors, sources_by_name

PREFIX = "unet."
UNCERTAINTY = ("logvar_fourier.*", "logvar_linear.*")
ENCODER_LAYER = re.compile(r"unet\.enc\.(\d{1,5})x\1_(?:block(\d{1,3})\.)?")  # the side of its output, and its index
LABEL_WEIGHT = "unet.emb_label.weight"  # of models with classes
# Settings that no tensor tells. All published files leave them at these values, and the net has no others.
FIXED_SETTINGS = {
    "channels_per_head": 64,
    "label_balance": 0.5,
    "concat_balance": 0.5,
    "res_balance": 0.3,
    "attn_balance": 0.3,
    "clip_act": 256,
    "resample_filter": [1, 1],
}
LATENT_MEANS = (5.81, 3.25, 0.12, -2.15)  # by channel, of the codec of Stable Diffusion on pixels of 0 … 1
LATENT_STDS = (4.17, 4.62, 3.71, 3.28)
LATENTS = LatentScale(tuple(0.5 / std for std in LATENT_STDS), LATENT_MEANS, black=0.0)


def _matches(file: WeightFile) -> bool:
    return {"unet.emb_fourier.freqs", "unet.emb_noise.weight", "unet.out_gain"} <= file.tensors.keys()


def _read(file: WeightFile) -> PublishedModel:
    for name, value in FIXED_SETTINGS.items():
        if file.config.get(name, value) != value:
            problem = f"has {name}={file.config[name]!r:.40}, and the published models {value!r}"
            raise UserError(f"{file.path}: {problem}; use the weights as published")
    net = _build_net(file)
    shape = (net.size, net.size, file.length("unet.out_conv.weight", 0))
    shapes = net_shapes(net, shape, jnp.zeros(1, jnp.int32) if net.classes else None)
    params = place_tensors(file, shapes, sources_by_name(shapes, PREFIX), ignored=UNCERTAINTY)
    data_std = file.setting("sigma_data", float, 0.5)
    noise = Gaussian(schedule.edm_of(rho=1.0), predict.edm, data_std, net_inputs.log_sigma)
    model = PublishedModel(net, params, noise, order.together, shape, net.classes, schedule="edm_of(rho=1.0)")
    latents = LATENTS if shape[-1] == len(LATENT_MEANS) else None
    return model._replace(sampler="heun", grid="karras", steps=32, latents=latents)


def _build_net(file: WeightFile) -> EDM2UNet:
    """The net of the names and shapes; tensors that do not fit it are found when they are placed."""
    layers = [match for name in file.tensors if (match := ENCODER_LAYER.match(name))]
    sides = sorted({int(layer[1]) for layer in layers}, reverse=True)
    first_blocks = [f"unet.enc.{side}x{side}_block0" for side in sides]
    return EDM2UNet(
        size=max(sides, default=0),
        widths=tuple(file.length(f"{block}.conv_res1.weight", 0) for block in first_blocks),
        blocks=1 + max((int(layer[2]) for layer in layers if layer[2]), default=-1),
        attention=tuple(i for i, block in enumerate(first_blocks) if f"{block}.attn_qkv.weight" in file.tensors),
        classes=file.length(LABEL_WEIGHT, 1) if LABEL_WEIGHT in file.tensors else 0,
        frequencies=file.length("unet.emb_fourier.freqs", 0),
        embedding=file.length("unet.emb_noise.weight", 0),
        dropout=file.setting("dropout", float, 0.0),
    )


FAMILY = Family("EDM2", "CC-BY-NC-SA 4.0 (not for commercial use)", "https://github.com/NVlabs/edm2", _matches, _read)
