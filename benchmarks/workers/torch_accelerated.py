"""The cases of benchmarks/accelerator.py in torch on a GPU: twins of its nets, but for labels, as a careful user's.

Compiled, bfloat16 autocast, scaled_dot_product_attention, fused AdamW, channels_last. The arguments are a case and the
rows of ours as JSON, whose batches and shapes are taken; they are answered by rows of milliseconds, in the same order.
"""

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
import torch_twins as twins
from torch import nn

STEPS, ROUNDS, ROUND_S = 50, 5, 0.1
DITS = {"DiT-B/2": (768, 12, 12), "DiT-L/2": (1_024, 24, 16), "DiT-XL/2": (1_152, 28, 16)}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LAST = {"memory_format": torch.channels_last}
torch.set_default_device(DEVICE)
torch.backends.cudnn.benchmark = True


def answer(call: Callable[[], torch.Tensor], steps: int = 1, **about: int) -> None:
    """The median over rounds of several calls, after some that compile; a call returns what was computed last."""

    def spent(count: int) -> float:
        start = time.perf_counter()
        [call() for _ in range(count)][-1].ravel()[0].item()  # which waits for it
        return (time.perf_counter() - start) / count

    count = max(1, min(50, int(ROUND_S / [spent(1) for _ in range(4)][-1])))
    print(json.dumps({"ms": 1e3 * statistics.median(spent(count) for _ in range(ROUNDS)) / steps, **about}), flush=True)


def compiled(net: nn.Module, blocks: Iterable[nn.Module]) -> nn.Module:
    """With these modules compiled, equal ones once."""
    for block in blocks:
        block.compile()
    return net


class LatentDiT(nn.Module):
    """`diffjax.nets.DiT(patch=2)` of 32x32x4."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.net = twins.DiT(width, depth, heads, 256)
        self.net.first, self.net.last = nn.Linear(16, width), nn.Linear(width, 16)
        compiled(self, self.net.blocks)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return F.pixel_shuffle(self.net(F.pixel_unshuffle(x, 2), level), 2)


def training(net: nn.Module, batch: int, batch_loss: Callable[[], torch.Tensor]) -> None:
    """Loss, gradient, clipping, AdamW, one average."""
    weights = list(net.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    average = [weight.detach().clone() for weight in weights]

    def call() -> torch.Tensor:
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = batch_loss()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, [weight.detach() for weight in weights], 0.001)
        return average[-1]

    answer(call, batch=batch)


def denoising(net: nn.Module, batch: int, channels: int, side: int) -> None:
    """Training by the loss of v-prediction."""
    x0 = torch.randn(batch, channels, side, side).to(**LAST)

    def loss() -> torch.Tensor:
        alpha, sigma = (value[:, None, None, None] for value in twins.alpha_sigma(torch.rand(batch)))
        eps = torch.randn_like(x0)
        out = net(alpha * x0 + sigma * eps, torch.log(alpha / sigma).flatten() / 4)
        return F.mse_loss(out.float(), alpha * eps - sigma * x0)

    training(net, batch, loss)


def unet(batch: int) -> None:
    net = twins.UNet(128, (1, 2, 2, 2)).to(**LAST)
    denoising(compiled(net, [net]), batch, 3, 64)


def transformer(batch: int) -> None:
    net, x = twins.Transformer(768, 12, 12, 256), torch.randint(256, (batch, 256))
    compiled(net, net.blocks)
    training(net, batch, lambda: F.cross_entropy(net(x).float().flatten(0, 1), x.flatten()))


def sampling(batch: int) -> None:
    """Plain steps of ddim, the weights in bfloat16."""
    net = LatentDiT(*DITS["DiT-XL/2"]).to(torch.bfloat16).eval()
    grid = torch.linspace(0.999, 0.001, STEPS + 1)

    @torch.inference_mode()
    @torch.autocast(DEVICE, torch.bfloat16)
    def call() -> torch.Tensor:
        x = torch.randn(batch, 4, 32, 32)
        for t, s in itertools.pairwise(grid):
            (alpha, sigma), (alpha_s, sigma_s) = twins.alpha_sigma(t), twins.alpha_sigma(s)
            v = net(x, (torch.log(alpha / sigma) / 4).expand(batch)).float()
            x = alpha_s * (alpha * x - sigma * v) + sigma_s * (sigma * x + alpha * v)
        return x

    answer(call, STEPS, batch=batch)


def convolution(row: dict) -> None:
    """One of ours, or one of its gradients."""
    height, width, inputs, outputs = row["kernel"]
    shapes = (row["image"], (outputs, height, width, inputs))
    x, w = (torch.randn(shape, dtype=torch.bfloat16).permute(0, 3, 1, 2) for shape in shapes)
    strides, padding = row["strides"], [low for low, _ in row["padding"]]
    out = torch.randn_like(F.conv2d(x, w, None, strides, padding))
    wanted = [row["direction"] == "input", row["direction"] == "kernel", False]
    options = (None, strides, padding, [1, 1], False, [0, 0], 1, wanted)
    if any(wanted):
        answer(lambda: torch.ops.aten.convolution_backward(out, x, w, *options)[wanted.index(True)])
    else:
        answer(lambda: F.conv2d(x, w, None, strides, padding))


CASES = {  # of the rows of ours
    **{
        name: lambda rows, size=size: denoising(LatentDiT(*size), rows[0]["batch"], 4, 32)
        for name, size in DITS.items()
    },
    "U-Net": lambda rows: unet(rows[0]["batch"]),
    "transformer": lambda rows: transformer(rows[0]["batch"]),
    "sampling": lambda rows: sampling(rows[0]["batch"]),
    "convolutions": lambda rows: [convolution(row) for row in rows],
}

if __name__ == "__main__":
    CASES[sys.argv[1]](json.loads(sys.argv[2]))
