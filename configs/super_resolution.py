r"""Pictures by themselves at half their size: super-resolution, and the later models of a cascade.

python train.py --config configs/super_resolution.py --workdir runs/enlarge \
    --config.data.name=folder:PATH --config.data.image_size=32
python sample.py --workdir runs/enlarge --out out --low_res small.png --size=image --num 4

All else is chosen as by configs/pictures.py. Noise of a standard deviation of up to 0.5, of pixels in [-1, 1], is added
to half of the small pictures, and the net is told how much: so it can enlarge what another model drew (Ho et al. 2021,
cascaded diffusion models). docs/photographs.md has figures.
"""

from dataclasses import replace

from configs import pictures
from diffjax.experiment.config import Config


def get_config() -> Config:
    """The config of pictures, with the picture at low resolution as the condition, which is always there."""
    config = pictures.get_config()
    data = replace(config.data, parts=("low_res(factor=2, noise=0.5)",))
    model = replace(config.model, conditions=("Picture(part='low_res')",))
    return replace(config, data=data, model=model, train=replace(config.train, cond_drop=0.0))
