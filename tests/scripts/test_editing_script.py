"""Edits through the command line: what is written, that known pixels stay, and that a mistake leaves nothing behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Pictures of every kind, by name."""
    rng = np.random.default_rng(0)
    below = np.zeros((8, 8), np.uint8)
    below[4:] = 255
    grey = np.rint(rng.integers(0, 17, (8, 8)) * 255 / 16).astype(np.uint8)
    over = grey.copy()
    over[0] = 255 - over[0]
    pixels = {
        "in": grey,
        "mask": below,
        "over": over,
        "other": np.ascontiguousarray(grey[::-1]),
        "wide": rng.integers(0, 255, (28, 40, 3), np.uint8),
        "small": grey[:4, :4],
        "deep": np.uint16(257) * grey,
        "empty": np.zeros_like(below),
        "full": np.full_like(below, 255),
    }
    for name, each in pixels.items():
        Image.fromarray(each).save(tmp_path / f"{name}.png")
    return {name: str(tmp_path / f"{name}.png") for name in pixels}


def edit(call, workdir: Path, out: Path, name: str, *more: str):
    """Three of an edit: the images, all of the file, and what was told."""
    told = call("sample.py", "--workdir", workdir, "--out", out, "--edit", name, "--num=3", *more)
    assert told.code == 0, told.err
    with np.load(out / "samples.npz", allow_pickle=False) as file:
        saved = dict(file)
    singles = [np.asarray(Image.open(out / "samples" / f"{i}.png")) for i in range(3)]
    np.testing.assert_array_equal(np.stack(singles), saved["arr_0"][..., 0])
    return saved["arr_0"], json.loads(str(saved["provenance"])), told.err


def test_what_was_known_is_in_the_file_to_the_byte(call, tiny, masked, files, tmp_path) -> None:
    """Of numbers and of tokens; what is painted differs between samples."""
    grey = np.asarray(Image.open(files["in"]))
    for run in (tiny, masked):
        asked = ["--image", files["in"], "--mask", files["mask"]]
        images, told, _ = edit(call, run.workdir, tmp_path / run.workdir.parent.name, "inpaint", *asked)
        np.testing.assert_array_equal(images[:, :4, :, 0], grey[None, :4].repeat(3, 0))
        assert (images[0] != images[1]).any()
        assert (told["edit"], told["image"]) == ("inpaint", [files["in"]])
    assert told["method"] == "clamp"
    with Image.open(tmp_path / run.workdir.parent.name / "grid.png") as figure:
        assert figure.width > 300


def test_a_picture_of_any_kind_is_fitted_and_said(call, tiny, files, tmp_path) -> None:
    asked = ["--image", files["wide"], "--strength", "0.6", "--label=3"]
    images, told, err = edit(call, tiny.workdir, tmp_path / "out", "variations", *asked)
    assert err.splitlines()[0] == f"{files['wide']}: 40 wide and 28 high, RGB, fitted to 8 wide and 8 high, grey"
    assert told["strength"] == 0.6
    again, _, _ = edit(call, tiny.workdir, tmp_path / "again", "variations", *asked, "--batch=2")
    np.testing.assert_array_equal(again, images)


def test_strokes_and_a_mask_of_what_may_change(call, tiny, files, tmp_path) -> None:
    asked = ["--image", files["in"], "--strokes", files["over"], "--strength=0.02"]
    images, _, _ = edit(call, tiny.workdir, tmp_path / "out", "sketch", *asked)
    near = np.asarray(Image.open(files["over"])).astype(int)
    assert np.abs(images[..., 0] - near[None]).mean() < 20
    mask = ["--mask", files["mask"], "--strength=0.9"]
    images, _, _ = edit(call, tiny.workdir, tmp_path / "kept", "variations", "--image", files["in"], *mask)
    np.testing.assert_array_equal(images[:, :4, :, 0], np.asarray(Image.open(files["in"]))[None, :4].repeat(3, 0))


