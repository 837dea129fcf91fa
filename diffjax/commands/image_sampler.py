"""From a loaded model to pictures in bytes: labels for those who ask for none, batches of one shape, all devices."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key, PyTree, Shaped, UInt8

from diffjax.conditions import LABEL, completed, knows_labels
from diffjax.data import byte_tokenizer
from diffjax.denoising import denoiser, has_head, needs_rank
from diffjax.errors import UserError
from diffjax.evaluation import as_bytes as spread
from diffjax.experiment import build
from diffjax.experiment.data_spec import Facts
from diffjax.experiment.guidance_spec import guided
from diffjax.grids import Grid
from diffjax.nets.condition_encoders import Text
from diffjax.order import Order
from diffjax.parallel.dispatch import batched
from diffjax.protocols import Denoise, Keys, Noise, Step
from diffjax.reports import grid as picture_of
from diffjax.reports import labelled_grid
from diffjax.sampling import blockwise, cached
from diffjax.sampling.driver import sample_for
from diffjax.sampling.loop import stepwise
from diffjax.utils.prng import KeyUse, fold, keys

Report = Callable[[int, int], object]  # is called with the numbers of examples that are done and of all
EACH = 10  # pictures of a class, and classes, that a gallery shows


@dataclass(frozen=True)
class Painter:
    """Everything that is decided before a key and a label: the model under guidance, the rule, the grid, the data."""

    net: Any
    noise: Noise
    order: Order
    denoise: Denoise
    facts: Facts
    step: Step
    grid: Grid
    copies: int  # predictions of the net that guidance takes for one


def painter(
    denoise: Denoise,
    noise: Noise,
    order: Order,
    net: Any,
    facts: Facts,
    settings: dict[str, Any],
    negative: Mapping[str, Any] | None = None,
) -> Painter:
    """The painter of these settings: sampler, grid, steps, and those of guidance (`guiding.guided`).

    `negative` are parts of a condition to be led away from, by guidance. Raises UserError for settings that do not
    serve the model, before anything is drawn.
    """
    step, grid = build.sampler(noise, order, step=settings["sampler"], grid=settings["grid"], count=settings["steps"])
    null = net.null_cond
    if negative:
        null = jax.tree.map(lambda leaf: leaf[0], completed(null, 1, negative))
    under = guided(denoise, noise, grid, null, settings)
    if negative and under.evaluations == 1:
        raise UserError("--negative: it is guidance that leads away from it; give --guidance 2, or so")
    made = Painter(net, noise, order, under.denoise, facts, step, grid, under.evaluations)
    _draw(stepwise, made, keys(0, 1), None)  # checks grid, rule and order against each other, and runs nothing
    return made


def gallery(
    model: build.Model, facts: Facts, settings: dict[str, Any], known: PyTree = None
) -> Callable[[PyTree], UInt8[np.ndarray, "h w c"]]:
    """A picture of weights: samples of the same keys each time, one row for each of the first classes.

    A net without classes, but with other parts, gets a row for each of the conditions that are `known`. Raises
    UserError for settings that do not serve the model, before anything is drawn.
    """
    names, each = _rows(model.net, facts, known)
    rows = np.repeat(np.arange(len(names), dtype=np.int32), EACH) if names else None
    cond = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], each)
    count = EACH * (len(names) or EACH)
    without = denoiser(model.noise, model.net, {"params": {}})  # weights come with each picture
    frame = painter(without, model.noise, model.order, model.net, facts, settings)

    def drawn(variables: PyTree) -> UInt8[np.ndarray, "h w c"]:
        here = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf.addressable_data(0))), variables)
        denoise = denoiser(model.noise, model.net, here)
        under = guided(denoise, model.noise, frame.grid, model.net.null_cond, settings)
        made = images(replace(frame, denoise=under.denoise), jax.random.key(0), count, count, cond)
        return picture_of(made, EACH) if rows is None else labelled_grid(made, rows, names, EACH)

    return drawn


def _rows(net: Any, facts: Facts, known: PyTree) -> tuple[tuple[str, ...], PyTree]:
    """What each row of a gallery is called, and its condition; of no names, rows are not told apart."""
    if knows_labels(net.null_cond):
        names = facts.class_names[:EACH]
        return names, np.arange(len(names), dtype=np.int32)
    if not isinstance(net.null_cond, dict):
        return (), None
    count = len(jax.tree.leaves(known)[0])
    words = next((known[each.part].value for each in net.conditions if isinstance(each, Text)), None)
    return tuple(map(str, range(count)) if words is None else byte_tokenizer.decode(np.asarray(words))), known


def images(
    painter: Painter, root: Key[Array, ""], count: int, batch: int, cond: PyTree, report: Report | None = None
) -> UInt8[np.ndarray, "n h w c"]:
    """Draw examples 0 … count - 1; `cond` has one entry per example, and example i has the key folded from i."""

    def drawn(keys: Keys, cond: PyTree) -> UInt8[np.ndarray, "b h w c"]:
        return as_bytes(_draw(_fastest(painter), painter, keys, cond), painter.facts)

    return batched(drawn, root, count, batch, _known(painter, cond, count), report=report)


def states(
    painter: Painter, root: Key[Array, ""], count: int, batch: int, cond: PyTree, report: Report | None = None
) -> Shaped[np.ndarray, "n ..."]:
    """The same examples as the model has them, before they are rounded to bytes."""
    given = _known(painter, cond, count)
    return batched(partial(_draw, _fastest(painter), painter), root, count, batch, given, report=report)


def _known(p: Painter, cond: PyTree, count: int) -> PyTree:
    """The condition as the net has it: of labels alone, or of none, the other parts say nothing."""
    null = p.net.null_cond
    if not isinstance(null, dict) or isinstance(cond, dict):
        return cond
    return completed(null, count, {} if cond is None else {LABEL: cond})


def trajectory(
    painter: Painter, root: Key[Array, ""], count: int, cond: PyTree
) -> tuple[UInt8[np.ndarray, "k n h w c"], list[float]]:
    """The first pictures with every state on their way, and the clock at each.

    Numbers are clipped to be shown; tokens that are hidden have a colour of their own.
    """
    some = jax.tree.map(lambda leaf: leaf[:count], cond)
    states, facts = list(_draw(stepwise, painter, keys(root, count), _known(painter, some, count))), painter.facts
    shown = [facts.encoding.frame(x, facts.shape, facts.levels) for x in states[:-1]]
    last = np.broadcast_to(as_bytes(states[-1], facts), shown[0].shape)  # of grey pixels on a coloured way
    return np.stack([*shown, last]), [float(u) for u in painter.grid]


def thinned(
    frames: UInt8[np.ndarray, "k n h w c"], clock: list[float], most: int = 11
) -> tuple[UInt8[np.ndarray, "_ n h w c"], list[float]]:
    """At most so many of the states, evenly chosen, the first and the last among them."""
    picked = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    return frames[picked], [clock[i] for i in picked]


def _draw(driver: Callable[..., Any], p: Painter, keys: Keys, cond: PyTree) -> Any:
    shape = p.facts.encoding.shape(p.facts.shape)
    return driver(keys, p.noise, p.order, p.denoise, shape, cond=cond, grid=p.grid, step=p.step)


def _fastest(p: Painter) -> Callable[..., Any]:
    """The way to the same pictures that suits the net: by its cache, by its head, one scan, or step by step."""
    if needs_rank(p.net) and cached.one_by_one(p.grid, prod(p.facts.shape)):
        return cached.sample
    return blockwise.sample if _by_its_head(p) else sample_for(p.net)


def _by_its_head(p: Painter) -> bool:
    """Whether the net's large part need see each block of positions but once."""
    return has_head(p.denoise) and p.step.evaluations == 1 and blockwise.block_by_block(p.grid, p.order)


