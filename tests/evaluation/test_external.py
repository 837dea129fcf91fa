"""Samples from files: those like the reference score as its floor, whatever the files are and whatever was kept."""

from functools import partial

import numpy as np
import pytest

from diffjax.commands import file_evaluation, file_pair
from diffjax.commands.file_evaluation import build_report
from diffjax.commands.file_pair import default_report_dir, open_pair, split_half
from diffjax.errors import UserError
from diffjax.evaluation import reference_stats, suite
from diffjax.evaluation.features import (
    describe_features,
    extract_features,
    pixel_features,
    precomputed_features,
    write_features,
)
from diffjax.evaluation.frechet_distance import frechet, gather_moments, write_moments
from diffjax.evaluation.image_sources import fingerprint, open_images
from diffjax.evaluation.jackknife import interval_from_replicates
from diffjax.evaluation.reference_stats import cached_moments, in_batches, moments_of_parts
from diffjax.reports.comparison import compare
from diffjax.reports.image_files import write_png
from diffjax.reports.json_report import read_numbers
from diffjax.reports.tables import table, write_report

PIXELS = pixel_features((4, 4, 1))


def feature_moments(features, batches):
    return gather_moments(extract_features(features, [batch]) for batch in batches)


def drawn(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Grey pictures of 4x4 pixels about a slope."""
    slope = np.linspace(80, 160, 16).reshape(4, 4, 1)
    noise = np.random.default_rng(seed).normal(0, 25, (count, 4, 4, 1))
    return np.clip(slope + noise + shift, 0, 255).astype(np.uint8)


@pytest.fixture
def files(tmp_path):
    """Samples like the reference, and a reference of twice as many."""
    np.savez(tmp_path / "samples.npz", arr_0=drawn(60, 0))
    np.savez(tmp_path / "reference.npz", arr_0=drawn(120, 1), arr_1=np.arange(120) % 2)
    return tmp_path / "samples.npz", tmp_path / "reference.npz"


@pytest.fixture
def judge(tmp_path, monkeypatch):
    """`judge(samples, reference, …)`: the report, the pair statistics of a few images where they take long."""
    monkeypatch.setattr(suite, "TWO_SAMPLE_IMAGES", 20)

    def run(samples, reference, features=(PIXELS,), most=60, cache=None, tell=pytest.fail):
        opened = open_pair(samples, reference, most, tmp_path / "out")
        return build_report(opened, features, tmp_path / "out", cache, tell)

    return run


@pytest.fixture
def distances_alone(monkeypatch):
    """Without what takes long and is not looked at."""
    monkeypatch.setattr(file_evaluation, "pairwise_feature_scores", lambda *_: [])
    monkeypatch.setattr(file_evaluation, "pairwise_scores", lambda *_, **__: [])


def values(report):
    return {(score.features, score.key): interval_from_replicates(score.samples) for score in report.scores}


def test_samples_of_the_reference_s_own_distribution_score_as_its_floor(judge, files):
    """Of one fixed draw, for which every interval of 95 % holds the floor."""
    report = judge(*files)
    for score in report.scores:
        if np.isfinite(score.real.value) and score.key != "two_sample":
            found = interval_from_replicates(score.samples)
            assert found.low <= score.real.value <= found.high, score.key
    assert report.findings is not None
    assert report.findings.alarms == []


def test_other_samples_score_worse_and_are_pointed_out(judge, files, tmp_path):
    np.savez(tmp_path / "other.npz", arr_0=drawn(60, 2, shift=40))
    report = judge(tmp_path / "other.npz", files[1])
    (score,) = (score for score in report.scores if score.key == "frechet")
    assert interval_from_replicates(score.samples).low > 5 * score.real.value
    assert report.findings is not None
    assert any(alarm.startswith("mean of samples") for alarm in report.findings.alarms)


def test_a_copy_of_the_reference_is_at_no_distance_and_is_called_one(judge, files):
    report = judge(files[1], files[1], most=120)
    assert values(report)["pixels", "frechet_all"].value == pytest.approx(0, abs=1e-9)
    assert report.findings is not None
    (alarm,) = report.findings.alarms
    share = float(alarm.partition("%")[0])
    assert 50 <= share <= 55  # the half that is held, and of the other half such as are near to it
    assert "reference images are repeated" in alarm


@pytest.mark.usefixtures("distances_alone")
def test_a_distance_read_in_batches_is_that_of_all_images_at_once(judge, files, monkeypatch):
    monkeypatch.setattr(reference_stats, "BATCH", 7)
    found = values(judge(*files))
    ours, theirs = (extract_features(PIXELS, open_images(path).batches(1_000)) for path in files)
    assert found["pixels", "frechet_all"].value == pytest.approx(frechet(ours, theirs), rel=1e-9)
    half = theirs[split_half(len(theirs))[1]]
    assert found["pixels", "frechet"].value == pytest.approx(frechet(ours, half), rel=1e-9)


@pytest.mark.parametrize("count", [20, 47, 60, 63, 100])
@pytest.mark.usefixtures("distances_alone")
def test_samples_are_compared_with_as_many_of_either_half(judge, files, tmp_path, count):
    """Fewer than a half holds, as many, a few more, and many more: beyond it they are thinned for the same count."""
    np.savez(tmp_path / "some.npz", arr_0=drawn(count, 3))
    report = judge(tmp_path / "some.npz", files[1])
    whole = extract_features(PIXELS, open_images(tmp_path / "some.npz").batches(1_000))
    theirs = extract_features(PIXELS, open_images(files[1]).batches(1_000))
    assert values(report)["pixels", "frechet_all"].value == pytest.approx(frechet(whole, theirs), rel=1e-9)
    assert f"halves: {min(count, 60)} samples, and as many" in table(report)


@pytest.mark.parametrize("of", ["", describe_features(PIXELS)])
@pytest.mark.usefixtures("distances_alone")
def test_moments_alone_give_the_same_distance_as_their_images(judge, files, tmp_path, of):
    write_moments(tmp_path / "moments.npz", feature_moments(PIXELS, in_batches(open_images(files[1]))), of)
    told = []
    report = judge(files[0], tmp_path / "moments.npz", tell=told.append)
    (score,) = report.scores
    assert score.samples.value == values(judge(*files))["pixels", "frechet_all"].value
    assert len(told) == 1
    assert told[0].startswith("--reference ")
    assert "–" in table(report)  # noqa: RUF001 (the dash of a floor that cannot be)


def test_moments_of_other_features_are_refused(judge, files, tmp_path):
    write_moments(tmp_path / "moments.npz", feature_moments(PIXELS, [drawn(30, 0)]), "of something else")
    with pytest.raises(UserError, match=r"--reference .*moments\.npz: .*of something else"):
        judge(files[0], tmp_path / "moments.npz")


@pytest.mark.usefixtures("distances_alone")
def test_what_was_kept_gives_the_same_to_the_bit_and_what_is_damaged_is_made_anew(judge, files, tmp_path):
    judge, cache, told = partial(judge, *files, most=20), tmp_path / "cache", []
    fresh, first, second = judge(), judge(cache=cache), judge(cache=cache)
    kept = sorted(cache.iterdir())
    assert len(kept) == 3
    before = [path.read_bytes() for path in kept]
    kept[0].write_bytes(before[0][:100])
    kept[1].write_bytes(before[2])  # sound, but of something else
    third = judge(cache=cache, tell=told.append)
    assert values(fresh) == values(first) == values(second) == values(third)
    assert [sum(path.name in line for line in told) for path in kept] == [1, 1, 0]
    assert sorted(cache.iterdir()) == kept
    assert values(judge(cache=cache)) == values(fresh)


def test_kept_moments_are_those_of_their_images_alone(files, tmp_path):
    """What is kept is not taken for that of other images, other parts, or other features."""
    source, everything = open_images(files[1]), {"all": np.ones(120, bool)}
    (found,) = cached_moments(PIXELS, source, fingerprint(source), everything, tmp_path / "cache", pytest.fail)
    blind = PIXELS._replace(extract=lambda _: pytest.fail("looked again"))
    (again,) = cached_moments(blind, source, fingerprint(source), everything, tmp_path / "cache", pytest.fail)
    np.testing.assert_array_equal(found.covariance, again.covariance)
    for own, features, parts in (
        ("0" * 64, PIXELS, everything),
        (fingerprint(source), PIXELS._replace(hash="0" * 64), everything),
        (fingerprint(source), PIXELS._replace(resize="another"), everything),
        (fingerprint(source), PIXELS, {"half": np.arange(120) < 60}),
    ):
        before = len(list((tmp_path / "cache").iterdir()))
        cached_moments(features, source, own, parts, tmp_path / "cache", pytest.fail)
        assert len(list((tmp_path / "cache").iterdir())) == before + 1


def test_a_part_s_moments_are_those_of_its_images(files):
    source, part = open_images(files[1]), np.arange(120) % 3 == 1
    whole, some = moments_of_parts(PIXELS, source, [np.ones(120, bool), part])
    np.testing.assert_array_equal(whole.covariance, feature_moments(PIXELS, in_batches(source)).covariance)
    np.testing.assert_allclose(some.mean, extract_features(PIXELS, source.batches(120))[part].mean(0), rtol=1e-6)


def test_a_folder_and_a_file_score_the_same(judge, files, tmp_path):
    for name, path in zip(("ours", "theirs"), files, strict=True):
        for place, image in enumerate(np.concatenate(list(open_images(path).batches(1_000)))):
            write_png(tmp_path / name / f"{place:03}.png", image)
    without = np.savez(tmp_path / "unlabelled.npz", arr_0=drawn(120, 1)) or tmp_path / "unlabelled.npz"
    folder, file = judge(tmp_path / "ours", tmp_path / "theirs", most=20), judge(files[0], without, most=20)
    assert values(folder) == values(file)
    assert folder.source.fingerprint == file.source.fingerprint


@pytest.mark.parametrize("told", [True, False])
def test_features_from_files_score_as_the_extractor_does(judge, files, tmp_path, told):
    """With and without saying of which images they are, there in the order of the sides."""
    places = [tmp_path / f"{name}{'.npz' if told else '.npy'}" for name in ("ours", "theirs")]
    sources = [open_images(path) for path in files]
    for place, source in zip(places, sources, strict=True):
        if told:
            write_features(place, PIXELS, source.batches(50))
        else:
            np.save(place, extract_features(PIXELS, source.batches(50)))
    stored = precomputed_features(*places, sources=sources)
    found = values(judge(*files, features=(stored,), cache=tmp_path / "cache"))
    expected = {key: value for (name, key), value in values(judge(*files)).items() if name == "pixels"}
    assert {key: value for (name, key), value in found.items() if name == stored.name}.items() <= expected.items()
    assert (tmp_path / "cache").exists() == told  # what is of nobody knows what is not kept


def test_wide_features_are_compared_without_moments(judge, files, monkeypatch):
    monkeypatch.setattr(file_evaluation, "MAX_DIMENSION", 15)
    told = []
    report = judge(*files, tell=told.append)
    assert {"frechet", "kid", "coverage"} <= {score.key for score in report.scores}
    assert "frechet_all" not in {score.key for score in report.scores}
    assert "pixels: 16 " in told[0]


def test_reports_of_one_reference_compare(judge, files, tmp_path):
    np.savez(tmp_path / "other.npz", arr_0=drawn(60, 2, shift=40))
    for name, samples in (("a", files[0]), ("b", tmp_path / "other.npz")):
        write_report(tmp_path / name, judge(samples, files[1]))
    rows = compare([read_numbers(tmp_path / name) for name in "ab"])
    assert {row.measure: row.significant for row in rows}["Fréchet distance of pixels, all images"]


@pytest.mark.usefixtures("distances_alone")
def test_a_file_of_samples_says_how_it_was_made(judge, files, tmp_path):
    said = np.array('{"sampler": "ddim(eta=0.0)", "steps": 50, "note": ["a list"]}')
    np.savez(tmp_path / "told.npz", arr_0=drawn(60, 0), provenance=said)
    assert judge(tmp_path / "told.npz", files[1]).source.made.endswith("told.npz, sampler ddim(eta=0.0), steps 50")
    for damaged in ("{", "3", "[]"):
        np.savez(tmp_path / "told.npz", arr_0=drawn(60, 0), provenance=np.array(damaged))
        assert open_pair(tmp_path / "told.npz", files[1], 60, tmp_path).sample_images.shape == (60, 4, 4, 1)
        assert file_pair._read_provenance(str(tmp_path / "told.npz")).endswith("told.npz")


def test_labels_are_checked_where_both_sides_have_them(judge, files, tmp_path):
    np.savez(tmp_path / "labelled.npz", arr_0=drawn(60, 0), arr_1=np.arange(60) % 2)
    assert ("pixels", "accuracy") in values(judge(tmp_path / "labelled.npz", files[1]))
    np.savez(tmp_path / "one.npz", arr_0=drawn(120, 1), arr_1=np.zeros(120, int))
    assert ("pixels", "accuracy") not in values(judge(tmp_path / "labelled.npz", tmp_path / "one.npz"))


@pytest.mark.parametrize(
    ("ours", "theirs", "most", "says"),
    [
        (drawn(19, 0), drawn(40, 1), 20, r"--samples .*samples\.npz: 19 .*20"),
        (drawn(20, 0), drawn(39, 1), 20, r"--reference .*reference\.npz: 39 .*40"),
        (drawn(20, 0), drawn(40, 1), 19, "--most.*19"),
        (drawn(20, 0)[:, :, :3], drawn(40, 1), 20, "images are 3 wide and 4 high, grey; give 4 pixels a side"),
        (drawn(20, 0).repeat(3, -1), drawn(40, 1), 20, "RGB.*--reference .*grey"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(ours, theirs, most, says, tmp_path):
    np.savez(tmp_path / "samples.npz", arr_0=ours)
    np.savez(tmp_path / "reference.npz", arr_0=theirs)
    with pytest.raises(UserError, match=says):
        open_pair(tmp_path / "samples.npz", tmp_path / "reference.npz", most, tmp_path)


def test_a_report_lies_beside_what_it_is_of_and_never_in_it(files, tmp_path):
    write_png(tmp_path / "pictures" / "0.png", drawn(1, 0)[0])
    assert default_report_dir(files[0]) == tmp_path / "evaluation"
    assert default_report_dir(tmp_path / "pictures") == tmp_path / "pictures-evaluation"
    with pytest.raises(UserError, match=r"--out .*deeper: .*pictures"):
        open_pair(tmp_path / "pictures", files[1], 60, tmp_path / "pictures" / "deeper")
