"""How pictures are brought to a size: by crop, pad or a random part, alike from every source, sketches included."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from pictures_in_every_source import Item, encoded, items, write_array, write_folder, write_parquet, write_shards
from PIL import Image
from streams import stream
from test_folder import WHOLE, picture, save

from diffjax.data import Dataset, open_dataset
from diffjax.data.condition_batches import build_parts, split_conditions
from diffjax.data.condition_parts import feature
from diffjax.data.fits import Fit, crop, draw_numbers, pad, random_crop
from diffjax.data.framing import View
from diffjax.data.raw_batches import ReadAhead
from diffjax.errors import UserError
from diffjax.experiment import data_spec, old_names
from diffjax.utils.image_fit import Placement, largest_part

WRITERS: dict[str, Callable[[Path, list[Item]], str]] = {
    "folder": write_folder,
    "array": lambda path, of: write_array(path / "all.npz", of),
    "shards": write_shards,
    "hf": lambda path, of: write_parquet(path / "all.parquet", of),
}
FITS = {"crop": crop(), "pad": pad("black"), "random": random_crop(), "random parts": random_crop(max_shrink=3.0)}


@pytest.fixture(autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def coordinates(height: int, width: int) -> np.ndarray:
    """A picture whose red is the row, and whose green is the column, of each pixel."""
    down, across = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    return np.stack([down, across, np.full_like(down, 128)], axis=-1).astype(np.uint8)


def pixels(dataset: Dataset, count: int = 3, **options: Any) -> list[np.ndarray]:
    batches = stream(dataset, "train", **{"batch_size": 4, "seed": 3, **options})
    found = [np.rint((np.asarray(batch["x"]) + 1) * 127.5).astype(int) for batch in itertools.islice(batches, count)]
    batches.close()
    return found


@pytest.mark.parametrize("fit", FITS)
def test_every_source_brings_the_same_pictures_to_the_same_pixels(fit: str, tmp_path: Path, monkeypatch) -> None:
    found = {}
    for kind, write in WRITERS.items():
        if kind == "hf":
            library = pytest.importorskip("datasets")
            monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
        (tmp_path / kind).mkdir()
        dataset = open_dataset(write(tmp_path / kind, items()), image_size=(2, 3), fit=FITS[fit], rule=WHOLE)
        assert dataset.shape == (2, 3, 3)
        assert any("12 of 12 images are larger than 2x3" in note for note in dataset.notes) == (fit[:6] != "random")
        found[kind] = [dataset.arrays("train")[0], *pixels(dataset, resident=False)]
    for each in found.values():
        jax.tree.map(np.testing.assert_array_equal, each, found["folder"])


@pytest.mark.parametrize("fit", ["random", "random parts"])
def test_random_parts_depend_on_seed_and_row_alone(fit: str, tmp_path: Path) -> None:
    for i in range(8):
        save(tmp_path / f"{i}.png", picture(i, size=(40, 50)))
    dataset = open_dataset(f"folder:{tmp_path}", image_size=(6, 8), fit=FITS[fit], rule=WHOLE)
    whole = pixels(dataset, 5)
    for hosts in (2, 4):
        parts = [pixels(dataset, 5, host=host, hosts=hosts) for host in range(hosts)]
        joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
        jax.tree.map(np.testing.assert_array_equal, joined, whole)
    jax.tree.map(np.testing.assert_array_equal, pixels(dataset, 3, start_step=2), whole[2:])
    jax.tree.map(np.testing.assert_array_equal, pixels(dataset, 5, ahead=ReadAhead(threads=1, megabytes=1)), whole)
    assert len({each.tobytes() for batch in whole for each in batch}) == 20, "each epoch shows other parts"
    assert pixels(dataset, 1, seed=4)[0].tobytes() != whole[0].tobytes()
    np.testing.assert_array_equal(dataset.arrays("train")[0], dataset.arrays("train")[0])
    with pytest.raises(UserError, match="resident"):
        pixels(dataset, resident=True)


def test_a_random_part_has_the_pictures_own_pixels_anywhere_in_it(tmp_path: Path) -> None:
    save(tmp_path / "0.png", coordinates(20, 25))
    dataset = open_dataset(f"folder:{tmp_path}", image_size=(5, 5), fit=random_crop(), rule=WHOLE)
    corners = []
    for part in np.concatenate(pixels(dataset, 100, batch_size=16)):
        top, left, _ = part[0, 0]
        np.testing.assert_array_equal(part, coordinates(20, 25)[top : top + 5, left : left + 5])
        corners.append((top, left))
    counts = np.zeros((16, 21))
    np.add.at(counts, tuple(np.transpose(corners)), 1)
    for axis, places in ((1, 16), (0, 21)):  # chi-squared, of 15 and of 20 degrees of freedom: below 50 but for 3e-4
        assert ((counts.sum(axis) - 1600 / places) ** 2 / (1600 / places)).sum() < 50


@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (12, 8), (4, 3), (8, 200)])
def test_parts_lie_in_the_picture_with_the_proportions_of_the_size(shape: tuple[int, int]) -> None:
    fit = random_crop(max_shrink=4.0)
    largest = min(shape[0] / 12, shape[1] / 8)
    scales = []
    for number in range(300):
        placed = fit.place(shape, (12, 8), draw_numbers(5, number))
        left, top, right, bottom = placed.box
        assert 0 <= left < right <= shape[1]
        assert 0 <= top < bottom <= shape[0]
        np.testing.assert_allclose((bottom - top) / (right - left), 12 / 8, rtol=1e-9)
        scales.append((bottom - top) / 12)
    limits = (min(1.0, largest), min(4.0, largest))
    assert limits[0] - 1e-9 <= min(scales) <= max(scales) <= limits[1] + 1e-9
    if limits[1] > limits[0]:  # the logarithm is uniform: its mean, to five standard errors
        span = np.log(limits[1] / limits[0])
        assert abs(np.log(scales).mean() - np.log(limits).mean()) < 5 * span / np.sqrt(12 * 300)


@pytest.mark.parametrize(
    ("shape", "inside"), [((8, 16), (4, 8)), ((16, 8), (8, 4)), ((2, 4), (4, 8)), ((9, 9), (8, 8))]
)
def test_padding_shows_the_whole_picture_in_the_middle(shape, inside, tmp_path: Path) -> None:
    saved = picture(1, size=shape)
    save(tmp_path / "0.png", saved)
    found = open_dataset(f"folder:{tmp_path}", image_size=8, fit=pad("#102030"), rule=WHOLE).arrays("train")[0][0]
    top, left = ((8 - side) // 2 for side in inside)
    small = Image.fromarray(saved).resize(inside[::-1], Image.Resampling.BOX)
    np.testing.assert_array_equal(found[top : top + inside[0], left : left + inside[1]], np.asarray(small))
    found[top : top + inside[0], left : left + inside[1]] = (16, 32, 48)
    assert (found == (16, 32, 48)).all()


def with_sketches(root: Path, shape: tuple[int, int], count: int = 6) -> str:
    """A folder whose pictures have themselves as sketches."""
    rows = []
    for i in range(count):
        save(root / f"{i}.png", picture(i, size=shape))
        save(root / "lines" / f"{i}.png", picture(i, size=shape))
        rows.append({"file_name": f"{i}.png", "sketch_file_name": f"lines/{i}.png"})
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"folder:{root}"


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("kind", ["folder", "array"])
def test_a_sketch_is_fitted_as_its_picture_is(kind: str, fit: str, tmp_path: Path) -> None:
    if kind == "folder":
        name = with_sketches(tmp_path, (20, 30))
    else:
        drawn = np.stack([picture(i, size=(20, 30)) for i in range(6)])
        np.savez(tmp_path / "all.npz", image=drawn, sketch=drawn)
        name = f"array:{tmp_path / 'all.npz'}"
    dataset = open_dataset(name, image_size=(8, 8), fit=FITS[fit], rule=WHOLE)
    parts = build_parts([feature("sketch")], dataset)
    assert parts[0].shape == (8, 8, 3)
    held_out = split_conditions(dataset, "train", parts=parts)["sketch"].value
    np.testing.assert_allclose(held_out * 255, dataset.arrays("train")[0], atol=1e-3)
    batches = stream(dataset, "train", 4, 0, parts=parts, resident=False)
    for batch in itertools.islice(batches, 3):
        np.testing.assert_allclose(batch["cond"]["sketch"].value * 2 - 1, batch["x"], atol=1e-6)
    batches.close()


def test_a_sketch_of_another_resolution_shows_the_same_part(tmp_path: Path) -> None:
    """In half as many of its own pixels."""
    rows = []
    for i in range(6):
        save(tmp_path / f"{i}.png", picture(i, size=(24, 32)))
        save(tmp_path / "lines" / f"{i}.png", picture(i, size=(12, 16)))
        rows.append({"file_name": f"{i}.png", "sketch_file_name": f"lines/{i}.png"})
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = open_dataset(f"folder:{tmp_path}", image_size=8, fit=random_crop(3.0), rule=WHOLE)
    framing = dataset.split("train").framing
    assert framing is not None
    for number in range(20):
        view = View(in_bucket=True, draw=draw_numbers(1, number))
        of_image, of_sketch = framing.place(2, view)(24, 32, ""), framing.part_place(2, view)(12, 16, "")
        assert of_sketch.size == of_image.size
        np.testing.assert_allclose(2 * np.array(of_sketch.box), of_image.box)
    save(tmp_path / "lines" / "3.png", picture(3, size=(12, 12)))
    dataset = open_dataset(f"folder:{tmp_path}", image_size=8, fit=random_crop(3.0), rule=WHOLE)
    with pytest.raises(UserError, match=r"lines.3\.png: 12 wide and 12 high, and its image is 32 wide and 24 high"):
        split_conditions(dataset, "train", parts=build_parts([feature("sketch")], dataset))


def test_outside_of_training_a_picture_shows_the_same_part_as_others_come(tmp_path: Path) -> None:
    for i in range(6):
        save(tmp_path / f"{i}.png", picture(i, size=(20, 30)))
    before = open_dataset(f"folder:{tmp_path}", image_size=8, fit=random_crop(), rule=WHOLE).arrays("train")[0]
    save(tmp_path / "00.png", picture(9, size=(20, 30)))  # before all others
    after = open_dataset(f"folder:{tmp_path}", image_size=8, fit=random_crop(), rule=WHOLE).arrays("train")[0]
    found = {image.tobytes() for image in after}
    assert all(image.tobytes() in found for image in before)


def test_the_largest_part_of_any_picture_lies_within_it() -> None:
    for size in ((56, 72), (100, 100), (112, 112), (7, 13)):
        for side in range(1, 601):
            for height, width in ((side, side), (side, 600), (600, side)):
                left, top, right, bottom = largest_part(height, width, size).box
                assert 0 <= left < right <= width
                assert 0 <= top < bottom <= height


def test_a_size_smaller_or_larger_than_most_is_said_of_every_source(tmp_path: Path, monkeypatch) -> None:
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    for kind, write in WRITERS.items():
        (tmp_path / kind).mkdir()
        name = write(tmp_path / kind, items())
        notes = " ".join(open_dataset(name, image_size=(8, 8), rule=WHOLE).notes)
        assert "12 of 12 images are smaller than 8x8 and scaled up" in notes
        notes = " ".join(open_dataset(name, image_size=2, rule=WHOLE).notes)
        assert "12 of 12 images are larger than 2x2 and scaled down (the median by 2)" in notes


@pytest.mark.parametrize(("text", "size"), [("64", (64, 64)), ("64x96", (64, 96)), ("", None), ("1x3", (1, 3))])
def test_a_size_is_read_height_first(text: str, size: tuple[int, int] | None) -> None:
    assert data_spec.parse_image_size(text) == size


@pytest.mark.parametrize("text", ["0", "64x", "-3", "64X96", "6.5", "buckets(area=1)", "pairs()", "99999999x99999999"])
def test_another_size_is_refused_by_its_field(text: str) -> None:
    with pytest.raises(UserError, match=r"^data\.image_size: ") as refused:
        data_spec.parse_image_size(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("text", "says"), [("random_crop(max_shrink=0.5)", "max_shrink"), ("pad('no')", "colour")])
def test_a_fit_out_of_range_is_refused(text: str, says: str) -> None:
    config = data_spec.Data(name="folder:nowhere", image_size="8", fit=text)
    with pytest.raises(UserError, match=rf"^data\.fit: .*{says}"):
        data_spec.open_configured(config)


def test_a_fit_needs_a_size(tmp_path: Path) -> None:
    save(tmp_path / "0.png", picture(0))
    with pytest.raises(UserError, match=r"data\.fit: .*data\.image_size"):
        open_dataset(f"folder:{tmp_path}", fit=random_crop())


@pytest.mark.parametrize(("stored", "text"), [(0, ""), (64, "64")])
def test_the_integer_of_an_older_run_is_the_text_of_today(stored: int, text: str) -> None:
    document = {"data": {"name": "digits", "image_size": stored}, "model": {"net": "UNet()"}}
    assert old_names.to_current(document, 2)["data"]["image_size"] == text


@pytest.mark.parametrize(("text", "hashed"), [("", ""), ("64", 64), ("64x64", 64), ("64x96", "64x96")])
def test_a_square_means_what_its_integer_meant(text: str, hashed: object) -> None:
    fields = {"data.name": "digits", "data.image_size": text, "model.net": "UNet()", "data.parts": ()}
    assert old_names.to_historic(fields)["data.image_size"] == hashed


def test_a_fit_of_ones_own_is_a_function_of_sizes_and_a_draw(tmp_path: Path) -> None:
    """The upper left corner, as it is."""
    save(tmp_path / "0.png", coordinates(9, 9))
    fit = Fit(lambda shape, size, draw: Placement((0, 0, size[1], size[0]), size))
    dataset = open_dataset(f"folder:{tmp_path}", image_size=(3, 4), fit=fit, rule=WHOLE)
    np.testing.assert_array_equal(dataset.arrays("train")[0][0], coordinates(3, 4))


def test_a_file_whose_size_has_changed_is_named(tmp_path: Path) -> None:
    """Its status would give it away, but for a shard that was written again in place."""
    dataset = open_dataset(write_shards(tmp_path, items(), 1), rule=WHOLE)
    tar = next(tmp_path.glob("*.tar"))
    before = items()[0].png
    other = encoded(np.zeros((5, 5, 3), np.uint8)).ljust(len(before), b"\0")
    tar.write_bytes(tar.read_bytes().replace(before, other))
    with pytest.raises(UserError, match=r"00\.png: 5 wide and 5 high now, was 6 wide and 4 high"):
        dataset.arrays("train")
