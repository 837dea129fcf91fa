"""One model of digits for all conditions: the class, a caption, a sketch, each alone, any together, or none.

python train.py --config examples/digits_text/config_conditions.py --workdir runs/conditions
python sample.py --workdir runs/conditions --allow_imports --out out --prompt "a bold three" --sketch drawing.png

Five minutes on two cores. Reaches (docs/results.md, Conditions): the digit of 0.967 of prompts (0.996 at guidance 2),
strokes overlap the sketch by 0.821; Fréchet ratio 1.05 given nothing, 0.99 given labels, 0.87 captions, 0.53 sketches,
0.40 everything.
"""

from diffjax.experiment.config import Config, Data, Model, Sample, Train


def get_config() -> Config:
    """The nets of config_text.py and configs/digits_sketch.py in one."""
    return Config(
        data=Data(name="digits", batch_size=64, parts=("examples.digits_text.parts:caption()", "sketch()")),
        model=Model(
            net="UNet(width=32, multipliers=(1, 2), dropout=0.1)",
            prediction="v",
            schedule="cosine",
            data_std=0.75,
            conditions=("Text(width=64, depth=2, heads=2, drop=0.3)", "Picture(part='sketch', drop=0.6)"),
        ),
        train=Train(steps=5_000, learning_rate=5e-3, times="logit_normal(mean=-0.4, std=1.1)", label_drop=0.4),
        sample=Sample(sampler="dpmpp_2m", grid="karras(sigma_min=0.05, sigma_max=20.0, rho=6.0)", steps=10),
    )
