"""Tiny runs of train.py in processes of their own, and what can be seen of them from outside."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from diffjax.training import checkpoint, manifest, metrics_file, retention

ROOT = Path(__file__).parents[2]
KEEP = 3

CONFIG = '''"""An MLP on the digits, as small as can be, which logs every step."""

from diffjax.experiment.config import Config, Data, Model, Sample, Train


def get_config():
    return Config(
        data=Data(dir={data!r}, batch_size=64),
        model=Model(net="MLP(width=8, depth=1)"),
        train=Train(log_every_steps=1, keep_checkpoints={keep}, picture_every_steps=10**9, writers=("jsonl",)),
        sample=Sample(sampler="ddim", steps=1),
    )
'''


def config_in(folder: Path) -> Path:
    """The config of all runs in a folder, which share a data set there."""
    path = folder / "config.py"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(CONFIG.format(data=str(folder / "data"), keep=KEEP))
    return path


def environment(devices: int) -> dict[str, str]:
    """That of a process with so many CPU devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    paths = f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}"
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": paths}


def begin(workdir: Path, devices: int = 1, **train: Any) -> subprocess.Popen:
    """Training in a process group of its own, its words in log.txt beside the workdir (a new file each time)."""
    options = [f"--config.train.{name}={value}" for name, value in train.items()]
    command = [sys.executable, str(ROOT / "train.py"), "--config", str(config_in(workdir.parent)), "--workdir"]
    command += [str(workdir), *options]
    with log_of(workdir).open("wb") as log:
        outputs = {"stdout": log, "stderr": log, "start_new_session": True}
        return subprocess.Popen(command, env=environment(devices), cwd=ROOT, **outputs)


def finish(workdir: Path, devices: int = 1, **train: Any) -> None:
    """Training to its end, which must be a good one."""
    if begin(workdir, devices, **train).wait():
        raise failure(workdir)


def failure(workdir: Path) -> RuntimeError:
    """What the last process of a workdir said before it ended."""
    return RuntimeError(f"train.py ended: {log_of(workdir).read_text(errors='replace')[-2_000:]}")


def program(name: str, *args: object, devices: int = 1) -> str:
    """What a program of this folder prints, run with so many devices."""
    command = [sys.executable, str(Path(__file__).parent / name), *map(str, args)]
    return subprocess.run(command, env=environment(devices), check=True, stdout=subprocess.PIPE, text=True).stdout


def log_of(workdir: Path) -> Path:
    """Where the words of a workdir's last process are."""
    return workdir.with_name(f"{workdir.name}.log.txt")


def resumed_from(workdir: Path) -> int | None:
    """The step that the last process said it goes on from; None where it has not come so far."""
    found = re.search(r"device\(s\), step ([\d,]+) to", log_of(workdir).read_text(errors="replace"))
    return int(found.group(1).replace(",", "")) if found else None


def listing(workdir: Path) -> list[str]:
    """All names in the folder of checkpoints."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(path.name for path in (workdir / "checkpoints").iterdir())
    return []


def whole(workdir: Path) -> list[int]:
    """The steps whose checkpoints verify, the newest first."""
    folder = workdir / "checkpoints"
    return [int(path.name) for path in retention.checkpoint_folders(folder) if not manifest.find_damage(path)]


def trace(workdir: Path) -> dict[int, tuple[float, float]]:
    """Loss and norm of the gradient of each step that was logged."""
    with contextlib.redirect_stderr(io.StringIO()):  # half a line is what a killed run leaves
        read = metrics_file.read(workdir / metrics_file.NAME)
    return {row.step: (row.values["loss"], row.values["grad_norm"]) for row in read}


def last_told(workdir: Path) -> int:
    """The last step that was logged; 0 where none was."""
    return max(trace(workdir), default=0)


def tree(folder: Path, step: int) -> dict[str, Any]:
    """All that a checkpoint of this version holds, on one device."""
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    path = (folder / f"{step:08d}" / "state").absolute()

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)

    with ocp.PyTreeCheckpointer() as orbax:
        described: Any = orbax.metadata(path).item_metadata
        target = {name: jax.tree.map(shape, described[name]) for name in checkpoint.FIELDS}
        arguments = ocp.checkpoint_utils.construct_restore_args(target)
        return orbax.restore(path, args=ocp.args.PyTreeRestore(target, arguments))


def bits(workdir: Path, step: int) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Type, shape and bytes of every leaf of a checkpoint."""
    found = jax.tree_util.tree_leaves_with_path(tree(workdir / "checkpoints", step))
    leaves = [(jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in found]
    return {path: (str(leaf.dtype), leaf.shape, leaf.tobytes()) for path, leaf in leaves}
