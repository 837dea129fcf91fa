"""From a user's label, prompt, sketch and numbers to the condition of a network: checked and completed here alone."""

import difflib
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, Key, PyTree, UInt8

from diffjax.conditions import LABEL, fill_condition
from diffjax.data import byte_tokenizer
from diffjax.errors import UserError
from diffjax.experiment.data_spec import CategoryNames
from diffjax.experiment.trained_model import ModelInfo
from diffjax.nets.condition_encoders import Category, Number, Picture, Text
from diffjax.traits import ConditionalNet, net_traits
from diffjax.utils.image_io import format_size, read_image
from diffjax.utils.prng import KeyUse, fold, keys

NUMBER_ENCODERS = (Number, Category)  # the encoders of what --number sets
MIN_BRIGHTNESS = 0.5  # of white: strokes are brighter
MAX_NAMES_SHOWN = 20  # classes in a message

Labels = Int32[np.ndarray, " n"] | None
Parts = dict[str, object]
Encoder = TypeVar("Encoder", Text, Picture)


class ConditionRequest(NamedTuple):
    """What the samples should show: the index of a class, a prompt, the path of a sketch, and texts as `slant=0.5`."""

    label: int | None = None
    prompt: str | None = None
    sketch: str | None = None
    numbers: Sequence[str] = ()


class Conditions(NamedTuple):
    """A network's condition with one entry per sample, and the samples' labels, where they have any."""

    cond: PyTree
    labels: Labels


def build_conditions(
    info: ModelInfo, request: ConditionRequest, root: Key[Array, ""], count: int, random_labels: bool = True
) -> Conditions:
    """The conditions of `count` samples; parts that are not requested are null.

    Where nothing is requested, labels are drawn with their frequencies in the training data if `random_labels`. Raises
    UserError, naming the flag, for what the model was not trained on.
    """
    parts = condition_parts(
        info.net,
        prompt=request.prompt,
        sketch=request.sketch,
        numbers=request.numbers,
        categories=info.data.categories,
    )
    if request.label is not None:
        labels = np.full(count, request.label, np.int32)
    elif random_labels and not parts and info.conditional:
        labels = sample_labels(root, count, info.data.label_frequencies)
    else:
        labels = None
    return complete_conditions(info.net, count, labels, parts)


def complete_conditions(
    net: ConditionalNet, count: int, labels: Labels, parts: Mapping[str, object] | None = None
) -> Conditions:
    """The condition of these labels and parts, where every other part of the network's condition is null."""
    values = {} if labels is None else {LABEL: labels}
    return Conditions(fill_condition(net.null_cond, count, {**values, **(parts or {})}), labels)


def sample_labels(root: Key[Array, ""], count: int, frequencies: Sequence[float]) -> Int32[np.ndarray, " n"]:
    """Labels drawn with these frequencies; label i depends on the key of example i alone."""
    logits = jnp.log(jnp.asarray(frequencies))
    labels = jax.vmap(lambda key: jax.random.categorical(key, logits))(fold(keys(root, count), KeyUse.LABEL))
    return np.asarray(labels, np.int32)


def label_index(info: ModelInfo, text: str, flag: str = "--label") -> int:
    """The index of a class, from its index or its name as text.

    Text that is an index and the name of another class means the index. Raises UserError that lists the classes.
    """
    names = info.data.class_names if info.conditional else ()
    if not names:
        raise UserError(f"{flag} {text}: this model has no classes; leave {flag} out")
    indices = tuple(str(index) for index in range(len(names)))
    for labels in (indices, names):
        if text in labels:
            return labels.index(text)
    valid = f"0 … {len(names) - 1}"
    if names == indices:
        raise UserError(f"{flag} {text}: expected {valid}")
    similar = difflib.get_close_matches(text, names, 1)
    hint = f"; did you mean {similar[0]}?" if similar else ""
    remaining = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
    listed = ", ".join(names[:MAX_NAMES_SHOWN])
    raise UserError(f"{flag} {text}: expected {valid}, or one of {listed}{remaining}{hint}")


