"""A net with seeded weights, and its outputs as a small file."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.published.seeded import seeded_tensor

GOLDEN = Path(__file__).parents[1] / "golden"


def fill(module: torch.nn.Module, kept: Iterable[str] = ()) -> dict[str, Any]:
    """Give a module its seeded weights, and return what a test needs to make them: shapes, and the tensors kept."""
    state = module.state_dict()
    kept_tensors = {name: state[name].numpy().copy() for name in kept}
    shapes = {name: list(tensor.shape) for name, tensor in state.items() if name not in kept_tensors}
    for name, shape in shapes.items():
        state[name] = torch.from_numpy(seeded_tensor(name, tuple(shape))).to(state[name].dtype)
    module.load_state_dict(state)
    module.eval()
    return {"shapes": shapes, "kept": kept_tensors}


def save(name: str, recipe: dict[str, Any], about: dict[str, Any], **arrays: np.ndarray) -> None:
    """Write the golden file of a case: how its weights are made, its settings, its inputs and outputs."""
    text = json.dumps({"shapes": recipe["shapes"], **about}, sort_keys=True)
    kept = {f"kept/{tensor}": values for tensor, values in recipe["kept"].items()}
    GOLDEN.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN / f"{name}.npz", about=np.frombuffer(text.encode(), np.uint8), **kept, **arrays)


def channels_last(out: torch.Tensor) -> np.ndarray:
    """An output [b, c, h, w] as [b, h, w, c]."""
    return out.detach().numpy().transpose(0, 2, 3, 1)
