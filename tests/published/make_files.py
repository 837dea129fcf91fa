"""Make the small files of weights again, by the programs that write such files, and the numbers in them.

.venv-peers/bin/python tests/published/make_files.py

The pickled modules have the names and the structure of those of NVlabs/edm (torch_utils/persistence.py), and source
text that would create the file `executed` in the working directory, if it were run as that program does.
"""

import argparse
import json
import pickle
import sys
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

FILES = Path(__file__).parent / "files"
SOURCE = "from pathlib import Path\nPath('executed').touch()\n"
FIRST_SHARD = ("weight", "bias")
Tensors = Mapping[str, torch.Tensor]


def make() -> None:
    """All files, and their numbers as bytes."""
    FILES.mkdir(exist_ok=True)
    torch.manual_seed(0)
    save = {"state.pt": state(), "views.pt": views(), "types.pt": types(), "wrapped.pt": wrapped()}
    expected = dict(save)
    for name, tensors in save.items():
        torch.save(OrderedDict(tensors), FILES / name)
    for name, tensors in {"old_state.pt": state(), "old_views.pt": views(), "old_types.pt": types()}.items():
        torch.save(OrderedDict(tensors), FILES / name, _use_new_zipfile_serialization=False)
        expected[name] = tensors
    torch.save({name: torch.nn.Parameter(tensor) for name, tensor in state().items()}, FILES / "parameters.pt")
    expected["parameters.pt"] = state()
    expected["wrapped.pt"] = state()
    make_checkpoint(expected)
    make_safetensors(expected)
    make_modules(expected)
    write_numbers(expected)