def evaluations(painter: Painter) -> tuple[int, int]:
    """Of the net for a sample, or of its large part, and of its head where that is asked alone.

    Guidance asks the net for more than one prediction at a time.
    """
    steps = (len(painter.grid) - 1) * painter.step.evaluations * painter.copies
    return (painter.order.blocks * painter.copies, steps) if _by_its_head(painter) else (steps, 0)


def spent(painter: Painter) -> str:
    """The same in words."""
    whole, head = evaluations(painter)
    return f"{whole} of the net, {head} of its head per sample" if head else f"{whole} of the net per sample"


def check_label(label: int | None, classes: int) -> None:
    """Raise UserError for a label that the model does not know."""
    if label is not None and not 0 <= label < classes:
        told = f"expected 0 … {classes - 1}" if classes else "this model has no classes; leave --label out"
        raise UserError(f"--label {label}: {told}")


def labels(
    root: Key[Array, ""], count: int, frequencies: tuple[float, ...], label: int | None
) -> Int32[np.ndarray, " n"] | None:
    """The label asked for, or labels drawn by each example's key by the training's shares; None without classes."""
    check_label(label, len(frequencies))
    if not frequencies:
        return None
    if label is not None:
        return np.full(count, label, np.int32)
    logits = jnp.log(jnp.asarray(frequencies))
    drawn = jax.vmap(lambda key: jax.random.categorical(key, logits))(fold(keys(root, count), KeyUse.LABEL))
    return np.asarray(drawn, np.int32)


def as_bytes(x: Any, facts: Facts) -> UInt8[np.ndarray, "n h w c"]:
    """Examples as bytes 0 … 255, rounded to the data's own levels."""
    levels = facts.encoding.decode(x, facts.shape, facts.levels)
    return spread(levels.astype(np.uint8), facts.levels)
