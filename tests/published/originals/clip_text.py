"""CLIPTextModel of transformers."""

from pathlib import Path

import numpy as np
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from tests.published.originals import golden

SHAPES = {64: ((3, 1), (1, 77)), 96: ((2, 6), (1, 77)), 128: ((1, 77),)}  # of tokens, by width
SETTINGS = {  # of a config, by width
    64: {"hidden_act": "quick_gelu", "num_attention_heads": 2, "num_hidden_layers": 3},
    96: {"hidden_act": "gelu", "num_attention_heads": 3, "num_hidden_layers": 2},
    128: {"hidden_act": "quick_gelu", "num_attention_heads": 2, "num_hidden_layers": 2, "layer_norm_eps": 1e-3},
}
VOCABULARY = 200


def make(originals: Path) -> None:
    """Three widths, both activations, each of several lengths."""
    for width, settings in SETTINGS.items():
        torch.manual_seed(0)
        sizes = {"vocab_size": VOCABULARY, "hidden_size": width, "intermediate_size": 3 * width}
        ends = {"bos_token_id": VOCABULARY - 2, "eos_token_id": VOCABULARY - 1}
        net = CLIPTextModel(CLIPTextConfig(**sizes, **settings, **ends))
        recipe = golden.fill(net)
        config = {"architectures": ["CLIPTextModel"], "model_type": net.config.model_type, **sizes, **settings}
        config |= {"max_position_embeddings": net.config.max_position_embeddings}
        arrays = {}
        for shape in SHAPES[width]:
            tokens = np.random.default_rng(shape[1]).integers(VOCABULARY, size=shape)
            with torch.no_grad():
                states = net(torch.from_numpy(tokens)).last_hidden_state
            arrays |= {f"tokens_{shape[1]}": tokens.astype(np.int32), f"states_{shape[1]}": states.numpy()}
        about = {"file": "text_encoder", "kind": "CLIPTextModel", "config": config}
        golden.save(f"clip_text_{width}", recipe, about, **arrays)
