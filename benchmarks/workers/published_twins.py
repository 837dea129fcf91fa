"""DiT-XL/2 by diffjax or by torch: published_twins.py ours|torch FILE; a line in, a line of figures out."""

import json
import resource
import sys
import time
from collections.abc import Callable

STEPS, CLASS, SIDE = 2, 207, 32


def ours(path: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """Loading, and drawing in two steps of ddim."""
    import jax
    import jax.numpy as jnp

    import diffjax as dj

    jax.block_until_ready(jnp.ones(()) + 1)  # what JAX itself takes
    model = []

    def load() -> None:
        model.append(dj.load(path))
        jax.block_until_ready(model[0].denoise)

    def draw() -> None:
        denoise, noise, order, _ = model[0]
        label = jnp.full(1, CLASS)
        jax.block_until_ready(dj.sample(dj.keys(0, 1), noise, order, denoise, (SIDE, SIDE, 4), cond=label, steps=STEPS))

    return load, draw


def twin(path: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """Drawing of weights, and as many evaluations of the same arithmetic by diffusers' transformer of these sizes."""
    import os

    import torch
    from diffusers import DiTTransformer2DModel

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    net = []

    def load() -> None:
        with torch.device("meta"):
            module = DiTTransformer2DModel(
                num_attention_heads=16, attention_head_dim=72, in_channels=4, out_channels=8, num_layers=28,
                sample_size=SIDE, patch_size=2, num_embeds_ada_norm=1000, activation_fn="gelu-approximate",
            )  # fmt: skip
        net.append(module.to_empty(device="cpu").eval())
        for tensor in net[0].state_dict().values():
            tensor.normal_(std=0.02)

    def draw() -> None:
        x = torch.randn(1, 4, SIDE, SIDE)
        with torch.inference_mode():
            for step in range(STEPS):
                x = net[0](x, torch.tensor([999 - step]), torch.tensor([CLASS])).sample[:, :4]

    return load, draw


def main() -> None:
    """Load at the first line, draw at each further one."""
    load, draw = {"ours": ours, "torch": twin}[sys.argv[1]](sys.argv[2])
    for index, _ in enumerate(sys.stdin):
        before = _peak()
        begin = time.perf_counter()
        (draw if index else load)()
        seconds = time.perf_counter() - begin
        print(json.dumps({"seconds": seconds, "before": before, "peak": _peak()}), flush=True)


def _peak() -> int:
    """The most memory that the process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
