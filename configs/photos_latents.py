r"""Pictures by their latents, which a codec has made before: the way to pictures of more than 64 pixels a side.

diffjax encode --codec runs/codec --config configs/pictures.py --config.data.image_size=64 --flips --out latents
python train.py --config configs/photos_latents.py --workdir runs/latents --config.data.latents=latents

Half an hour on two cores; docs/latents.md has the chain from photographs to edits, and what the codec costs.
"""

from dataclasses import replace

from configs import pictures
from diffjax.experiment.config import Config


def get_config() -> Config:
    """A DiT of 16 × 16 × 4 latents of pictures of 64 pixels a side."""
    config = pictures.get_config()
    data = replace(config.data, image_size="64", form="real", batch_size=32, augment=())
    model = replace(config.model, net="DiT(patch=2, width=128, depth=6, heads=4)", schedule="cosine", conditional=False)
    train = replace(config.train, steps=10_000, learning_rate=1e-3, ema_std=(0.1,))
    sample = replace(config.sample, grid="karras(sigma_min=0.02, sigma_max=80)")
    return replace(config, data=data, model=model, train=train, sample=sample)