def test_a_way_ends_at_its_pictures(call, tiny, files, tmp_path) -> None:
    asked = ["--image", files["in"], "--image", files["other"], "--label=3", "--label_to=5", "--steps=40"]
    images, told, _ = edit(call, tiny.workdir, tmp_path / "out", "interpolate", *asked)
    for place, name in ((0, "in"), (-1, "other")):
        off = np.abs(images[place, ..., 0].astype(int) - np.asarray(Image.open(files[name])))
        assert np.median(off) == 0
    assert told["label_to"] == 5
    with Image.open(tmp_path / "out" / "animation.gif") as moving:
        assert moving.n_frames >= 3
    asked = ["--seed_to=1", "--label=3", "--label_to=5"]
    between, _, _ = edit(call, tiny.workdir, tmp_path / "seeds", "interpolate", *asked)
    assert len(np.unique(between, axis=0)) == 3


def test_means_of_blocks_are_made_large(call, tiny, files, tmp_path) -> None:
    images, told, err = edit(call, tiny.workdir, tmp_path / "out", "super_resolve", "--image", files["small"])
    assert told["method"] == "pigdm"
    assert "fitted" not in err
    means = images.reshape(3, 4, 2, 4, 2).mean(axis=(2, 4))
    assert np.abs(means - np.asarray(Image.open(files["small"]))[None]).mean() < 64  # cut to what a pixel can be


@pytest.mark.long
def test_some_of_the_tokens_are_drawn_anew(call, autoregressive, files, tmp_path) -> None:
    asked = ["--image", files["in"], "--strength=0.5"]
    images, _, _ = edit(call, autoregressive.workdir, tmp_path / "out", "variations", *asked)
    np.testing.assert_array_equal(images[:, :4, :, 0], np.asarray(Image.open(files["in"]))[None, :4].repeat(3, 0))
    assert (images[0] != images[1]).any()


def test_what_cannot_be_is_one_line_and_leaves_nothing(call, tiny, unconditional, masked, files, tmp_path) -> None:
    inpaint = ["--edit=inpaint", "--image={in}", "--mask={mask}"]
    cases = [
        (tiny, ["--image={in}"], ["--image", "--edit"]),
        (tiny, ["--edit=paint", "--image={in}"], ["--edit", "'paint'", "inpaint"]),
        (
            tiny,
            ["--edit=inpaint", "--image={in}", "--mask={wide}"],
            ["wide.png", "expected 8 wide and 8 high, ", "got 40 wide and 28 high"],
        ),
        (tiny, ["--edit=inpaint", "--image={in}", "--mask={empty}"], ["empty.png", "nothing is white"]),
        (tiny, ["--edit=inpaint", "--image={in}", "--mask={full}"], ["full.png", "all is white"]),
        (tiny, ["--edit=variations", "--image={in}", "--strength=0"], ["strength", "(0, 1]"]),
        (tiny, [*inpaint, "--method=clamp"], ["one level per example"]),
        (tiny, [*inpaint, "--method=ddnm(x=3)"], ["--method", "'x'"]),
        (masked, [*inpaint, "--method=repaint"], ["repaint", "tokens", "clamp"]),
        (masked, ["--edit=super_resolve", "--image={small}"], ["super_resolve", "tokens"]),
        (masked, ["--edit=interpolate", "--image={in}", "--image={other}"], ["interpolate", "tokens"]),
        (tiny, ["--edit=interpolate", "--image={in}", "--image={other}", "--sampler=posterior"], ["backwards"]),
        (tiny, ["--edit=interpolate", "--seed_to=2", "--num=1"], ["--num 1", "two ends"]),
        (unconditional, ["--edit=interpolate", "--label_to=2"], ["--label_to 2", "no classes"]),
        (tiny, ["--edit=colourise", "--image={in}"], ["colourise", "grey"]),
        (tiny, [*inpaint, "--animate"], ["--animate", "--edit"]),
    ]
    for run, argv, says in cases:
        filled = [each.format(**files) for each in argv]
        told = call("sample.py", "--workdir", run.workdir, "--out", tmp_path / "out", *filled)
        assert (told.code, len(told.err.splitlines())) == (2, 1), (argv, told.err)
        assert all(word in told.err for word in says), told.err
        assert not (tmp_path / "out").exists(), argv
