"""A model of many parts, from its config to pictures: what is asked for in words, drawings and numbers is drawn."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import Trained, trained
from PIL import Image

OURS = "examples.digits_text.parts"
QUIET = ("--config.train.picture_every_steps=0", "--config.train.validate_images=0")
PARTS = [
    f"--config.data.parts=('{OURS}:caption()', 'sketch()', \"{OURS}:measured('slant')\")",
    "--config.model.conditions=('Text(width=8, depth=1, heads=1, drop=0.2)', 'Picture()', \"Number(part='slant')\")",
    "--config.train.label_drop=0.1",
    *QUIET,
    *(
        "--config.train.steps=100",
        "--config.train.save_every_steps=100",
        "--config.train.learning_rate=0.05",
        "--config.train.ema=(0.5,)",
    ),
]

EVALUATIONS = [  # accuracy is among the scores; the other parts of a report are long
    pytest.param(("--num=20", "--most=40", "--quick", "--without=features"), id="scores"),
    pytest.param(("--num=60",), id="every part", marks=pytest.mark.long),
]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Trained:
    """A hundred steps of an MLP that is told label, caption, sketch and slant: so many that it hears them."""
    return trained(tmp_path_factory.mktemp("many"), data_dir, True, *PARTS)


@pytest.fixture
def drawing(tmp_path: Path) -> Path:
    """A vertical stroke, of twice the size."""
    pixels = np.zeros((16, 16), np.uint8)
    pixels[2:14, 7:9] = 255
    Image.fromarray(pixels).save(tmp_path / "drawing.png")
    return tmp_path / "drawing.png"


def drawn(call, out: Path, many: Trained, *more: str) -> tuple[np.ndarray, dict]:
    told = call("sample.py", "--workdir", many.workdir, "--allow_imports", "--out", out, "--num=4", *more)
    assert told.code == 0, told.err
    with np.load(out / "samples.npz") as file:
        return file["arr_0"], json.loads(str(file["provenance"]))


PARTS_ASKED_FOR = (
    (),
    ("--prompt", "a thin seven", "--guidance", "100"),  # of which so small a net has not learnt much
    ("--prompt", "a bold three", "--guidance", "100"),
    ("--sketch", "{drawing}"),
    ("--number", "slant=0.4"),
    ("--label", "3"),
)
WAYS_TO_GUIDE = (
    ("--prompt", "a bold three"),
    ("--prompt", "a bold three", "--guidance", "3"),
    ("--prompt", "a bold three", "--guidance", "100", "--negative", "a thin three"),
    ("--prompt", "a bold three", "--guidance", "3", "--guidance-interval", "0.2", "0.5"),
    ("--prompt", "a bold three", "--label=3", "--guidance_form", "several(scales={{'text': 3.0, 'label': 2.0}})"),
)


@pytest.mark.parametrize(
    "each",
    [
        pytest.param(PARTS_ASKED_FOR, id="parts"),
        pytest.param(PARTS_ASKED_FOR + WAYS_TO_GUIDE, id="parts and ways to guide", marks=pytest.mark.long),
    ],
)
def test_each_part_that_is_asked_for_changes_the_pictures(each, call, many, drawing, tmp_path) -> None:
    asked = [tuple(word.format(drawing=drawing) for word in more) for more in each]
    found = [drawn(call, tmp_path / str(i), many, *more)[0] for i, more in enumerate(asked)]
    same = [(a, b) for a, b in combinations(range(len(asked)), 2) if np.array_equal(found[a], found[b])]
    assert not same, [(asked[a], asked[b]) for a, b in same]


def test_what_was_asked_for_stands_with_the_samples(call, many, tmp_path) -> None:
    more = ["--prompt", "a nine", "--negative", "a one", "--guidance=2", "--guidance-interval", "0.2", "0.8"]
    _, told = drawn(call, tmp_path / "out", many, *more)
    assert (told["prompt"], told["negative"], told["guidance"]) == ("a nine", "a one", 2.0)
    assert told["guidance_when"] == "interval(low=0.2, high=0.8)"


def test_each_cell_of_a_sweep_is_what_is_drawn_with_its_setting(call, many, tmp_path) -> None:
    prompts = ["a bold three, leaning left", "a nine"]
    sweep = ["--sweep", "guidance=1,30", "--sweep", f"prompt='{prompts[0]}','{prompts[1]}'"]
    told = call("sample.py", "--workdir", many.workdir, "--allow_imports", "--out", tmp_path / "out", "--num=4", *sweep)
    assert told.code == 0, told.err
    picture = np.asarray(Image.open(tmp_path / "out" / "sweep.png"))
    assert not (tmp_path / "out" / "samples.npz").exists()
    for i, scale in enumerate((1, 30)):
        for k, prompt in enumerate(prompts):
            out = tmp_path / f"{i}{k}"
            drawn(call, out, many, "--prompt", prompt, f"--guidance={scale}")
            tile = np.asarray(Image.open(out / "grid.png"))[:50, :50]
            assert found_at(picture, tile), (scale, prompt)


def found_at(picture: np.ndarray, tile: np.ndarray) -> bool:
    """Whether the tile is somewhere in the picture."""
    height, width = tile.shape[:2]
    corners = np.argwhere((picture == tile[0, 0]).all(axis=2))
    fits = corners[(corners[:, 0] <= len(picture) - height) & (corners[:, 1] <= picture.shape[1] - width)]
    return any(np.array_equal(picture[y : y + height, x : x + width], tile) for y, x in fits)


@pytest.mark.parametrize("evaluate", EVALUATIONS)
def test_a_run_of_parts_is_evaluated_by_its_labels(evaluate, call, many, tmp_path) -> None:
    told = call("evaluate.py", "--workdir", many.workdir, "--allow_imports", "--out", tmp_path / "out", *evaluate)
    assert told.code == 0, told.err
    assert "accuracy" in told.out


def test_what_cannot_be_asked_for_is_one_line(call, many, tiny, drawing, tmp_path) -> None:
    cases = [
        (tiny, ["--prompt", "a three"], ["--prompt"]),
        (tiny, ["--sketch", str(drawing)], ["--sketch"]),
        (tiny, ["--number", "slant=1"], ["--number slant=1"]),
        (many, ["--prompt", ""], ["--prompt"]),
        (many, ["--prompt", "a three " * 20], ["--prompt", "64"]),
        (many, ["--negative", "a three"], ["--negative", "--guidance"]),
        (many, ["--sketch", str(tmp_path / "no.png")], ["no.png"]),
        (many, ["--guidance=2", "--guidance-interval", "0.8", "0.2"], ["--guidance-interval", "LOW <= HIGH"]),
        (many, ["--guidance=2", "--guidance-interval", "0.8"], ["--guidance-interval"]),
        (many, ["--guidance=2", "--guidance_rule=cfg"], ["guidance_rule", "cfg"]),
        (many, ["--sweep", "guidance=1,2", "--sweep", "steps=2,3", "--sweep", "seed=1,2"], ["--sweep"]),
        (many, ["--sweep", "guidance,steps=2,3"], ["--sweep", "guidance"]),
        (many, ["--sweep", "weight=1,2"], ["--sweep", "slant"]),
        (many, ["--sweep", "label=3,11"], ["--sweep label 11", "0 … 9"]),
        (many, ["--sweep", "steps=2", "--animate"], ["--animate", "--sweep"]),
    ]
    for run, more, says in cases:
        told = call("sample.py", "--workdir", run.workdir, "--allow_imports", "--out", tmp_path / "out", *more)
        assert (told.code, told.err.count("\n")) == (2, 1), told.err
        assert all(word in told.err for word in says), told.err
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("script", ["sample.py", "evaluate.py", "export.py", "train.py"])
def test_a_run_that_names_modules_is_read_with_leave_alone(call, many, tmp_path, script) -> None:
    out = [] if script == "train.py" else ["--out", tmp_path / "out.safetensors"]
    told = call(script, "--workdir", many.workdir, *out)
    assert (told.code, told.err.count("\n")) == (2, 1), told.err
    assert all(word in told.err for word in ("config.json", "data.parts", "--allow_imports")), told.err
    assert not (tmp_path / "out.safetensors").exists()


def test_a_sketch_is_added_to_a_trained_model_by_a_copy(call, tiny, data_dir, tmp_path) -> None:
    """Of a net with blocks; a model without any is told so."""
    told = call(
        *("train.py", "--config", tiny.config, "--workdir", tmp_path / "run", "--config.data.parts=('sketch()',)"),
        *("--config.model.conditions=('Picture()',)", "--config.model.adapters=control()"),
    )
    assert told.code == 2
    assert "model.adapters" in told.err or "control: " in told.err
    net = "--config.model.net=DiT(width=8, depth=1, heads=2)"
    base = trained(tmp_path, data_dir, True, net, *QUIET)
    added = ["--config.data.parts=('sketch()',)", "--config.model.conditions=('Picture()',)"]
    added += ["--config.model.adapters=control()", f"--config.train.init_from={base.workdir}", net]
    told = call("train.py", "--config", base.config, "--workdir", tmp_path / "control", *added, *QUIET)
    assert told.code == 0, told.err
    assert "train.init_from: " in told.err
    call("sample.py", "--workdir", tmp_path / "control", "--out", tmp_path / "out", "--num=4", "--label=3")
    assert (tmp_path / "out" / "samples.npz").exists()


@pytest.mark.parametrize("evaluate", EVALUATIONS)
def test_a_run_without_classes_is_shown_and_judged_by_its_captions(evaluate, call, data_dir, tmp_path) -> None:
    words = [
        "--config.data.parts=('examples.digits_text.parts:caption()',)",
        "--config.model.conditions=('Text(width=8, depth=1, heads=1)',)",
    ]
    run = trained(tmp_path, data_dir, False, *words, "--config.train.picture_every_steps=2")
    with Image.open(run.workdir / "pictures" / "step_00000002.png") as shown:
        assert shown.width > 10 * 56 + 100, "captions stand beside the rows"
    told = call("evaluate.py", "--workdir", run.workdir, "--allow_imports", "--out", tmp_path / "out", *evaluate)
    assert told.code == 0, told.err
    assert "accuracy" in told.out, "captions are of training images, whose labels are known"
    told = call(
        *("evaluate.py", "--workdir", run.workdir, "--allow_imports", "--out", tmp_path / "guided", "--guidance=2"),
        *("--num=20", "--bits_of=4", "--without=bits,levels,training,features,findings,pictures"),
    )
    assert told.code == 0, "held-out images of a model without classes have the null condition: " + told.err
