"""`train.py --check` of a folder: all files are decoded, what is wrong is said at once, and no run is begun."""

from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIG
from PIL import Image

FIELDS = ("--config.data.batch_size=8", "--config.train.validate_images=0", "--config.train.picture_every_steps=0")


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((16, 16), Image.Resampling.BICUBIC)


@pytest.fixture
def command(tmp_path: Path) -> list[object]:
    """The check of forty pictures of two classes, of which 3 is cut, b/20 a copy of a/00, and 21 the same as a/01."""
    for i in range(40):
        path = tmp_path / "set" / ("a" if i < 20 else "b") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture({20: 0, 21: 1}.get(i, i)).save(path, optimize=i == 21)
    cut = tmp_path / "set" / "a" / "03.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    (tmp_path / "tiny.py").write_text(CONFIG.format(dir="", conditional=True))
    name = f"--config.data.name=folder:{tmp_path / 'set'}"
    return ["train.py", "--config", tmp_path / "tiny.py", "--workdir", tmp_path / "run", name, *FIELDS, "--check"]


def test_a_bad_picture_is_found_before_training(call, command, tmp_path) -> None:
    told = call(*command)
    assert (told.code, told.out) == (2, "")
    assert "a/03.png" in told.err
    assert "data.unreadable=skip" in told.err
    assert not (tmp_path / "run").exists()


def test_duplicates_and_examples_are_said_and_drawn(call, command, tmp_path) -> None:
    told = call(*command, "--config.data.unreadable=skip", "--check_out", tmp_path / "out")
    assert told.code == 0, told.err
    lines = {line.split(":")[0]: line for line in told.out.splitlines()}
    assert "1 exact (=) and 1 near (~) pairs" in lines["duplicates"]
    assert "2 of two classes" in lines["duplicates"]
    assert "a/00.png" in lines["duplicates"]
    assert "b/20.png" in lines["duplicates"]
    assert lines["examples"].count("class ") == 3
    assert "1 of 40 files cannot be read, and are skipped: a/03.png" in told.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["contact_sheet.png", "duplicates.png"]
    assert not (tmp_path / "run").exists()
    once = call(*command, "--config.data.unreadable=skip", "--config.data.duplicates=once()")
    assert "2 of 40 files are duplicates of others, and left out" in once.out
    assert "duplicates:  none" in once.out


def test_fields_that_say_nothing_are_refused_by_name(call, command, tmp_path) -> None:
    for field, value in (("background", "rainbow"), ("unreadable", "skip(share=2.0)"), ("duplicates", "twice")):
        told = call(*command, f"--config.data.{field}={value}")
        assert told.code == 2
        assert f"data.{field}" in told.err
    told = call(*[each for each in command if each != "--check"], "--check_out", tmp_path / "out")
    assert told.code == 2
    assert "--check_out" in told.err


def test_few_pictures_are_learnt_by_heart(call, command, tmp_path) -> None:
    for path in sorted((tmp_path / "set").rglob("*.png"))[3:]:
        path.unlink()
    told = call(*command, "--config.model.conditional=False")
    assert told.code == 0, told.err
    assert "memorized" in told.out
