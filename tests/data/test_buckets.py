"""Aspect buckets: their sizes, which picture goes where, and a plan of batches that is a function of the step."""

import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from streams import stream
from test_folder import WHOLE, picture, save

from diffjax.data import Dataset, open_dataset
from diffjax.data.aspect_buckets import Buckets, buckets
from diffjax.data.batch_order import bucket_counts
from diffjax.data.batch_plan import BatchPlan
from diffjax.data.condition_batches import build_parts
from diffjax.data.condition_parts import reference, sketch
from diffjax.data.raw_batches import ReadAhead
from diffjax.errors import UserError

AREA = buckets(area=64, step=2, min_pictures=4)
SHAPES = [(16, 9), (12, 12), (9, 16), (30, 20), (10, 10), (11, 20)]


@pytest.fixture
def pictures(tmp_path: Path) -> Dataset:
    """Forty-five pictures of six shapes."""
    for i in range(45):
        save(tmp_path / f"{i:02}.png", picture(i, size=SHAPES[min(i % 9, 5)]))
    return open_dataset(f"folder:{tmp_path}", image_size=AREA, rule=WHOLE)


def test_a_split_without_pictures_has_no_buckets() -> None:
    assert AREA.assign(np.zeros((0, 2), np.int64)).shape == (0,)


def take(dataset: Dataset, count: int, **options: Any) -> list[Any]:
    batches = stream(dataset, "train", **{"batch_size": 4, "seed": 1, **options})
    found = [jax.tree.map(np.asarray, batch) for batch in itertools.islice(batches, count)]
    batches.close()
    return found


