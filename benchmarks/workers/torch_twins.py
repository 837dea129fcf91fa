"""The cases of benchmarks/performance.py in torch: twins of the same operations, as a careful user writes them.

channels_last memory for convolutions, scaled_dot_product_attention, fused AdamW, foreach averages, inference_mode.
"""

import itertools
import math
import os
from collections.abc import Callable

import torch
import torch.nn.functional as F
from protocol import Case, in_turns, serve
from torch import nn

STEPS = 10
VOCAB = 256
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def sinusoids(level: torch.Tensor, features: int) -> torch.Tensor:
    """sin and cos of level times rates 1 to 1000."""
    angles = level[:, None] * 1000.0 ** torch.linspace(0, 1, features // 2)
    return torch.cat([angles.sin(), angles.cos()], -1)


class Embedding(nn.Module):
    """Two dense layers on the sinusoids of the level."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.layers = nn.Sequential(nn.Linear(features, features), nn.SiLU(), nn.Linear(features, features), nn.SiLU())

    def forward(self, level: torch.Tensor) -> torch.Tensor:
        return self.layers(sinusoids(level, self.features))


class Block(nn.Module):
    """The residual block of the U-Net, modulated at its second norm."""

    def __init__(self, inner: int, features: int, embedding: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(math.gcd(8, inner), inner), nn.GroupNorm(8, features)])
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(inner, features, 3, padding=1), nn.Conv2d(features, features, 3, padding=1)]
        )
        self.modulation = nn.Linear(embedding, 2 * features)
        self.skip = nn.Conv2d(inner, features, 1) if inner != features else nn.Identity()

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        h = self.convolutions[0](F.silu(self.norms[0](x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, 1)
        h = F.silu(self.norms[1](h) * (1 + scale) + shift)
        return self.skip(x) + self.convolutions[1](h)


class PixelAttention(nn.Module):
    """Residual self-attention over pixels, four heads."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm, self.out = nn.GroupNorm(8, features), nn.Linear(features, features)
        self.qkv = nn.Linear(features, 3 * features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(pixels).reshape(b, h * w, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return x + self.out(mixed).transpose(1, 2).reshape(b, c, h, w)


class UNet(nn.Module):
    """`diffjax.nets.UNet` with one block at each depth."""

    def __init__(self, width: int, multipliers: tuple[int, ...]) -> None:
        super().__init__()
        sizes = [width * multiplier for multiplier in multipliers]
        self.first, self.embedding = nn.Conv2d(3, sizes[0], 3, padding=1), Embedding(2 * width)
        self.down = nn.ModuleList([Block(size, size, 2 * width) for size in sizes[:-1]])
        self.shrink = nn.ModuleList([nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(sizes)])
        self.middle = nn.ModuleList([Block(sizes[-1], sizes[-1], 2 * width) for _ in range(2)])
        self.attention = PixelAttention(sizes[-1])
        self.grow = nn.ModuleList([nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(sizes)])
        self.up = nn.ModuleList([Block(2 * size, size, 2 * width) for size in sizes[:-1]])
        self.norm, self.last = nn.GroupNorm(8, sizes[0]), nn.Conv2d(sizes[0], 3, 3, padding=1)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        h, embedding, skips = self.first(x), self.embedding(level), []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            h = block(h, embedding)
            skips.append(h)
            h = shrink(h)
        h = self.middle[1](self.attention(self.middle[0](h, embedding)), embedding)
        for i in reversed(range(len(self.up))):
            h = F.interpolate(self.grow[i](h), scale_factor=2)
            h = self.up[i](torch.cat([h, skips[i]], 1), embedding)
        return self.last(F.silu(self.norm(h)))


class TokenBlock(nn.Module):
    """The adaLN-Zero block; causal, its norms are affine and it has no gates."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal, self.modulation = heads, causal, nn.Linear(width, (4 if causal else 6) * width)
        self.norms = nn.ModuleList([nn.LayerNorm(width, 1e-6, elementwise_affine=causal) for _ in range(2)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, h: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        parts = self.modulation(embedding)[:, None].chunk(4 if self.causal else 6, -1)
        mixed = self.attend(self.norms[0](h) * (1 + parts[0]) + parts[1])
        h = h + (mixed if self.causal else parts[4] * mixed)
        out = self.mlp(self.norms[1](h) * (1 + parts[2]) + parts[3])
        return h + (out if self.causal else parts[5] * out)

    def attend(self, h: torch.Tensor) -> torch.Tensor:
        b, n, width = h.shape
        q, k, v = self.qkv(h).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(b, n, width))


class DiT(nn.Module):
    """`diffjax.nets.DiT` with patch 1; positions are a buffer."""

    def __init__(self, width: int, depth: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.first, self.embedding = nn.Linear(3, width), Embedding(width)
        self.register_buffer("positions", torch.randn(1, tokens, width))
        self.blocks = nn.ModuleList([TokenBlock(width, heads, causal=False) for _ in range(depth)])
        self.modulation, self.last = nn.Linear(width, 2 * width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        h, embedding = self.first(x.flatten(2).transpose(1, 2)) + self.positions, self.embedding(level)
        for block in self.blocks:
            h = block(h, embedding)
        shift, scale = self.modulation(embedding)[:, None].chunk(2, -1)
        h = self.last(F.layer_norm(h, (h.shape[-1],), eps=1e-6) * (1 + scale) + shift)
        return h.transpose(1, 2).reshape(x.shape)


class Transformer(nn.Module):
    """`diffjax.nets.Transformer(causal=True)` in raster order."""

    def __init__(self, width: int, depth: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.tokens, self.embedding = nn.Embedding(VOCAB + 2, width), Embedding(width)
        self.positions, self.targets = nn.Embedding(tokens, width), nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList([TokenBlock(width, heads, causal=True) for _ in range(depth)])
        self.norm, self.logits = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, VOCAB)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = F.pad(x[:, :-1], (1, 0), value=VOCAB + 1)
        positions = F.pad(self.positions.weight[:-1], (0, 0, 1, 0))
        h = self.tokens(before) + positions + self.targets.weight
        embedding = self.embedding(torch.zeros(len(x)))
        for block in self.blocks:
            h = block(h, embedding)
        return self.logits(self.norm(h))


def alpha_sigma(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The cosine schedule."""
    return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)


def denoising(net: nn.Module, batch: int, side: int) -> Case:
    """Training by the loss of v-prediction."""
    net = net.to(memory_format=torch.channels_last)
    x0 = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)

    def loss() -> torch.Tensor:
        alpha, sigma = (value[:, None, None, None] for value in alpha_sigma(torch.rand(batch)))
        eps = torch.randn_like(x0)
        out = net(alpha * x0 + sigma * eps, torch.log(alpha / sigma).flatten() / 4)
        return F.mse_loss(out, alpha * eps - sigma * x0)

    return training(net, loss)


def next_token(net: nn.Module, batch: int, length: int) -> Case:
    """Training by the cross-entropy of each next token."""
    x = torch.randint(VOCAB, (batch, length))
    return training(net, lambda: F.cross_entropy(net(x).flatten(0, 1), x.flatten()))


def training(net: nn.Module, batch_loss: Callable[[], torch.Tensor]) -> Case:
    """Loss, gradient, clipping, AdamW, one average."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    average = [p.detach().clone() for p in net.parameters()]

    def call() -> None:
        loss = batch_loss()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, [p.detach() for p in net.parameters()], 0.001)
        loss.item()

    return Case(in_turns(call))


def sampling(net: nn.Module, batch: int, side: int) -> Case:
    """STEPS steps of ddim in a bare loop."""
    net = net.to(memory_format=torch.channels_last).eval()
    grid = torch.linspace(0.999, 0.001, STEPS + 1)

    @torch.inference_mode()
    def call() -> None:
        x = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
        for t, s in itertools.pairwise(grid):
            (alpha, sigma), (alpha_s, sigma_s) = alpha_sigma(t), alpha_sigma(s)
            v = net(x, (torch.log(alpha / sigma) / 4).expand(batch))
            x0, eps = alpha * x - sigma * v, sigma * x + alpha * v
            x = alpha_s * x0 + sigma_s * eps

    return Case(in_turns(call))


def gemm() -> Case:
    """A product of two square matrices."""
    a = torch.randn(1024, 1024)
    return Case(in_turns(lambda: a @ a))


CASES = {
    "GEMM": gemm,
    "DiT step": lambda: denoising(DiT(192, 6, 6, 64), 32, 8),
    "causal transformer step": lambda: next_token(Transformer(192, 6, 6, 64), 32, 64),
    "U-Net step, 16x16x3": lambda: denoising(UNet(48, (1, 2, 2)), 32, 16),
    "U-Net step, 32x32x3": lambda: denoising(UNet(48, (1, 2, 2, 2)), 16, 32),
    "ddim, 16x16x3, batch 1": lambda: sampling(UNet(48, (1, 2, 2)), 1, 16),
    "ddim, 16x16x3, batch 16": lambda: sampling(UNet(48, (1, 2, 2)), 16, 16),
    "ddim, 32x32x3, batch 16": lambda: sampling(UNet(48, (1, 2, 2, 2)), 16, 32),
}

if __name__ == "__main__":
    serve(CASES)
