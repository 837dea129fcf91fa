"""From a run's folder, or one exported file of weights, to a denoiser, and to an exported file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from diffjax.denoising import NetDenoiser, denoiser
from diffjax.errors import UserError
from diffjax.experiment import build, run_record
from diffjax.experiment.config import Config
from diffjax.experiment.data_spec import DataSpec
from diffjax.experiment.model_info import ModelInfo
from diffjax.experiment.run_record import Record
from diffjax.nets.adapters import merge_adapters as plain_net
from diffjax.order import Order
from diffjax.protocols import Noise
from diffjax.training import checkpoint, retention, safetensors_io
from diffjax.training import ema as averages
from diffjax.training.ema import STD
from diffjax.training.identity import Identity, check_file, check_snapshot
from diffjax.training.variables_files import KIND
from diffjax.utils.kinds import matches_type
from diffjax.utils.tree_paths import leaves_by_name
from diffjax.utils.values import python_scalar

SNAPSHOTS = "snapshots"
StepChoice = int | Literal["best"] | None


@dataclass(frozen=True)
class Weights:
    """An average of a run's weights; `synthesis` says of which snapshots it was made, where it was not stored."""

    params: PyTree
    record: Record
    step: int
    ema: str
    synthesis: str = ""

    @property
    def config(self) -> Config:
        """The config of its run."""
        return self.record.config

    @property
    def data(self) -> DataSpec:
        """The data that its run was trained on."""
        return self.record.data


class TrainedModel(NamedTuple):
    """A denoiser, the noise and order that it was trained with, and the record of where it comes from."""

    denoise: NetDenoiser
    noise: Noise
    order: Order
    info: ModelInfo


def load(
    source: str | Path, *, ema: str | None = None, step: StepChoice = None, allow_imports: bool = False
) -> TrainedModel:
    """The denoiser of a run's folder or of an exported file, its noise and order, and where they come from.

    See `loading.load`.
    """
    _check_request(ema, step)
    weights = read_weights(Path(source), ema, step, allow_imports)
    built = build.build_model(weights.config.model, weights.data)
    run_record.warn_of_changed_modules(weights.record, str(source))
    # Bound to no device, like keys.
    device_params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), weights.params)
    net, params = plain_net(built.net, device_params)
    name = weights.ema + weights.synthesis
    info = ModelInfo(net, weights.data, weights.config, weights.step, name, weights.record.splits)
    return TrainedModel(denoiser(built.noise, net, {"params": params}), built.noise, built.order, info)


def _check_request(ema: object, step: object) -> None:
    """Raise UserError for what names no average or step."""
    if ema is not None and not isinstance(ema, str):
        raise UserError(f"dj.load: ema must be the name of an average, such as '0.999', got {ema!r}")
    if step not in (None, "best") and not matches_type(python_scalar(step), int):
        raise UserError(f"dj.load: step must be a whole number, 'best' or None, got {step!r}")


def read_weights(source: Path, ema: str | None = None, step: StepChoice = None, allow_imports: bool = False) -> Weights:
    """The weights of a run's folder or of an exported file, the shapes of which are those of its net."""
    if source.is_file():
        return _read_exported(source, ema, step, allow_imports)
    record = run_record.read_record(source, allow_imports)
    shapes = _net_shapes(record)
    folder = source / "checkpoints"

    def select(emas: dict[str, PyTree]) -> list[str]:
        for params in emas.values():
            _check_shapes(params, shapes, source)
        if ema is None or ema in emas or not ema.startswith(STD):
            return [averages.select_average(tuple(emas), ema)]
        if not (names := [name for name in emas if name.startswith(STD)]):
            raise UserError(f"ema: {ema} can be made where train.ema_std was set, and {source} has none")
        return names

    at, emas = checkpoint.read(folder, _resolve_step(folder, record.config, step), select, record.identity)
    if ema is None or ema in emas:
        (name,) = emas
        return Weights(emas[name], record, at, name)
    params, synthesis_text = _synthesize_average(source / SNAPSHOTS, emas, at, ema, shapes, record.identity)
    return Weights(params, record, at, ema, synthesis_text)


def export_weights(weights: Weights, path: Path) -> None:
    """Write weights and all that is needed to use them into one file, which `load` reads."""
    identity = weights.record.identity
    whose = identity.about if identity.run else {}
    about = {
        **run_record.record_document(weights.record),
        **whose,
        "step": weights.step,
        "ema": weights.ema + weights.synthesis,
    }
    safetensors_io.write(path, weights.params, about)


