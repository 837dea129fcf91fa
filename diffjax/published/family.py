"""What a module of a family of published models gives, and what it is told by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.protocols import Noise
from diffjax.published.latent_scale import LatentScale
from diffjax.published.stored_tensors import WeightFile
from diffjax.traits import ConditionalNet


class PublishedModel(NamedTuple):
    """The net of a file with its parameters, its noise and order, and the shape of one example.

    `order_text` and `schedule` are those of a config; an empty schedule is one that has no text. `latents` say how x
    comes from a codec's; None for a model of pixels. `sampler`, `grid` and `steps` are for drawing, as in a config.
    """

    net: ConditionalNet
    params: PyTree
    noise: Noise
    order: Order
    shape: tuple[int, ...]
    classes: int = 0
    order_text: str = "together"
    schedule: str = ""
    latents: LatentScale | None = None
    sampler: str = "ddim"
    grid: str = "uniform"
    steps: int = 50


@dataclass(frozen=True)
class Family:
    """A family of published models: its name, the licence of its weights, and where its authors publish them.

    `matches(file)` is whether a file has the family's tensors, by their names and shapes alone; `build(file)` makes the
    model. `prefix` begins the names of files of a family whose tensors are those of another.
    """

    name: str
    licence: str
    source: str
    matches: Callable[[WeightFile], bool]
    build: Callable[[WeightFile], PublishedModel]
    prefix: str = ""

    def read(self, file: WeightFile) -> PublishedModel:
        """The model of a file. Raises UserError, with the file's path, where it does not fit the family."""
        try:
            return self.build(file)
        except UserError as error:
            if str(error).startswith(str(file.path)):
                raise
            raise UserError(f"{file.path}: does not fit {self.name}: {error}; use the weights as published") from None
