"""The nets of benchmarks/accelerator.py, their sizes, and a step of their training."""

from collections.abc import Mapping
from functools import partial
from math import log2
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import diffjax as dj
from diffjax.profiling.flops import count_flops
from diffjax.training.optimizers import adamw
from diffjax.training.state import create
from diffjax.training.step import train_step
from diffjax.traits import net_traits

VOCAB = 256
NOISE, TOKENS = (
    partial(dj.Gaussian, dj.schedule.cosine, dj.predict.v),
    partial(dj.Masking, VOCAB),
)  # their making starts the backend
CLASSES = 1_000
MEMORY = 80e9  # bytes of the device that batches are chosen for


class Model(NamedTuple):
    """A net, the shape of its examples, and a batch whose training fits into MEMORY."""

    net: Any
    shape: tuple[int, ...]
    batch: int


class Sizes(NamedTuple):
    """How large the cases are; `round_s` is about the time of a round of calls."""

    models: Mapping[str, Model]
    matrix: int  # side
    copied: int  # numbers
    batches: tuple[int, int]  # of decoding
    sampled: int  # batch of guided steps
    steps: int  # of ddim
    round_s: float


DIT = partial(dj.nets.DiT, patch=2, classes=CLASSES, scan=True, dtype="bfloat16")
UNET = partial(dj.nets.UNet, dtype="bfloat16")
GPT = partial(dj.nets.Transformer, VOCAB, causal=True, dtype="bfloat16")
XL, SMALL = DIT(width=1_152, depth=28, heads=16), DIT(width=16, depth=2, heads=2)
CUDNN = "DiT-XL/2, attention_kernel='cudnn'"
FULL = Sizes(
    {  # DiTs of Peebles & Xie 2023, table 1
        "DiT-B/2": Model(DIT(width=768, depth=12, heads=12), (32, 32, 4), 256),
        "DiT-L/2": Model(DIT(width=1_024, depth=24, heads=16), (32, 32, 4), 96),
        "DiT-XL/2": Model(XL, (32, 32, 4), 64),
        CUDNN: Model(XL.clone(attention_kernel="cudnn"), (32, 32, 4), 64),
        "U-Net": Model(UNET(width=128, multipliers=(1, 2, 2, 2)), (64, 64, 3), 256),
        "transformer": Model(GPT((256,), 768, 12, 12), (256,), 128),
    },
    *(8_192, 2**29, (1, 64), 16, 50, 0.1),
)
TINY = Sizes(
    {
        **{name: Model(SMALL, (4, 4, 4), 2) for name in FULL.models},
        CUDNN: Model(SMALL.clone(attention_kernel="cudnn"), (4, 4, 4), 2),
        "U-Net": Model(UNET(width=8, multipliers=(1,)), (4, 4, 3), 2),
        "transformer": Model(GPT((4,), 16, 1, 2), (4,), 2),
    },
    *(64, 2**12, (1, 2), 1, 2, 0.001),
)


def examples(model: Model, batch: int | None = None) -> dict[str, Any]:
    """A random batch; by default that of the model, times a power of 2 by which this device's memory is larger."""
    if batch is None:
        statistic = jax.local_devices()[0].memory_stats() or {}
        batch = max(1, int(model.batch * 2.0 ** round(log2(statistic.get("bytes_limit", MEMORY) / MEMORY))))
    key, shape, tokens = jax.random.key(1), (batch, *model.shape), net_traits(model.net).vocab
    x = jax.random.randint(key, shape, 0, tokens) if tokens else jax.random.normal(key, shape)
    cond = None if model.net.null_cond is None else jax.random.randint(key, (batch,), 0, CLASSES)
    return {"x": x, "cond": cond, "index": jnp.arange(batch)}


def train_program(model: Model, batch: Mapping[str, Any]) -> tuple[Any, Any, float]:
    """A step in the form that `dj.fit` runs, its first state, and its FLOPs: three times those of the net's products.

    Gradient, AdamW, an average, the finite check; the state is donated. cuDNN's attention is counted in XLA's form.
    """
    net, optimizer, loss = model.net, adamw(1_000_000), dj.loss.regression(NOISE(), dj.order.together)
    if net_traits(net).needs_rank:
        loss = dj.loss.causal(TOKENS(), dj.order.raster)
    state = create(jax.random.key(0), net, optimizer, (0.999,), batch["x"], batch["cond"])
    plain = net.clone(attention_kernel="xla") if net_traits(net).attention_kernel != "xla" else net
    apply = partial(plain.apply, {"params": state.params})
    forward = count_flops(lambda x: loss(dj.keys(0, len(x)), apply, x, batch["cond"]), batch["x"])
    return jax.jit(partial(train_step, net, loss, optimizer), donate_argnums=0), state, 3 * forward.total()


def denoiser(model: Model, noise: Any) -> Any:
    """With weights of which none are 0."""
    batch = examples(model, 1)
    level = jnp.zeros((1,) * batch["x"].ndim)
    variables = jax.jit(model.net.init)(jax.random.key(0), batch["x"], level, batch["cond"])
    return dj.denoiser(noise, model.net, jax.jit(partial(jax.tree.map, lambda leaf: leaf + 0.01))(variables))
