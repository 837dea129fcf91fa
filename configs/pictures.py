r"""Pictures of any source and size: what follows from their size and number is chosen when a run begins, and printed.

python train.py --config configs/pictures.py --workdir runs/mine \
    --config.data.name=folder:PATH --config.data.image_size=32

`--config.train.minutes=25` ends it by the clock. Each choice is a line with its reason, and is overridden by the flag
of its field, such as `--config.model.net="UNet(width=64, multipliers=(1, 2, 4))"`. docs/photographs.md has examples.
"""

from diffjax.experiment.config import Config, Data, Model, Sample, Train


def get_config() -> Config:
    """Fields with `auto`, 0 or (0.0,) are chosen from the size and the number of the pictures."""
    return Config(
        data=Data(name="photos", image_size="32", batch_size=0, augment=("auto",)),
        model=Model(net="auto", prediction="v", schedule="auto"),
        train=Train(steps=0, learning_rate=0.0, ema=(), ema_std=(0.0,), warmup_steps=200),
        sample=Sample(sampler="dpmpp_2m", grid="auto", steps=20),
    )
