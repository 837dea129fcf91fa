"""Equal and nearly equal pictures among the files of a folder, and the values of `data.duplicates`.

Exact duplicates are files of equal bytes. Near duplicates have perceptual hashes (`picture_index.perceptual_hash`) that
differ in at most `MAX_BITS` of 64 bits, and 8 × 8 thumbnails that differ by at most `MAX_RMS`: the same picture in
another format, quality or size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Shaped, UInt64

__all__ = ["keep", "once"]

MAX_BITS = 6
MAX_RMS = 8.0  # of 255 levels, over the thumbnail's pixels and channels
BANDS = 4  # of the bits of a hash; near duplicates that differ in fewer bits than that share one of them
NEIGHBOURS = 64  # with which a picture is compared in each band's order, so that time grows as n log n

Rows = Shaped[np.ndarray, " n"]  # of `picture_index.ROW`


@dataclass(frozen=True)
class Duplicates:
    """Whether exact and near duplicates are kept once."""

    exact_once: bool
    near_once: bool


keep = Duplicates(False, False)


def once(near: bool = True) -> Duplicates:
    """Keep the first, by its path, of equal pictures, and with `near` of nearly equal ones too."""
    return Duplicates(True, near)


class Pairs(NamedTuple):
    """Pairs of row numbers, `first` < `second`, ascending; `exact` is whether the files are equal."""

    first: Int64[np.ndarray, " p"]
    second: Int64[np.ndarray, " p"]
    exact: Bool[np.ndarray, " p"]


def find_duplicates(rows: Rows) -> Pairs:
    """All pairs of an exact duplicate and the first such file, and pairs of near duplicates among different files.

    Time grows as n log n: a picture is compared with `NEIGHBOURS` others in each of `BANDS` orders, so that in a set of
    very many similar hashes some near duplicates are not found.
    """
    _, first_of, group = np.unique(rows["digest"], axis=0, return_index=True, return_inverse=True)
    originals = first_of[group.ravel()]  # np.unique returns the first of equal ones
    numbers = np.arange(len(rows))
    copies = numbers[originals != numbers]
    distinct = numbers[originals == numbers]
    first, second = _near_pairs(rows[distinct])
    first = np.concatenate([originals[copies], distinct[first]])
    second = np.concatenate([copies, distinct[second]])
    exact = np.arange(len(first)) < len(copies)
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order], exact[order])


def kept_once(count: int, pairs: Pairs, near: bool) -> Bool[np.ndarray, " n"]:
    """Whether each of `count` pictures is kept: unless it equals one before it, or nearly equals a kept one."""
    kept = np.ones(count, bool)
    for first, second, exact in sorted(zip(*map(np.ndarray.tolist, pairs), strict=True), key=lambda pair: pair[1]):
        if exact or (near and kept[first]):
            kept[second] = False
    return kept


def _near_pairs(rows: Rows) -> tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]]:
    """The numbers of near duplicates, each pair once, the lower number first."""
    hashes = rows["hash"]
    near = [np.zeros((0, 2), np.int64)]
    width = 64 // BANDS
    brightness = rows["thumbnail"].sum(axis=(1, 2, 3), dtype=np.int64)
    for band in range(BANDS):
        shift = np.uint64(band * width)
        rotated = (hashes << shift) | (hashes >> (np.uint64(64) - shift)) if band else hashes
        order = np.lexsort((brightness, rotated))  # of many equal hashes, similar pictures are neighbours
        bands = rotated[order] >> np.uint64(64 - width)
        for distance in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            together = np.flatnonzero(bands[distance:] == bands[:-distance])
            if not len(together):
                break
            near.append(_similar(rows, order[together], order[together + distance], hashes))
    pairs = np.unique(np.sort(np.concatenate(near), axis=1), axis=0)
    return pairs[:, 0], pairs[:, 1]


def _similar(
    rows: Rows, first: Int64[np.ndarray, " p"], second: Int64[np.ndarray, " p"], hashes: UInt64[np.ndarray, " n"]
) -> Int64[np.ndarray, "q 2"]:
    """Those of the pairs that are near duplicates."""
    close = np.bitwise_count(hashes[first] ^ hashes[second]) <= MAX_BITS
    first = first[close]
    second = second[close]
    difference = rows["thumbnail"][first].astype(np.float32) - rows["thumbnail"][second]
    similar = np.sqrt((difference**2).mean(axis=(1, 2, 3))) <= MAX_RMS
    return np.stack([first[similar], second[similar]], axis=1)