def store_snapshot(workdir: Path, step: int, emas: dict[str, PyTree], identity: Identity) -> None:
    """Store the averages of constant share at a step, from which those of other lengths are made."""
    stored_averages = {name: params for name, params in emas.items() if name.startswith(STD)}
    safetensors_io.write(
        workdir / SNAPSHOTS / f"{step:08d}{safetensors_io.SUFFIX}", stored_averages, {"step": step, **identity.about}
    )


def _read_exported(path: Path, ema: str | None, step: StepChoice, allow_imports: bool) -> Weights:
    """What `export_weights` wrote: one average of one step."""
    params, about = safetensors_io.read(path)
    if about.get("kind") == KIND:
        raise UserError(
            f"{path}: has no config, as dj.save writes weights; read it with dj.load_variables(path, net, x)"
        )
    record = run_record.validate_record(about, str(path), allow_imports)
    check_file(path, about, record.identity)
    at = about.get("step")
    name = about.get("ema")
    if not isinstance(at, int) or not isinstance(name, str):
        raise UserError(f"{path}: is no exported run; use a file that export.py wrote")
    if ema not in (None, name) or step not in (None, at):
        raise UserError(f"{path}: holds average {name} of step {at:,} alone; leave --ema and --step out")
    _check_shapes(params, _net_shapes(record), path)
    return Weights(params, record, at, name)


def _resolve_step(folder: Path, config: Config, step: StepChoice) -> int | None:
    """The step of a request; the best by the metric that the run keeps the best of, or by the validation loss."""
    if step != "best":
        return step
    metric = config.train.keep_best or "validation_loss"
    best_path = retention.best_checkpoint(folder, metric)
    if best_path is None:
        raise UserError(f"{folder}: no checkpoint here has a {metric}; give a step, or leave --step out")
    return int(best_path.name)


def _synthesize_average(
    folder: Path, emas: dict[str, PyTree], at: int, name: str, shapes: dict[str, tuple[int, ...]], identity: Identity
) -> tuple[PyTree, str]:
    """The average of that name after step `at`, of the checkpoint's and those of earlier snapshots, in float64."""
    std = averages.std_from_name(name)
    names = sorted(emas)
    earlier = [int(path.stem) for path in folder.glob(f"*{safetensors_io.SUFFIX}") if path.stem.isdecimal()]
    steps = sorted(step for step in earlier if step < at)
    stored_averages = [(step, averages.std_from_name(stored_name)) for step in (*steps, at) for stored_name in names]
    amounts, error = averages.synthesis_weights(stored_averages, at, std)
    if error > averages.MAX_RESIDUAL:
        raise UserError(
            f"ema: {name} is too far from what was stored (its profile would be {error:.0%} off, of {len(steps)} "
            f"snapshots); ask for one nearer to {', '.join(names)}, or store more with train.snapshot_every_steps"
        )
    total: PyTree = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), emas[names[0]])
    for i, step in enumerate((*steps, at)):
        path = folder / f"{step:08d}{safetensors_io.SUFFIX}"
        source = emas
        if step != at:
            source, about = safetensors_io.read(path)
            check_snapshot(path, about, identity)
        for stored_name, amount in zip(names, amounts[i * len(names) :], strict=False):
            _check_shapes(source.get(stored_name, {}), shapes, path)
            total = jax.tree.map(
                lambda sum, leaf, a=amount: sum + a * np.asarray(leaf, np.float64), total, source[stored_name]
            )
    params = jax.tree.map(lambda leaf: leaf.astype(np.float32), total)
    return params, f" (of {len(steps)} snapshots, profile {error:.2%} off)"


def _check_shapes(params: PyTree, shapes: dict[str, tuple[int, ...]], source: Path) -> None:
    if {path: leaf.shape for path, leaf in leaves_by_name(params).items()} != shapes:
        config = run_record.CONFIG
        raise UserError(f"{source}: the weights are of another net than {config} says; restore it, or train again")


def _net_shapes(record: Record) -> dict[str, tuple[int, ...]]:
    """The shape of each weight of the net that a record describes."""
    net = build.build_model(record.config.model, record.data).net
    x = record.data.encoding.empty(record.data.shape)
    param_shapes = jax.eval_shape(net.init, jax.random.key(0), x, jnp.zeros((1,) * x.ndim))["params"]
    return {path: leaf.shape for path, leaf in leaves_by_name(param_shapes).items()}
