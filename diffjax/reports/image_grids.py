"""Pictures made of images: arrays in, one uint8 RGB picture out, every image pixel a square of exact pixels.

Images are uint8 [n, h, w, c] scaled to 0 … 255, grey (c = 1) or RGB (c = 3). `scale` is the side of one image pixel
in picture pixels; None enlarges small images until they are legible.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image, ImageDraw, ImageFont

from diffjax.errors import UserError

Picture = UInt8[np.ndarray, "_ _ 3"]
MIN_LEGIBLE_SIDE = 56  # pixels, the least side of an image when the scale is left open
LINE = 3  # pixels between images and around them
MARGIN = 12  # pixels of white around text
TEXT = 15  # pixels, the size of letters
PAPER = (255, 255, 255)
RULE = (104, 128, 168)
INK = (32, 36, 42)
FAINT = (120, 126, 134)
ENLARGEMENT = 2  # how much larger panels are than samples
COLOUR_MAP = "inferno"


def grid(images: UInt8[np.ndarray, "n h w c"], columns: int, scale: int | None = None) -> Picture:
    """n images in rows of `columns`, with thin lines between them.

    Pixel (i, j) of the image in row r and column q covers the `scale` × `scale` square that starts at
    (LINE + r·(h·scale + LINE) + i·scale, LINE + q·(w·scale + LINE) + j·scale).
    """
    if columns < 1 or len(images) == 0:
        raise UserError(f"a grid of {len(images)} images in {columns} columns is empty: give at least one of each")
    columns = min(columns, len(images))
    return enlarged_cells([images[start : start + columns] for start in range(0, len(images), columns)], columns, scale)


def labelled_grid(
    images: UInt8[np.ndarray, "n h w c"],
    labels: Integer[np.ndarray, " n"],
    names: Sequence[str],
    columns: int,
    scale: int | None = None,
) -> Picture:
    """One row for every class that occurs: its name (`names[label]`) at the left, its first `columns` images."""
    if len(images) == 0 or columns < 1:
        raise UserError(f"{len(images)} images in {columns} columns: give at least one of each")
    if len(labels) != len(images) or labels.min() < 0 or labels.max() >= len(names):
        raise UserError(f"{len(images)} images need as many labels, each from 0 to {len(names) - 1}, the last name")
    classes = [int(label) for label in np.unique(labels)]
    rows = [images[labels == label][:columns] for label in classes]
    return labelled_rows([names[label] for label in classes], rows, max(map(len, rows)), scale)


def side_by_side(
    samples: UInt8[np.ndarray, "n h w c"],
    matches: UInt8[np.ndarray, "n h w c"],
    columns: int,
    scale: int | None = None,
    names: tuple[str, str] = ("sample", "nearest in train"),
) -> Picture:
    """Each sample above its match (`nearest_images` finds it), `columns` pairs to a band, bands set apart."""
    if len(samples) == 0 or len(samples) != len(matches) or columns < 1:
        raise UserError(f"{len(samples)} samples, {len(matches)} matches, {columns} columns: give at least one pair")
    columns = min(columns, len(samples))
    parts = [slice(start, start + columns) for start in range(0, len(samples), columns)]
    bands = [labelled_rows(names, [samples[part], matches[part]], columns, scale) for part in parts]
    space = np.full((MARGIN, bands[0].shape[1], 3), PAPER, np.uint8)
    return np.concatenate([piece for band in bands for piece in (space, band)][1:])


def strip(
    frames: UInt8[np.ndarray, "k n h w c"],
    levels: Sequence[float | str],
    scale: int | None = None,
    caption: str = "level",
) -> Picture:
    """The way from noise (left) to image (right): n examples as rows, k moments as columns, each over its level.

    Numbers are printed with two decimals, strings as they are, `caption` at the left; where levels would touch,
    only every second, third … is printed, the last always.
    """
    if len(frames) != len(levels) or frames.size == 0:
        raise UserError(f"{len(frames)} frames and {len(levels)} levels: give one level for each of at least one frame")
    picture = enlarged_cells(list(np.swapaxes(frames, 0, 1)), len(frames), scale)
    texts = [level if isinstance(level, str) else f"{level:.2f}" for level in levels]
    cell = (picture.shape[1] - LINE) / len(frames)
    label_every = int(np.ceil((max(map(text_width, texts)) + MARGIN) / cell))
    left = text_width(caption) + 2 * MARGIN
    image = pad_with_white(picture, left=left, bottom=TEXT + MARGIN, right=MARGIN)
    pen = ImageDraw.Draw(image)
    line = picture.shape[0] + MARGIN // 2
    pen.text((left - MARGIN, line), caption, FAINT, font(), anchor="rt")
    for index in range(len(texts) - 1, -1, -label_every):
        pen.text((left + LINE / 2 + (index + 0.5) * cell, line), texts[index], INK, font(), anchor="mt")
    return np.asarray(image)


def crossed_grid(
    images: UInt8[np.ndarray, "rows columns n h w c"], rows: Sequence[str], columns: Sequence[str]
) -> Picture:
    """n images for each pair of a row and a column, as a square of them, under the columns' names, beside the rows'."""
    if images.size == 0 or images.shape[:2] != (len(rows), len(columns)):
        raise UserError(f"images {images.shape} need {len(rows)} rows and {len(columns)} columns of at least one each")
    side = int(np.ceil(images.shape[2] ** 0.5))
    tiles = [[grid(tile_images, side) for tile_images in line] for line in images]
    height, tile_width = tiles[0][0].shape[:2]
    width = max(tile_width, *map(text_width, columns)) + MARGIN
    left = max(map(text_width, rows)) + 2 * MARGIN
    top = TEXT + MARGIN if any(columns) else MARGIN
    image = Image.new("RGB", (left + width * len(columns), top + (height + MARGIN) * len(rows)), PAPER)
    pen = ImageDraw.Draw(image)
    for r, line in enumerate(tiles):
        y = top + r * (height + MARGIN)
        pen.text((left - MARGIN, y + height / 2), rows[r], INK, font(), anchor="rm")
        for q, tile in enumerate(line):
            image.paste(Image.fromarray(tile), (left + q * width + (width - MARGIN - tile_width) // 2, y))
    for q, name in enumerate(columns):
        pen.text((left + q * width + (width - MARGIN) / 2, MARGIN // 2), name, INK, font(), anchor="mt")
    return np.asarray(image)


def labelled_rows(
    names: Sequence[str], rows: Sequence[UInt8[np.ndarray, "_ _ _ _"]], columns: int, scale: int | None
) -> Picture:
    """Rows of at most `columns` images, the name of each at its left."""
    picture = enlarged_cells(rows, columns, scale)
    left = max(map(text_width, names)) + 2 * MARGIN
    cell = (picture.shape[0] - LINE) / len(rows)
    image = pad_with_white(picture, left=left)
    pen = ImageDraw.Draw(image)
    for index, name in enumerate(names):
        pen.text((left - MARGIN, LINE / 2 + (index + 0.5) * cell), name, INK, font(), anchor="rm")
    return np.asarray(image)


def enlarged_cells(rows: Sequence[UInt8[np.ndarray, "_ _ _ _"]], columns: int, scale: int | None) -> Picture:
    """Rows of at most `columns` enlarged images, each in a thin frame that it shares with its neighbours."""
    shape = rows[0].shape
    if rows[0].dtype != np.uint8 or len(shape) != 4 or shape[-1] not in (1, 3):
        raise UserError(
            f"images are {rows[0].dtype} {shape}: pictures need uint8 [n, h, w, c], c = 1 (grey) or 3 (RGB)"
        )
    height, width = shape[1:3]
    scale = legible_scale(height, width) if scale is None else scale
    if scale < 1:
        raise UserError(f"scale is {scale}: an image pixel needs at least one pixel")
    down = height * scale + LINE
    across = width * scale + LINE
    picture = np.full((len(rows) * down + LINE, columns * across + LINE, 3), PAPER, np.uint8)
    for r, images in enumerate(rows):
        for q, image in enumerate(images):
            top = r * down
            left = q * across
            picture[top : top + down + LINE, left : left + across + LINE] = RULE
            picture[top + LINE : top + down, left + LINE : left + across] = image.repeat(scale, 0).repeat(scale, 1)
    return picture


def legible_scale(height: int, width: int) -> int:
    """The smallest scale that makes the longer side at least `LEGIBLE` pixels."""
    return max(1, -(-MIN_LEGIBLE_SIDE // max(height, width)))


def pad_with_white(picture: Picture, top: int = 0, right: int = 0, bottom: int = 0, left: int = 0) -> Image.Image:
    """The picture with so many pixels of white around it."""
    padding = ((top, bottom), (left, right), (0, 0))
    return Image.fromarray(np.pad(picture, padding, constant_values=255))


def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own typeface: the same on every machine."""
    return ImageFont.load_default(TEXT)


