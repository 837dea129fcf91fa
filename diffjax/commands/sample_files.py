"""The files that sample.py writes: samples.npz, single images and the trajectory."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from diffjax.commands import image_sampler
from diffjax.errors import tell
from diffjax.reports import animation, strip, write_png
from diffjax.utils.files import write_atomically

MAX_SINGLES = 1_000  # samples that are also written as single files, unless --singles says so


def write_samples(out: Path, images: np.ndarray, labels: np.ndarray | None, source: dict[str, Any]) -> None:
    """samples.npz in the form that public evaluators read, with where the samples come from."""
    arrays: dict[str, Any] = {"arr_0": images, "provenance": np.array(json.dumps(source))}
    if labels is not None:
        arrays["arr_1"] = labels
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(out / "samples.npz", lambda file: file.write(buffer.getvalue()))


def write_singles(folder: Path, images: np.ndarray, wanted: bool | None) -> None:
    """Write each sample as N.png if `wanted`; None: if there are at most `MAX_SINGLES`.

    N has as many digits as the largest. Pictures of an earlier call that stay beside them are reported.
    """
    count = len(images)
    enabled = count <= MAX_SINGLES if wanted is None else wanted
    names = [f"{place:0{len(str(count - 1))}}.png" for place in range(count)] if enabled else []
    for name, image in zip(names, images, strict=False):
        write_png(folder / name, image)
    if not enabled and wanted is None:
        tell(f"more than {MAX_SINGLES:,} samples are not written as single PNGs; --singles writes them too")
    numbered = {path.name for path in folder.glob("*.png") if path.stem.isdecimal()}
    if old := sorted(numbered - {*names}):
        tell(f"{folder}: {len(old)} pictures, such as {old[0]}, are of an earlier call; delete them if you want none")


def write_trajectory(out: Path, frames: np.ndarray, clock: list[float], *, as_strip: bool, animated: bool) -> None:
    """Write all states of the first images as strip.png and as animation.gif."""
    if as_strip:
        write_png(out / "strip.png", strip(*image_sampler.subsample_states(frames, clock), caption="clock"))
    if animated:
        animation(out / "animation.gif", frames, columns=frames.shape[1])
