r"""A codec of pictures: an autoencoder whose latents have a sixteenth of the positions, for models of latents.

python train.py --config configs/photos_codec.py --workdir runs/codec
python train.py --config configs/photos_codec.py --workdir runs/codec --config.data.name=folder:PATH
diffjax encode --codec runs/codec --config configs/pictures.py --config.data.image_size=64 --flips --out latents

Half an hour on two cores. It is trained on 32 × 32 pixels and serves any size: 64 × 64 × 3 becomes latents of
16 × 16 × 4. `--config.train.loss="reconstruction(divergence=0)"` is a plain autoencoder, whose latents are not kept
near to a normal distribution (docs/latents.md).
"""

from dataclasses import replace

from configs import pictures
from diffjax.experiment.config import Config


def get_config() -> Config:
    """The data of pictures at 32 pixels a side, and an AutoencoderKL of 0.65 million parameters."""
    config = pictures.get_config()
    data = replace(config.data, image_size="32", batch_size=32)
    net = "AutoencoderKL(widths=(16, 32, 64), layers=1, latent_channels=4, groups=8, middle_attention=False)"
    model = replace(config.model, net=net, conditional=False)
    train = replace(config.train, loss="reconstruction(divergence=1e-5)", validate_images=128)
    return replace(config, data=data, model=model, train=train)
