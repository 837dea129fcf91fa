"""Encoders of texts that others have trained: found by name from `--encoder`, and loaded where they are asked for.

Every name is a maker of a function `texts -> (embeddings [n, length, features], mask [n, length])`, in which the mask
says what is text and what is padding; padding is 0.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from diffjax.errors import UserError

__all__ = ["sentence_transformer"]

Encoded = tuple[Float32[np.ndarray, "n length features"], Bool[np.ndarray, "n length"]]
Encoder = Callable[[Sequence[str]], Encoded]


def sentence_transformer(model: str = "sentence-transformers/all-MiniLM-L6-v2", length: int = 32) -> Encoder:
    """The token embeddings of a model of the sentence-transformers library, by its name or folder.

    A text of more than `length` tokens is refused, since the model would cut it. Weights are read from safetensors
    alone, and no code of the model's own is run.
    """
    if length < 1:
        raise UserError(f"sentence_transformer: length must be at least 1 token, got {length}")
    found = _loaded(model)
    found.max_seq_length = length

    def encode(texts: Sequence[str]) -> Encoded:
        _check_length(found, texts, length)
        tokens = found.encode(list(texts), output_value="token_embeddings", convert_to_numpy=False)
        return padded([np.asarray(each.cpu(), np.float32) for each in tokens], length)

    return encode


def padded(arrays: Sequence[Float32[np.ndarray, "_ features"]], length: int) -> Encoded:
    """Arrays of up to so many rows as one, and which of its rows they fill."""
    whole = np.zeros((len(arrays), length, arrays[0].shape[1]), np.float32)
    mask = np.zeros(whole.shape[:2], bool)
    for row, array in enumerate(arrays):
        whole[row, : len(array)], mask[row, : len(array)] = array, True
    return whole, mask


def _loaded(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("sentence_transformer: is not installed; run: pip install 'diffjax[text]'") from None
    try:
        return SentenceTransformer(model, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        told = " ".join(str(error).split())[:160]
        raise UserError(f"sentence_transformer: {model!r} cannot be loaded ({told}); give its name or folder") from None


def _check_length(model: Any, texts: Sequence[str], length: int) -> None:
    for text, tokens in zip(texts, model.tokenizer(list(texts), truncation=False)["input_ids"], strict=True):
        if len(tokens) > length:
            told = f"{text[:40]!r}… has {len(tokens):,} tokens of at most {length:,}"
            raise UserError(f"sentence_transformer: {told}, and would be cut; raise length, as far as the model goes")
