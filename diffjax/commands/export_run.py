"""What export.py does with its flags: one file with the weights of a run."""

from pathlib import Path

from absl import flags

from diffjax.commands.flags import folder_flag, step_choice
from diffjax.errors import UserError, tell
from diffjax.experiment import build, trained_model
from diffjax.experiment.trained_model import Weights
from diffjax.nets.adapters import merge_adapters
from diffjax.published.dit import published_tensors
from diffjax.published.family import PublishedModel
from diffjax.training import safetensors_io


def main() -> None:
    """Everything is checked before anything is written."""
    values = flags.FLAGS
    workdir = folder_flag("workdir")
    out = Path(values.out or "")
    if out.suffix != safetensors_io.SUFFIX:
        raise UserError(f"--out: give a file, such as weights{safetensors_io.SUFFIX}, got {values.out!r}")
    weights = trained_model.read_weights(workdir, values.ema, step_choice(), values.allow_imports)
    if values.layout == "published":
        safetensors_io.write_plain(out, published_tensors(_as_published(weights)))
    else:
        trained_model.export_weights(weights, out)
    origin = f"step {weights.step:,}, average {weights.ema}{weights.synthesis}"
    tell(f"{out}: weights of {workdir}, {origin}, {out.stat().st_size:,} bytes")


def _as_published(weights: Weights) -> PublishedModel:
    """The model of a run as those of published weights are."""
    built = build.build_model(weights.config.model, weights.data)
    net, params = merge_adapters(built.net, weights.params)
    return PublishedModel(net, params, built.noise, built.order, weights.data.shape, weights.data.classes)
