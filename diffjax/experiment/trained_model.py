"""From what was trained, a run's folder or one file of weights, to a denoiser, to another file, and to another run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from diffjax.conditions import knows_labels
from diffjax.data.split_rules import SplitRecord
from diffjax.denoising import NetDenoiser, denoiser
from diffjax.errors import UserError
from diffjax.experiment import data_spec, run_record
from diffjax.experiment.data_spec import Facts
from diffjax.experiment.run_record import Record
from diffjax.nets.adapters import plain as plain_net
from diffjax.order import Order
from diffjax.protocols import Noise
from diffjax.training import checkpoint, retention, safetensors_io
from diffjax.training import ema as averages
from diffjax.training.ema import STD
from diffjax.training.identity import Identity, check_file, check_snapshot
from diffjax.training.variables_files import KIND
from diffjax.utils.kinds import holds, plain
from diffjax.utils.tree_paths import by_name

SNAPSHOTS = "snapshots"
Step = int | Literal["best"] | None


@dataclass(frozen=True)
class Info:
    """Where a loaded denoiser comes from."""

    net: Any
    facts: Facts
    config: dict[str, Any]
    config_hash: str
    step: int
    ema: str
    splits: SplitRecord | None = None

    @property
    def conditional(self) -> bool:
        """Whether the net knows classes."""
        return knows_labels(self.net.null_cond)


@dataclass(frozen=True)
class Weights:
    """An average of a run's weights, and which it is; `made` says of what it was made, where it was not stored."""

    params: PyTree
    record: Record
    step: int
    ema: str
    made: str = ""

    @property
    def config(self) -> dict[str, Any]:
        """The config of its run."""
        return self.record.config

    @property
    def facts(self) -> Facts:
        """The facts of the data that it learnt."""
        return self.record.facts


Loaded = tuple[NetDenoiser, Noise, Order, Info]


def load(source: str | Path, *, ema: str | None = None, step: Step = None) -> Loaded:
    """The denoiser of a run's folder or of an exported file, its noise and order, and where they come from.

    By default the newest whole checkpoint and its average of the longest decay; `step` may be "best", and `ema` an
    average of any length, such as "std=0.15", where the run has stored snapshots. Raises UserError where there is no
    run, or not that step or average, or weights of another run or net than its config says.
    """
    _check_request(source, ema, step)
    found = weights(Path(source), ema, step)
    built = data_spec.built_model(found.config["model"], found.facts)
    here = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), found.params)  # bound to no device, like keys
    net, params = plain_net(built.net, here)
    info = Info(
        net,
        found.facts,
        found.config,
        data_spec.config_hash(found.config),
        found.step,
        found.ema + found.made,
        found.record.splits,
    )
    return denoiser(built.noise, net, {"params": params}), built.noise, built.order, info


def _check_request(source: Any, ema: Any, step: Any) -> None:
    """Raise UserError for what names no run, average or step."""
    if not isinstance(source, str | Path):
        raise UserError(
            f"load: source must be a run's folder or an exported file, such as 'runs/digits', got {source!r}"
        )
    if ema is not None and not isinstance(ema, str):
        raise UserError(f"load: ema must be the name of an average, such as '0.999', got {ema!r}")
    if step not in (None, "best") and not holds(plain(step), int):
        raise UserError(f"load: step must be a whole number, 'best' or None, got {step!r}")


def weights(source: Path, ema: str | None = None, step: Step = None) -> Weights:
    """The weights of a run's folder or of an exported file, the shapes of which are those of its net."""
    if source.is_file():
        return _of_file(source, ema, step)
    saved = run_record.read(source)
    shapes, folder = _net_shapes(saved.config, saved.facts), source / "checkpoints"

    def chosen(emas: dict[str, PyTree]) -> list[str]:
        for params in emas.values():
            _check_shapes(params, shapes, source)
        if ema is None or ema in emas or not ema.startswith(STD):
            return [averages.picked(tuple(emas), ema)]
        if not (names := [name for name in emas if name.startswith(STD)]):
            raise UserError(f"ema: {ema} can be made where train.ema_std was set, and {source} has none")
        return names

    at, emas = checkpoint.read(folder, _step(folder, saved.config, step), chosen, saved.identity)
    if ema is None or ema in emas:
        (name,) = emas
        return Weights(emas[name], saved, at, name)
    params, made = _synthesised(source / SNAPSHOTS, emas, at, ema, shapes, saved.identity)
    return Weights(params, saved, at, ema, made)


