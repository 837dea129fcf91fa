"""A whole photograph, super-resolved by tiles and at once."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64
from PIL import Image
from report import PICTURES

from diffjax.data.photo_patches import read_photographs
from diffjax.edit.tiling import tile_starts
from photographic.baselines import block_means, resampled
from photographic.drawing import at_size, enlarged, open_run
from photographic.measures import Images, gradient_distance, psnr

FACTOR, OVERLAPS = 2, (0, 16)
CLOSE_UP = slice(120, 248), slice(280, 472)  # rows and columns of the picture that is drawn


def measure_whole(runs: Path) -> dict[str, dict[str, list[float]]]:
    """Gain over bicubic, gradients, and gradients at the borders of tiles over those elsewhere, beside the truth's."""
    photograph = read_photographs()["held_out"][0].pixels / 255
    height, width = (side // FACTOR * FACTOR for side in photograph.shape[:2])
    truth = photograph[None, :height, :width]
    low = block_means(truth, FACTOR)
    model = open_run(runs / "enlarge")
    tile = model.model.info.data.shape[0]
    found = {"bicubic": resampled(low, FACTOR, Image.Resampling.BICUBIC)}
    for overlap in OVERLAPS:
        found[f"tiles that share {overlap}"] = enlarged(at_size(model, (height, width), overlap), low, 1)[0]
    found["at once"] = enlarged(at_size(model, (height, width)), low, 1)[0]
    found["truth"] = truth
    draw_close_up(found, low)
    bicubic = psnr(found["bicubic"], truth)
    rows = {}
    for name, images in found.items():
        gain = 0.0 if name == "truth" else psnr(images, truth) - bicubic
        ratio = seam_ratio(images, tile, OVERLAPS[-1]) / seam_ratio(truth, tile, OVERLAPS[-1])
        rows[name] = [gain, gradient_distance(images, truth), ratio]
    return {"rows": rows}


def seam_ratio(images: Images, tile: int, overlap: int) -> float:
    """The mean gradient across the borders of tiles over that of other neighbours, of columns and rows.

    Borders lie between blocks of the small picture, and so do the others: within blocks gradients are smaller.
    """
    at_seams, elsewhere = [], []
    for axis in (1, 2):
        steps = np.abs(np.diff(images, axis=axis)).mean(tuple({0, 1, 2, 3} - {axis}))
        is_seam = _is_seam(images.shape[axis], tile, overlap)
        between_blocks = np.arange(len(steps)) % FACTOR == FACTOR - 1
        at_seams.append(steps[is_seam])
        elsewhere.append(steps[between_blocks & ~is_seam])
    return float(np.concatenate(at_seams).mean() / np.concatenate(elsewhere).mean())


def _is_seam(side: int, tile: int, overlap: int) -> Float64[np.ndarray, " _"]:
    """Whether a tile begins or ends between positions i and i + 1."""
    starts = tile_starts(side, tile, overlap, FACTOR)
    borders = {*(starts - 1).tolist(), *(starts + tile - 1).tolist()}
    return np.isin(np.arange(side - 1), [*borders])


def draw_close_up(found: dict[str, Images], low: Images) -> None:
    """A part of the photograph by each way, side by side, as docs/pictures/photographs_whole.png."""
    rows, columns = CLOSE_UP
    small = low[0, rows.start // FACTOR : rows.stop // FACTOR, columns.start // FACTOR : columns.stop // FACTOR]
    pixels = small.repeat(FACTOR, 0).repeat(FACTOR, 1)
    parts = [pixels, *(images[0, rows, columns] for images in found.values())]
    picture = np.concatenate([np.pad(part, ((0, 0), (0, 4), (0, 0)), constant_values=1) for part in parts], axis=1)
    Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(PICTURES / "photographs_whole.png")
