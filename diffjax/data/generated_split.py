"""Splits whose examples are computed from their numbers."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from diffjax.data.examples import Example
from diffjax.data.framing import OUTSIDE_OF_TRAINING, Framing, View


@dataclass(frozen=True, eq=False)
class GeneratedSplit:
    """A split whose example i is generated from i: `draw(ids) -> (images, labels)`, on the device.

    `draw` is a `jax.tree_util.Partial`, and `class_probabilities` sum to 1.
    """

    count: int
    draw: Callable[..., tuple[object, object]]
    class_probabilities: tuple[float, ...]
    framing: Framing | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        return self.read(index)

    def read(self, index: int, view: View = OUTSIDE_OF_TRAINING) -> Example:
        """One example, which every view shows alike."""
        images, labels = _generator()(self.draw, np.array([range(self.count)[index]], np.uint32))
        return {"image": np.asarray(images)[0], "label": np.int32(np.asarray(labels)[0])}

    def read_whole(
        self, index: int, view: View = OUTSIDE_OF_TRAINING
    ) -> tuple[Example, Callable[[], Mapping[str, object]]]:
        """One example, and what reads its stored features."""
        return self.read(index, view), dict

    def features(self, index: int, view: View = OUTSIDE_OF_TRAINING) -> Mapping[str, object]:
        """Nothing is stored."""
        return {}

    def labels(self) -> Int32[np.ndarray, " n"]:
        """The classes of all examples, in order."""
        return np.array([self[i]["label"] for i in range(self.count)], np.int32)

    def class_frequencies(self, classes: int) -> tuple[float, ...]:
        """The probability of each class."""
        return self.class_probabilities

    def sample_indices(self, max_count: int) -> Int64[np.ndarray, " _"]:
        """The indices of at most `max_count` examples: the first, since examples are independent."""
        return np.arange(min(self.count, max_count))


@functools.cache
def _generator() -> Callable[..., tuple[object, object]]:
    import jax  # which processes that decode pictures must not load

    return jax.jit(lambda draw, ids: draw(ids))
