"""Scores over settings of the sampler, for one model; rows that an earlier call has measured are not drawn again."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import prod
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PyTree

from diffjax import evaluation as ev
from diffjax import reports
from diffjax.commands import image_sampler
from diffjax.commands.evaluation_subject import EvaluationSubject
from diffjax.commands.image_sampler import ImageSampler, count_evaluations
from diffjax.commands.sweep_values import Value
from diffjax.errors import UserError, tell, warn
from diffjax.experiment.config import Sample as SamplerConfig
from diffjax.parallel.batch_progress import BatchProgress
from diffjax.utils.tree_paths import leaves_by_name

DEFAULT_VALUES: Mapping[str, Sequence[Value]] = {  # of samplers and grids, those that serve the model are used
    "sampler": ("ddim", "heun", "dpmpp_2m", "posterior", "confidence", "remask"),
    "grid": ("uniform", "karras", "log_snr"),
    "steps": (5, 10, 20, 50, 100),
    "guidance": (1.0, 1.5, 2.0, 3.0),
}
MAX_ROWS = 1_000
FOLDER = "sweep"  # of the rows, in the folder of the report

Lists = Mapping[str, Sequence[Value]]


@dataclass(frozen=True)
class SweepPlan:
    """What all rows of a sweep share: samples per row, their seed, and images per batch."""

    count: int
    seed: int
    batch: int


def plan_rows(model: EvaluationSubject, lists: Lists, config: SamplerConfig) -> list[ImageSampler]:
    """The sampler of every combination of the values, in order; `config` has the settings that do not vary.

    Raises UserError naming the combination that does not serve the model, before anything is drawn.
    """
    base = replace(config, **{name: values[0] for name, values in lists.items() if values})
    full_lists = {name: values or _default_values(model, name, base) for name, values in lists.items()}
    if (count := prod(map(len, full_lists.values()))) > MAX_ROWS:
        raise UserError(f"--sweep: {count:,} combinations are more than {MAX_ROWS:,}; give fewer values")
    rows = (dict(zip(full_lists, values, strict=True)) for values in product(*full_lists.values()))
    return [_build_sampler(model, replace(config, **row)) for row in rows]


def run_sweep(
    model: EvaluationSubject, lists: Lists, config: SamplerConfig, out: Path, plan: SweepPlan
) -> reports.Sweep:
    """Scores of `plan.count` samples for each combination, all from the same keys.

    Each row is written to out/sweep when it is measured, and read from there by a later call. Raises UserError for
    settings that do not serve the model, before anything is drawn.
    """
    planned = plan_rows(model, lists, config)
    kernels = ev.kernels_for(int(np.prod(model.info.data.shape)))
    identity = sweep_identity(model, kernels, plan.count, plan.seed)
    folder = out / FOLDER
    stored = [_read_row(folder, identity, sampler.config) for sampler in planned]
    tell(f"{sum(row is not None for row in stored)} of {len(stored)} settings were measured before")
    baseline: Sequence[ev.Score] = next((row.scores for row in stored if row is not None), ())
    rows: list[reports.SweepRow] = []
    for number, (new, old) in enumerate(zip(planned, stored, strict=True), 1):
        row = old or _measure_row(model, new, kernels, baseline, plan)
        if old is None:
            reports.write_row(folder, identity, row)
            text = reports.describe_settings({name: row.settings[name] for name in lists})
            tell(f"{number} of {len(planned)}: {text}, {row.seconds:.1f} s")
        baseline = row.scores
        rows.append(row)
    return reports.Sweep(f"Sweep of {model.workdir.name}", tuple(lists), rows, identity)


def sweep_identity(model: EvaluationSubject, kernels: ev.Kernels, count: int, seed: int) -> dict[str, object]:
    """Everything but the settings that the numbers of a row depend on; by content, so that a run may be moved."""
    info = model.info
    labels = {name: labels for name, (_, labels) in model.splits.items()}
    reference = reports.provenance(count, "", 0, seed, model.splits).fingerprint
    return {
        "samples": count,
        "seed": seed,
        "checkpoint": f"step {info.step:,}, config {info.config_hash}, ema {info.ema}",
        "weights": _digest(model.denoise.variables),
        "reference": f"images {reference}, labels {_digest(labels)}, {info.data.levels} levels",
        "kernels": ", ".join(f"{name} {width!r}" for name, width in vars(kernels).items()),
        "computed on": jax.default_backend(),
    }


def _measure_row(
    model: EvaluationSubject, sampler: ImageSampler, kernels: ev.Kernels, baseline: Sequence[ev.Score], plan: SweepPlan
) -> reports.SweepRow:
    """Samples and scores of one row; `baseline` are the scores of another row, if there is one."""
    cond, labels = model.balanced_conditions(plan.count)
    start_s = time.perf_counter()
    with BatchProgress(plan.count) as progress:
        images = image_sampler.sample_images(sampler, jax.random.key(plan.seed), plan.count, plan.batch, cond, progress)
    seconds = time.perf_counter() - start_s
    levels = model.info.data.levels
    scores = ev.all_scores(images, labels, model.splits, levels, kernels=kernels, previous=baseline)
    return reports.SweepRow(asdict(sampler.config), count_evaluations(sampler)[0], seconds, scores)


def _read_row(folder: Path, identity: Mapping[str, object], config: SamplerConfig) -> reports.SweepRow | None:
    """The stored row; None, with a warning, for one that is damaged."""
    try:
        return reports.read_row(folder, identity, asdict(config))
    except UserError as mistake:
        warn(f"{mistake}; it is measured again")
        return None


def _build_sampler(model: EvaluationSubject, config: SamplerConfig) -> ImageSampler:
    try:
        return model.build_sampler(config)
    except UserError as mistake:
        settings = {name: value for name, value in asdict(config).items() if value != ""}
        raise UserError(f"--sweep: with {reports.describe_settings(settings)}: {mistake}") from None


def _default_values(model: EvaluationSubject, name: str, config: SamplerConfig) -> Sequence[Value]:
    """The default values; of samplers and grids those that serve the model, or else the config's own."""
    if name not in ("sampler", "grid"):
        return DEFAULT_VALUES[name]
    serving = []
    for value in DEFAULT_VALUES[name]:
        with suppress(UserError):
            model.build_sampler(replace(config, **{name: value}))
            serving.append(value)
    return serving or [vars(config)[name]]


def _digest(tree: PyTree) -> str:
    """Sixteen digits that change with any leaf."""
    digest = hashlib.sha256()
    for name, leaf in sorted(leaves_by_name(tree).items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
