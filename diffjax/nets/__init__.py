"""Flax nets. All are called alike, `net(x, level, cond, keys)`, and output float32 of the shape of x.

`x` has unit variance and `level` in [0, 1] is the noise (what `noise.feed` and `noise.level` give). `cond` is a label
per example, or None. `keys` are the examples' keys for dropout in training, None otherwise. `net.null_cond` is the
condition that says nothing (None for an unconditional net), and `net.convolutional` whether the net wants to be
dispatched step by step on a CPU.
"""

from diffjax.nets.mlp import MLP
from diffjax.nets.unet import UNet

__all__ = ["MLP", "UNet"]
