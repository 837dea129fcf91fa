"""Quality over settings of a sampler, of one model: what is varied, what is drawn, and what need not be drawn again."""

import hashlib
import re
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from math import isfinite, prod
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from diffjax import evaluation as ev
from diffjax import reports
from diffjax.commands import image_sampler
from diffjax.commands.evaluation_subject import EvaluationSubject
from diffjax.commands.image_sampler import ImageSampler, count_evaluations
from diffjax.errors import UserError, warn
from diffjax.utils.tree_paths import leaves_by_name

NAMES = ("sampler", "grid", "steps", "guidance")
DEFAULT_VALUES: Mapping[
    str, tuple[Any, ...]
] = {  # what a name alone means; of the first two, those that serve the model
    "sampler": ("ddim", "heun", "dpmpp_2m", "posterior", "confidence", "remask"),
    "grid": ("uniform", "karras", "log_snr"),
    "steps": (5, 10, 20, 50, 100),
    "guidance": (1.0, 1.5, 2.0, 3.0),
}
MAX_ROWS = 1_000  # settings of one sweep
FOLDER = "sweep"  # of the rows
_SETTING = re.compile(r"(\w+)\s*(?:=(.*))?", re.DOTALL)

Lists = Mapping[str, Sequence[Any]]


class PlannedRow(NamedTuple):
    """One setting, and what draws with it."""

    settings: dict[str, Any]
    sampler: ImageSampler


def parse_lists(texts: Sequence[str], names: Sequence[str] = NAMES) -> dict[str, list[Any]]:
    """The settings that are varied, each with its values: `steps=5,10,20`, `sampler=heun,ddim(eta=1.0),guidance`.

    A name alone has no values here, and means the usual ones. Raises UserError for what is neither.
    """
    result: dict[str, list[Any]] = {}
    for text in texts:
        name = ""
        for part in _split_at_commas(text):
            new = _SETTING.fullmatch(part)
            if new and (new[1] in names or new[2] is not None):
                name = _new_name(new[1], result, names)
                result[name] = [] if new[2] is None else [_parse_setting(name, new[2].strip())]
            elif name and result[name]:
                result[name].append(_parse_setting(name, part))
            else:
                raise UserError(f"--sweep: cannot read {part!r}; give names of {', '.join(names)}, or name=value,value")
    for name, values in result.items():
        if len(set(values)) < len(values):
            raise UserError(f"--sweep {name}: a value is given twice; give each once")
    if not result:
        raise UserError(f"--sweep: name what is varied, of {', '.join(names)}, as steps=5,10,20")
    return result


def plan_rows(model: EvaluationSubject, lists: Lists, fixed_settings: Mapping[str, Any]) -> list[PlannedRow]:
    """Every combination of the values, in their order, with the `fixed_settings` that are not varied.

    Raises UserError naming the combination that does not serve the model, before anything is drawn.
    """
    defaults = {**fixed_settings, **{name: values[0] for name, values in lists.items() if values}}
    complete_lists = {name: values or _default_values(model, name, defaults) for name, values in lists.items()}
    if (count := prod(map(len, complete_lists.values()))) > MAX_ROWS:
        raise UserError(f"--sweep: {count:,} settings are more than {MAX_ROWS:,}; give fewer values")
    all_settings = [
        {**fixed_settings, **dict(zip(complete_lists, values, strict=True))}
        for values in product(*complete_lists.values())
    ]
    return [PlannedRow(settings, _sampler_for(model, settings)) for settings in all_settings]


def run_sweep(
    model: EvaluationSubject,
    lists: Lists,
    fixed_settings: Mapping[str, Any],
    out: Path,
    *,
    count: int,
    seed: int,
    batch: int,
) -> reports.Sweep:
    """As many samples of each setting, from the same keys, measured; rows that are in out/sweep are not drawn again.

    Each row is written when it is measured, so that a sweep that was ended goes on from there. Raises UserError for
    settings that do not serve the model, before anything is drawn.
    """
    plan, kernels = plan_rows(model, lists, fixed_settings), ev.kernels_for(int(np.prod(model.info.facts.shape)))
    about, folder = sweep_identity(model, kernels, count, seed), out / FOLDER
    rows = [_read_row(folder, about, settings) for settings, _ in plan]
    print(f"{sum(row is not None for row in rows)} of {len(rows)} settings are at hand", file=sys.stderr, flush=True)
    baseline_scores: Sequence[ev.Score] = next((row.scores for row in rows if row is not None), ())
    rows_done: list[reports.SweepRow] = []
    for number, ((settings, sampler), row) in enumerate(zip(plan, rows, strict=True), 1):
        if row is None:
            row = _measure_row(model, settings, sampler, kernels, baseline_scores, (count, seed, batch))
            reports.write_row(folder, about, row)
            description = reports.describe_settings({name: settings[name] for name in lists})
            print(f"{number} of {len(rows)}: {description}, {row.seconds:.1f} s", file=sys.stderr, flush=True)
        baseline_scores = row.scores
        rows_done.append(row)
    return reports.Sweep(f"Sweep of {model.workdir.name}", tuple(lists), rows_done, about)


