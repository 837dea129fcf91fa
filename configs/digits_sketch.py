"""Digits by their class and a sketch, the middle lines of their strokes; each may be left out.

python train.py --config configs/digits_sketch.py --workdir runs/sketch
python sample.py --workdir runs/sketch --out out --num 16 --sketch drawing.png --label 3

Three to four minutes on two cores. Reaches (docs/results.md, Conditions): strokes overlap the sketch by 0.850
(intersection over union), the label is right in 0.978 where it is given too; Fréchet ratio 0.49 given sketches, 0.97
given labels alone, as without sketches.
"""

from diffjax.experiment.config import Config, Data, Model, Sample, Train


def get_config() -> Config:
    """The net of configs/digits.py, which sees the sketch beside its input."""
    return Config(
        data=Data(name="digits", batch_size=64, parts=("sketch()",)),
        model=Model(
            net="UNet(width=32, multipliers=(1, 2), dropout=0.1)",
            prediction="v",
            schedule="cosine",
            data_std=0.75,
            conditions=("Picture(part='sketch', drop=0.3)",),
        ),
        train=Train(steps=5_000, learning_rate=5e-3, times="logit_normal(mean=-0.4, std=1.1)", label_drop=0.1),
        sample=Sample(sampler="dpmpp_2m", grid="karras(sigma_min=0.05, sigma_max=20.0, rho=6.0)", steps=10),
    )
