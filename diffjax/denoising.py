"""The denoiser of a net, and the ranks that a causal net needs."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from diffjax.arguments import expected
from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.protocols import Cond, Denoise, Hook, Net, Noise, NoiseAwareHook, Prediction, TokenNoise
from diffjax.traits import ClonableNet, net_traits
from diffjax.utils.closures import as_pytree
from diffjax.utils.values import describe_value

__all__ = ["denoiser", "with_variance"]


class PerExample(NamedTuple):
    """Within a denoiser, an array with one entry for each example of the batch."""

    values: Shaped[Array, "b ..."]


def repeat_per_example(tree: PyTree, count: int) -> PyTree:
    """The tree with every entry of each `PerExample` repeated `count` times, side by side; one of length 1 is kept."""

    def repeat(leaf: PyTree) -> PyTree:
        if not isinstance(leaf, PerExample) or len(leaf.values) == 1:
            return leaf
        return PerExample(jnp.repeat(leaf.values, count, axis=0))

    return jax.tree.map(repeat, tree, is_leaf=lambda leaf: isinstance(leaf, PerExample))


@functools.partial(jax.tree_util.register_dataclass, data_fields=["denoise"], meta_fields=["noise"])
@dataclass(frozen=True)
class CheckedDenoiser:
    """A denoiser whose predictions are validated by the noise (`Noise.prediction`)."""

    noise: Noise
    denoise: Denoise

    def __call__(self, x_t: Array, t: Array, cond: Cond) -> Array:
        return self.noise.prediction(self.denoise(x_t, t, cond), x_t)

    def predict(self, x_t: Array, t: Array, cond: Cond) -> Array | Prediction:
        """The same, with the variance where the denoiser has it."""
        pred = self.denoise(x_t, t, cond)
        x0 = self.noise.prediction(pred, x_t)
        return pred._replace(x0=x0) if isinstance(pred, Prediction) else x0


def checked_denoiser(noise: Noise, denoise: Denoise) -> CheckedDenoiser:
    """The denoiser as a pytree, its predictions validated by the noise."""
    return CheckedDenoiser(noise, as_pytree(denoise))


def bind_hook(
    hook: Hook | NoiseAwareHook | None, noise: Noise, order: Order, denoise: Denoise, shape: tuple[int, ...]
) -> tuple[Denoise, Hook | None]:
    """Denoiser and hook as pytrees, those of `as_hook` for a hook that depends on the noise."""
    if isinstance(hook, NoiseAwareHook):
        denoise, hook = hook.as_hook(noise, order, checked_denoiser(noise, denoise), shape)
    return as_pytree(denoise), None if hook is None else as_pytree(hook)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["variables", "rank"], meta_fields=["noise", "net", "variance"]
)
@dataclass(frozen=True)
class NetDenoiser:
    """`(x_t, t, cond) -> E[x0 | x_t, cond]` or logits. A pytree: new weights compile nothing.

    A net that predicts each next token also needs each position's `rank`; sampler and likelihood set it (`with_ranks`).
    `variance`: a `Prediction` is returned, of a net that learned the variance (`with_variance`).
    """

    noise: Noise
    net: Net
    variables: PyTree
    rank: PerExample | None = None
    variance: bool = False

    def __call__(self, x_t: Array, t: Array, cond: Cond) -> PyTree:
        options = {}
        if needs_rank(self.net) and self.rank is not None:
            options = {"rank": _broadcast_ranks(self.rank, len(x_t))}
        out = self.net.apply(self.variables, self.noise.feed(x_t, t), self.noise.level(t), cond, **options)
        return self.read(out, x_t, t)

    def read(self, out: Array, x_t: Array, t: Array) -> Array | Prediction:
        """The prediction that the net's output stands for."""
        if not net_traits(self.net).learned_variance:
            return self.noise.read(out, x_t, t)
        out, variance = jnp.split(out, 2, axis=-1)
        x0 = self.noise.read(out, x_t, t)
        return Prediction(x0, share_of(variance)) if self.variance else x0


def denoiser(noise: Noise, net: object, variables: PyTree) -> NetDenoiser:
    """The denoiser of a Flax net: `(x_t, t, cond) -> E[x0 | x_t, cond]` (or logits), float32.

    `variables` are Flax variables, `{"params": ...}`, such as `state.ema`. Raises UserError for other variables, for
    what is not a net, and for a net of another vocabulary than the noise.
    """
    noise = expected.noise(noise)
    if isinstance(net, type) or not isinstance(net, Net):
        raise UserError(f"denoiser: net must be a Flax module, such as dj.nets.MLP(), got {describe_value(net)}")
    _check_variables(variables)
    ours = noise.vocab if isinstance(noise, TokenNoise) else None
    theirs = net_traits(net).vocab
    if ours != theirs:
        raise UserError(
            f"denoiser: {type(noise).__name__} has {_describe_vocab(ours)}, and the net "
            f"{type(net).__name__} {_describe_vocab(theirs)}; a net of tokens has traits = dj.NetTraits(vocab=…)"
        )
    return NetDenoiser(noise, net, variables)


