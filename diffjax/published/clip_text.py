"""The text encoder of CLIP as a part of a latent text-to-image model: prompts to the states that its net attends to.

Those are the last ones, after the final norm, as Stable Diffusion 1 and 2 have them. Names of files are those of
transformers, older ones with the prefix `text_model.` and newer ones without.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from diffjax.errors import UserError
from diffjax.nets.clip_text import ACTIVATIONS, CLIPText
from diffjax.published.clip_tokenizer import Tokenizer, read_tokenizer
from diffjax.published.stored_tensors import WeightFile
from diffjax.published.tensor_mapping import Shape, Source, place_tensors, sources_by_name
from diffjax.utils.tree_paths import leaves_by_name

CLASS = "CLIPTextModel"
MODEL_TYPE = "clip_text_model"  # of a config without the name of its class
PREFIX = "text_model."
FIRST_TENSOR = "embeddings.token_embedding.weight"
IGNORED = ("embeddings.position_ids",)  # 0, 1, 2, …, in older files
SIZES = {  # of a config: the field of the net, and the value where there is none
    "vocab_size": ("vocab", 49_408),
    "max_position_embeddings": ("length", 77),
    "hidden_size": ("width", 512),
    "num_hidden_layers": ("depth", 12),
    "num_attention_heads": ("heads", 8),
    "intermediate_size": ("mlp_width", 2048),
}


@dataclass(frozen=True)
class TextEncoder:
    """A text model with its parameters, and the tokenizer of its prompts."""

    net: CLIPText
    params: PyTree
    tokenizer: Tokenizer


def encode(encoder: TextEncoder, prompts: Sequence[str]) -> Float[Array, "b n width"]:
    """The states of prompts, float32, n being the tokenizer's length; what does not fit in it is left out.

    `encoder.tokenizer.overflow(prompt)` is what is left out. The program is compiled for each number of prompts.
    """
    return _apply(encoder.net, encoder.params, jnp.asarray(encoder.tokenizer.encode(prompts)))


@partial(jax.jit, static_argnums=0)
def _apply(net: CLIPText, params: PyTree, tokens: Int[Array, "b n"]) -> Float[Array, "b n width"]:
    return jnp.asarray(net.apply({"params": params}, tokens))


def read_text_encoder(file: WeightFile, tokenizer: Path) -> TextEncoder:
    """The text encoder in a file, in float32, with the tokenizer in a folder.

    Raises UserError for a model of another class, and for tensors, a config or a tokenizer that do not fit.
    """
    _check_class(file)
    net = _build_net(file)
    prefix = PREFIX if PREFIX + FIRST_TENSOR in file.tensors else ""
    shapes = _net_shapes(net)
    params = place_tensors(file, shapes, _sources(shapes, prefix), [prefix + pattern for pattern in IGNORED])
    return TextEncoder(net, params, read_tokenizer(tokenizer, net.length, net.vocab))


def _check_class(file: WeightFile) -> None:
    """Raise UserError where the file's config is of another class."""
    kind = file.kind or (CLASS if file.config.get("model_type") == MODEL_TYPE else "")
    if not kind:
        problem = f"does not say the class of its text encoder, known is {CLASS}"
        raise UserError(f"{file.path}: {problem}; give the folder text_encoder of a pipeline, with its config.json")
    if kind != CLASS:
        raise UserError(f"{file.path}: has a text encoder {kind!r:.80}, which is not known here; known is {CLASS}")


def _build_net(file: WeightFile) -> CLIPText:
    """The net of the file's config."""
    activation = file.setting("hidden_act", str, "quick_gelu")
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise UserError(f"{file.path}: hidden_act {activation!r:.80} is not known here; known are {known}")
    sizes = {field: file.setting(name, int, default) for name, (field, default) in SIZES.items()}
    try:
        return CLIPText(**sizes, activation=activation, epsilon=file.setting("layer_norm_eps", float, 1e-5))
    except UserError as error:
        if str(error).startswith(f"{file.path}: "):
            raise
        raise UserError(f"{file.path}: {error}; use the config that the weights came with") from None


def _net_shapes(net: CLIPText) -> dict[str, Shape]:
    """The shape of each parameter by name; nothing is computed."""
    tokens = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    params = jax.eval_shape(net.init, jax.random.key(0), tokens)["params"]
    return {name: leaf.shape for name, leaf in leaves_by_name(params).items()}


def _sources(shapes: Iterable[str], prefix: str) -> dict[str, Source]:
    """Where each parameter comes from, by the prefix of the file's names."""
    sources = sources_by_name(shapes)
    return {name: Source(prefix + tensor.removeprefix(PREFIX), layout) for name, (tensor, layout) in sources.items()}
