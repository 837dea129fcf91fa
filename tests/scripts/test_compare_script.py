"""Two evaluations side by side, as a shell asks for it."""

import json

import pytest


@pytest.fixture(scope="module")
def scored(tiny, tmp_path_factory):
    """The folders of two evaluations of one run, from other seeds, without bits."""
    from conftest import called

    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    for seed, folder in enumerate(folders):
        few = ("--num=40", "--bits_of=20", "--likelihood=none", "--steps=2", f"--seed={seed}", "--out", folder)
        assert called("evaluate.py", "--workdir", tiny.workdir, *few) == 0
    return folders


def test_equal_models_differ_by_noise_alone(scored, tmp_path, call) -> None:
    told = call("evaluate.py", "--compare", *scored, "--out", tmp_path)
    assert (told.code, told.err) == (0, f"the comparison is {tmp_path}/comparison.html, one file\n")
    assert "within noise" in told.out
    assert "beyond noise" not in told.out
    rows = json.loads((tmp_path / "comparison.json").read_text())
    assert {row["measure"] for row in rows} >= {"MMD²", "label accuracy", "recall of pixels"}
    page = (tmp_path / "comparison.html").read_text()
    assert page.count(">within noise<") == len(rows)
    assert (tmp_path / "comparison_levels.png").exists()


def test_what_cannot_be_compared_is_one_line(scored, tmp_path, call) -> None:
    mistakes = [
        (scored[:1], "compare: give two or more runs, each once"),
        ([scored[0], tmp_path], f"{tmp_path}/report.json: no such file; run evaluate.py --workdir {tmp_path} first"),
        ([*scored, "--num=twelve"], "flag --num=twelve: "),
        ([*scored, "--workdir", tmp_path], "--compare: takes no --workdir; give the runs themselves"),
    ]
    for argv, message in mistakes:
        told = call("evaluate.py", "--compare", *argv, "--out", tmp_path / "out")
        assert (told.code, told.out) == (2, ""), argv
        assert message in told.err
        assert told.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
    assert "unexpected argument" in call("sample.py", "--workdir", tmp_path, "more").err
