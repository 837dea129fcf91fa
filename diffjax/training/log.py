"""What a run tells: a progress bar, or lines where there is no terminal; metrics as JSON lines and for TensorBoard."""

import json
import os
import sys
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from diffjax.files import write_whole
from diffjax.training.step import Metrics


class Log:
    """Writes the mean of each metric over every so many steps."""

    def __init__(self, folder: Path | None, start: int, steps: int, every: int, batch_size: int) -> None:
        """Go on from step `start` in that folder; without one (on hosts but the first) nothing is told."""
        self.steps, self.every, self.batch_size, self.quiet = steps, every, batch_size, folder is None
        self._file = (Path(os.devnull) if folder is None else begun(folder / "metrics.jsonl", start)).open("a")
        self._board = SummaryWriter(str((folder or Path()) / "tensorboard"), write_to_disk=not self.quiet)
        self._collected: list[Metrics] = []
        self.bar = tqdm(  # disable=None: no bar where stderr is no terminal
            total=steps * batch_size,
            initial=start * batch_size,
            unit="img",
            unit_scale=True,
            disable=self.quiet or None,
            leave=False,
        )

    def watch(self, step: int, metrics: Metrics) -> None:
        """Take the metrics of the steps up to this one, and write each interval that ends among them."""
        count = len(metrics["loss"])
        self.bar.update(count * self.batch_size)
        for i in range(count):
            self._collected.append({name: metric[i] for name, metric in metrics.items()})
            at = step - count + 1 + i
            if at % self.every == 0 or at == self.steps:
                self.tell(at, {name: float(np.mean([m[name] for m in self._collected])) for name in metrics})
                self._collected = []

    def tell(self, step: int, values: dict[str, float]) -> None:
        """Write these values."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        self.bar.set_postfix_str(shown, refresh=False)
        if self.bar.disable and not self.quiet:
            print(f"step {step:,} of {self.steps:,}: {shown}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End all of it."""
        self.bar.close()
        self._file.close()
        self._board.close()


def begun(path: Path, start: int) -> Path:
    """The file of metrics, without the lines that a killed run wrote beyond the checkpoint it goes on from."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    kept = "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= start)
    write_whole(path, lambda file: file.write(kept.encode()))
    return path
