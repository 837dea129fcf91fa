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

TextEmbeddings = tuple[Float32[np.ndarray, "n length features"], Bool[np.ndarray, "n length"]]
TextEncoder = Callable[[Sequence[str]], TextEmbeddings]


def sentence_transformer(model: str = "sentence-transformers/all-MiniLM-L6-v2", length: int = 32) -> TextEncoder:
    """The token embeddings of a model of the sentence-transformers library, by its name or folder.

    A text of more than `length` tokens is refused, since the model would cut it. Weights are read from safetensors
    alone, and no code of the model's own is run.
    """
    if length < 1:
        raise UserError(f"sentence_transformer: length must be at least 1 token, got {length}")
    encoder = _load_model(model)
    encoder.max_seq_length = length

    def encode(texts: Sequence[str]) -> TextEmbeddings:
        _check_length(encoder, texts, length)
        tokens = encoder.encode(list(texts), output_value="token_embeddings", convert_to_numpy=False)
        return pad([np.asarray(token_array.cpu(), np.float32) for token_array in tokens], length)

    return encode


def pad(arrays: Sequence[Float32[np.ndarray, "_ features"]], length: int) -> TextEmbeddings:
    """Arrays of up to so many rows as one, and which of its rows they fill."""
    padded = np.zeros((len(arrays), length, arrays[0].shape[1]), np.float32)
    mask = np.zeros(padded.shape[:2], bool)
    for row, array in enumerate(arrays):
        padded[row, : len(array)], mask[row, : len(array)] = array, True
    return padded, mask


def _load_model(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("sentence_transformer: is not installed; run: pip install 'diffjax[text]'") from None
    try:
        return SentenceTransformer(model, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"sentence_transformer: {model!r} cannot be loaded ({reason}); give its name or folder"
        ) from None


def _check_length(model: Any, texts: Sequence[str], length: int) -> None:
    for text, tokens in zip(texts, model.tokenizer(list(texts), truncation=False)["input_ids"], strict=True):
        if len(tokens) > length:
            problem = f"{text[:40]!r}… has {len(tokens):,} tokens of at most {length:,}"
            raise UserError(
                f"sentence_transformer: {problem}, and would be cut; raise length, as far as the model goes"
            )
