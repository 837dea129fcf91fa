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
from diffjax.commands.evaluation_subject import Subject
from diffjax.commands.image_sampler import Painter, evaluations
from diffjax.errors import UserError, warn
from diffjax.utils.tree_paths import by_name

NAMES = ("sampler", "grid", "steps", "guidance")
USUAL: Mapping[str, tuple[Any, ...]] = {  # what a name alone means; of the first two, those that serve the model
    "sampler": ("ddim", "heun", "dpmpp_2m", "posterior", "confidence", "remask"),
    "grid": ("uniform", "karras", "log_snr"),
    "steps": (5, 10, 20, 50, 100),
    "guidance": (1.0, 1.5, 2.0, 3.0),
}
MOST = 1_000  # settings of one sweep
FOLDER = "sweep"  # of the rows
_NEW = re.compile(r"(\w+)\s*(?:=(.*))?", re.DOTALL)

Lists = Mapping[str, Sequence[Any]]


class Planned(NamedTuple):
    """One setting, and what draws with it."""

    settings: dict[str, Any]
    painter: Painter


def lists_of(texts: Sequence[str], names: Sequence[str] = NAMES) -> dict[str, list[Any]]:
    """The settings that are varied, each with its values: `steps=5,10,20`, `sampler=heun,ddim(eta=1.0),guidance`.

    A name alone has no values here, and means the usual ones. Raises UserError for what is neither.
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        name = ""
        for part in _parts(text):
            new = _NEW.fullmatch(part)
            if new and (new[1] in names or new[2] is not None):
                name = _new(new[1], found, names)
                found[name] = [] if new[2] is None else [_read(name, new[2].strip())]
            elif name and found[name]:
                found[name].append(_read(name, part))
            else:
                raise UserError(f"--sweep: cannot read {part!r}; give names of {', '.join(names)}, or name=value,value")
    for name, values in found.items():
        if len(set(values)) < len(values):
            raise UserError(f"--sweep {name}: a value is given twice; give each once")
    if not found:
        raise UserError(f"--sweep: name what is varied, of {', '.join(names)}, as steps=5,10,20")
    return found


def planned(model: Subject, lists: Lists, others: Mapping[str, Any]) -> list[Planned]:
    """Every combination of the values, in their order, with the `others` that are not varied.

    Raises UserError naming the combination that does not serve the model, before anything is drawn.
    """
    first = {**others, **{name: values[0] for name, values in lists.items() if values}}
    whole = {name: values or _usual(model, name, first) for name, values in lists.items()}
    if (count := prod(map(len, whole.values()))) > MOST:
        raise UserError(f"--sweep: {count:,} settings are more than {MOST:,}; give fewer values")
    made = [{**others, **dict(zip(whole, values, strict=True))} for values in product(*whole.values())]
    return [Planned(settings, _painter(model, settings)) for settings in made]


def swept(
    model: Subject, lists: Lists, others: Mapping[str, Any], out: Path, *, count: int, seed: int, batch: int
) -> reports.Sweep:
    """As many samples of each setting, from the same keys, measured; rows that are in out/sweep are not drawn again.

    Each row is written when it is measured, so that a sweep that was ended goes on from there. Raises UserError for
    settings that do not serve the model, before anything is drawn.
    """
    plan, kernels = planned(model, lists, others), ev.kernels_for(int(np.prod(model.info.facts.shape)))
    about, folder = identity(model, kernels, count, seed), out / FOLDER
    rows = [_at_hand(folder, about, settings) for settings, _ in plan]
    print(f"{sum(row is not None for row in rows)} of {len(rows)} settings are at hand", file=sys.stderr, flush=True)
    beside: Sequence[ev.Measured] = next((row.scores for row in rows if row is not None), ())
    done: list[reports.Swept] = []
    for number, ((settings, painter), row) in enumerate(zip(plan, rows, strict=True), 1):
        if row is None:
            row = _row(model, settings, painter, kernels, beside, (count, seed, batch))
            reports.write_row(folder, about, row)
            told = reports.settings_told({name: settings[name] for name in lists})
            print(f"{number} of {len(rows)}: {told}, {row.seconds:.1f} s", file=sys.stderr, flush=True)
        beside = row.scores
        done.append(row)
    return reports.Sweep(f"Sweep of {model.workdir.name}", tuple(lists), done, about)


def identity(model: Subject, kernels: ev.Kernels, count: int, seed: int) -> dict[str, Any]:
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


def _row(
    model: Subject,
    settings: dict[str, Any],
    painter: Painter,
    kernels: ev.Kernels,
    beside: Sequence[ev.Measured],
    how: tuple[int, int, int],
) -> reports.Swept:
    """Draws and measures; `beside` are the scores of another row, if there is one."""
    count, seed, batch = how
    (cond, labels), before = model.asked(count), time.perf_counter()
    images = image_sampler.images(painter, jax.random.key(seed), count, batch, cond)
    seconds = time.perf_counter() - before
    scores = ev.measured(images, labels, model.splits, model.info.facts.levels, kernels=kernels, beside=beside)
    return reports.Swept(settings, evaluations(painter)[0], seconds, scores)


def _at_hand(folder: Path, about: Mapping[str, Any], settings: dict[str, Any]) -> reports.Swept | None:
    """The row, where it is at hand; one that is damaged is named, and not."""
    try:
        return reports.read_row(folder, about, settings)
    except UserError as mistake:
        warn(f"{mistake}; it is computed anew")
        return None


def _painter(model: Subject, settings: dict[str, Any]) -> Painter:
    try:
        return model.painter(settings)
    except UserError as mistake:
        raise UserError(f"--sweep: with {reports.settings_told(settings)}: {mistake}") from None


def _usual(model: Subject, name: str, others: Mapping[str, Any]) -> Sequence[Any]:
    """The usual values; of samplers and grids those that serve the model, or else the one that is asked for."""
    if name not in ("sampler", "grid"):
        return USUAL[name]
    return [value for value in USUAL[name] if _serves(model, {**others, name: value})] or [others[name]]


def _serves(model: Subject, settings: dict[str, Any]) -> bool:
    try:
        model.painter(settings)
    except UserError:
        return False
    return True


def _new(name: str, found: Mapping[str, Any], names: Sequence[str]) -> str:
    """The name of a setting that has not been given yet."""
    if name not in names:
        raise UserError(f"--sweep {name}: no such setting; choose from {', '.join(names)}")
    if name in found:
        raise UserError(f"--sweep {name}: is given twice; give all its values in one list")
    return name


def _parts(text: str) -> list[str]:
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


def _read(name: str, text: str) -> Any:
    """A value of that setting. Raises UserError for what cannot be one."""
    if not text:
        raise UserError(f"--sweep {name}: a value is missing; give them as {name}=…,…")
    whole = len(text) > 1 and text[0] == text[-1] in ("'", '"')
    return _READ.get(name, str)(text[1:-1] if whole else text)


def _whole(name: str, least: int, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) < least:
        raise UserError(f"--sweep {name}: expected whole numbers from {least} on, got {text!r}")
    return int(text)


def _finite(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise UserError(f"--sweep guidance: expected finite numbers, got {text!r}")
    return number


_READ = {
    "steps": partial(_whole, "steps", 1),
    "seed": partial(_whole, "seed", 0),
    "guidance": _finite,
}


def _digest(tree: PyTree) -> str:
    """Sixteen digits that change with any leaf."""
    found = hashlib.sha256()
    for name, leaf in sorted(by_name(tree).items()):
        array = np.ascontiguousarray(leaf)
        found.update(f"{name} {array.shape} {array.dtype}".encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]
