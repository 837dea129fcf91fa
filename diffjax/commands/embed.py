"""Write a data set once more with embeddings of its texts, so that training needs no encoder:

python -m diffjax.commands.embed --data my_texts --text text --out sets \\
    --encoder "sentence_transformer(length=32)"

makes `my_texts_embedded` in the TFDS folder `sets`, with every feature of the old set, and `text_embedding`
[length, features] and `text_mask` [length]. Train on it with data.name=my_texts_embedded, data.dir=sets and
data.parts of feature('text_embedding') and feature('text_mask').
"""

import argparse
import io
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from diffjax.data import digits, encoders  # noqa: F401  the digits are known to TFDS by their name once imported
from diffjax.data.encoders import TextEncoder
from diffjax.data.prepare import prepare_once
from diffjax.data.tfds_source import Builder, open_builder
from diffjax.errors import UserError, warn
from diffjax.experiment import specs

BATCH = 64
Example = dict[str, object]
_KINDS = (tfds.features.Tensor, tfds.features.Image)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the new set; a mistake is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, help="TFDS name of the data set; no default.")
    parser.add_argument("--data_dir", help="TFDS folder of the data set; by default that of TFDS.")
    parser.add_argument("--text", required=True, help="Name of the text feature of the data set; no default.")
    parser.add_argument(
        "--encoder",
        default="sentence_transformer()",
        help="Text encoder, of diffjax.data.encoders; by default %(default)s.",
    )
    parser.add_argument("--out", required=True, help="TFDS folder of the new data set; no default.")
    values = parser.parse_args(arguments)
    try:
        encoder = specs.instantiate(encoders, values.encoder, "--encoder")
        print(write_embedded(values.data, values.text, encoder, values.out, data_dir=values.data_dir))
    except UserError as mistake:
        warn(str(mistake))
        sys.exit(2)


def write_embedded(
    data: str,
    text: str,
    encoder: TextEncoder,
    out: str | Path,
    *,
    data_dir: str | Path | None = None,
    batch: int = BATCH,
) -> Path:
    """The folder of the new set, with the splits and the order of the old one."""
    old = open_builder(data, data_dir)
    _check(old, data, text)
    embeddings, mask = _encode(
        encoder, [_as_text(old.as_data_source("train", decoders=_undecoded_images(old))[0][text])]
    )
    features = {
        **old.info.features,
        f"{text}_embedding": tfds.features.Tensor(shape=embeddings.shape[1:], dtype=np.float32),
        f"{text}_mask": tfds.features.Tensor(shape=mask.shape[1:], dtype=np.bool_),
    }

    def rows(split: str) -> Iterator[tuple[int, Example]]:
        return enumerate(_embedded_examples(old, split, text, encoder, batch))

    builder = _builder(old, features, rows)
    target = Path(builder(data_dir=out).data_path)
    if target.exists():
        raise UserError(f"--out {out}: {target} is there already; delete it, or choose another folder")
    return prepare_once(builder, out)


def _builder(old: Builder, features: Example, rows: Callable[[str], Iterator[tuple[int, Example]]]) -> Builder:
    """A builder of the old set's splits with these features."""
    metadata = tfds.core.MetadataDict(dict(old.info.metadata or {}))

    class Embedded(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """A set with embeddings of its texts."""

        name = f"{old.name}_embedded"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{old.info.full_name}, with embeddings of its texts.",
                features=tfds.features.FeaturesDict(features),
                supervised_keys=old.info.supervised_keys,
                metadata=metadata,
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager: object) -> dict[str, object]:
            return {split: rows(split) for split in old.info.splits}

        def _generate_examples(self) -> Iterator[object]:
            raise NotImplementedError("`_split_generators` makes the examples")

    return Embedded


def _embedded_examples(old: Builder, split: str, text: str, encoder: TextEncoder, batch: int) -> Iterator[Example]:
    """The examples of a split as TFDS stores them, with embeddings, `batch` texts at a time."""
    source = old.as_data_source(split, decoders=_undecoded_images(old))
    numbers = iter(range(len(source)))
    while batch_numbers := list(itertools.islice(numbers, batch)):
        records = [source[number] for number in batch_numbers]
        embeddings, mask = _encode(encoder, [_as_text(record[text]) for record in records])
        for record, embedding, token_mask in zip(records, embeddings, mask, strict=True):
            stored_record = {key: _as_stored(value, old.info.features[key]) for key, value in record.items()}
            yield {**stored_record, f"{text}_embedding": embedding, f"{text}_mask": token_mask}


def _encode(encoder: TextEncoder, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and masks of texts. Raises `UserError` where the encoder returns anything else."""
    embeddings, mask = encoder(texts)
    if embeddings.ndim != 3 or embeddings.dtype != np.float32 or embeddings.shape[:2] != mask.shape:
        problem = f"{embeddings.dtype} {embeddings.shape} and a mask {mask.shape}"
        raise UserError(f"--encoder: expected float32 [{len(texts)}, length, features] and a mask, got {problem}")
    if len(embeddings) != len(texts) or not np.isfinite(embeddings).all():
        raise UserError(f"--encoder: makes {len(embeddings)} of {len(texts)} texts, or numbers that are not finite")
    return embeddings, mask


def _check(old: Builder, data: str, text: str) -> None:
    """Raises `UserError` for a set without that text, or with what cannot be written again."""
    features = old.info.features
    texts = [key for key, kind in features.items() if isinstance(kind, tfds.features.Text)]
    if text not in texts:
        raise UserError(f"--text: data set {data!r} stores no text {text!r}; it has: {', '.join(texts) or 'none'}")
    unsupported = next((key for key, kind in features.items() if not isinstance(kind, _KINDS)), None)
    if unsupported is not None:
        raise UserError(
            f"--data: {data!r} has {unsupported!r}, which is neither array, text nor image; use a set without it"
        )


def _undecoded_images(old: Builder) -> dict[str, object] | None:
    """Images stay as they are encoded."""
    images = [key for key, kind in old.info.features.items() if isinstance(kind, tfds.features.Image)]
    return {key: tfds.decode.SkipDecoding() for key in images} or None


def _as_stored(value: object, kind: object) -> object:
    """A stored value as TFDS takes it."""
    if isinstance(kind, tfds.features.Image) and isinstance(value, bytes):
        return io.BytesIO(value)
    return _as_text(value) if isinstance(kind, tfds.features.Text) else value


def _as_text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


if __name__ == "__main__":
    main()
