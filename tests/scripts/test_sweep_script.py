"""`evaluate.py --sweep`: a table on the terminal, a page, plots and numbers; rows that are at hand are not drawn."""

import base64
import json

import pytest
from PIL import Image

FEW = ["--num=24", "--most=60"]


def test_a_sweep_is_a_table_and_a_page(tiny, tmp_path, call) -> None:
    how = ["--workdir", tiny.workdir, "--out", tmp_path, *FEW, "--sweep=sampler=heun,ddim(eta=1.0)", "--sweep=steps=2"]
    told = call("evaluate.py", *how)
    assert told.code == 0, told.err
    assert told.err.startswith("0 of 2 settings were measured before\n")
    assert "\n1 of 2: sampler heun, steps 2, " in told.err
    lines = told.out.splitlines()
    assert lines[0].split() == [
        *("sampler", "steps", "evaluations", "seconds"),
        *("frechet_ratio", "mmd2", "two_sample", "accuracy", "copies"),
    ]
    assert [line.split()[:3] for line in lines[2:4]] == [["heun", "2", "4"], ["ddim(eta=1.0)", "2", "2"]]
    assert lines[4].startswith("real images")
    assert "in every row: grid uniform, guidance 1" in lines
    page, saved = (tmp_path / "sweep.html").read_text(), json.loads((tmp_path / "sweep.json").read_text())
    assert "<td>ddim(eta=1.0)</td>" in page
    for key in saved["rows"][0]["scores"]["pixels"]:
        assert base64.b64encode((tmp_path / f"sweep_{key}.png").read_bytes()).decode() in page
        with Image.open(tmp_path / f"sweep_{key}.png") as picture:
            picture.load()
    assert len(list((tmp_path / "sweep").iterdir())) == 2
    again = call("evaluate.py", *how, "--sweep=guidance=1,2")
    assert again.code == 0, again.err
    assert again.err.startswith("2 of 4 settings were measured before\n")
    assert "\n2 of 4: sampler heun, steps 2, guidance 2, " in again.err
    assert again.out.splitlines()[2].split()[5:] == lines[2].split()[4:]


@pytest.mark.long
def test_too_few_samples_for_errors_are_swept_all_the_same(masked, tmp_path, call) -> None:
    """Of tokens, with the rules that serve them."""
    how = ["--workdir", masked.workdir, "--out", tmp_path, "--num=6", "--most=60", "--steps=2", "--sweep=sampler"]
    told = call("evaluate.py", *how)
    assert told.code == 0, told.err
    lines = told.out.splitlines()[2:6]
    assert [line.split()[0] for line in lines] == ["posterior", "confidence", "remask", "real"]
    assert "±" not in "".join(lines[:3])


MISTAKES = [
    (["--sweep=stesp=3"], ["--sweep stesp", "choose from sampler, grid, steps, guidance"]),
    (["--sweep=steps=2,4", "--compare", "{run}"], ["--compare", "--sweep steps"]),
    (["--sweep=steps=2,4", "--steps=3"], ["--steps", "--sweep steps"]),
    (["--sweep=steps", "--classifier"], ["--classifier", "--sweep steps"]),
    (["--sweep=sampler=heun,hoin"], ["--sweep", "sampler hoin", "unknown 'hoin'"]),
]


@pytest.mark.parametrize(("argv", "says"), MISTAKES, ids=[" ".join(argv) for argv, _ in MISTAKES])
def test_mistakes_are_one_line(tiny, tmp_path, call, argv, says) -> None:
    argv = [text.format(run=tiny.workdir) for text in argv]
    told = call("evaluate.py", "--workdir", tiny.workdir, "--out", tmp_path / "out", *argv)
    assert (told.code, told.out) == (2, "")
    assert len(told.err.splitlines()) == 1
    assert all(word in told.err for word in says), told.err
    assert not (tmp_path / "out").exists()


def test_no_guidance_without_classes(unconditional, tmp_path, call) -> None:
    how = ["--workdir", unconditional.workdir, "--out", tmp_path / "out", "--sweep", "sampler,steps,guidance"]
    told = call("evaluate.py", *how)
    assert (told.code, told.out) == (2, "")
    assert "guidance" in told.err
    assert not (tmp_path / "out").exists()
