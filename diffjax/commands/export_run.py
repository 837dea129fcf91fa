"""What export.py does with its flags: one file with the weights of a run."""

from pathlib import Path

from absl import flags

from diffjax.commands.flags import folder_flag, step_choice
from diffjax.errors import UserError, tell
from diffjax.experiment import trained_model
from diffjax.training import safetensors_io


def main() -> None:
    """Everything is checked before anything is written."""
    values = flags.FLAGS
    workdir = folder_flag("workdir")
    out = Path(values.out or "")
    if out.suffix != safetensors_io.SUFFIX:
        raise UserError(f"--out: give a file, such as weights{safetensors_io.SUFFIX}, got {values.out!r}")
    weights = trained_model.read_weights(workdir, values.ema, step_choice(), values.allow_imports)
    trained_model.export_weights(weights, out)
    origin = f"step {weights.step:,}, average {weights.ema}{weights.synthesis}"
    tell(f"{out}: weights of {workdir}, {origin}, {out.stat().st_size:,} bytes")
