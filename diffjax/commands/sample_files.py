"""The files that sample.py writes: samples.npz, single images, trajectories and figures of edits."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from diffjax.commands import image_sampler
from diffjax.commands.edit_run import EditResult
from diffjax.errors import tell
from diffjax.reports import animation, strip, write_png
from diffjax.utils.files import write_atomically

MAX_SINGLES = 1_000  # samples that are also written as single files, without --singles
LAST_FRAME_MS = 800

Images = UInt8[np.ndarray, "n h w c"]
Labels = Int32[np.ndarray, " n"] | None


def write_samples(out: Path, images: Images, labels: Labels, provenance: Mapping[str, object]) -> None:
    """Write samples.npz in the format that public evaluators read, with the provenance of the samples."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {"arr_0": images, "provenance": np.array(json.dumps(provenance))}
    np.savez(buffer, **(arrays if labels is None else {**arrays, "arr_1": labels}))
    write_atomically(out / "samples.npz", lambda file: file.write(buffer.getvalue()))


def write_edit(out: Path, result: EditResult, labels: Labels, provenance: Mapping[str, object]) -> None:
    """Write the images and the figure of an edit; frames of an interpolation also as animation.gif, there and back."""
    write_png(out / result.figure_name, result.figure)
    if result.animated:
        frames = np.concatenate([result.images, result.images[-2::-1]])
        animation(out / "animation.gif", frames[:, None], columns=1, last_ms=LAST_FRAME_MS)
    write_samples(out, result.images, None if result.animated else labels, provenance)


def write_singles(folder: Path, images: Images, wanted: bool | None) -> None:
    """Write each sample as N.png if `wanted`; None: if there are at most `MAX_SINGLES`.

    N has as many digits as the largest. Images of an earlier call that remain beside them are reported.
    """
    count = len(images)
    enabled = count <= MAX_SINGLES if wanted is None else wanted
    names = [f"{index:0{len(str(count - 1))}}.png" for index in range(count)] if enabled else []
    for name, image in zip(names, images, strict=False):
        write_png(folder / name, image)
    if not enabled and wanted is None:
        tell(f"more than {MAX_SINGLES:,} samples are not written as single PNG files; --singles writes them too")
    numbered = {path.name for path in folder.glob("*.png") if path.stem.isdecimal()}
    if old := sorted(numbered - {*names}):
        tell(f"{folder}: {len(old)} pictures of an earlier call, such as {old[0]}, remain; delete them if unwanted")


def write_trajectory(
    out: Path, frames: UInt8[np.ndarray, "k n h w c"], clock: list[float], *, as_strip: bool, animated: bool
) -> None:
    """Write all states of the first images as strip.png and as animation.gif."""
    if as_strip:
        write_png(out / "strip.png", strip(*image_sampler.subsample_states(frames, clock), caption="clock"))
    if animated:
        animation(out / "animation.gif", frames, columns=frames.shape[1])
