"""What a model of latents records of its codec."""

from collections.abc import Sequence
from typing import Any, NamedTuple, get_type_hints

from diffjax.published.latent_scale import LatentScale
from diffjax.utils.files import is_single_line
from diffjax.utils.kinds import matches_type


class CodecRecord(NamedTuple):
    """The codec that latents were made with: where it lay, the SHA-256 of its parameters, pixels along a latent's side.

    `mean` and `std` are those of each channel of its latents over the training pictures; in stored latents they are 0
    and 1. `black` is that of `LatentScale`.
    """

    source: str
    sha256: str
    factor: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    black: float = -1.0

    @property
    def latents(self) -> LatentScale:
        """How the stored latents come from the codec's."""
        return LatentScale(tuple(1 / std for std in self.std), self.mean, self.black)


def parse_codec_record(document: Sequence[Any] | None) -> CodecRecord | None:
    """The record in a JSON document. Raises TypeError or ValueError for values that no codec can have."""
    if document is None:
        return None
    source, sha256, factor, mean, std, black = document
    record = CodecRecord(source, sha256, factor, tuple(mean), tuple(std), black)
    kinds = get_type_hints(CodecRecord).items()
    fits = all(matches_type(record._asdict()[name], kind) for name, kind in kinds)
    if not fits or not is_single_line(source) or factor < 1 or len(mean) != len(std) or min(std, default=0) <= 0:
        raise ValueError("facts: no codec has such values")
    return record
