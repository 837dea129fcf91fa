"""Digits without labels, of which any part may be given: the net knows a level for each pixel.

python train.py --config configs/digits_filling.py --workdir runs/filling
python sample.py --workdir runs/filling --out out --edit inpaint --image in.png --mask mask.png --method clamp

Not measured yet.
"""

from configs import Config, Data, Model, Sample, Train


def get_config() -> Config:
    """The net of configs/digits.py, taught to fill in what is hidden: a part of the pixels is given, or nothing."""
    return Config(
        data=Data(name="digits", batch_size=64),
        model=Model(
            net="UNet(width=32, multipliers=(1, 2), dropout=0.1, per_pixel=True)",
            prediction="v",
            schedule="cosine",
            order="parted",
            data_std=0.75,
            conditional=False,
        ),
        train=Train(steps=5_000, learning_rate=5e-3),
        sample=Sample(sampler="dpmpp_2m", grid="uniform", steps=10),
    )
