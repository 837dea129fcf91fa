"""Digits by what is said of them: captions such as "a bold narrow handwritten three, leaning left".

python train.py --config examples/digits_text/config_text.py --workdir runs/text
python sample.py --workdir runs/text --allow_imports --out out --prompt "a thin seven leaning right" --guidance 2

Four to five minutes on two cores. Reaches at guidance 2 (docs/results.md, Conditions): the digit that is named is drawn
in all of 1,000 pictures of 200 prompts, in 0.976 of combinations that training has not seen; every trait moves what it
names; Fréchet ratio 1.05 with the captions of test images.
"""

from diffjax.experiment.config import Config, Data, Model, Sample, Train


def get_config() -> Config:
    """A U-Net that attends to the words of a caption, read as bytes by a transformer that is trained with it."""
    return Config(
        data=Data(name="digits", batch_size=64, parts=("examples.digits_text.parts:caption()",)),
        model=Model(
            net="UNet(width=32, multipliers=(1, 2), dropout=0.1)",
            prediction="v",
            schedule="cosine",
            data_std=0.75,
            conditional=False,
            conditions=("Text(width=64, depth=2, heads=2)",),
        ),
        train=Train(steps=4_000, learning_rate=5e-3, times="logit_normal(mean=-0.4, std=1.1)"),
        sample=Sample(
            sampler="dpmpp_2m", grid="karras(sigma_min=0.05, sigma_max=20.0, rho=6.0)", steps=10, guidance=2.0
        ),
    )
