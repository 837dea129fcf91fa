"""The console command `diffjax`: the same commands as the files at the root."""

import subprocess
import sys
from pathlib import Path

import pytest

from diffjax.commands import main

ROOT = Path(__file__).parents[2]


def test_help_lists_the_commands(monkeypatch, capsys) -> None:
    for argv in (["diffjax"], ["diffjax", "--help"]):
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as end:
            main.main()
        assert end.value.code == 0
        out = capsys.readouterr().out
        assert all(f"diffjax {name} " in out for name in ("train", "sample", "evaluate", "export"))


def test_an_unknown_command_is_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["diffjax", "tarin"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "'tarin'" in err


def test_a_command_has_its_name_in_help_and_in_mistakes(tmp_path) -> None:
    """A process of its own, from another folder."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from diffjax.commands import main; main.main()"
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", code, "export"]
    runs = [subprocess.Popen([*command, flag], **options) for flag in ("--help", "--out=x")]
    (out, _), (_, err) = (run.communicate(timeout=300) for run in runs)
    assert "diffjax export --workdir" in out
    assert [run.returncode for run in runs] == [0, 2]
    assert err.startswith("diffjax export: --workdir: ")