def same(ours: list[Any], theirs: list[Any]) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(("area", "step", "ratio"), [(4096, 8, 2.0), (1024, 8, 2.0), (65536, 32, 3.0), (200, 8, 2.0)])
def test_sizes_divide_and_no_larger_one_has_the_area(area: int, step: int, ratio: float) -> None:
    found = set(buckets(area, step, ratio).sizes)
    assert {(width, height) for height, width in found} == found
    for height, width in found:
        assert height % step == width % step == 0
        assert height * width <= area
        assert max(height, width) <= ratio * min(height, width)
    candidates = itertools.product(range(step, area // step + 1, step), repeat=2)
    for height, width in candidates:
        if height * width <= area and max(height, width) <= ratio * min(height, width):
            assert any(height <= other and width <= another for other, another in found)


def test_work_is_about_equal() -> None:
    areas = [height * width for height, width in buckets(65536, 32).sizes]
    assert min(areas) > 0.9 * max(areas)


def test_a_picture_goes_to_the_nearest_proportions() -> None:
    found = Buckets(((80, 48), (64, 64), (48, 80)), 1)
    assert found.main == 1
    sizes = np.array([(300, 400), (400, 300), (640, 480), (10, 10), (9, 16), (1, 900)])
    nearest = [np.argmin([abs(np.log(w / h) - np.log(b / a)) for a, b in found.sizes]) for h, w in sizes]
    assert found.assign(sizes).tolist() == nearest


def test_small_buckets_are_dissolved_and_their_pictures_go_to_the_nearest_other_one() -> None:
    sizes = np.array([(64, 64)] * 10 + [(80, 48)] * 3 + [(48, 80)] * 5)
    few = Buckets(((80, 48), (72, 56), (64, 64), (48, 80)), 4)
    assert np.bincount(few.assign(sizes), minlength=4).tolist() == [0, 0, 13, 5]
    assert np.bincount(Buckets(few.sizes, 100).assign(sizes), minlength=4).tolist() == [0, 0, 18, 0]
    assert np.bincount(Buckets(few.sizes, 3).assign(sizes), minlength=4).tolist() == [3, 0, 10, 5]


@pytest.mark.parametrize(
    "options",
    [{"area": 3}, {"step": 0}, {"max_ratio": 0.5}, {"min_pictures": 0}, {"area": 2**27}, {"area": 2**22, "step": 8}],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        buckets(**options)


@pytest.mark.parametrize(("counts", "batch"), [((5, 0, 130, 64, 1), 16), ((7,), 3), ((100, 200, 3), 100), ((1, 1), 64)])
def test_after_each_epoch_every_picture_was_there_as_often(counts: tuple[int, ...], batch: int) -> None:
    """At least once an epoch; and no more than that but for what fills the last batch of its bucket."""
    plan = BatchPlan(counts, batch, 5)
    taken = [0] * len(counts)
    for epoch in range(30):
        for step in range(plan.first_step(epoch), plan.first_step(epoch + 1)):
            planned = plan.batch(step)
            assert planned.number == taken[planned.bucket], "the batches of a bucket come in turn"
            taken[planned.bucket] += 1
        for count, batches in zip(counts, taken, strict=True):
            assert (epoch + 1) * count <= batches * batch < (epoch + 1) * count + batch


def test_a_plan_is_a_function_of_the_step_in_any_order_and_of_the_seed() -> None:
    plan = BatchPlan((40, 90, 17), 8, 2)
    steps = np.random.default_rng(0).permutation(400)
    shuffled = {int(step): plan.batch(int(step)) for step in steps}
    assert [shuffled[step] for step in range(400)] == [BatchPlan((40, 90, 17), 8, 2).batch(step) for step in range(400)]
    assert [BatchPlan((40, 90, 17), 8, 3).batch(step) for step in range(400)] != [shuffled[i] for i in range(400)]
    assert plan.batch(10**9).number > 10**8


def test_each_batch_has_one_size_and_each_epoch_every_picture(pictures: Dataset) -> None:
    source = pictures.splits["train"]
    counts = bucket_counts(pictures, "train")
    assert sum(counts.values()) == 45
    assert len(counts) > 2
    plan = BatchPlan(tuple(np.bincount(source.buckets()).tolist()), 4, 1)
    steps = plan.first_step(2)
    shown: dict[tuple[int, int], int] = dict.fromkeys(counts, 0)
    seen = set()
    for step, batch in enumerate(take(pictures, steps)):
        size = batch["x"].shape[1:3]
        assert size == pictures.sizes[plan.batch(step).bucket]
        shown[size] += 4
        seen |= {image.tobytes() for image in batch["x"]}
    assert len(seen) == 45
    assert all(2 * count <= shown[size] < 2 * count + 4 for size, count in counts.items())


@pytest.mark.parametrize("resident", [True, False])
def test_hosts_workers_and_resuming_change_no_bit(pictures: Dataset, resident: bool) -> None:
    whole = take(pictures, 14, resident=False)
    for hosts in (2, 4):
        parts = [take(pictures, 14, host=host, hosts=hosts, resident=resident) for host in range(hosts)]
        same([jax.tree.map(lambda *rows: np.concatenate(rows), *each) for each in zip(*parts, strict=True)], whole)
    same(take(pictures, 9, start_step=5, resident=resident), whole[5:])
    same(take(pictures, 14, resident=resident, ahead=ReadAhead(threads=1, megabytes=1)), whole)
    late = take(pictures, 2, start_step=10**9, resident=resident)
    same(late[1:], take(pictures, 1, start_step=10**9 + 1, resident=False))


def test_outside_of_training_there_is_one_size_the_nearest_to_a_square(pictures: Dataset) -> None:
    assert pictures.shape == (8, 8, 3)
    assert pictures.arrays("train")[0].shape == (45, 8, 8, 3)


def test_what_needs_one_size_is_refused(pictures: Dataset) -> None:
    for name, part in (("sketch", sketch(sigma=1.0)), ("reference", reference())):
        with pytest.raises(UserError, match=rf"data\.parts: '{name}'.*one size"):
            take(pictures, 1, parts=build_parts([part], pictures))
    with pytest.raises(UserError, match=r"data\.balance"):
        take(pictures, 1, balance=True)


def test_pictures_of_one_shape_are_one_bucket(tmp_path: Path) -> None:
    for i in range(6):
        save(tmp_path / f"{i}.png", picture(i, size=(8, 8)))
    square = open_dataset(f"folder:{tmp_path}", image_size=AREA, rule=WHOLE)
    plain = open_dataset(f"folder:{tmp_path}", rule=WHOLE)
    assert bucket_counts(square, "train") == {(8, 8): 6}
    images = np.concatenate([batch["x"] for batch in take(square, 3)])
    assert {image.tobytes() for image in images} == {image.tobytes() for image in take(plain, 1, batch_size=6)[0]["x"]}
