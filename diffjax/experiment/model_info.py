"""Where a loaded denoiser comes from, and what it draws."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from diffjax.conditions import has_label
from diffjax.data.split_rules import SplitRecord
from diffjax.experiment import config_files
from diffjax.experiment.config import Config
from diffjax.experiment.data_spec import DataSpec
from diffjax.published.clip_text import TextEncoder
from diffjax.traits import ConditionalNet


class Tiles(NamedTuple):
    """The arguments of `edit.tiled`: height and width of a tile, what tiles share, parts of conditions, and memory."""

    size: tuple[int, int]
    overlap: int
    pictures: tuple[str, ...]
    tiles_per_call: int


class Origin(NamedTuple):
    """Of published weights: the family of models, the licence, where its authors publish them, and the file."""

    family: str
    licence: str
    source: str
    file: Path

    def describe(self) -> str:
        """A line for people."""
        return f"{self.file.name}: weights of {self.family}, {self.source}, licence {self.licence}"


@dataclass(frozen=True)
class ModelInfo:
    """Where a loaded denoiser comes from: its net, its data, its config, the step and the average of its weights.

    `size` is the height and width that it draws, where it was trained on pictures of another size, and `tiles` say how,
    where it does not draw them at once. Published weights have an `origin`, step 0, and the config that they amount to,
    and `text_encoder` encodes the prompts of their part "text".
    """

    net: ConditionalNet
    data: DataSpec
    config: Config
    step: int
    ema: str
    splits: SplitRecord | None = None
    size: tuple[int, int] | None = None
    tiles: Tiles | None = None
    origin: Origin | None = None
    text_encoder: TextEncoder | None = None

    @property
    def config_hash(self) -> str:
        """Twelve digits that change with any field of the config."""
        return config_files.config_hash(self.config)

    @property
    def conditional(self) -> bool:
        """Whether the net knows classes."""
        return has_label(self.net.null_cond)
