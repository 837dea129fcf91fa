"""What a module of a family of published models gives, and what it is told by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import PyTree

from diffjax.order import Order
from diffjax.protocols import Noise
from diffjax.published.stored_tensors import WeightFile
from diffjax.traits import ConditionalNet


class PublishedModel(NamedTuple):
    """The net of a file with its parameters, its noise and order, and the shape of one example.

    `latent_scale` is what a codec's latents are multiplied by; None for a model of pixels. `grid` and `sampler` are
    those that its authors draw with, as texts.
    """

    net: ConditionalNet
    params: PyTree
    noise: Noise
    order: Order
    shape: tuple[int, ...]
    classes: int = 0
    latent_scale: float | None = None
    sampler: str = "ddim"
    grid: str = "uniform"


@dataclass(frozen=True)
class Family:
    """A family of published models: its name, the licence of its weights, and where its authors publish them.

    `matches(file)` is whether a file has the family's tensors, by their names and shapes alone; `read(file)` builds the
    model. `prefix` begins the names of files of a family whose tensors are those of another.
    """

    name: str
    licence: str
    source: str
    matches: Callable[[WeightFile], bool]
    read: Callable[[WeightFile], PublishedModel]
    prefix: str = ""