def export(found: Weights, path: Path) -> None:
    """Write weights and all that is needed to use them into one file, which `load` reads."""
    identity = found.record.identity
    whose = identity.about if identity.run else {}
    about = {**run_record.told(found.record), **whose, "step": found.step, "ema": found.ema + found.made}
    safetensors_io.write(path, found.params, about)


def snapshot(workdir: Path, step: int, emas: dict[str, PyTree], identity: Identity) -> None:
    """Store the averages of constant share at a step, from which those of other lengths are made."""
    stored = {name: params for name, params in emas.items() if name.startswith(STD)}
    safetensors_io.write(
        workdir / SNAPSHOTS / f"{step:08d}{safetensors_io.SUFFIX}", stored, {"step": step, **identity.about}
    )


def _of_file(path: Path, ema: str | None, step: Step) -> Weights:
    """What `export` wrote: one average of one step."""
    params, about = safetensors_io.read(path)
    if about.get("kind") == KIND:
        raise UserError(
            f"{path}: has no config, as dj.save writes weights; read it with dj.load_variables(path, net, x)"
        )
    saved = run_record.checked(about, str(path))
    check_file(path, about, saved.identity)
    at, name = about.get("step"), about.get("ema")
    if not isinstance(at, int) or not isinstance(name, str):
        raise UserError(f"{path}: is no exported run; use a file that export.py wrote")
    if ema not in (None, name) or step not in (None, at):
        raise UserError(f"{path}: holds average {name} of step {at:,} alone; leave --ema and --step out")
    _check_shapes(params, _net_shapes(saved.config, saved.facts), path)
    return Weights(params, saved, at, name)


def _step(folder: Path, config: dict[str, Any], step: Step) -> int | None:
    """The step of a request; the best by the metric that the run keeps the best of, or by the validation loss."""
    if step != "best":
        return step
    metric = config["train"].get("keep_best") or "validation_loss"
    found = retention.best(folder, metric)
    if found is None:
        raise UserError(f"{folder}: no checkpoint here has a {metric}; give a step, or leave --step out")
    return int(found.name)


def _synthesised(
    folder: Path, emas: dict[str, PyTree], at: int, name: str, shapes: dict[str, tuple[int, ...]], identity: Identity
) -> tuple[PyTree, str]:
    """The average of that name after step `at`, of the checkpoint's and those of earlier snapshots, in float64."""
    std, names = averages.std_of(name), sorted(emas)
    earlier = [int(path.stem) for path in folder.glob(f"*{safetensors_io.SUFFIX}") if path.stem.isdecimal()]
    steps = sorted(step for step in earlier if step < at)
    stored = [(step, averages.std_of(each)) for step in (*steps, at) for each in names]
    amounts, off = averages.synthesis(stored, at, std)
    if off > averages.WORST:
        raise UserError(
            f"ema: {name} is too far from what was stored (its profile would be {off:.0%} off, of {len(steps)} "
            f"snapshots); ask for one nearer to {', '.join(names)}, or store more with train.snapshot_every_steps"
        )
    total: PyTree = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), emas[names[0]])
    for i, step in enumerate((*steps, at)):
        path = folder / f"{step:08d}{safetensors_io.SUFFIX}"
        source = emas if step == at else _snapshot(path, identity)
        for each, amount in zip(names, amounts[i * len(names) :], strict=False):
            _check_shapes(source.get(each, {}), shapes, path)
            total = jax.tree.map(
                lambda sum, leaf, a=amount: sum + a * np.asarray(leaf, np.float64), total, source[each]
            )
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), total)
    return params, f" (of {len(steps)} snapshots, profile {off:.2%} off)"


def _snapshot(path: Path, identity: Identity) -> PyTree:
    """The averages of a snapshot of that run."""
    emas, about = safetensors_io.read(path)
    check_snapshot(path, about, identity)
    return emas


def _check_shapes(params: PyTree, shapes: dict[str, tuple[int, ...]], source: Path) -> None:
    if {path: leaf.shape for path, leaf in by_name(params).items()} != shapes:
        config = run_record.CONFIG
        raise UserError(f"{source}: the weights are of another net than {config} says; restore it, or train again")


def _net_shapes(config: dict[str, Any], facts: Facts) -> dict[str, tuple[int, ...]]:
    """The shape of each weight of the net that a config describes."""
    net, x = data_spec.built_model(config["model"], facts).net, facts.encoding.nothing(facts.shape)
    described = jax.eval_shape(net.init, jax.random.key(0), x, jnp.zeros((1,) * x.ndim))["params"]
    return {path: leaf.shape for path, leaf in by_name(described).items()}
