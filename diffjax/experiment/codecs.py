"""Codecs, of a run or of published weights, and what a model draws through the codec of its latents."""

import hashlib
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffjax.errors import UserError
from diffjax.experiment import build, trained_model
from diffjax.experiment.data_spec import DataSpec
from diffjax.experiment.latents import latents_form
from diffjax.nets.autoencoder_kl import CHANNELS, AutoencoderKL
from diffjax.published import hub
from diffjax.published.autoencoder_kl import Codec, read_codec
from diffjax.published.latent_scale import LatentScale
from diffjax.published.weight_files import is_weight_file, read_weight_file
from diffjax.training import safetensors_io
from diffjax.utils.tree_paths import leaves_by_name

LEVELS = 256  # of a pixel
UNSCALED = LatentScale(1.0)


def load_codec(source: str | Path, latents: LatentScale | None = None) -> Codec:
    """The codec of a run's folder, an exported file, or published weights, also of `hf://owner/name`.

    `latents` are in place of those that published weights say; those of a run are the means of its encoder, as they
    are. Raises UserError for what is no codec.
    """
    path = hub.fetch_file(str(source)) if hub.is_address(source) else Path(source)
    if is_weight_file(path) and not safetensors_io.is_ours(path):
        return read_codec(read_weight_file(path), latents)
    if not path.exists():
        raise UserError(f"codec {source}: no such run or file; give a run of configs/photos_codec.py, or a file")
    weights = trained_model.read_weights(path)
    net = build.build_model(weights.config.model, weights.data).net
    if not isinstance(net, AutoencoderKL):
        problem = f"its net is a {type(net).__name__}, which makes no latents"
        raise UserError(f"codec {source}: {problem}; give a run of configs/photos_codec.py")
    params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), weights.params)
    return Codec(net, params, net.factor, net.latent_channels, latents or UNSCALED)


def codec_hash(codec: Codec) -> str:
    """SHA-256 of a codec's parameters and their names."""
    digest = hashlib.sha256()
    for name, leaf in sorted(leaves_by_name(codec.params).items()):
        values = np.asarray(leaf, np.float32)
        digest.update(f"{name}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def picture_spec(data: DataSpec, owner: str | Path, source: str | Path | None = None) -> DataSpec:
    """The record of the pictures that a model of latents draws, through the codec that they are of.

    `source` is where that codec lies now; by default where it lay when the latents were made. `owner` is the model.
    Raises UserError where it is not there, or is another one.
    """
    record = data.codec
    assert record is not None
    place = source or record.source
    if not hub.is_address(place) and not Path(place).exists():
        problem = f"draws latents of the codec {record.source}, which is not there"
        raise UserError(f"{owner}: {problem}; say where it is (--codec, or codec= of dj.load)")
    codec = load_codec(place, record.latents)
    if codec_hash(codec) != record.sha256:
        problem = f"draws latents of the codec {record.source}, and the weights of {place} are others"
        raise UserError(f"{owner}: {problem}; give the codec that its latents were made with (--codec)")
    height, width = (side * codec.factor for side in data.shape[:2])
    return replace(
        data, shape=(height, width, CHANNELS), levels=LEVELS, form="unit", latents=latents_form(codec), codec=None
    )
