"""A whole Stable Diffusion pipeline of diffusers with small seeded parts: a prompt to pictures by each scheduler."""

import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers

from tests.published.originals import golden
from tests.published.seeded import seeded_input

TOKENIZER = golden.GOLDEN / "tokenizer"
SIDE, STEPS = 8, 20
PROMPT, NEGATIVE = "a red cat on the mat", "dog"
SCALES = (1.0, 7.5)
CHAIN = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1}),
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    "ddim_v": (
        "DDIMScheduler",
        {
            **{"clip_sample": False, "prediction_type": "v_prediction"},
            **{"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        },
    ),
    "euler": ("EulerDiscreteScheduler", {"timestep_spacing": "leading", "steps_offset": 1}),
    "euler_karras": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"steps_offset": 1}),
    "unipc": ("UniPCMultistepScheduler", {"timestep_spacing": "trailing"}),
}


def make(originals: Path) -> None:
    """The shapes of the tensors of each part, all configs, the start, and the pictures of each scheduler and scale."""
    torch.manual_seed(0)
    pipe = small_pipeline()
    parts = {"unet": pipe.unet, "vae": pipe.vae, "text_encoder": pipe.text_encoder}
    shapes = {name: golden.fill(part)["shapes"] for name, part in parts.items()}
    start = seeded_input((1, 4, SIDE, SIDE))
    pictures, configs = {}, {}
    for name, (kind, settings) in SCHEDULERS.items():
        pipe.scheduler = getattr(diffusers, kind)(**CHAIN, **settings)
        configs[name] = {"_class_name": kind, **CHAIN, **settings}
        for scale in SCALES:
            pictures[f"{name}/{scale}"] = draw(pipe, start, scale)
    about = {
        **{"parts": shapes, "schedulers": configs, "prompt": PROMPT, "negative": NEGATIVE},
        **{name: plain(part.config) for name, part in parts.items()},
    }
    golden.save("pipeline", {"shapes": {}, "kept": {}}, {"file": "pipeline", **about}, start=start, **pictures)


def small_pipeline() -> Any:
    """A pipeline of the layout of Stable Diffusion 1, with two sizes in U-Net and codec."""
    tokenizer = transformers.CLIPTokenizer.from_pretrained(TOKENIZER)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=77, **sizes, **ids)
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    blocks = {f"{way}_block_types": (f"{way.title()}{kind}Block2D",) * 2 for way, kind in WAYS.items()}
    vae = diffusers.AutoencoderKL(block_out_channels=(32, 32), norm_num_groups=16, scaling_factor=0.2, **blocks)
    return diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=transformers.CLIPTextModel(config),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=diffusers.PNDMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


WAYS = {"down": "Encoder", "up": "Decoder"}


def draw(pipe: Any, start: np.ndarray, scale: float) -> np.ndarray:
    """The picture of the prompt in [0, 1], [1, h, w, 3]; with guidance also away from the negative prompt."""
    pipe.set_progress_bar_config(disable=True)
    negative = NEGATIVE if scale > 1 else None
    settings = {"guidance_scale": scale, "num_inference_steps": STEPS, "latents": torch.from_numpy(start)}
    return np.asarray(pipe(PROMPT, negative_prompt=negative, output_type="np", **settings).images, np.float32)


def plain(config: Any) -> dict[str, Any]:
    """A config as JSON has it."""
    settings = config.to_dict() if isinstance(config, transformers.PretrainedConfig) else dict(config)
    kept = {name: value for name, value in settings.items() if name != "_use_default_values"}
    return json.loads(json.dumps(kept, default=str))