def text_width(text: str) -> int:
    """Width in pixels."""
    return int(np.ceil(font().getlength(text)))


def heat_map(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Numbers from 0 (black) to 1 (bright) as colours."""
    import matplotlib  # takes a second, and most images need none of it

    return np.rint(255 * matplotlib.colormaps[COLOUR_MAP](np.clip(values, 0, 1))[..., :3]).astype(np.uint8)


def edit_figure(panels: Mapping[str, UInt8[np.ndarray, "_ _ _"]], samples: UInt8[np.ndarray, "n h w c"]) -> Picture:
    """Panels in a row, the name of each below it, and under them the samples, eight in a row.

    Panels may be smaller than samples, by a whole factor: they are shown as large.
    """
    height, width = samples.shape[1:3]
    scale = legible_scale(height, width)
    large_height = height * scale * ENLARGEMENT + LINE
    large_width = width * scale * ENLARGEMENT + LINE
    large = [
        enlarged_cells([panel[None]], 1, max(1, min(large_height // panel.shape[0], large_width // panel.shape[1])))
        for panel in panels.values()
    ]
    sizes = [max(panel.shape[1], text_width(name)) for name, panel in zip(panels, large, strict=True)]
    below = np.asarray(grid(samples, 8, scale))
    top = large[0].shape[0] + TEXT + 2 * MARGIN
    across = max(sum(sizes) + MARGIN * (len(sizes) - 1), below.shape[1])
    paper = Image.new("RGB", (across + 2 * MARGIN, MARGIN + top + below.shape[0] + MARGIN), "white")
    pen = ImageDraw.Draw(paper)
    left = MARGIN
    for name, panel, size in zip(panels, large, sizes, strict=True):
        paper.paste(Image.fromarray(panel), (left + (size - panel.shape[1]) // 2, MARGIN))
        pen.text((left + size / 2, MARGIN + panel.shape[0] + TEXT + LINE), name, INK, font(), anchor="ms")
        left += size + MARGIN
    paper.paste(Image.fromarray(below), (MARGIN, MARGIN + top))
    return np.asarray(paper)