def condition_parts(
    net: ConditionalNet,
    *,
    prompt: str | None,
    sketch: str | None,
    numbers: Sequence[str],
    categories: Sequence[CategoryNames] = (),
) -> Parts:
    """The parts that are requested, each one value for all samples; `numbers` are texts as `slant=0.5`.

    A category is its number, or its name among those of `categories`.

    Raises UserError, naming the flag, for what the model was not trained on, or what it cannot read.
    """
    parts: Parts = {}
    if prompt is not None:
        parts |= tokenize_prompt(net, prompt, "--prompt")
    if sketch is not None:
        encoder = _find_encoder(net, Picture, "sketch", "--sketch", "was not trained on sketches")
        parts[encoder.part] = read_sketch(Path(sketch), encoder.shape)
    for text in numbers:
        parts |= _parse_number(net, text, dict(categories))
    return parts


def number_parts(net: ConditionalNet) -> dict[str, Number | Category]:
    """The encoders of the parts that --number sets, by the names of the parts."""
    encoders = net_traits(net).conditions
    return {encoder.part: encoder for encoder in encoders if isinstance(encoder, NUMBER_ENCODERS)}


def tokenize_prompt(net: ConditionalNet, prompt: str, flag: str) -> Parts:
    """The text part of a condition, from a prompt."""
    encoder = _find_encoder(net, Text, None, flag, "was not trained on text")
    try:
        return {encoder.part: byte_tokenizer.encode([prompt], encoder.shape[0])[0]}
    except UserError as mistake:
        raise UserError(f"{flag}: {mistake}") from None


def read_sketch(path: Path, shape: tuple[int, ...]) -> Float32[np.ndarray, "h w 1"]:
    """A drawing in white on black, as the sketch of a model: 1 where there is a stroke.

    A drawing that is a whole number of times larger is reduced so that every stroke stays.
    """
    picture = _read_grey(path)
    height, width = shape[:2]
    factor, rest = divmod(picture.shape[0], height)
    if rest or picture.shape != (factor * height, factor * width):
        raise UserError(
            f"--sketch {path}: expected {format_size(height, width)}, as the model draws, or a whole multiple of both, "
            f"got {format_size(*picture.shape)}; scale it"
        )
    bright = picture.reshape(height, factor, width, factor).max(axis=(1, 3)) > MIN_BRIGHTNESS * 255
    if not bright.any() or bright.all():
        problem = "nothing is drawn" if not bright.any() else "all is white"
        raise UserError(f"--sketch {path}: {problem}; draw strokes in white on black")
    return bright[..., None].astype(np.float32)


def _read_grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    """The pixels of a drawing. Raises UserError for one in colours."""
    picture = read_image(path)
    if picture.shape[2] == 3 and (picture != picture[..., :1]).any():
        raise UserError(f"--sketch {path}: has colours; give a grey image, with strokes in white on black")
    return picture[..., 0]


def _parse_number(net: ConditionalNet, text: str, categories: Mapping[str, Sequence[str]]) -> Parts:
    """A part that is a number or a category, from a text such as slant=0.5."""
    name, separator, value = text.partition("=")
    encoders = number_parts(net)
    if name not in encoders:
        known = f"its numbers: {', '.join(encoders)}" if encoders else "it has no numbers"
        raise UserError(f"--number {text}: this model was not trained on {name!r} ({known}); leave it out")
    encoder = encoders[name]
    is_category = isinstance(encoder, Category)
    names = categories.get(name, ()) if is_category else ()
    if value in names:
        return {name: list(names).index(value)}
    try:
        number = int(value) if is_category else float(value)
    except ValueError:
        number = float("nan")
    upper = encoder.vocab if isinstance(encoder, Category) else float("inf")
    if not separator or not isfinite(number) or (is_category and not 0 <= number < upper):
        expected = f"0 … {upper - 1}" if is_category else "a number"
        expected += f", or one of {', '.join(names[:MAX_NAMES_SHOWN])}" * bool(names)
        raise UserError(f"--number {text}: expected {name}={expected}")
    if encoder.shape:
        raise UserError(f"--number {text}: {name!r} is {encoder.shape} numbers; set it from Python")
    return {name: number}


def _find_encoder(net: ConditionalNet, kind: type[Encoder], part: str | None, flag: str, problem: str) -> Encoder:
    """The network's encoder of that kind, and of that part if one is named."""
    conditions = net_traits(net).conditions
    for encoder in conditions:
        if isinstance(encoder, kind) and part in (None, encoder.part):
            return encoder
    known = ", ".join(encoder.part for encoder in conditions)
    parts = f"its conditions: {known}" if known else "it has no conditions"
    raise UserError(f"{flag}: this model {problem} ({parts}); leave it out")
