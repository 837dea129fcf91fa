"""train.py where files cannot grow: told in lines, no traceback, and training goes on to its last step."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import quickly

from diffjax.training import retention

ROOT = Path(__file__).parents[2]
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""


def limited(limit: int, *argv: object) -> subprocess.CompletedProcess[str]:
    """train.py, none of whose files may be larger than `limit` bytes."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), sys.executable, "train.py", *map(str, argv)],
        cwd=ROOT,
        env={
            **os.environ,
            "XLA_FLAGS": quickly.FLAGS,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(ROOT),
            "JAX_ENABLE_COMPILATION_CACHE": "false",  # JAX warns where it cannot write
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("limit", [6_000, *(pytest.param(n, marks=pytest.mark.long) for n in (100, 4_000, 20_000))])
def test_files_that_cannot_grow_end_in_lines(limit, tiny, tmp_path) -> None:
    more = ["--config.train.save_every_steps=1", "--config.train.picture_every_steps=1", "--config.train.steps=3"]
    workdir = tmp_path / "run"
    end = limited(limit, "--config", tiny.config, "--workdir", workdir, *more)
    assert end.returncode == 2, end.stderr
    assert "Traceback" not in end.stderr
    assert "Warning" not in end.stderr
    assert not retention.checkpoint_folders(workdir / "checkpoints")
    if limit == 100:
        assert "config.json" in end.stderr.splitlines()[-1]
        return
    for step in (1, 2, 3):
        assert f"step {step} " in end.stderr
    assert "step 3 " in end.stderr.splitlines()[-1]
    assert not [*(workdir / "checkpoints").glob(".*")]
