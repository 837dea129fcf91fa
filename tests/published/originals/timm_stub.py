"""The four modules of timm that the originals use, since timm does not load beside torch's CPU build."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
from torch import nn


class PatchEmbed(nn.Module):
    def __init__(self, size: int, patch: int, channels: int, width: int, bias: bool = True) -> None:
        super().__init__()
        self.patch_size = (patch, patch)
        self.num_patches = (size // patch) ** 2
        self.proj = nn.Conv2d(channels, width, patch, patch, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = False, **_: object) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-2, -1) / (c // self.num_heads) ** 0.5, dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    def __init__(self, in_features: int, hidden_features: int, act_layer: object = nn.GELU, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    def __init__(
        self, dim: int, num_heads: int, mlp_ratio: float = 4.0, norm_layer: object = None, **rest: bool
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = Attention(dim, num_heads, rest.get("qkv_bias", False))
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def install() -> None:
    """Make `timm.models.vision_transformer` importable."""
    names = ("timm", "timm.models", "timm.models.vision_transformer")
    for name in names:
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)  # which other libraries look for
        sys.modules[name] = module
    for each in (PatchEmbed, Attention, Mlp, Block):
        setattr(sys.modules[names[-1]], each.__name__, each)
    sys.modules[names[-1]].DropPath = nn.Identity
