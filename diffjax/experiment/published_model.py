"""A published model as one of ours: with the config that it amounts to, and where it comes from."""

import dataclasses
from pathlib import Path

from diffjax.denoising import denoiser
from diffjax.errors import UserError
from diffjax.experiment.codecs import load_codec
from diffjax.experiment.config import Config, Data, Model, Sample
from diffjax.experiment.data_spec import DataSpec
from diffjax.experiment.latents import latents_form
from diffjax.experiment.model_info import ModelInfo, Origin
from diffjax.experiment.trained_model import TrainedModel
from diffjax.noise import Gaussian
from diffjax.published.autoencoder_kl import Codec
from diffjax.published.family import PublishedModel
from diffjax.published.models import load_published
from diffjax.published.pipelines import complete_pipeline, is_of_text
from diffjax.traits import ConditionalNet

LEVELS = 256  # of a pixel
OFFERED = ("classes", "parent", "name")  # fields of a net that its text in a config leaves out


def load_model(
    source: str | Path, *, average: str | None = None, family: str | None = None, codec: str | Path | None = None
) -> TrainedModel:
    """The denoiser of a file of published weights, its noise and order, and where they come from.

    `average`, `family`: see `published.load_published`. `codec` is the file of the AutoencoderKL that makes pictures of
    the latents that the model draws; by default that of the pipeline of a text model. Raises UserError for a file that
    cannot be read, and for a codec of other latents.
    """
    model, kind, file = load_published(source, average, family)
    text_encoder = None
    if is_of_text(model):
        model, text_encoder, own_codec = complete_pipeline(model, file.path)
        codec = codec or own_codec
    info = ModelInfo(
        net=model.net,
        data=_data_spec(model, None if codec is None else _fitting_codec(model, Path(codec))),
        config=_config(model),
        step=0,
        ema=average or "published",
        origin=Origin(kind.name, kind.licence, kind.source, file.path),
        text_encoder=text_encoder,
    )
    return TrainedModel(denoiser(model.noise, model.net, {"params": model.params}), model.noise, model.order, info)


def describe_net(net: ConditionalNet) -> str:
    """A net as the text of a config: its class and the fields that differ from the defaults."""
    assert dataclasses.is_dataclass(net)
    fields = [field for field in dataclasses.fields(net) if field.name not in OFFERED]
    changed = {field.name: vars(net)[field.name] for field in fields if vars(net)[field.name] != field.default}
    return f"{type(net).__name__}({', '.join(f'{name}={value!r}' for name, value in changed.items())})"


def _data_spec(model: PublishedModel, codec: Codec | None) -> DataSpec:
    """Pictures, of pixels or of a codec's latents; without the codec latents are real numbers. Classes are numbers."""
    names = tuple(map(str, range(model.classes)))
    shares = (1 / model.classes,) * model.classes if model.classes else ()
    if codec is not None:
        shape = (*(side * codec.factor for side in model.shape[:2]), 3)
        return DataSpec(shape, model.classes, names, LEVELS, shares, "unit", latents=latents_form(codec))
    form = "unit" if model.latents is None else "real"
    return DataSpec(model.shape, model.classes, names, LEVELS, shares, form)


def describe_model(model: PublishedModel) -> tuple[Model, DataSpec]:
    """The section of a config that makes such a model, for data of its shape and classes."""
    return _model_section(model), _data_spec(model, None)


def _model_section(model: PublishedModel) -> Model:
    assert isinstance(model.noise, Gaussian)
    return Model(
        net=describe_net(model.net),
        prediction=model.noise.parameterization.name,
        schedule=model.schedule,
        inputs=model.noise.inputs.name,
        order=model.order_text,
        data_std=model.noise.data_std,
        conditional=bool(model.classes),
    )


def _config(model: PublishedModel) -> Config:
    """The config of a run that would train such a model, but for its data."""
    drawing = Sample(sampler=model.sampler, grid=model.grid, steps=model.steps)
    return Config(data=Data(name=""), model=_model_section(model), sample=drawing)


def _fitting_codec(model: PublishedModel, path: Path) -> Codec:
    """The codec in a file or a run. Raises UserError where the model draws none, or of other channels."""
    if model.latents is None:
        raise UserError(f"codec {path}: this model draws pixels, and needs none; leave it out")
    codec = load_codec(path, model.latents)
    if codec.channels != model.shape[-1]:
        problem = f"its latents have {codec.channels} channels, and the model draws {model.shape[-1]}"
        raise UserError(f"codec {path}: {problem}; give the codec that the model was trained with")
    return codec
