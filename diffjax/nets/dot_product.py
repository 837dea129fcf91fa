"""Softmax attention, spelled for the platform: softmax(Q Kᵀ / √d) V (Vaswani et al. 2017, eq. 1).

On a CPU the heads are moved before the tokens, so that both products have one batch axis and no transposes in their
gradients, and long sequences are computed in checkpointed blocks of query rows, whose memory does not grow with the
square of the tokens. Elsewhere XLA's own attention serves, or on a CUDA device, for nets that ask for it, cuDNN's,
which stores no scores. That has no forward derivative, so likelihoods go back to XLA's
(`denoising.forward_differentiable`).
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.extend.backend import get_backend
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from diffjax.errors import UserError

KERNELS = ("xla", "cudnn")  # what a net may ask for
CUDNN_CAPABILITY = 8.0  # CUDA compute capability from which cuDNN has flash attention
CUDNN_HEAD_SIZE = 128  # the largest on every such device
ROWS = 64  # query rows in one block
BLOCK_NUMBERS = 2**18  # scores of one block of rows and heads: 1 MB, which stays in a core's cache

Queries = Float[Array, "b n heads d"]
Keys = Float[Array, "b m heads d"]
Mask = Bool[Array, "#b #heads #n m"]


def check_kernel(kernel: object) -> None:
    """Raise UserError for another kernel than those of KERNELS."""
    if kernel not in KERNELS:
        raise UserError(f"net: attention_kernel must be 'xla' or 'cudnn', got {kernel!r:.40}")


def choose_kernel(
    kernel: str, platform: str, capability: float, dtype: DTypeLike, head_size: int, has_mask: bool
) -> Literal["blocks", "xla", "cudnn"]:
    """What computes attention when a net asks for `kernel`: blocks on a CPU, cuDNN's where that can, else XLA's.

    cuDNN's takes bfloat16 and float16, head sizes up to 128 that divide by 8, and no mask but the causal one: JAX would
    pass another as a bias, with a gradient as large as the scores. `capability` is that of the CUDA device, 0 for none.
    """
    if platform == "cpu":
        return "blocks"
    is_fit = capability >= CUDNN_CAPABILITY and dtype in (jnp.bfloat16, jnp.float16) and not has_mask
    is_fit = is_fit and head_size % 8 == 0 and head_size <= CUDNN_HEAD_SIZE
    return "cudnn" if kernel == "cudnn" and is_fit else "xla"


def cuda_capability() -> float:
    """The compute capability of this host's first device; 0 where it is no CUDA device."""
    return float(jax.local_devices()[0].compute_capability) if "cuda" in get_backend().platform_version else 0.0


def attend(
    query: Queries, key: Keys, value: Keys, mask: Mask | None = None, is_causal: bool = False, kernel: str = "xla"
) -> Queries:
    """Attention of [b, n, heads, d] to keys and values [b, m, heads, d], where the mask [b, heads, n, m] is true.

    Axes of the mask but the last may be 1. `is_causal`: token i attends to tokens 0 … i. The softmax is in float32.
    `kernel` is one of KERNELS; where it is used is said at `choose_kernel`.
    """
    b, n, heads, d = query.shape
    chosen = choose_kernel(kernel, jax.default_backend(), cuda_capability(), query.dtype, d, mask is not None)
    if chosen != "blocks":
        return jax.nn.dot_product_attention(query, key, value, mask=mask, is_causal=is_causal, implementation=chosen)
    if is_causal:
        causal = jnp.tril(jnp.ones((n, key.shape[1]), bool))[None, None]
        mask = causal if mask is None else mask & causal
    if mask is not None:
        shared = mask.shape[:2] == (1, 1)
        mask = mask[0] if shared else jnp.broadcast_to(mask, (b, heads, *mask.shape[2:]))
        mask = mask.reshape(-1, *mask.shape[-2:])
    mixed = _attend_in_blocks(_heads_first(query) / d**0.5, _heads_first(key), _heads_first(value), mask)
    return jnp.moveaxis(mixed.reshape(b, heads, n, d), 1, 2)


def _heads_first(x: Queries) -> Float[Array, "bh n d"]:
    b, n, heads, d = x.shape
    return jnp.moveaxis(x, 2, 1).reshape(b * heads, n, d)


def _attend_in_blocks(
    query: Float[Array, "bh n d"],
    key: Float[Array, "bh m d"],
    value: Float[Array, "bh m d"],
    mask: Bool[Array, "_ _ m"] | None,
) -> Float[Array, "bh n d"]:
    """Attention of scaled queries: at once where there are few, else in blocks of heads and rows."""
    heads, n = query.shape[:2]
    m = key.shape[1]
    if n < 2 * ROWS:
        return _attend_rows(query, key, value, mask)
    if mask is not None:
        mask = jnp.broadcast_to(mask, (heads, n, m))
    group = _largest_divisor(heads, BLOCK_NUMBERS // (ROWS * m))

    def in_groups(x: Array) -> Array:
        return x.reshape(heads // group, group, *x.shape[1:])

    mixed = jax.lax.map(lambda part: _attend_group(*part), jax.tree.map(in_groups, (query, key, value, mask)))
    return mixed.reshape(heads, n, -1)


def _largest_divisor(number: int, maximum: int) -> int:
    """The largest divisor that is at most `maximum`; 1 where there is none."""
    return next((count for count in range(min(number, maximum), 1, -1) if number % count == 0), 1)


def _attend_group(
    query: Float[Array, "g n d"],
    key: Float[Array, "g m d"],
    value: Float[Array, "g m d"],
    mask: Bool[Array, "g n m"] | None,
) -> Float[Array, "g n d"]:
    """Attention of some heads, ROWS queries at a time; scores are computed again in the backward pass."""
    group, n = query.shape[:2]
    blocks = -(-n // ROWS)

    def in_blocks(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (0, blocks * ROWS - n), (0, 0)))
        return jnp.moveaxis(padded.reshape(group, blocks, ROWS, -1), 1, 0)

    @jax.checkpoint
    def attend_block(block: tuple[Array, Array | None]) -> Array:
        return _attend_rows(block[0], key, value, block[1])

    mixed = jax.lax.map(attend_block, jax.tree.map(in_blocks, (query, mask)))
    return jnp.moveaxis(mixed, 0, 1).reshape(group, blocks * ROWS, -1)[:, :n]


def _attend_rows(
    query: Float[Array, "g r d"],
    key: Float[Array, "g m d"],
    value: Float[Array, "g m d"],
    mask: Bool[Array, "#g #r m"] | None,
) -> Float[Array, "g r d"]:
    scores = jnp.einsum("grd,gmd->grm", query, key, preferred_element_type=jnp.float32)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("grm,gmd->grd", weights, value)
