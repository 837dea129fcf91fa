"""What a transformer block may be made of: two norms and two MLPs, each by the name that a net's field has.

Each is a function that a block calls where it is needed; it makes modules of the calling block.
"""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from diffjax.errors import UserError
from diffjax.nets.layers import dense_dot_general

EPSILON = 1e-6  # of every norm
XAVIER = nn.initializers.xavier_uniform()

Features = Float[Array, "b n width"]


def layer_norm(dtype: DTypeLike) -> nn.LayerNorm:
    """(x - mean(x)) / √(var(x) + ε), without parameters."""
    return nn.LayerNorm(EPSILON, use_scale=False, use_bias=False, use_fast_variance=False, dtype=dtype)


def rms_norm(dtype: DTypeLike, name: str | None = None) -> nn.RMSNorm:
    """g x / √(mean(x²) + ε), with g learned and 1 at the start (Zhang & Sennrich 2019, eq. 4)."""
    return nn.RMSNorm(EPSILON, dtype=dtype, name=name)


def gelu_mlp(x: Features, dtype: DTypeLike) -> Features:
    """gelu(x W₁ + b₁) W₂ + b₂, of 4 width features within, with the tanh form of gelu."""
    width = x.shape[-1]
    inner = xavier_dense(4 * width, dtype)(x)  # the first layer that is made is Dense_0
    return xavier_dense(width, dtype)(nn.gelu(inner))


def swiglu_mlp(x: Features, dtype: DTypeLike) -> Features:
    """(silu(x W + b) ⊙ (x V + c)) W₂ + b₂ (Shazeer 2020, eq. 6, with biases), of `gated_width` features within.

    W and V are the halves of one matrix.
    """
    width = x.shape[-1]
    gate, value = jnp.split(xavier_dense(2 * gated_width(width), dtype)(x), 2, axis=-1)
    return xavier_dense(width, dtype)(nn.silu(gate) * value)


def gated_width(width: int) -> int:
    """⅔ of 4 width, rounded down, as LightningDiT and JiT have it: about as many parameters as `gelu_mlp` has."""
    return 8 * width // 3


def xavier_dense(features: int, dtype: DTypeLike) -> nn.Dense:
    """A dense layer with uniform initialization of variance 2 / (inputs + features)."""
    return nn.Dense(features, kernel_init=XAVIER, dtype=dtype, dot_general=dense_dot_general)


NORMS: dict[str, Callable[[DTypeLike], nn.Module]] = {"layer": layer_norm, "rms": rms_norm}
MLPS: dict[str, Callable[[Features, DTypeLike], Features]] = {"gelu": gelu_mlp, "swiglu": swiglu_mlp}


def check_choice(field: str, name: object, choices: Mapping[str, object]) -> None:
    """Raise UserError where the value of a net's field is none of the names of `choices`."""
    if name not in tuple(choices):
        raise UserError(f"net: {field} must be {' or '.join(map(repr, choices))}, got {name!r:.40}")


def check_count(field: str, count: int, maximum: int) -> None:
    """Raise UserError where the value of a net's field is outside 0 … maximum."""
    if not 0 <= count <= maximum:
        raise UserError(f"net: {field} must be in 0 … {maximum:,}, got {count!s:.20}")
