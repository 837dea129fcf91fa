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
from diffjax.commands.image_sampler import ImageSampler
from diffjax.conditions import LABEL, fill_condition
from diffjax.errors import UserError
from diffjax.experiment.config import Sample
from diffjax.experiment.trained_model import ModelInfo, TrainedModel
from diffjax.reports import crossed_grid, describe_settings
from diffjax.traits import net_traits

SETTINGS = (*settings_sweep.NAMES, *(name for name in vars(Sample()) if name not in settings_sweep.NAMES))
PARTS = ("label", "prompt", "negative", "sketch", "seed")
MAX_CELLS = 400  # cells of a panel
MAX_NAMES = 20  # of classes in a message


class SampleRequest(NamedTuple):
    """What a user asks of a model: the sampler's settings, the parts of a condition, and the seed."""

    settings: Mapping[str, Any]
    seed: int = 0
    label: int | None = None
    prompt: str | None = None
    negative: str | None = None
    sketch: str | None = None
    numbers: Sequence[str] = ()

    def with_value(self, name: str, value: Any) -> "SampleRequest":
        """The same with one setting, part or number of another value."""
        if name in SETTINGS:
            return self._replace(settings={**self.settings, name: value})
        return self._replace(**({name: value} if name in PARTS else {"numbers": (*self.numbers, f"{name}={value}")}))


class PreparedRequest(NamedTuple):
    """What draws it, once all is checked: `labels` are those of the pictures, where they have any."""

    sampler: ImageSampler
    root: Key[Array, ""]
    cond: PyTree
    labels: Int32[np.ndarray, " n"] | None

    def images(self, count: int, batch: int) -> UInt8[np.ndarray, "n h w c"]:
        """The pictures."""
        return image_sampler.sample_images(self.sampler, self.root, count, batch, self.cond)


def label_index(info: ModelInfo, text: str, flag: str = "--label") -> int:
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
    similar = difflib.get_close_matches(text, names, 1)
    hint = f"; did you mean {similar[0]}?" if similar else ""
    remaining = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    raise UserError(f"{flag} {text}: expected {between}, or one of {', '.join(names[:MAX_NAMES])}{remaining}{hint}")


def prepare_request(
    loaded_model: TrainedModel, request: SampleRequest, count: int, draws_labels: bool = True
) -> PreparedRequest:
    """What draws `count` pictures of a loaded model as asked. Raises UserError, before anything is drawn.

    A label that is not asked for is drawn with the frequencies of training, if nothing else is asked for, and labels
    are to be drawn at all.
    """
    denoise, noise, order, info = loaded_model
    frequencies = info.facts.label_frequencies if info.conditional else ()
    image_sampler.check_label(request.label, len(frequencies))
    parts = condition_inputs.condition_parts(
        info.net, prompt=request.prompt, sketch=request.sketch, numbers=request.numbers
    )
    negative = (
        {} if request.negative is None else condition_inputs.tokenize_prompt(info.net, request.negative, "--negative")
    )
    sampler = image_sampler.build_image_sampler(
        denoise, noise, order, info.net, info.facts, dict(request.settings), negative
    )
    root = jax.random.key(request.seed)
    left_out = request.label is None and (parts or not draws_labels)
    labels = None if left_out else image_sampler.sample_labels(root, count, frequencies, request.label)
    cond = fill_condition(info.net.null_cond, count, parts if labels is None else {LABEL: labels, **parts})
    return PreparedRequest(sampler, root, cond, labels)


def image_grid(
    loaded_model: TrainedModel, request: SampleRequest, texts: Sequence[str], count: int, batch: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    """One picture of `count` samples for each pair of values, as of ["guidance=1,2,4", "steps=5,10"], or each of one.

    All cells are drawn from the same keys, so that what differs between them is what was varied. Raises UserError for
    what cannot be varied, or does not serve the model, before anything is drawn.
    """
    numbers = [
        encoder.part
        for encoder in net_traits(loaded_model.info.net).conditions
        if isinstance(encoder, condition_inputs.NUMBER_ENCODERS)
    ]
    lists = settings_sweep.parse_lists(texts, (*SETTINGS, *PARTS, *numbers))
    if len(lists) > 2 or not all(lists.values()) or prod(map(len, lists.values())) > MAX_CELLS:
        problem = "; ".join(f"{name}: {len(values)} values" for name, values in lists.items())
        raise UserError(
            f"--sweep: a grid is of one or two names with their values, {MAX_CELLS} cells at most, got {problem}; give "
            "them as "
            "--sweep guidance=1,2,4 --sweep steps=5,10"
        )
    names, values = list(lists), [*lists.values(), [None]][:2]
    prepared = []
    for pair in product(*values):
        variant = request
        for name, value in zip(names, pair, strict=False):
            variant = variant.with_value(
                name, label_index(loaded_model.info, value, "--sweep label") if name == "label" else value
            )
        prepared.append(prepare_request(loaded_model, variant, count))
    samples = np.stack([encoder.images(count, batch) for encoder in prepared])
    rows, columns = ([describe_settings({name: setting}) for setting in lists[name]] for name in (names * 2)[:2])
    return crossed_grid(
        samples.reshape(len(values[0]), len(values[1]), *samples.shape[1:]), rows, columns if names[1:] else [""]
    )
