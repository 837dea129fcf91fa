"""The model that the flags name: a run, an exported file, or published weights."""

from pathlib import Path

from absl import flags

from diffjax.commands.flags import folder_flag, refuse_flags, step_choice
from diffjax.errors import UserError, tell
from diffjax.experiment import loading
from diffjax.experiment.trained_model import TrainedModel


def model_path() -> Path:
    """The run of --workdir, or the published weights of --model. Raises UserError for both, and for neither."""
    published = flags.FLAGS["model"].value
    if published is None:
        refuse_flags(("family",), "is for published weights, which --model names")
        return folder_flag("workdir")
    refuse_flags(("workdir", "step", "allow_imports"), "is for a run, and --model names published weights")
    return Path(published)


def load_selected() -> TrainedModel:
    """The model; of published weights the licence is told. Raises UserError where it cannot be read."""
    values = flags.FLAGS
    path = model_path()
    if values.model is not None:
        path = loading.local_path(values.model)  # an address of the hub is no path
        if not loading.is_published(path):
            problem = "holds no published weights, which are a file, or a diffusers folder with config.json"
            raise UserError(f"--model {path}: {problem}; a run is given as --workdir")
    model = loading.load(
        path,
        ema=values.ema,
        step=step_choice(),
        allow_imports=values.allow_imports,
        family=values.family,
        codec=values.codec,
    )
    if model.info.origin is not None:
        tell(model.info.origin.describe())
    return model
