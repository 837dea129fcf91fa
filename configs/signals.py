"""Diffusion of signals whose law is known, an autoregressive process: exact bits, and forecasts as inpainting.

python train.py --config configs/signals.py --workdir runs/signals

Signals [32, 1] are drawn without end, so nothing is learnt by heart. In half of the examples some positions are known,
so the network can forecast (docs/signals.md).
"""

from diffjax.experiment.config import Config, Data, Model, Sample, Train


def get_config() -> Config:
    """A one-dimensional U-Net with a noise level for each position, v-prediction on the cosine schedule."""
    return Config(
        data=Data(name="ar_process", batch_size=128, form="real"),
        model=Model(
            net="UNet(width=32, multipliers=(1, 2, 2), attention=(1, 2), per_pixel=True)",
            prediction="v",
            schedule="cosine",
            data_std=1.0,
        ),
        train=Train(
            steps=20_000, learning_rate=2e-3, loss="regression(given=0.5)", times="log_normal(mean=-1.0, std=1.6)"
        ),
        sample=Sample(sampler="heun", grid="karras(sigma_min=0.01, sigma_max=40.0)", steps=20),
    )