def _check_variables(variables: object) -> None:
    """Raise UserError for anything but Flax variables."""
    if isinstance(variables, Mapping) and "params" in variables:
        return
    if isinstance(variables, Mapping):
        hint = 'these are parameters alone: write {"params": …}'
    else:
        hint = "write state.ema, or {'params': state.params}"
    raise UserError(f"denoiser: expected Flax variables, {{'params': …}}, got {type(variables).__name__}; {hint}")


def share_of(out: Float[Array, "..."]) -> Float[Array, "..."]:
    """The share of the variance (`Prediction`) that outputs of -1 … 1 stand for (Nichol & Dhariwal 2021, eq. 15)."""
    return (out.astype(jnp.float32) + 1) / 2


def with_variance(denoise: Denoise) -> Denoise:
    """The denoiser that returns a `Prediction`, for `steps.posterior(learned_variance=True)` and the variational bound.

    Guidance combines the means, and the variance is that under the condition. Raises UserError where a net has not
    learned a variance.
    """
    for net in networks(denoise) or [denoise]:
        if not net_traits(net).learned_variance:
            kind = type(net).__name__
            raise UserError(
                f"denoiser: {kind} has learned no variance; use a net with learned_variance, or leave it out"
            )
    return map_nets(denoise, lambda part: replace(part, variance=True))


def with_ranks(denoise: Denoise, order: Order, rank: Float[Array, "b ..."]) -> Denoise:
    """The denoiser with these ranks in every net that needs them, under guidance too.

    Raises UserError where such a net cannot serve the order, which must have width 0.
    """
    if not is_causal(denoise):
        return denoise
    require_sequential_order(order)
    return map_nets(denoise, lambda part: replace(part, rank=PerExample(rank)) if needs_rank(part.net) else part)


def _broadcast_ranks(rank: PerExample, count: int) -> Float[Array, "b n"]:
    """The ranks of `count` examples. Raises UserError where there are those of another number."""
    if len(rank.values) not in (1, count):
        raise UserError(
            f"denoise: a causal net has the ranks of {len(rank.values)} examples, and was called with {count}; a "
            "guidance that calls it with copies of examples makes them by guidance.batched_predictions"
        )
    return jnp.broadcast_to(rank.values, (count, *rank.values.shape[1:]))


def require_sequential_order(order: Order) -> None:
    """Raise UserError where a causal net cannot serve the order."""
    if order.width > 0:
        raise UserError(
            f"a causal net needs an order of width 0 (raster, shuffled), and this order's width is {order.width:g}; "
            "use such an order, or a net with causal=False"
        )


def networks(denoise: PyTree) -> list[Net]:
    """The nets of a denoiser, under guidance and within edits too."""
    return [part.net for part in jax.tree.leaves(denoise, is_leaf=_is_net) if _is_net(part)]


def is_causal(denoise: PyTree) -> bool:
    """Whether a net of the denoiser predicts each next token, and so needs the ranks."""
    return any(map(needs_rank, networks(denoise)))


def has_head(denoise: PyTree) -> bool:
    """Whether the denoiser has nets, and each has a backbone and a head (`NetTraits.has_head`)."""
    nets = networks(denoise)
    return bool(nets) and all(net_traits(net).has_head for net in nets)


def needs_rank(net: Net) -> bool:
    """Whether calls of the net need the ranks of the positions."""
    return net_traits(net).needs_rank


def map_nets(denoise: Denoise, change: Callable[[NetDenoiser], Denoise]) -> Denoise:
    """The denoiser with `change` applied to each of its nets."""
    return jax.tree.map(lambda part: change(part) if _is_net(part) else part, denoise, is_leaf=_is_net)


def forward_differentiable(denoise: Denoise) -> Denoise:
    """The denoiser with XLA's attention in all its nets: cuDNN's has no forward derivative."""

    def with_xla(part: NetDenoiser) -> NetDenoiser:
        if net_traits(part.net).attention_kernel == "xla" or not isinstance(part.net, ClonableNet):
            return part
        return replace(part, net=part.net.clone(attention_kernel="xla"))

    return map_nets(denoise, with_xla)


def _is_net(part: object) -> bool:
    return isinstance(part, NetDenoiser)


def _describe_vocab(vocab: int | None) -> str:
    return "no tokens" if vocab is None else f"a vocabulary of {vocab}"
