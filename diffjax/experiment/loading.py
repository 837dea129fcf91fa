"""From a run's folder, an exported file or published weights to a denoiser."""

from dataclasses import replace
from pathlib import Path

from diffjax.errors import UserError
from diffjax.experiment import published_model, trained_model
from diffjax.experiment.codecs import picture_spec
from diffjax.experiment.trained_model import StepChoice, TrainedModel
from diffjax.nets.autoencoder_kl import AutoencoderKL
from diffjax.published import hub
from diffjax.published.weight_files import is_weight_file
from diffjax.training import safetensors_io


def load(
    source: str | Path,
    *,
    ema: str | None = None,
    step: StepChoice = None,
    allow_imports: bool = False,
    family: str | None = None,
    codec: str | Path | None = None,
) -> TrainedModel:
    """The denoiser of a run's folder, an exported file or published weights, its noise and order, and its record.

    Of a run, by default the newest whole checkpoint and its average of the longest decay; `step` may be "best", and
    `ema` an average of any length, such as "std=0.15", where the run has stored snapshots. A run whose config names
    parts as `package.module:name` runs that module's code: it is read with `allow_imports` alone. Of a run on latents
    `codec` is where their codec lies now, if not where it lay when they were made. Raises UserError where there is no
    run, or not that step or average, or weights of another run or net than its config says.

    Of published weights, `ema` is the name of one of several weights in the file, `family` says what no tensor does
    ("DiT" or "SiT"), and `codec` is the file of the codec of latents. Both may be addresses of the Hugging Face hub,
    `hf://owner/name` or `hf://owner/name/file` (extra `hub`). Nothing in such a file is executed. Raises
    UserError for a file that is damaged, or of no family that is known.
    """
    _check_source(source)
    source = local_path(source)
    codec = None if codec is None else local_path(codec)
    if not is_published(source):
        if family is not None:
            raise UserError(f"dj.load: family is for published weights, and {source} is a run; leave it out")
        return _load_run(trained_model.load(source, ema=ema, step=step, allow_imports=allow_imports), source, codec)
    if step is not None:
        raise UserError(f"dj.load: step is for a run, and {source} holds published weights; leave it out")
    return published_model.load_model(source, average=ema, family=family, codec=codec)


def _load_run(model: TrainedModel, source: str | Path, codec: str | Path | None) -> TrainedModel:
    """The model of a run, one of latents with the codec that makes pictures of them."""
    data = model.info.data
    if isinstance(model.info.net, AutoencoderKL):
        raise UserError(f"{source}: is a codec, which draws nothing; give it as codec= (--codec), or to diffjax encode")
    if data.codec is not None:
        return model._replace(info=replace(model.info, data=picture_spec(data, source, codec)))
    if codec is not None:
        raise UserError(f"codec {codec}: {source} draws pixels, and needs none; leave it out")
    return model


def is_published(source: str | Path) -> bool:
    """Whether a path is a file or folder of published weights, and not a run or an exported file of ours."""
    path = Path(source)
    return is_weight_file(path) and not safetensors_io.is_ours(path)


def local_path(source: str | Path) -> Path:
    """The path of a source, of an address `hf://owner/name[/file]` that of what is downloaded from the hub."""
    return hub.fetch_file(str(source)) if hub.is_address(source) else Path(source)


def _check_source(source: object) -> None:
    if not isinstance(source, str | Path):
        raise UserError(
            f"dj.load: source must be a run's folder, an exported file or published weights, such as 'runs/digits', "
            f"got {source!r}"
        )
