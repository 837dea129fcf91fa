"""The command that makes the latents of a data set."""

from absl import flags

from diffjax.commands.flags import folder_flag
from diffjax.errors import UserError, tell
from diffjax.experiment import data_spec
from diffjax.experiment.codecs import load_codec
from diffjax.experiment.latent_files import open_latents, picture_fields, write_latents
from diffjax.utils.files import check_writable


def main() -> None:
    """Encode every picture of the data set, and say what the latents are like."""
    values = flags.FLAGS
    data = values.config.data
    out = folder_flag("out")
    if data.latents:
        raise UserError(f"config.data.latents: is what this command makes, got {data.latents!r}; leave it out")
    check_writable(out, "--out")
    codec = load_codec(values.codec)
    dataset = data_spec.open_configured(data)
    pictures = picture_fields(vars(data))
    write_latents(dataset, pictures, codec, values.codec, out, values.flips)
    latents, record = open_latents(out, pictures)
    height, width, channels = latents.shape
    tell(
        f"{out}: latents of {dataset.name}, {height} x {width} x {channels} of {dataset.shape[0]} x {dataset.shape[1]} "
        "pixels; " + ", ".join(f"{len(split):,} for {name}" for name, split in latents.splits.items()),
        f"their means {_format(record.mean)} and standard deviations {_format(record.std)} over the training pictures "
        f"are taken out; the codec's own scale is {_format(codec.latents.scale)}, its reciprocal deviation "
        f"{_format([1 / std for std in record.std])}",
    )


def _format(numbers: object) -> str:
    entries = numbers if isinstance(numbers, list | tuple) else [numbers]
    return ", ".join(f"{number:.4g}" for number in entries)
