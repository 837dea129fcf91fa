"""From a folder with captions to a table of how often samples have what their captions name."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shell import ROOT, called

from diffjax.errors import UserError
from examples.emoji_text import agreement

SMALL = (
    "--config.model.net=UNet(width=8, multipliers=(1,))",
    "--config.model.conditions=('Text(width=8, depth=1, heads=1)',)",
    "--config.data.parts=(\"feature('text')\",)",
    "--config.data.batch_size=8",
    "--config.train.steps=2",
    "--config.train.picture_every_steps=0",
    "--config.train.validate_images=0",
    "--config.train.writers=('jsonl',)",
    "--config.sample.steps=2",
)


def write_folder(out: Path, columns: bool) -> Path:
    """Pictures of 8 × 8 pixels of one colour, with captions, and the columns of emoji or none."""
    out.mkdir(parents=True)
    rows = []
    for number in range(24):
        tone, gender = ("light", "dark")[number % 2], ("man", "woman")[number // 2 % 2]
        Image.new("RGB", (8, 8), (10 * number, 255 * (number % 2), 90)).save(out / f"{number}.png")
        split = "train" if number < 16 else "test" if number < 20 else "validation"
        row = {"file_name": f"{number}.png", "text": f"{gender}, {tone} skin tone", "split": split}
        rows.append({**row, **({"gender": gender, "tone": tone, "hair": "none"} if columns else {})})
    (out / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


def trained_on(folder: Path, workdir: Path) -> Path:
    config = ROOT / "configs" / "pictures.py"
    source = (f"--config.data.name=folder:{folder}", "--config.data.image_size=8")
    assert called("train.py", "--config", config, "--workdir", workdir, *source, *SMALL) == 0
    return workdir


def test_real_pictures_and_samples_of_both_splits_are_judged(tmp_path: Path, one_device) -> None:
    workdir = trained_on(write_folder(tmp_path / "emoji", columns=True), tmp_path / "run")
    rows = agreement.measure(workdir, 2.0, captions=5, per_caption=2, classifier_steps=5)
    assert [row.pictures for row in rows] == [4, 5, 8]
    for row in rows:
        assert 0 <= row.all <= min(row.modifiers.values()) <= 1
        assert 0 <= row.copies <= 1
        assert row.name in agreement.table(rows)
    saved = json.loads((workdir / "agreement" / "agreement.json").read_text())
    assert [row["name"] for row in saved] == [row.name for row in rows]
    assert len([*(workdir / "agreement").glob("*.png")]) == 2


def test_a_set_without_modifiers_is_refused(tmp_path: Path, one_device) -> None:
    workdir = trained_on(write_folder(tmp_path / "emoji", columns=False), tmp_path / "run")
    with pytest.raises(UserError, match="gender"):
        agreement.measure(workdir, 2.0, captions=1, per_caption=1, classifier_steps=1)


def test_ratios_are_to_real_pictures() -> None:
    row = agreement.Row("real", 10, dict.fromkeys(agreement.MODIFIERS, 0.9), 0.8, 0.01)
    lines = agreement.table([row, row._replace(name="drawn", all=0.6)]).splitlines()
    assert " 1.00 " in lines[2]
    assert " 0.75 " in lines[3]
    assert np.all([line.count("|") == lines[0].count("|") for line in lines])
