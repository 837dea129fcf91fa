"""What a run tells: a progress bar, or lines where there is no terminal; metrics as JSON lines and for TensorBoard."""

import json
import os
import sys
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from diffjax.files import write_whole
from diffjax.training.state import State
from diffjax.training.step import Metrics


class Log:
    """Collects metrics on the device and writes each interval's mean one interval later, so that nothing waits."""

    def __init__(self, folder: Path | None, start: int, steps: int, batch_size: int) -> None:
        """Go on from step `start` in that folder; without one (on hosts but the first) nothing is told."""
        self.steps, self.batch_size, self.seen, self.quiet = steps, batch_size, start, folder is None
        self._file = (Path(os.devnull) if folder is None else begun(folder / "metrics.jsonl", start)).open("a")
        self._board = SummaryWriter(str((folder or Path()) / "tensorboard"), write_to_disk=not self.quiet)
        self._collected: list[Metrics] = []
        self._waiting: tuple[int, list[Metrics]] | None = None
        self.bar = tqdm(  # disable=None: no bar where stderr is no terminal
            total=steps * batch_size,
            initial=start * batch_size,
            unit="img",
            unit_scale=True,
            disable=self.quiet or None,
            leave=False,
        )

    def collect(self, step: int, state: State, metrics: Metrics) -> None:
        """Keep the metrics of the last dispatch, and move the bar."""
        self._collected.append(metrics)
        self.bar.update((step - self.seen) * self.batch_size)
        self.seen = step

    def write(self, step: int, state: State, metrics: Metrics) -> None:
        """Write the interval before; the one that ends here is still being computed."""
        self.flush()
        self._waiting, self._collected = (step, self._collected), []

    def flush(self) -> None:
        """Write what is waiting."""
        if self._waiting is None:
            return
        (step, collected), self._waiting = self._waiting, None
        values = {
            name: float(np.mean(np.concatenate([np.asarray(m[name]) for m in collected]))) for name in collected[0]
        }
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
        self.bar.set_postfix_str(shown, refresh=False)
        if self.bar.disable and not self.quiet:
            print(f"step {step:,} of {self.steps:,}: {shown}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Write all that is left."""
        self.flush()
        self.bar.close()
        self._file.close()
        self._board.close()


def begun(path: Path, start: int) -> Path:
    """The file of metrics, without the lines that a killed run wrote beyond the checkpoint it goes on from."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    kept = "".join(line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= start)
    write_whole(path, lambda file: file.write(kept.encode()))
    return path
