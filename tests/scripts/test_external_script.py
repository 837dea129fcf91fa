"""Images from files, of any model, scored by the script: what is written, and what is refused before anything is."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffjax.evaluation import describe_features, extract_features, pixel_features
from diffjax.evaluation.frechet_distance import gather_moments, write_moments
from diffjax.reports import write_png


def drawn(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (count, 4, 4, 1), dtype=np.uint8)


@pytest.fixture
def given(tmp_path) -> dict[str, Path]:
    """Files of images by their names."""
    made = {name: tmp_path / name for name in ("samples.npz", "others.npz", "reference.npz", "moments.npz", "pictures")}
    np.savez(made["samples.npz"], arr_0=drawn(30, 0), arr_1=np.arange(30) % 2)
    np.savez(made["others.npz"], arr_0=drawn(30, 1) // 2)
    np.savez(made["reference.npz"], arr_0=drawn(60, 2), arr_1=np.arange(60) % 2)
    pixels = pixel_features((4, 4, 1))
    write_moments(
        made["moments.npz"], gather_moments([extract_features(pixels, [drawn(60, 2)])]), describe_features(pixels)
    )
    for place, image in enumerate(drawn(60, 2)):
        write_png(made["pictures"] / f"{place:02}.png", image)
    return made | {"cache": tmp_path / "cache", "tmp": tmp_path}


def test_files_are_scored_as_a_run_is(call, given):
    argv = ["--samples", given["samples.npz"], "--reference", given["reference.npz"], "--moments", given["cache"]]
    told = call("evaluate.py", *argv, "--classifier")
    assert told.code == 0, told.err
    out = given["tmp"] / "evaluation"
    assert {path.name for path in out.iterdir()} == {"report.html", "report.json", "grid.png", "nearest.png"}
    found = json.loads((out / "report.json").read_text())
    six = {"frechet", "frechet_all", "kid", "precision", "recall", "density", "coverage"}
    assert set(found["scores"]["pixels"]) == six | {"mmd2", "two_sample", "accuracy", "copies"}
    assert set(found["scores"]["classifier"]) == six
    assert found["provenance"]["samples"] == 30
    assert found["provenance"]["reference"] == {"reference": 60}
    assert "sha256" in found["provenance"]["more"]["features pixels"]
    assert found["scores"]["pixels"]["frechet"]["real"]["value"] > 0
    assert found["scores"]["pixels"]["frechet_all"]["real"]["value"] is None
    assert "Fréchet distance of pixels, all images" in told.out
    assert len(list(given["cache"].iterdir())) == 6


def test_scores_by_one_reference_are_laid_side_by_side(call, given):
    """Of a file and of a folder, which hold the same images."""
    for name, reference in (("samples.npz", "reference.npz"), ("others.npz", "pictures")):
        argv = [
            "--samples",
            given[name],
            "--reference",
            given[reference],
            "--moments=",
            "--out",
            given["tmp"] / name[:4],
        ]
        assert call("evaluate.py", *argv).code == 0
    told = call(
        "evaluate.py", "--out", given["tmp"] / "both", "--compare", given["tmp"] / "samp", given["tmp"] / "othe"
    )
    assert told.code == 0, told.err
    (line,) = (line for line in told.out.splitlines() if "pixels, all images" in line and "noise" in line)
    assert "beyond noise" in line


def test_moments_give_their_distance_and_say_that_there_is_no_more(call, given):
    told = call("evaluate.py", "--samples", given["samples.npz"], "--reference", given["moments.npz"], "--moments=")
    assert told.code == 0, told.err
    assert "--reference" in told.err
    (scores,) = json.loads((given["tmp"] / "evaluation" / "report.json").read_text())["scores"].values()
    assert set(scores) == {"frechet_all"}


WRONG = [
    (["--samples={samples}"], ["--samples", "--reference"]),
    (["--reference={samples}"], ["--reference", "--samples"]),
    (["--samples={samples}", "--reference={reference}", "--workdir={tmp}"], ["--workdir", "--samples"]),
    (["--samples={samples}", "--reference={reference}", "--num=3"], ["--num", "--samples"]),
    (["--samples={samples}", "--reference={reference}", "--compare={tmp}"], ["--samples", "--compare"]),
    (["--samples={tmp}/none.npz", "--reference={reference}"], ["none.npz", "no such file"]),
    (["--samples={samples}", "--reference={samples}"], ["--reference", "30 images", "40"]),
    (["--samples={samples}", "--reference={others}", "--most=3"], ["--most", "20"]),
    (["--samples={samples}", "--reference={pictures}", "--classifier"], ["--classifier", "pictures", "no labels"]),
    (["--samples={samples}", "--reference={moments}", "--classifier"], ["--classifier", "no labels"]),
    (["--samples={samples}", "--reference={pictures}", "--out={pictures}/x"], ["--out", "pictures"]),
    (["--samples={samples}", "--reference={pictures}", "--out={samples}"], ["--out", "cannot be written"]),
    (["--samples={samples}", "--reference={pictures}", "--moments={samples}"], ["--moments", "cannot be written"]),
    (["--samples={samples}", "--reference={pictures}", "--embeddings={tmp}/x.npy"], ["x.npy", "no such file"]),
]


@pytest.mark.parametrize(("argv", "says"), WRONG, ids=[" ".join(argv) for argv, _ in WRONG])
def test_a_mistake_is_one_line_and_nothing_is_written(call, given, argv, says):
    names = {path.stem: path for path in given.values()} | {"tmp": given["tmp"]}
    before = sorted(given["tmp"].rglob("*"))
    cache = [] if any("--moments" in flag for flag in argv) else ["--moments", given["cache"]]
    told = call("evaluate.py", *(flag.format(**names) for flag in argv), *cache)
    assert told.code == 2
    assert told.err.count("\n") == 1
    assert all(word in told.err for word in says), told.err
    assert sorted(given["tmp"].rglob("*")) == before
