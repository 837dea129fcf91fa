"""The same pictures by torch's DataLoader with two workers: the same decoding, crop and averaging, and floats."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from protocol import Case, Seconds, serve, steady
from torch.utils.data import DataLoader, Dataset

BATCH, AHEAD, ROUND = 64, 4, 16


class Pictures(Dataset):
    """The files of a folder, each decoded, cropped in the centre and averaged over areas."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.paths = sorted(Path(os.environ["PICTURES"]).rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as file:
            image = file.convert("RGB")
        short = min(image.size)
        left, top = (image.width - short) / 2, (image.height - short) / 2
        box = (left, top, left + short, top + short)
        return torch.from_numpy(np.array(image.resize((self.side, self.side), Image.Resampling.BOX, box=box)))


def rounds(side: int) -> Iterator[Sequence[Seconds]]:
    """Rounds of batches, as floats."""
    options = {"shuffle": True, "drop_last": True, "num_workers": 2, "persistent_workers": True}
    loader = DataLoader(Pictures(side), BATCH, **options)
    stream = (batch.permute(0, 3, 1, 2).float() / 127.5 - 1 for _ in iter(int, 1) for batch in loader)
    return steady(lambda: next(stream), AHEAD, ROUND)


if __name__ == "__main__":
    serve({str(side): partial(lambda side: Case(rounds(side)), side) for side in (32, 256)})
