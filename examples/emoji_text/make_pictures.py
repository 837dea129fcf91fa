"""Draw emoji into a folder with captions: python -m examples.emoji_text.make_pictures --out emoji

The folder has a PNG file for each emoji, and metadata.jsonl with its caption as `text`, and the columns `person`,
`gender`, `tone`, `hair` and `group`. The column `split` has a tenth of the combinations of person and modifiers, which
training does not see, as `test`.
"""

import argparse
import json
from pathlib import Path

from diffjax.errors import UserError, warn
from diffjax.reports import write_png
from diffjax.utils.files import write_atomically
from examples.emoji_text.font import draw_emoji, find_font, is_drawable, open_font
from examples.emoji_text.sequences import Emoji, all_emoji

SIDE = 32  # pixels


def main() -> int:
    """Parse the flags, draw, and say what was drawn; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", required=True, help="folder for the pictures")
    parser.add_argument("--font", default="", help="path of a colour emoji font; by default one that is installed")
    parser.add_argument("--side", type=int, default=SIDE, help=f"side of the pictures in pixels; by default {SIDE}")
    values = parser.parse_args()
    try:
        counts = write_pictures(Path(values.out), find_font(values.font), values.side)
    except UserError as mistake:
        warn(str(mistake))
        return 2
    print(f"{values.out}: {', '.join(f'{count:,} for {split}' for split, count in counts.items())}")
    return 0


def write_pictures(out: Path, font_file: Path, side: int = SIDE) -> dict[str, int]:
    """Draw all emoji that the font has into a folder, with metadata.jsonl; the number of pictures of each split.

    Raises UserError for a side below 8 pixels, and for a folder that is not empty.
    """
    if side < 8:
        raise UserError(f"--side: expected at least 8 pixels, got {side}")
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out {out}: is not empty; give another folder, or take its files away")
    font = open_font(font_file)
    emoji = [one for one in dict.fromkeys(all_emoji()) if is_drawable(one.text, font)]
    for one in emoji:
        write_png(out / one.file_name, draw_emoji(one.text, font, side))
    rows = "".join(json.dumps(row_of(one)) + "\n" for one in emoji)
    write_atomically(out / "metadata.jsonl", lambda file: file.write(rows.encode()))
    splits = [one.split for one in emoji]
    return {split: splits.count(split) for split in ("train", "validation", "test")}


def row_of(emoji: Emoji) -> dict[str, str]:
    """The row of an emoji in metadata.jsonl; a modifier that it does not have is `none`."""
    modifiers = {"gender": emoji.gender, "tone": emoji.tone, "hair": emoji.hair}
    return {
        "file_name": emoji.file_name,
        "text": emoji.caption,
        "person": emoji.person,
        **{name: value or "none" for name, value in modifiers.items()},
        "group": emoji.group,
        "split": emoji.split,
    }


if __name__ == "__main__":
    raise SystemExit(main())
