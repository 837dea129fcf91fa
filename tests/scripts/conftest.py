"""The scripts as a shell calls them, but in this process: imports are paid once, and every strictness holds."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jaxtyping
import pytest
from shell import called

CONFIG = """
from diffjax.experiment.config import Config, Data, Model, Sample, Train

def get_config():
    return Config(
        data=Data(dir={dir!r}, batch_size=64),
        model=Model(net="MLP(width=8, depth=1)", conditional={conditional}),
        train=Train(steps=2, save_every_steps=2, picture_every_steps=1_000),
        sample=Sample(steps=3),
    )
"""


class Told(NamedTuple):
    """What a script leaves in a shell."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """`call(script, *argv)`: the exit code and both outputs."""

    def run(script: str, *argv: object) -> Told:
        capfd.readouterr()
        # As JAX describes a program's arguments to itself, it fills a State with what are no arrays.
        before = jaxtyping.config.jaxtyping_disable
        jaxtyping.config.update("jaxtyping_disable", before or not {"--check", "--profile"}.isdisjoint(argv))
        try:
            return Told(called(script, *argv), *capfd.readouterr())
        finally:
            jaxtyping.config.update("jaxtyping_disable", before)

    return run


class Trained(NamedTuple):
    """A tiny run, its config's file, and the folder that its data set is prepared in."""

    workdir: Path
    config: Path
    data_dir: Path


def trained(folder: Path, data_dir: Path, conditional: bool, *more: str) -> Trained:
    config = folder / "tiny.py"
    config.write_text(CONFIG.format(dir=str(data_dir), conditional=conditional))
    assert called("train.py", "--config", config, "--workdir", folder / "run", *more) == 0
    return Trained(folder / "run", config, data_dir)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Trained:
    """Two steps of a class-conditional MLP on digits; to be looked at only."""
    return trained(tmp_path_factory.mktemp("tiny"), data_dir, True)


@pytest.fixture(scope="session")
def unconditional(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Trained:
    """The same without classes, on the same labelled data."""
    return trained(tmp_path_factory.mktemp("unconditional"), data_dir, False)


SMALL_PICTURES = (  # in place of what configs/pictures.py chooses, which takes longer
    "--config.model.net=UNet(width=8, multipliers=(1,))",
    "--config.data.batch_size=8",
    "--config.train.steps=2",
    "--config.train.picture_every_steps=0",
    "--config.train.validate_images=2",
    "--config.train.writers=('jsonl',)",
    "--config.sample.steps=2",
)
NO_PICTURES = ["--config.train.picture_every_steps=0"]  # which take longer than such a run itself
TOKENS = [
    *NO_PICTURES,
    "--config.data.form=tokens",
    "--config.model.noise=Masking",
    "--config.model.schedule=",
    "--config.model.prediction=",
    "--config.sample.sampler=posterior",
]
CAUSAL = [
    *TOKENS,
    "--config.model.net=Transformer(width=8, depth=1, heads=2, causal=True)",
    "--config.model.order=raster",
    "--config.train.loss=causal(hide=0.1)",
    "--config.sample.steps=64",
]
MASKED = [*TOKENS, "--config.model.net=Transformer(width=8, depth=1, heads=2)", "--config.train.loss=bound"]


@pytest.fixture
def causal() -> list[str]:
    """The fields of raster autoregression."""
    return CAUSAL


@pytest.fixture(scope="session")
def autoregressive(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Trained:
    """Two steps of a causal transformer on tokens in raster order."""
    return trained(tmp_path_factory.mktemp("autoregressive"), data_dir, True, *CAUSAL)


@pytest.fixture(scope="session")
def masked(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Trained:
    """Two steps of masked diffusion."""
    return trained(tmp_path_factory.mktemp("masked"), data_dir, True, *MASKED)


@pytest.fixture(scope="session")
def any_order(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Trained:
    """The same net in an order that each example draws, without classes."""
    options = [*MASKED, "--config.model.order=shuffled", "--config.sample.steps=64"]
    return trained(tmp_path_factory.mktemp("any_order"), data_dir, False, *options)


@pytest.fixture(scope="session")
def continuous(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Trained:
    """Two steps of continuous autoregression, sixteen pixels at a time in an order that each example draws."""
    options = [
        "--config.model.net=MAR(width=8, depth=1, heads=2, head_width=8, head_depth=1)",
        "--config.model.order=blocks(4, shuffled=True)",
        "--config.train.loss=regression(independent=True)",
        *NO_PICTURES,
    ]
    return trained(tmp_path_factory.mktemp("continuous"), data_dir, True, *options)


@pytest.fixture(scope="session")
def drawn(tiny: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of twelve samples of the tiny run, with all that can be drawn beside them."""
    out = tmp_path_factory.mktemp("drawn") / "out"
    assert called("sample.py", "--workdir", tiny.workdir, "--out", out, "--num=12", "--trajectory", "--animate") == 0
    return out
