"""Flax nets. All are called alike, `net(x, level, cond, keys)`, and output float32.

`x` has unit variance and `level` in [0, 1] is the noise (what `noise.feed` and `noise.level` give); the output has the
shape of x. Of tokens, x is integers and the output logits. `cond` is a label per example, a condition of parts (see
conditions.py), or None. `keys` are the examples' keys for dropout in training, None otherwise. `net.null_cond` is the
null condition (None for an unconditional net), and `net.traits` a `NetTraits`, all else that the library asks of a net.

`from_nnx` and `from_equinox` make such nets of modules of other frameworks.
"""

import importlib
from typing import TYPE_CHECKING

from diffjax.nets.adapters import control as control  # not in __all__: no nets by themselves, so no choices of a
from diffjax.nets.adapters import lora as lora  # config's model.net
from diffjax.nets.adm_unet import ADMUNet as ADMUNet
from diffjax.nets.autoencoder_kl import AutoencoderKL as AutoencoderKL
from diffjax.nets.conditional_unet import ConditionalUNet as ConditionalUNet
from diffjax.nets.ddpm_unet import DDPMUNet as DDPMUNet
from diffjax.nets.dhariwal_unet import DhariwalUNet as DhariwalUNet
from diffjax.nets.dit import DiT
from diffjax.nets.edm2_unet import EDM2UNet as EDM2UNet
from diffjax.nets.edm_unet import SongUNet as SongUNet
from diffjax.nets.equinox_modules import from_equinox as from_equinox
from diffjax.nets.mar import MAR
from diffjax.nets.mlp import MLP
from diffjax.nets.published_mar import PublishedMAR as PublishedMAR
from diffjax.nets.transformer import Transformer
from diffjax.nets.unet import UNet

__all__ = ["MAR", "MLP", "DiT", "Transformer", "UNet"]
FURTHER = (
    "ADMUNet",
    "AutoencoderKL",
    "ConditionalUNet",
    "DDPMUNet",
    "DhariwalUNet",
    "EDM2UNet",
    "PublishedMAR",
    "SongUNet",
)
"""The nets of published weights, which a config may name beside those of `__all__`: `sample.py --check` writes how."""

if TYPE_CHECKING:
    from diffjax.nets.nnx_modules import from_nnx as from_nnx


def __getattr__(name: str) -> object:
    """`from_nnx` is imported when it is first used: flax.nnx takes half a second."""
    if name == "from_nnx":
        return importlib.import_module("diffjax.nets.nnx_modules").from_nnx
    raise AttributeError(f"module 'diffjax.nets' has no attribute {name!r}")