def state() -> Tensors:
    """A state dict of three tensors, of which one is a single number."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"weight": (3, 4), "bias": (3,), "gain": ()}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def views() -> Tensors:
    """Tensors that share a storage, in every order."""
    whole = torch.arange(24.0).reshape(4, 6)
    return {
        "whole": whole,
        "transposed": whole.T,
        "row": whole[1],
        "column": whole[:, 2],
        "steps": whole[::2, 1::3],
        "expanded": torch.arange(3.0)[None].expand(2, 3),
        "channels_last": torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "empty": whole[:0],
    }


def types() -> Tensors:
    """A tensor of each type of numbers."""
    numbers = torch.tensor([0.0, 1.5, -2.25, 100.0])
    kinds = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
    return {kind: numbers.abs().to(getattr(torch, kind)) for kind in kinds}


def wrapped() -> Tensors:
    """A state dict of a net that was trained on several devices."""
    return {f"module.{name}": tensor for name, tensor in state().items()}


def make_checkpoint(expected: dict[str, Tensors]) -> None:
    """A checkpoint as that of DiT: two sets of weights, the optimizer and the arguments."""
    net = torch.nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.ones(4)).sum().backward()
    optimizer.step()
    average = {name: tensor.clone() / 2 for name, tensor in net.state_dict().items()}
    arguments = argparse.Namespace(model="DiT-XL/2", lr=1e-4, image_size=256, ckpt=None, cfg=[1.5, True])
    content = {"model": net.state_dict(), "ema": average, "opt": optimizer.state_dict(), "args": arguments}
    for name, zipped in {"checkpoint.pt": True, "old_checkpoint.pt": False}.items():
        torch.save(content, FILES / name, _use_new_zipfile_serialization=zipped)
        expected[name] = average
        expected[f"{name}/model"] = net.state_dict()


def make_safetensors(expected: dict[str, Tensors]) -> None:
    """One file, several with an index, and folders as those of diffusers."""
    save_file(dict(types()), FILES / "types.safetensors", {"format": "pt"})
    expected["types.safetensors"] = types()
    config = json.dumps({"_class_name": "UNet2DModel", "sample_size": 32})
    parts = {True: "model-00001-of-00002.safetensors", False: "model-00002-of-00002.safetensors"}
    for folder in ("sharded", "single", "pickled"):
        (FILES / folder).mkdir(exist_ok=True)
        (FILES / folder / "config.json").write_text(config)
        expected[folder] = state()
    for first, file in parts.items():
        part = {name: tensor for name, tensor in state().items() if (name in FIRST_SHARD) == first}
        save_file(part, FILES / "sharded" / file, {"format": "pt"})
    places = {name: parts[name in FIRST_SHARD] for name in state()}
    index = json.dumps({"metadata": {"total_size": 64}, "weight_map": places})
    (FILES / "sharded" / "model.safetensors.index.json").write_text(index)
    save_file(dict(state()), FILES / "single" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    torch.save(dict(state()), FILES / "pickled" / "diffusion_pytorch_model.bin")


def make_modules(expected: dict[str, Tensors]) -> None:
    """Pickled modules, as EDM and EDM2 publish them, in both protocols that hold strings of bytes."""
    EasyDict, persistent_class = install_stubs()
    torch.manual_seed(2)

    @persistent_class
    class Block(torch.nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.randn(width, width).T)
            self.register_buffer("filter", torch.ones(1, 1, 2, 2))
            self.gain = torch.nn.Parameter(torch.zeros([]))
            self.skip = None

    @persistent_class
    class Precond(torch.nn.Module):
        def __init__(self, width: int, attention: list[int], sigma_data: float = 0.5) -> None:
            super().__init__()
            self._init_args, self._init_kwargs = (), {"width": width, "attention": attention, "sigma_data": sigma_data}
            self.enc = torch.nn.ModuleDict({"8x8_block0": Block(width), "8x8_conv": torch.nn.Conv2d(2, 2, 3)})
            self.many = torch.nn.ModuleList([torch.nn.Linear(width, 2, bias=False)])

    @persistent_class
    class Encoder:
        def __init__(self) -> None:
            self.scale, self.bias = np.float32(0.5) / np.float32([1, 2]), np.float32(2)
            self._init_args, self._init_kwargs = (), {}

    net = Precond(width=3, attention=[16, 8]).eval().requires_grad_(False)
    for name, protocol, kind in (("module.pkl", 4, torch.float32), ("module_3.pkl", 3, torch.float16)):
        net = net.to(kind)
        content = EasyDict(ema=net, encoder=Encoder(), loss_fn=None, dataset_kwargs=EasyDict(path="a.zip", sides={8}))
        (FILES / name).write_bytes(pickle.dumps(content, protocol))
        expected[name] = {key: tensor.clone() for key, tensor in net.state_dict().items()}


def install_stubs() -> tuple[Any, Any]:
    """The dictionary and the decorator of classes, under the names by which pickles of EDM refer to them."""
    persistence, util = ModuleType("torch_utils.persistence"), ModuleType("dnnlib.util")
    sys.modules |= {"torch_utils": ModuleType("torch_utils"), "torch_utils.persistence": persistence}
    sys.modules |= {"dnnlib": ModuleType("dnnlib"), "dnnlib.util": util}
    EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})

    def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
        raise AssertionError("never called")

    def reduce(instance: Any) -> tuple[Any, ...]:
        name, state = type(instance).__name__, dict(vars(instance))
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": name, "state": state}
        return _reconstruct_persistent_obj, (meta,), None

    def persistent_class(kind: type) -> type:
        kind.__reduce__ = reduce
        kind.__reduce_ex__ = lambda instance, protocol: reduce(instance)
        return kind

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    vars(persistence)["_reconstruct_persistent_obj"], vars(util)["EasyDict"] = _reconstruct_persistent_obj, EasyDict
    return EasyDict, persistent_class


def write_numbers(expected: Mapping[str, Tensors]) -> None:
    """The tensors as bytes in row-major order, one behind the other, and as JSON their types, shapes and ends."""
    about, data = {}, b""
    for file, tensors in expected.items():
        about[file] = {}
        for name, tensor in tensors.items():
            data += tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            about[file][name] = [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), len(data)]
    text = json.dumps(about).encode()
    arrays = {"about": np.frombuffer(text, np.uint8), "data": np.frombuffer(data, np.uint8)}
    np.savez_compressed(FILES / "numbers.npz", **arrays)


if __name__ == "__main__":
    make()
