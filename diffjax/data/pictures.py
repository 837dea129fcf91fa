"""The picture files of a folder that are used, and how each is read."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from diffjax.data import duplicates, picture_index, unreadable
from diffjax.data.duplicates import Duplicates
from diffjax.data.picture_index import BAD, DEEP, GREY, SEVERAL_FRAMES, TRANSPARENT, PictureIndex, Rows
from diffjax.data.picture_reader import PictureReader, path_table
from diffjax.data.unreadable import Unreadable
from diffjax.errors import UserError, warn
from diffjax.utils.image_fit import Colour
from diffjax.utils.image_folder import Listing
from diffjax.utils.image_io import WHITE

Failure = tuple[int, str]  # the index of an example in its split, and why it could not be read

MAX_NAMED = 3  # files, of those that a message is about
_MAX_PROBLEM = 300  # letters of a file's problem, in a message on several


@dataclass(frozen=True)
class PictureRules:
    """How the picture files of a folder are read, and which of them are used.

    Transparent ones are laid on `background`; links to files outside of the folder are followed with `follow_links`.
    """

    background: Colour = WHITE
    unreadable: Unreadable = unreadable.refuse
    duplicates: Duplicates = duplicates.keep
    follow_links: bool = False


DEFAULT_RULES = PictureRules()


@dataclass(frozen=True, eq=False)
class Pictures:
    """The files that are used, by sorted paths relative to `root`, and what is known of each before it is decoded.

    `notes` say, in a line each, what was passed over or is changed as files are read. `left_out` are the unreadable
    files and the duplicates.
    """

    root: Path
    files: Sequence[Path]
    rows: Rows
    rules: PictureRules
    notes: tuple[str, ...]
    left_out: Sequence[Path]

    @property
    def sizes(self) -> Integer[np.ndarray, "n 2"]:
        """Height and width of each, in pixels, as shown."""
        return np.stack([self.rows["height"], self.rows["width"]], axis=1)

    @property
    def channels(self) -> int:
        """1 where all are grey, also on the colour of the background, else 3."""
        flags = self.rows["flags"]
        coloured = len({*self.rules.background}) > 1
        grey = (flags & GREY > 0) & ~(coloured & (flags & TRANSPARENT > 0))
        return 1 if grey.all() else 3

    def reader(self) -> PictureReader:
        """What reads them."""
        rows = self.rows
        statuses = np.stack([rows["size"], rows["modified"]], axis=1)
        return PictureReader(str(self.root), path_table(self.files), statuses, self.channels, self.rules.background)

    def stamp(self, reader: PictureReader, number: int) -> bytes:
        """What identifies a file as it is now; empty of one that was changed just before it was read."""
        return reader.stamp(number) if self.rows["settled"][number] else b""


def open_pictures(listing: Listing, name: str, rules: PictureRules) -> Pictures:
    """The pictures of a listed folder, which messages call `name`. The headers of all files are read, or were before.

    To skip unreadable files, or to keep duplicates once, all files are decoded the first time, so that which ones are
    used is known before the first batch. Raises UserError for files that are known to be unreadable, unless the rules
    skip so many.
    """
    index = picture_index.open_index(listing.root, listing.files)
    complete = rules.unreadable.max_share is not None or rules.duplicates.exact_once
    if complete or len(index.bad):  # to name all of the bad ones at once
        index = picture_index.decode_all(index)
    check_readable(index, name, rules.unreadable)
    used = index.rows["state"] != BAD
    notes = [*_describe_listing(listing.passed_over, listing.outside), *_describe_skipped(index)]
    if rules.duplicates.exact_once:
        dropped = _duplicates(index, used, rules.duplicates)
        used &= ~dropped
        notes += [f"{dropped.sum():,} of {len(used):,} files are duplicates of others, and left out"] * bool(
            dropped.any()
        )
    numbers = np.flatnonzero(used)
    rows = index.rows[numbers]
    notes += _describe_kinds(rows["flags"], rules.background)
    files = [index.files[number] for number in numbers.tolist()]
    left_out = [index.files[number] for number in np.flatnonzero(~used).tolist()]
    return Pictures(listing.root, files, rows, rules, tuple(f"{name}: {note}" for note in notes), left_out)


class Substitutes:
    """Which example of a split is read in place of one whose file could not be read: the next of the same group.

    Which files fail decides what is read, and not when, in which thread or process: the batches stay a function of
    seed and step. A process that reads for another one collects its failures, which that one reports and limits.
    """

    def __init__(self, groups: Integer[np.ndarray, " n"], max_share: float) -> None:
        self._groups = groups
        self._max_failed = int(max_share * len(groups))
        self._failed: set[int] = set()
        self._collected: list[Failure] | None = None

    def resolve(self, index: int) -> int:
        """The index itself, or the next one of its group that has not failed."""
        same = range(index, index + len(self._groups)) if self._failed else (index,)
        for number in (place % len(self._groups) for place in same):
            if number not in self._failed and self._groups[number] == self._groups[index]:
                return number
        raise UserError("data.unreadable: no other picture of this class or size can be read; replace the files")

    def collect(self) -> None:
        """From now on, note failures for `take`, and report none."""
        self._collected = []

    def take(self) -> tuple[Failure, ...]:
        """The failures since the last call."""
        failures = tuple(self._collected or ())
        self.collect()
        return failures

    def replace(self, index: int, error: UserError) -> None:
        """Note that an example could not be read. Raises that error where more fail than may."""
        if index in self._failed:
            return
        if self._collected is not None:
            self._failed.add(index)
            self._collected.append((index, str(error)))
            return
        if len(self._failed) >= self._max_failed:
            raise error
        self._failed.add(index)
        problem = str(error).removesuffix("; start again")
        warn(f"{problem}; the next picture is read in its place", new_line=True)


def check_readable(index: PictureIndex, name: str, rule: Unreadable) -> None:
    """Raises UserError, naming the first ones, for more unreadable files than the rule allows."""
    bad = index.bad
    if not len(bad) or (rule.max_share is not None and len(bad) <= rule.max_share * len(index.files)):
        return
    if len(bad) == 1 and rule.max_share is None:
        raise UserError(f"{index.problems[int(bad[0])]}, or set data.unreadable=skip")
    root = f"{index.root}{os.sep}"
    problems = "; ".join(index.problems[int(n)].removeprefix(root)[:_MAX_PROBLEM] for n in bad[:MAX_NAMED])
    more = "; …" * (len(bad) > MAX_NAMED)
    hint = "set data.unreadable=skip" if rule.max_share is None else f"more than data.unreadable={rule.max_share:g}"
    raise UserError(f"{name}: {len(bad):,} of {len(index.files):,} files cannot be read ({hint}): {problems}{more}")


def _duplicates(index: PictureIndex, used: Bool[np.ndarray, " n"], rule: Duplicates) -> Bool[np.ndarray, " n"]:
    """Whether each file is a duplicate that is left out."""
    numbers = np.flatnonzero(used)
    pairs = duplicates.find_duplicates(index.rows[numbers])
    dropped = np.zeros(len(used), bool)
    dropped[numbers] = ~duplicates.kept_once(len(numbers), pairs, rule.near_once)
    return dropped


def _describe_listing(passed_over: Mapping[str, int], outside: int) -> list[str]:
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(passed_over.items()))
    notes = [f"passed over: {counts}"] if counts else []
    return [*notes, f"{outside:,} files are links out of the folder"] if outside else notes


def _describe_skipped(index: PictureIndex) -> list[str]:
    bad = index.bad
    if not len(bad):
        return []
    names = ", ".join(str(index.files[number]) for number in bad[:MAX_NAMED].tolist()) + ", …" * (len(bad) > MAX_NAMED)
    return [f"{len(bad):,} of {len(index.files):,} files cannot be read, and are skipped: {names}"]


def _describe_kinds(flags: UInt8[np.ndarray, " n"], background: Colour) -> list[str]:
    """How many pictures are changed as they are read, by kind."""
    colour = "white" if background == WHITE else "#{:02x}{:02x}{:02x}".format(*background)
    texts = {
        TRANSPARENT: ("is transparent and laid", "are transparent and laid", f"on {colour}"),
        DEEP: ("has 16 bits a channel", "have 16 bits a channel", "scaled to 8"),
        SEVERAL_FRAMES: ("has several frames", "have several frames", "of which the first is used"),
    }
    notes = []
    for flag, (one, several, change) in texts.items():
        count = int((flags & flag > 0).sum())
        joint = " " if flag == TRANSPARENT else ", "
        notes += [f"{count:,} of {len(flags):,} images {one if count == 1 else several}{joint}{change}"] * (count > 0)
    return notes
