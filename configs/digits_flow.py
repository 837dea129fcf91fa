"""Diffusion of the digits with a density: flow matching on dequantised pixels, bits per dimension by the ODE.

python train.py --config configs/digits_flow.py --workdir runs/flow

Three minutes on two cores, five on one. Reaches 1.78 bits per dimension on test and 1.61 on train, and at 10
evaluations a Fréchet ratio of 1.21 and label accuracy 0.990 (mean of three seeds, docs/results.md).
"""

from diffjax.experiment.config import Config, Data, Model, Sample, Train


def get_config() -> Config:
    """The U-Net of configs/digits.py on pixels with uniform noise in their last bit."""
    return Config(
        data=Data(name="digits", batch_size=64, form="dequantised"),
        model=Model(
            net="UNet(width=32, multipliers=(1, 2), dropout=0.1)",
            prediction="v",
            schedule="flow",
            data_std=0.75,
        ),
        train=Train(steps=6_000, learning_rate=4e-3, times="logit_normal(mean=-0.5, std=1.3)"),
        sample=Sample(sampler="dpmpp_2m", grid="karras(sigma_min=0.05, sigma_max=20.0, rho=6.0)", steps=10),
    )
