"""A sketch added to a model of digits that stays as it is (ControlNet).

python train.py --config configs/digits_control.py --workdir runs/control --config.train.init_from=runs/digits

Two to three minutes on two cores. Reaches (docs/results.md, Conditions): strokes overlap the sketch by 0.816, and the
label is right in 0.989 where it is given too; without a sketch it draws as its base does.
"""

from diffjax.experiment.config import Config, Data, Model, Sample, Train


def get_config() -> Config:
    """The net of configs/digits.py, frozen, and a copy of its way down that is told the sketch and is trained."""
    return Config(
        data=Data(name="digits", batch_size=64, parts=("sketch()",)),
        model=Model(
            net="UNet(width=32, multipliers=(1, 2), dropout=0.1)",
            prediction="v",
            schedule="cosine",
            data_std=0.75,
            conditions=("Picture(part='sketch', drop=0.3)",),
            adapters="control(part='sketch')",
        ),
        train=Train(
            steps=4_000,
            learning_rate=2e-3,
            times="logit_normal(mean=-0.4, std=1.1)",
            label_drop=0.1,
            init_from="runs/digits",
        ),
        sample=Sample(sampler="dpmpp_2m", grid="karras(sigma_min=0.05, sigma_max=20.0, rho=6.0)", steps=10),
    )