def sweep_identity(model: EvaluationSubject, kernels: ev.Kernels, count: int, seed: int) -> dict[str, Any]:
    """All that the numbers of a row depend on, its settings aside; by content, so that a run may be moved."""
    info, labels = model.info, {name: labels for name, (_, labels) in model.splits.items()}
    reference = reports.provenance(count, "", 0, seed, model.splits).fingerprint
    return {
        "samples": count,
        "seed": seed,
        "checkpoint": f"step {info.step:,}, config {info.config_hash}, ema {info.ema}",
        "weights": _digest(model.denoise.variables),
        "reference": f"images {reference}, labels {_digest(labels)}, {info.facts.levels} levels",
        "kernels": ", ".join(f"{name} {width!r}" for name, width in vars(kernels).items()),
        "computed on": jax.default_backend(),
    }


def _measure_row(
    model: EvaluationSubject,
    settings: dict[str, Any],
    sampler: ImageSampler,
    kernels: ev.Kernels,
    baseline_scores: Sequence[ev.Score],
    options: tuple[int, int, int],
) -> reports.SweepRow:
    """Draws and measures; `baseline_scores` are the scores of another row, if there is one."""
    count, seed, batch = options
    (cond, labels), start_s = model.balanced_conditions(count), time.perf_counter()
    images = image_sampler.sample_images(sampler, jax.random.key(seed), count, batch, cond)
    seconds = time.perf_counter() - start_s
    scores = ev.all_scores(
        images, labels, model.splits, model.info.facts.levels, kernels=kernels, previous=baseline_scores
    )
    return reports.SweepRow(settings, count_evaluations(sampler)[0], seconds, scores)


def _read_row(folder: Path, about: Mapping[str, Any], settings: dict[str, Any]) -> reports.SweepRow | None:
    """The row, where it is at hand; one that is damaged is named, and not."""
    try:
        return reports.read_row(folder, about, settings)
    except UserError as mistake:
        warn(f"{mistake}; it is computed anew")
        return None


def _sampler_for(model: EvaluationSubject, settings: dict[str, Any]) -> ImageSampler:
    try:
        return model.build_sampler(settings)
    except UserError as mistake:
        raise UserError(f"--sweep: with {reports.describe_settings(settings)}: {mistake}") from None


def _default_values(model: EvaluationSubject, name: str, fixed_settings: Mapping[str, Any]) -> Sequence[Any]:
    """The usual values; of samplers and grids those that serve the model, or else the one that is asked for."""
    if name not in ("sampler", "grid"):
        return DEFAULT_VALUES[name]
    return [value for value in DEFAULT_VALUES[name] if _serves(model, {**fixed_settings, name: value})] or [
        fixed_settings[name]
    ]


def _serves(model: EvaluationSubject, settings: dict[str, Any]) -> bool:
    try:
        model.build_sampler(settings)
    except UserError:
        return False
    return True


def _new_name(name: str, lists: Mapping[str, Any], names: Sequence[str]) -> str:
    """The name of a setting that has not been given yet."""
    if name not in names:
        raise UserError(f"--sweep {name}: no such setting; choose from {', '.join(names)}")
    if name in lists:
        raise UserError(f"--sweep {name}: is given twice; give all its values in one list")
    return name


def _split_at_commas(text: str) -> list[str]:
    """The text between commas that stand outside of brackets and of quotes."""
    parts, depth, quoted = [""], 0, ""
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        quoted = {quoted: "", "": letter}.get(quoted and letter, quoted) if letter in "'\"" else quoted
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _parse_setting(name: str, text: str) -> Any:
    """A value of that setting. Raises UserError for what cannot be one."""
    if not text:
        raise UserError(f"--sweep {name}: a value is missing; give them as {name}=…,…")
    is_quoted = len(text) > 1 and text[0] == text[-1] in ("'", '"')
    return _PARSERS.get(name, str)(text[1:-1] if is_quoted else text)


def _parse_integer(name: str, minimum: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) < minimum:
        raise UserError(f"--sweep {name}: expected whole numbers from {minimum} on, got {text!r}")
    return int(text)


def _parse_finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise UserError(f"--sweep guidance: expected finite numbers, got {text!r}")
    return number


_PARSERS = {
    "steps": partial(_parse_integer, "steps", 1),
    "seed": partial(_parse_integer, "seed", 0),
    "guidance": _parse_finite,
}


def _digest(tree: PyTree) -> str:
    """Sixteen digits that change with any leaf."""
    digest = hashlib.sha256()
    for name, leaf in sorted(leaves_by_name(tree).items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
