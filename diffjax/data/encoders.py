"""Pretrained text encoders, selected by name with `--encoder` and loaded on use.

Every name makes a function `texts -> (embeddings [n, length, features], mask [n, length])`, whose mask is true for text
and false for padding, which is 0.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from diffjax.errors import UserError

__all__ = ["sentence_transformer"]

TextEmbeddings = tuple[Float32[np.ndarray, "n length features"], Bool[np.ndarray, "n length"]]
Model = Any  # of sentence-transformers, which may not be installed
TextEncoder = Callable[[Sequence[str]], TextEmbeddings]


def sentence_transformer(model: str = "sentence-transformers/all-MiniLM-L6-v2", length: int = 32) -> TextEncoder:
    """Token embeddings of a sentence-transformers model, by its name or folder.

    Weights are read from safetensors only, and no code of the model is run. Raises `UserError` for a text of more than
    `length` tokens, which the model would truncate.
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
    """Arrays of at most `length` rows, padded and stacked, and the mask of their rows."""
    padded = np.zeros((len(arrays), length, arrays[0].shape[1]), np.float32)
    mask = np.zeros(padded.shape[:2], bool)
    for row, array in enumerate(arrays):
        padded[row, : len(array)] = array
        mask[row, : len(array)] = True
    return padded, mask


def _load_model(model: str) -> Model:
    try:
        from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("sentence_transformer: is not installed; run: pip install 'diffjax[embed]'") from None
    try:
        return SentenceTransformer(model, model_kwargs={"use_safetensors": True})
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"sentence_transformer: {model!r} cannot be loaded ({reason}); give its name or folder"
        ) from None


def _check_length(model: Model, texts: Sequence[str], length: int) -> None:
    for text, tokens in zip(texts, model.tokenizer(list(texts), truncation=False)["input_ids"], strict=True):
        if len(tokens) > length:
            problem = f"{text[:40]!r}… has {len(tokens):,} tokens of at most {length:,}"
            raise UserError(
                f"sentence_transformer: {problem}, and would be cut; raise length, as far as the model goes"
            )
