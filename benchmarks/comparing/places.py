"""Where a comparison keeps what: its config, its runs, its scores."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from configs.compare import Compare
from diffjax.errors import UserError
from diffjax.utils.files import write_atomically

CONFIG = "config.json"  # not compare.json, in which the results are published
REAL = "real.json"
# what may change while a comparison goes on
FREE = ("families", "train_seeds", "sample_seeds", "guidances", "at_once", "batch")


def workdir_of(folder: Path, net: str, seed: int) -> Path:
    """Of a training."""
    return folder / "runs" / f"{net}_{seed}"


def scores_in(folder: Path, family: str, seed: int) -> Path:
    """The folder of a run's scores."""
    return folder / "scores" / f"{family}_{seed}"


def drawn_name(point: str, seed: int) -> str:
    """The file of what was drawn at a point of a curve, from a sampling seed."""
    return f"drawn_{point.replace(' ', '')}_{seed}.json"


def bits_name(step: int) -> str:
    """The file of the bits of a checkpoint."""
    return f"bits_{step}.json"


def stored(path: Path, result: dict[str, Any]) -> None:
    """Write a small file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write((json.dumps(result, indent=1) + "\n").encode()))


def read(folder: Path) -> Compare:
    """The comparison that is kept in a folder."""
    fields: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    for name, value in fields.items():
        fields[name] = tuple(value) if isinstance(value, list) else value
    return Compare(**fields)


def begin(folder: Path, compare: Compare) -> None:
    """Keep the comparison there, or go on with it. Raises UserError where what is there is of another one."""
    if (folder / CONFIG).exists():
        before = read(folder)
        for name in (field.name for field in fields(Compare) if field.name not in FREE):
            was, now = getattr(before, name), getattr(compare, name)
            if was != now:
                raise UserError(
                    f"config.{name}: {folder} was begun with {was!r}, not {now!r}; use that value, or a new --workdir"
                )
    stored(folder / CONFIG, asdict(compare))
