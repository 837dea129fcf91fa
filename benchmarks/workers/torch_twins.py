"""The cases of benchmarks/performance.py in torch: twins of the same operations, as a careful user writes them.

channels_last memory for convolutions, scaled_dot_product_attention, fused AdamW, foreach averages, inference_mode.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from protocol import Call, serve
from torch import nn

STEPS = 10
torch.set_num_threads(1)


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
        self.norm, self.qkv, self.out = (
            nn.GroupNorm(8, features),
            nn.Linear(features, 3 * features),
            nn.Linear(features, features),
        )

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


class DiTBlock(nn.Module):
    """The adaLN-Zero block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.modulation = heads, nn.Linear(width, 6 * width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, h: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        b, n, width = h.shape
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(embedding)[:, None].chunk(6, -1)
        inner = F.layer_norm(h, (width,), eps=1e-6) * (1 + scale_a) + shift_a
        q, k, v = self.qkv(inner).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        h = h + gate_a * self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, width))
        return h + gate_m * self.mlp(F.layer_norm(h, (width,), eps=1e-6) * (1 + scale_m) + shift_m)


class DiT(nn.Module):
    """`diffjax.nets.DiT` with patch 1; positions are a buffer."""

    def __init__(self, width: int, depth: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.first, self.embedding = nn.Linear(3, width), Embedding(width)
        self.register_buffer("positions", torch.randn(1, tokens, width))
        self.blocks = nn.ModuleList([DiTBlock(width, heads) for _ in range(depth)])
        self.modulation, self.last = nn.Linear(width, 2 * width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        h, embedding = self.first(x.flatten(2).transpose(1, 2)) + self.positions, self.embedding(level)
        for block in self.blocks:
            h = block(h, embedding)
        shift, scale = self.modulation(embedding)[:, None].chunk(2, -1)
        h = self.last(F.layer_norm(h, (h.shape[-1],), eps=1e-6) * (1 + scale) + shift)
        return h.transpose(1, 2).reshape(x.shape)


def alpha_sigma(t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The cosine schedule."""
    return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)


def training(net: nn.Module, batch: int, side: int) -> Call:
    """v-prediction loss, gradient, clipping, AdamW, one average."""
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    average = [p.detach().clone() for p in net.parameters()]
    x0 = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)

    def call() -> None:
        t = torch.rand(batch)
        alpha, sigma = (value[:, None, None, None] for value in alpha_sigma(t))
        eps = torch.randn_like(x0)
        loss = F.mse_loss(
            net(alpha * x0 + sigma * eps, torch.log(alpha / sigma).flatten() / 4), alpha * eps - sigma * x0
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, [p.detach() for p in net.parameters()], 0.001)
        loss.item()

    return call


def sampling(net: nn.Module, batch: int, side: int) -> Call:
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

    return call


CASES = {
    "DiT step": lambda: training(DiT(192, 6, 6, 64), 32, 8),
    "U-Net step, 16x16x3": lambda: training(UNet(48, (1, 2, 2)), 32, 16),
    "U-Net step, 32x32x3": lambda: training(UNet(48, (1, 2, 2, 2)), 16, 32),
    "ddim, 16x16x3, batch 1": lambda: sampling(UNet(48, (1, 2, 2)), 1, 16),
    "ddim, 16x16x3, batch 16": lambda: sampling(UNet(48, (1, 2, 2)), 16, 16),
}

if __name__ == "__main__":
    serve(CASES)
