"""Examples as they are read from their source, by threads or by processes of their own, which must not load JAX."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from jaxtyping import Int32, Integer

from diffjax.data.condition_parts import Part
from diffjax.data.examples import Images
from diffjax.data.fits import draw_numbers
from diffjax.data.framing import View
from diffjax.data.generated_split import GeneratedSplit
from diffjax.data.part_values import part_values
from diffjax.data.pictures import Failure
from diffjax.data.splits import Split
from diffjax.errors import UserError


class RawBatch(TypedDict):
    """Images as they are stored, their classes, and the values of the parts of their conditions."""

    image: Images
    label: Int32[np.ndarray, " b"]
    parts: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads examples of a split for training, with these parts; `draw_word` is the seed of random parts of pictures."""

    source: Split | GeneratedSplit
    parts: Sequence[Part]
    draw_word: int

    def read_batch(self, first_row: int, indices: Integer[np.ndarray, " b"]) -> RawBatch:
        """The examples of these indices as one batch.

        They are the rows from `first_row` on of the infinite order of examples: by it and the seed the random part of
        each picture is drawn, so that it depends on neither hosts nor threads nor processes.
        """
        examples = [self._read(first_row + place, int(index)) for place, index in enumerate(indices)]
        images, labels, values = zip(*examples, strict=True)
        parts = {part.name: np.stack([value[part.name] for value in values]) for part in self.parts}
        return {"image": np.stack(images), "label": np.array(labels, np.int32), "parts": parts}

    def collect_failures(self) -> None:
        """From now on, note which examples cannot be read for `take_failures`, and report none."""
        if isinstance(self.source, Split) and self.source.substitutes is not None:
            self.source.substitutes.collect()

    def take_failures(self) -> tuple[Failure, ...]:
        """The examples that could not be read since the last call."""
        if not isinstance(self.source, Split) or self.source.substitutes is None:
            return ()
        return self.source.substitutes.take()

    def report(self, failures: Sequence[Failure]) -> None:
        """Report examples that could not be read elsewhere. Raises `UserError` where more fail than may."""
        for index, problem in failures:
            assert isinstance(self.source, Split)
            assert self.source.substitutes is not None
            self.source.substitutes.replace(index, UserError(problem))

    def _read(self, row: int, index: int) -> tuple[np.ndarray, np.int32, dict[str, np.ndarray]]:
        framing = self.source.framing
        draw = draw_numbers(self.draw_word, row) if framing is not None and framing.random else None
        view = View(in_bucket=True, draw=draw)
        example, stored = self.source.read_whole(index, view)
        return example["image"], example["label"], part_values(index, example, stored, self.parts)
