"""diffusers' copy of DiT, such as facebook/DiT-XL-2-256: its tensors under the names of the original.

The copy embeds steps by other sinusoids than the weights were trained with, and is up to 3 % off; the net here is the
original. The embedders, which the copy repeats in each block, are those of the first block.
"""

import re

import numpy as np

from diffjax.errors import UserError
from diffjax.nets.adaln_zero import sincos_positions
from diffjax.published import dit
from diffjax.published.family import Family, PublishedModel
from diffjax.published.stored_tensors import StoredTensor, WeightFile

KIND = "DiTTransformer2DModel"
FIRST_BLOCK = "transformer_blocks.0.norm1.emb"
NAMES = {  # of the original, and of the copy
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": f"{FIRST_BLOCK}.timestep_embedder.linear_1",
    "t_embedder.mlp.2": f"{FIRST_BLOCK}.timestep_embedder.linear_2",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}
BLOCK_NAMES = {
    "adaLN_modulation.1": "norm1.linear",
    "attn.proj": "attn1.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}
LABELS = f"{FIRST_BLOCK}.class_embedder.embedding_table.weight"
ATTENTION = ("to_q", "to_k", "to_v")
REPEATED = re.compile(r"transformer_blocks\.\d+\.norm1\.emb\..*")


def _matches(file: WeightFile) -> bool:
    return LABELS in file.tensors and "proj_out_2.weight" in file.tensors


def _build(file: WeightFile) -> PublishedModel:
    width, _, patch, _ = file.shape("pos_embed.proj.weight", 4)
    depth = len({name.split(".")[1] for name in file.tensors if name.startswith("transformer_blocks.")})
    sides = file.setting("sample_size", int, 32) // patch
    tensors = {"y_embedder.embedding_table.weight": file.tensors[LABELS]}
    names = dict(NAMES)
    for i in range(depth):
        block = f"transformer_blocks.{i}"
        names |= {f"blocks.{i}.{ours}": f"{block}.{theirs}" for ours, theirs in BLOCK_NAMES.items()}
        for leaf in ("weight", "bias"):
            parts = [f"{block}.attn1.{part}.{leaf}" for part in ATTENTION]
            tensors[f"blocks.{i}.attn.qkv.{leaf}"] = _joined(file, parts)
    for ours, theirs in names.items():
        for leaf in ("weight", "bias"):
            file.shape(f"{theirs}.{leaf}")  # an error where it is missing
            tensors[f"{ours}.{leaf}"] = file.tensors[f"{theirs}.{leaf}"]
    _check_rest(file, {f"{name}.{leaf}" for name in names.values() for leaf in ("weight", "bias")})
    table = np.asarray(sincos_positions((sides, sides), width))[None]
    tensors[dit.POSITIONS] = StoredTensor(table.shape, table.dtype, table.copy)
    return dit.DIT.build(WeightFile(file.path, tensors))


def _joined(file: WeightFile, names: list[str]) -> StoredTensor:
    """Tensors one after the other along their first axis."""
    lengths = [file.length(name, 0) for name in names]
    parts = [file.tensors[name] for name in names]
    shape = (sum(lengths), *parts[0].shape[1:])
    return StoredTensor(shape, parts[0].dtype, lambda: np.concatenate([part.read() for part in parts]))


def _check_rest(file: WeightFile, used: set[str]) -> None:
    """Raise UserError for a tensor that is not used, and no repeated embedder."""
    attention = re.compile(rf"transformer_blocks\.\d+\.attn1\.({'|'.join(ATTENTION)})\.(weight|bias)")
    for name in file.tensors.keys() - used:
        if not REPEATED.fullmatch(name) and not attention.fullmatch(name):
            raise UserError(
                f"{file.path}: has a tensor that this model has no place for, {name!r}; use the whole folder"
            )


FAMILY = Family("DiT (diffusers)", dit.DIT.licence, "https://huggingface.co/facebook/DiT-XL-2-256", _matches, _build)
