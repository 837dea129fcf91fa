"""A small pipeline as a folder of diffusers, with seeded weights: that of which the golden file has the pictures."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.published.golden_files import GOLDEN
from tests.published.seeded import seeded_tensors

TOKENIZER = GOLDEN / "tokenizer"
CLASSES = {
    "unet": ("diffusers", "UNet2DConditionModel", "diffusion_pytorch_model.safetensors"),
    "vae": ("diffusers", "AutoencoderKL", "diffusion_pytorch_model.safetensors"),
    "text_encoder": ("transformers", "CLIPTextModel", "model.safetensors"),
}


@cache
def golden_pipeline() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the golden file says, and its arrays."""
    with np.load(GOLDEN / "pipeline.npz") as content:
        arrays = dict(content)
    return json.loads(arrays.pop("about").tobytes()), arrays


def write_pipeline(folder: Path, scheduler: str) -> Path:
    """The folder of the pipeline with one of the schedulers."""
    about, _ = golden_pipeline()
    index: dict[str, object] = {"_class_name": "StableDiffusionPipeline", "safety_checker": [None, None]}
    for name, (library, kind, file) in CLASSES.items():
        (folder / name).mkdir(parents=True)
        config = about[name] | ({"_class_name": kind} if library == "diffusers" else {"architectures": [kind]})
        (folder / name / "config.json").write_text(json.dumps(config))
        shapes = {tensor: tuple(shape) for tensor, shape in about["parts"][name].items()}
        save_file(seeded_tensors(shapes), folder / name / file)
        index[name] = [library, kind]
    shutil.copytree(TOKENIZER, folder / "tokenizer")
    (folder / "scheduler").mkdir()
    config = about["schedulers"][scheduler]
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    index |= {"tokenizer": ["transformers", "CLIPTokenizer"], "scheduler": ["diffusers", config["_class_name"]]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
