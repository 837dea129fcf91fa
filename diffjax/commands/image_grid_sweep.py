"""What is asked of a model in all, and pictures over two settings, rows and columns, all from the same keys."""

import difflib
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int32, Key, PyTree, UInt8

from diffjax.commands import condition_inputs, image_sampler, settings_sweep
from diffjax.commands.image_sampler import Painter
from diffjax.conditions import LABEL, completed
from diffjax.errors import UserError
from diffjax.experiment.guidance_spec import NONE
from diffjax.experiment.trained_model import Info, Loaded
from diffjax.reports import crossed, settings_told

SETTINGS = (*settings_sweep.NAMES, *(name for name in NONE if name not in settings_sweep.NAMES))
PARTS = ("label", "prompt", "negative", "sketch", "seed")
MOST = 400  # cells of a panel
MOST_NAMES = 20  # of classes in a message


class Asked(NamedTuple):
    """What a user asks of a model: the sampler's settings, the parts of a condition, and the seed."""

    settings: Mapping[str, Any]
    seed: int = 0
    label: int | None = None
    prompt: str | None = None
    negative: str | None = None
    sketch: str | None = None
    numbers: Sequence[str] = ()

    def but(self, name: str, value: Any) -> "Asked":
        """The same with one setting, part or number of another value."""
        if name in SETTINGS:
            return self._replace(settings={**self.settings, name: value})
        return self._replace(**({name: value} if name in PARTS else {"numbers": (*self.numbers, f"{name}={value}")}))


class Ready(NamedTuple):
    """What draws it, once all is checked: `labels` are those of the pictures, where they have any."""

    painter: Painter
    root: Key[Array, ""]
    cond: PyTree
    labels: Int32[np.ndarray, " n"] | None

    def images(self, count: int, batch: int) -> UInt8[np.ndarray, "n h w c"]:
        """The pictures."""
        return image_sampler.images(self.painter, self.root, count, batch, self.cond)


def label_index(info: Info, text: str, flag: str = "--label") -> int:
    """The index of a class, from its index or its name as text.

    Text that is an index and the name of another class is the index. Raises UserError that lists the classes.
    """
    names = info.facts.class_names if info.conditional else ()
    if not names:
        raise UserError(f"{flag} {text}: this model has no classes; leave {flag} out")
    indices = tuple(str(index) for index in range(len(names)))
    for labels in (indices, names):
        if text in labels:
            return labels.index(text)
    between = f"0 … {len(names) - 1}"
    if names == indices:
        raise UserError(f"{flag} {text}: expected {between}")
    near = difflib.get_close_matches(text, names, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    raise UserError(f"{flag} {text}: expected {between}, or one of {', '.join(names[:MOST_NAMES])}{more}{hint}")


def ready(loaded: Loaded, asked: Asked, count: int, draws_labels: bool = True) -> Ready:
    """What draws `count` pictures of a loaded model as asked. Raises UserError, before anything is drawn.

    A label that is not asked for is drawn with the frequencies of training, if nothing else is asked for, and labels
    are to be drawn at all.
    """
    denoise, noise, order, info = loaded
    shares = info.facts.label_frequencies if info.conditional else ()
    image_sampler.check_label(asked.label, len(shares))
    parts = condition_inputs.parts(info.net, prompt=asked.prompt, sketch=asked.sketch, numbers=asked.numbers)
    negative = {} if asked.negative is None else condition_inputs.said(info.net, asked.negative, "--negative")
    painter = image_sampler.painter(denoise, noise, order, info.net, info.facts, dict(asked.settings), negative)
    root = jax.random.key(asked.seed)
    left_out = asked.label is None and (parts or not draws_labels)
    labels = None if left_out else image_sampler.labels(root, count, shares, asked.label)
    cond = completed(info.net.null_cond, count, parts if labels is None else {LABEL: labels, **parts})
    return Ready(painter, root, cond, labels)


def panel(loaded: Loaded, asked: Asked, texts: Sequence[str], count: int, batch: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """One picture of `count` samples for each pair of values, as of ["guidance=1,2,4", "steps=5,10"], or each of one.

    All cells are drawn from the same keys, so that what differs between them is what was varied. Raises UserError for
    what cannot be varied, or does not serve the model, before anything is drawn.
    """
    numbers = [
        each.part for each in getattr(loaded[3].net, "conditions", ()) if isinstance(each, condition_inputs.NUMBERS)
    ]
    lists = settings_sweep.lists_of(texts, (*SETTINGS, *PARTS, *numbers))
    if len(lists) > 2 or not all(lists.values()) or prod(map(len, lists.values())) > MOST:
        told = "; ".join(f"{name}: {len(values)} values" for name, values in lists.items())
        raise UserError(
            f"--sweep: a grid is of one or two names with their values, {MOST} cells at most, got {told}; give them as "
            "--sweep guidance=1,2,4 --sweep steps=5,10"
        )
    names, values = list(lists), [*lists.values(), [None]][:2]
    made = []
    for pair in product(*values):
        varied = asked
        for name, value in zip(names, pair, strict=False):
            varied = varied.but(name, label_index(loaded[3], value, "--sweep label") if name == "label" else value)
        made.append(ready(loaded, varied, count))
    drawn = np.stack([each.images(count, batch) for each in made])
    rows, columns = ([settings_told({name: one}) for one in lists[name]] for name in (names * 2)[:2])
    return crossed(
        drawn.reshape(len(values[0]), len(values[1]), *drawn.shape[1:]), rows, columns if names[1:] else [""]
    )
