"""From a user's label, prompt, pictures and numbers to the condition of a network: checked and completed here alone."""

import difflib
from collections.abc import Mapping, Sequence
from math import inf, isfinite
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key, PyTree

from diffjax.commands import condition_pictures
from diffjax.conditions import LABEL, fill_condition
from diffjax.data import byte_tokenizer
from diffjax.edit import MixedCondition
from diffjax.errors import UserError, tell
from diffjax.experiment.model_info import ModelInfo
from diffjax.nets.condition_encoders import Category, Number, Picture, Style, Text
from diffjax.nets.conditional_unet import TEXT
from diffjax.published.clip_text import TextEncoder, encode
from diffjax.traits import ConditionalNet, net_traits
from diffjax.utils.prng import KeyUse, fold, keys

NUMBER_ENCODERS = (Number, Category)  # the encoders of what --number sets
LOW_RES = "low_res"  # the part of that name
MAX_NAMES_SHOWN = 20  # classes in a message

Labels = Int32[np.ndarray, " n"] | None
Parts = dict[str, object]
Encoder = TypeVar("Encoder", Text, Picture, Style)


class ConditionRequest(NamedTuple):
    """What the samples should show: the index of a class, a prompt, paths of pictures, and texts as `slant=0.5`.

    `low_res_noise` is the standard deviation of the noise that is added to the picture at low resolution; `style` is
    one path, or two with their shares, as `a.png:0.3,b.png:0.7`.
    """

    label: int | None = None
    prompt: str | None = None
    sketch: str | None = None
    numbers: Sequence[str] = ()
    low_res: str | None = None
    low_res_noise: float | None = None
    style: str | None = None


class Conditions(NamedTuple):
    """A network's condition with one entry per sample, and the samples' labels, where they have any."""

    cond: PyTree
    labels: Labels


def build_conditions(
    info: ModelInfo, request: ConditionRequest, root: Key[Array, ""], count: int, random_labels: bool = True
) -> Conditions:
    """The conditions of `count` samples; parts that are not requested are null.

    Where nothing is requested, labels are drawn with their frequencies in the training data if `random_labels`. Two
    references of style are a `MixedCondition`. Raises UserError, naming the flag, for what the model does not know.
    """
    parts = condition_parts(info, request, root, count)
    styles = [] if request.style is None else read_styles(info.net, request.style)
    if request.label is not None:
        labels = np.full(count, request.label, np.int32)
    elif random_labels and not parts and not styles and info.conditional:
        labels = sample_labels(root, count, info.data.label_frequencies)
    else:
        labels = None
    conds = [complete_conditions(info.net, count, labels, {**parts, **styled}).cond for styled, _ in styles]
    if not conds:
        return complete_conditions(info.net, count, labels, parts)
    if len(conds) == 1:
        return Conditions(conds[0], labels)
    (first, second), (_, (_, share)) = conds, styles
    return Conditions(MixedCondition(first, second, jnp.full(count, share)), labels)


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


def condition_parts(info: ModelInfo, request: ConditionRequest, root: Key[Array, ""], count: int) -> Parts:
    """The parts that are requested but for label and style, each one value for all samples, or one for each.

    A category is its number, or its name. Raises UserError, naming the flag, for what the model was not trained on, or
    what it cannot read.
    """
    net = info.net
    parts: Parts = {}
    if request.prompt is not None:
        parts |= prompt_part(info, request.prompt, "--prompt")
    if request.sketch is not None:
        encoder = _find_encoder(net, Picture, "sketch", "--sketch", "was not trained on sketches")
        parts[encoder.part] = condition_pictures.read_sketch(Path(request.sketch), encoder.shape)
    if request.low_res is not None:
        parts |= _low_res_part(info, request, root, count)
    elif request.low_res_noise is not None:
        raise UserError("--low_res_noise: is added to the picture of --low_res; give one, or leave it out")
    for text in request.numbers:
        parts |= _parse_number(net, text, dict(info.data.categories))
    return parts


def read_styles(net: ConditionalNet, text: str) -> list[tuple[Parts, float]]:
    """For each reference of `--style` its part, and its share."""
    encoder = _find_encoder(net, Style, None, "--style", "was not trained on references of style")
    styles = condition_pictures.parse_style(text)
    read = condition_pictures.read_style
    return [({encoder.part: read(style.path, encoder.shape)}, style.share) for style in styles]


def low_res_encoder(net: ConditionalNet) -> Picture:
    """The net's encoder of pictures at low resolution. Raises UserError where it has none."""
    return _find_encoder(net, Picture, LOW_RES, "--low_res", "was not trained on pictures at low resolution")


def _low_res_part(info: ModelInfo, request: ConditionRequest, root: Key[Array, ""], count: int) -> Parts:
    """The picture at low resolution, with its noise where the net was trained with noise."""
    assert request.low_res is not None
    encoder = low_res_encoder(info.net)
    height, width, channels = encoder.shape
    noisy = channels > info.data.shape[2]  # the last one is the level of the noise
    level = request.low_res_noise or 0.0
    if request.low_res_noise is not None and not noisy:
        problem = "this model was trained on pictures without noise"
        raise UserError(f"--low_res_noise: {problem}; leave it out, or train with low_res(noise=0.5)")
    if not 0 <= level < inf:
        raise UserError(f"--low_res_noise {level:g}: expected a standard deviation of at least 0")
    pictures = condition_pictures.read_low_res(request.low_res, (height, width, channels - noisy), count)
    if noisy:
        pictures = condition_pictures.add_noise(pictures, level, root, count)
    return {LOW_RES: pictures[0] if len(pictures) == 1 else pictures}


def number_parts(net: ConditionalNet) -> dict[str, Number | Category]:
    """The encoders of the parts that --number sets, by the names of the parts."""
    encoders = net_traits(net).conditions
    return {encoder.part: encoder for encoder in encoders if isinstance(encoder, NUMBER_ENCODERS)}


def prompt_part(info: ModelInfo, prompt: str, flag: str) -> Parts:
    """The text part of a condition, from a prompt: its tokens, or of a pipeline what its text encoder makes of it."""
    if info.text_encoder is not None:
        return {TEXT: np.asarray(_encode_prompt(info.text_encoder, prompt, flag))}
    encoder = _find_encoder(info.net, Text, None, flag, "was not trained on text")
    try:
        return {encoder.part: byte_tokenizer.encode([prompt], encoder.shape[0])[0]}
    except UserError as mistake:
        raise UserError(f"{flag}: {mistake}") from None


def _encode_prompt(encoder: TextEncoder, prompt: str, flag: str) -> Array:
    tokenizer = encoder.tokenizer
    try:
        excess = tokenizer.overflow(prompt)
    except UserError as mistake:
        raise UserError(f"{flag}: {mistake}") from None
    if excess:
        tell(
            f"{flag}: has {tokenizer.count(prompt)} tokens, and the text encoder takes {tokenizer.length}; left out: "
            f"{excess!r}"
        )
    return encode(encoder, [prompt])[0]


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
