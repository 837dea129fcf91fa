"""Which split a picture is in: by its own key alone, at the given shares; older runs keep the rule that made theirs."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_catalogue import png, write

from diffjax.data import Dataset, open_dataset, split_rules
from diffjax.data.split_rules import by_key, by_rank, describe_changes, split_record

KEYS = [f"class {i % 3}/{i}.png".encode() for i in range(60)]
LABELS = [i % 3 for i in range(60)]


def split_of(parts: dict[str, split_rules.Part], keys: list[bytes]) -> dict[bytes, str]:
    """The split of each key."""
    return {keys[i]: name for name, part in parts.items() for i in part.ids}


def picture(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (4, 6, 3), np.uint8)


def save(path: Path, i: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(i)).save(path)


def pictures_of(dataset: Dataset) -> dict[bytes, str]:
    """The split of each picture, by its pixels."""
    return {
        image.tobytes(): name
        for name, split in dataset.splits.items()
        if len(split)
        for image in dataset.arrays(name)[0]
    }


@pytest.mark.parametrize("more", [b"a.png", b"class 0/new.png", "über/ß.png".encode()])
def test_one_picture_more_or_less_moves_no_other(more: bytes) -> None:
    before = split_of(by_key.folder(KEYS, LABELS), KEYS)
    for place in range(len(KEYS)):
        keys = [*KEYS[:place], more, *KEYS[place:]]
        after = split_of(by_key.folder(keys, [0] * len(keys)), keys)
        assert {key: name for key, name in after.items() if key != more} == before
        less = KEYS[:place] + KEYS[place + 1 :]
        assert split_of(by_key.folder(less, LABELS[1:]), less) == {key: before[key] for key in less}


def test_every_picture_is_in_one_split_and_orders_change_nothing() -> None:
    rng = np.random.default_rng(0)
    first = by_key.folder(KEYS, LABELS)
    assert sorted(np.concatenate([part.ids for part in first.values()])) == list(range(60))
    for _ in range(5):
        keys = [KEYS[i] for i in rng.permutation(60)]
        other = by_key.folder(keys, LABELS)
        assert split_of(other, keys) == split_of(first, KEYS)
        assert {name: part.fingerprint for name, part in other.items()} == {
            name: part.fingerprint for name, part in first.items()
        }


def test_shares_are_a_tenth_each() -> None:
    """100,000 keys: a share is off by five standard errors, 0.5 %, once in 1.7 million sets of keys, of each split."""
    parts = by_key.folder([f"{i}.png".encode() for i in range(100_000)], [0] * 100_000)
    for name, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
        error = (share * (1 - share) / 100_000) ** 0.5
        assert abs(len(parts[name].ids) / 100_000 - share) < 5 * error, name


def test_validation_is_the_same_whether_or_not_the_set_has_a_test_split() -> None:
    both = by_key.partition_train(60, KEYS.__getitem__, ["test", "validation"])
    alone = by_key.partition_train(60, KEYS.__getitem__, ["validation"])
    assert alone.keys() == {"train", "validation"}
    np.testing.assert_array_equal(alone["validation"].ids, both["validation"].ids)
    assert set(alone["train"].ids) == set(both["train"].ids) | set(both["test"].ids)


def test_the_older_rule_is_what_it_was() -> None:
    """By rank in (class, SHA-256) in folders, from the end of train elsewhere; and it moves pictures."""
    parts = by_rank.folder(KEYS, LABELS)
    assert {name: len(part.ids) for name, part in parts.items()} == {"train": 48, "validation": 6, "test": 6}
    assert parts["test"].ids.tolist() == [1, 26, 36, 37, 44, 51]  # printed by the version that knew no other rule
    assert parts["validation"].ids.tolist() == [2, 4, 18, 30, 34, 35]
    carved = by_rank.partition_train(40, KEYS.__getitem__, ["test", "validation"])
    assert {name: part.ids.tolist() for name, part in carved.items()} == {
        **{"test": [36, 37, 38, 39], "validation": [32, 33, 34, 35]},
        "train": [*range(32)],
    }
    keys = [*KEYS, b"class 0/new.png"]
    before, after = split_of(parts, KEYS), split_of(by_rank.folder(keys, [*LABELS, 0]), keys)
    assert any(after[key] != name for key, name in before.items())


def test_a_folder_that_grows_or_is_renamed_keeps_its_splits(tmp_path: Path) -> None:
    for i in range(40):
        save(tmp_path / "pets" / ("cat" if i % 2 else "dog") / f"{i}.png", i)
    before = pictures_of(open_dataset(f"folder:{tmp_path / 'pets'}"))
    for i in range(40, 45):
        save(tmp_path / "pets" / ("ant" if i % 2 else "dog") / f"a{i}.png", i)
    after = pictures_of(open_dataset(f"folder:{tmp_path / 'pets'}"))
    assert len(after) == 45
    assert before.items() <= after.items()
    shutil.move(tmp_path / "pets", tmp_path / "renamed")
    assert pictures_of(open_dataset(f"folder:{tmp_path / 'renamed'}")) == after


def test_records_of_a_prepared_set_are_known_by_their_images(tmp_path: Path) -> None:
    """In another order, with more of them, and one of them twice: each picture is where it was."""
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(shape=(4, 6, 3)), "label": tfds.features.ClassLabel(num_classes=2)}

    def opened(name: str, numbers: list[int], test: int = 0) -> Dataset:
        rows = [{"image": io.BytesIO(png(picture(i))), "label": 0} for i in numbers]
        train = len(numbers) - test
        splits = {"train": slice(train), "test": slice(train, None)} if test else {"train": slice(train)}
        write(tmp_path, name, features, rows, splits)
        return open_dataset(name, tmp_path)

    before = pictures_of(opened("little_before", list(range(40))))
    assert set(before.values()) == {"train", "validation", "test"}
    after = opened("little_after", [*range(45, 0, -1), 0, 7])
    assert before.items() <= pictures_of(after).items()
    assert sum(map(len, after.splits.values())) == 47, "the one that is there twice is in one split"
    fixed = pictures_of(opened("little_fixed", list(range(45)), test=5))
    for i in range(45):
        picked, others = fixed[picture(i).tobytes()], before.get(picture(i).tobytes(), "test")
        assert picked == ("test" if i >= 40 else "train" if others == "test" else others)


def test_what_has_changed_is_counted(tmp_path: Path) -> None:
    for i in range(40):
        save(tmp_path / f"{i}.png", i)
    name = f"folder:{tmp_path}"
    recorded = {
        rule: split_record(open_dataset(name, rule=getattr(split_rules, rule)), rule) for rule in split_rules.__all__
    }
    counts = recorded["by_key"].counts
    assert sum(counts.values()) == 40
    for rule, each in recorded.items():
        assert describe_changes(each, open_dataset(name, rule=getattr(split_rules, rule))) == ""
    for i in range(40, 60):
        save(tmp_path / f"{i}.png", i)
    grown = open_dataset(name)
    told = describe_changes(recorded["by_key"], grown)
    for split, count in counts.items():
        assert (f"{split} had {count} " in told) == (count != len(grown.split(split)))
    assert "by_rank" not in told
    assert "by_rank" in describe_changes(recorded["by_rank"], open_dataset(name, rule=by_rank))


def test_as_many_pictures_that_are_not_the_same_are_noticed(tmp_path: Path) -> None:
    for i in range(20):
        save(tmp_path / f"{i}.png", i)
    dataset = open_dataset(f"folder:{tmp_path}")
    recorded = split_record(dataset, "by_key")
    place = int(dataset.splits["train"].ids[0])
    old = sorted(path.name for path in tmp_path.iterdir())[place]
    new = next(f"n{i}.png" for i in range(100) if split_rules.hash_positions([f"n{i}.png".encode()])[0] > 0.2)
    (tmp_path / old).rename(tmp_path / new)
    told = describe_changes(recorded, open_dataset(f"folder:{tmp_path}")).replace(str(tmp_path), "")
    assert "train" in told
    assert "test" not in told


def test_sets_with_splits_of_their_own_are_counted_alone(digits: Dataset) -> None:
    recorded = split_record(digits, "by_key")
    assert recorded.counts == {"train": 1257, "validation": 180, "test": 360}
    assert recorded.fingerprints == {}
    assert describe_changes(recorded, digits) == ""


def test_of_a_few_pictures_all_are_for_training_where_none_would_be() -> None:
    """Those whose place is in [0, 0.2); with one more, of another place, that alone is for training."""
    names = [f"{i}.png".encode() for i in range(200)]
    place = split_rules.hash_positions(names)
    held_out = [name for name, at in zip(names, place, strict=True) if at < 0.2][:3]
    other = next(name for name, at in zip(names, place, strict=True) if at >= 0.2)
    alone = split_rules.by_key.folder(held_out, [0] * 3)
    assert [len(alone[name].ids) for name in ("train", "validation", "test")] == [3, 0, 0]
    assert alone["train"].fingerprint == split_rules.fingerprint(held_out)
    more = split_rules.by_key.folder([*held_out, other], [0] * 4)
    assert more["train"].ids.tolist() == [3]
    assert sum(len(part.ids) for part in more.values()) == 4
