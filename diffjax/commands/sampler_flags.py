"""The sampler settings that the flags and the config of a run give together."""

from collections.abc import Sequence
from dataclasses import replace

from absl import flags

from diffjax.errors import UserError
from diffjax.experiment.config import Sample as SamplerConfig
from diffjax.experiment.model_info import ModelInfo


def parse_interval(texts: Sequence[str]) -> tuple[float, float]:
    """The two times of --guidance-interval, in order. Raises UserError for anything else."""
    try:
        low, high = (float(text) for text in texts)
    except ValueError:
        low = high = float("nan")
    if not 0 <= low <= high <= 1:
        raise UserError(f"--guidance-interval: expected two numbers, 0 <= LOW <= HIGH <= 1, got {' '.join(texts)}")
    return low, high


def sampler_config(info: ModelInfo) -> SamplerConfig:
    """The sampler settings of the flags, and for those that are not set, of the run's config."""
    settings = info.config.sample
    present = {name: flags.FLAGS[name].value for name in vars(settings) if flags.FLAGS[name].present}
    interval = flags.FLAGS["guidance_interval"].value
    if interval is not None:
        if "guidance_when" in present:
            raise UserError("--guidance_interval: is short for --guidance_when; give one of them")
        low, high = parse_interval(interval)
        present["guidance_when"] = f"interval(low={low}, high={high})"
    return replace(settings, **present)
