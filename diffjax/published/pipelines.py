"""Pipelines of diffusers that make a picture of a prompt: a folder whose model_index.json names their parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from diffjax.errors import UserError
from diffjax.nets.conditional_unet import ConditionalUNet
from diffjax.published.clip_text import TextEncoder, encode, read_text_encoder
from diffjax.published.family import PublishedModel
from diffjax.published.scheduler_rules import drawing_of_scheduler
from diffjax.published.schedulers import scheduler_beside
from diffjax.published.unet_2d_condition import with_null_text
from diffjax.published.weight_files import PIPELINE, read_config, read_weight_file

CLASSES: Mapping[str, tuple[str, ...]] = {  # of each part that a pipeline needs
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "scheduler": (),  # any that is known
}
LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")  # which change nothing that is drawn
STEPS = 50


class TextPipeline(NamedTuple):
    """The model of a pipeline, with the text of its empty prompt, its encoder of prompts, and the codec's folder."""

    model: PublishedModel
    text_encoder: TextEncoder
    codec: Path


def is_of_text(model: PublishedModel) -> bool:
    """Whether the net takes texts, so that it draws as a part of a pipeline alone."""
    return isinstance(model.net, ConditionalUNet)


def complete_pipeline(model: PublishedModel, unet: Path) -> TextPipeline:
    """The pipeline around a net, which is that of the folder `unet`; its scheduler says the step rule and the grid.

    Raises UserError where there is none, and for a part that is missing, or of a class that is not known.
    """
    folder = unet.absolute().parent
    _check_parts(unet, folder)
    text_encoder = read_text_encoder(read_weight_file(folder / "text_encoder"), folder / "tokenizer")
    drawing = drawing_of_scheduler(*scheduler_beside(unet))
    model = with_null_text(model, encode(text_encoder, [""])[0])
    model = model._replace(sampler=drawing.sampler, grid=drawing.grid, steps=STEPS)
    return TextPipeline(model, text_encoder, folder / "vae")


def _check_parts(unet: Path, folder: Path) -> None:
    if not (folder / PIPELINE).is_file():
        problem = f"is the net of a pipeline, and {folder} around it has no {PIPELINE}, which names its text encoder"
        raise UserError(f"{unet}: {problem}; give the folder of the whole pipeline")
    parts = {name: entry for name, entry in read_config(folder / PIPELINE).items() if isinstance(entry, list)}
    unknown = [name for name, entry in parts.items() if name not in (*CLASSES, *LEFT_OUT) and any(entry)]
    if unknown:
        problem = f"has a part {unknown[0]!r:.80} of class {parts[unknown[0]][-1]!r:.80}, which is not known here"
        raise UserError(f"{folder / PIPELINE}: {problem}; known are pipelines of {', '.join(CLASSES)}")
    for name, classes in CLASSES.items():
        kind = parts.get(name, [None])[-1]
        if kind is None or not (folder / name).is_dir():
            raise UserError(f"{folder}: has no folder {name}, a part of the pipeline; download it too")
        if classes and kind not in classes:
            known = " or ".join(classes)
            raise UserError(f"{folder / PIPELINE}: {name} of class {kind!r:.80} is not known here; known is {known}")
