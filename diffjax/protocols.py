"""The words every other file speaks: a denoiser, a noise, a step, a hook, and the shapes of what they pass on.

`b` is the batch, `shape` one example. A level `t` always broadcasts against `x`: `[b, 1, 1, 1]` when all of a
picture shares one level, `[b, h, w, 1]` or `[b, n]` when every position has its own. Of two levels `(t, s)`, `t`
is the noisier.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from diffjax.utils.closures import intern_function
from diffjax.utils.prng import Keys as Keys

Sample = Shaped[Array, "b *shape"]  # x: real for Gaussian, integer tokens for Masking
Level = Float[Array, "b *#shape"]
Cond = PyTree  # every leaf has the batch as its first axis; None when there is nothing to know


class PerExample(NamedTuple):
    """Within a denoiser, an array that has one entry for each example of the batch."""

    values: Any  # [b, ...]


def repeat_per_example(tree: Any, count: int) -> Any:
    """The tree, of which each `PerExample` has `count` copies of every entry, side by side; of one entry it is left."""

    def repeat(leaf: Any) -> Any:
        if not isinstance(leaf, PerExample) or len(leaf.values) == 1:
            return leaf
        return PerExample(jnp.repeat(leaf.values, count, axis=0))

    return jax.tree.map(repeat, tree, is_leaf=lambda leaf: isinstance(leaf, PerExample))


class Pair(NamedTuple):
    """The same prediction without something, and given it."""

    unconditional: Any
    conditional: Any


class ConditionPart(NamedTuple):
    """A part of a condition: its value, and of which examples it is known at all."""

    value: Any  # [b, ...]
    present: Any  # bool [b]


@runtime_checkable
class Denoise(Protocol):
    """What was hidden? `(x_t, t, cond) -> E[x0 | x_t, cond]` (Gaussian) or logits (Masking), float32."""

    def __call__(self, x_t: Any, t: Any, cond: Any, /) -> Any: ...


@runtime_checkable
class Noise(Protocol):
    """How information is destroyed. Methods with a `key` speak of one example; callers `vmap` them over the batch.

    `channel_axes` says how many trailing axes of an example are channels, and so share one position.
    """

    @property
    def channel_axes(self) -> int: ...

    def data(self, x0: Any) -> Any:
        """Data in the type in which the noise computes. Raises UserError for data of another kind."""
        ...

    def prediction(self, pred: Any, x_t: Any) -> Any:
        """What a denoiser says, in float32 at least. Raises UserError where it has not the shape that x_t asks for."""
        ...

    def check_prior(self) -> None:
        """Raise UserError where the prior is not the law of x at level 1."""
        ...

    def prior(self, key: Any, shape: tuple[int, ...]) -> Any:
        """Draw an example of which nothing is known: x at level 1."""
        ...

    def corrupt(self, key: Any, x0: Any, t: Any) -> tuple[Any, Any]:
        """Destroy to level t: x_t, and the target of the net there."""
        ...

    def feed(self, x_t: Any, t: Any) -> Any:
        """What a net receives in place of x_t."""
        ...

    def level(self, t: Any) -> Any:
        """What a net receives in place of the clock: the noise, in [0, 1]."""
        ...

    def read(self, out: Any, x_t: Any, t: Any) -> Any:
        """What a net's output says of x0."""
        ...

    def miss(self, out: Any, target: Any, x_t: Any, t: Any) -> Any:
        """The error at each position, in the net's own space."""
        ...

    def posterior(self, key: Any, x_t: Any, pred: Any, t: Any, s: Any) -> Any:
        """Draw x_s from q(x_s | x_t, x0), with the prediction for x0."""
        ...

    def bound(self, x0: Any, pred: Any, x_t: Any, t: Any, s: Any) -> Any:
        """Nats at each position that the step from t to s costs in the variational bound."""
        ...

    def bound_grid(self, steps: int, levels: int | None = None) -> Any:
        """Clock values at which a bound of so many steps looks, noisiest first; of x in so many levels, if given."""
        ...

    def boundary_terms(self, key: Any, x0: Any, s: Any, levels: int | None = None) -> Any:
        """Nats at each position that the bound adds at both ends of the clock, the last stop being s."""
        ...

    def log_snr(self, t: Any) -> Any:
        """The logarithm of what is known over what is destroyed."""
        ...

    def time(self, log_snr: Any) -> Any:
        """The level t that has this log-SNR."""
        ...

    def log_weight(self, t: Any) -> Any:
        """Logarithm of the weight that `miss` gives to the squared error of x0."""
        ...


@runtime_checkable
class Net(Protocol):
    """What is trained: `init(key, x, level, cond) -> variables`, `apply(variables, x, level, cond, keys) -> out`."""

    def init(self, *args: Any, **kwargs: Any) -> Any: ...

    def apply(self, *args: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True)
class Step:
    """A rule from level t to level s.

    `init(x) -> carry` makes the rule's memory; `update(keys, noise, denoise, x, t, s, carry) -> (x, carry)` moves
    x from t to s, where `denoise(x_t, t)` already knows its condition. `evaluations` of the denoiser are spent per
    step. `per_position`: positions may have different levels, and where t = s nothing changes. `stochastic`: keys
    are used, so the rule cannot be run backwards. `needs` are the methods beyond `Noise` that it asks of the noise.
    `reorders`: it chooses by itself which positions to reveal. `order`: of accuracy that it attains; None where it is
    stochastic, or nothing is claimed. `prediction_type`: the NamedTuple that it wants of its denoiser in place of
    one array.
    `name`: what messages call it; by default the function whose inner function `update` is (`heun` of `steps.heun()`),
    or else the module and name of `update`.
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]
    evaluations: int = 1
    per_position: bool = False
    stochastic: bool = False
    needs: tuple[str, ...] = ()
    reorders: bool = False
    plan: Callable[[Any, Any], Any] | None = None
    order: int | None = None
    prediction_type: type[tuple] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or _maker_of(self.update))
        for name in ("init", "update", "plan"):
            object.__setattr__(self, name, intern_function(getattr(self, name)))


def _maker_of(update: Callable[..., Any]) -> str:
    """The name of the function that returned this one, or, where it stands by itself, its module and name."""
    maker, inner, _ = getattr(update, "__qualname__", type(update).__qualname__).partition(".<locals>")
    return maker if inner else f"{update.__module__}.{maker}"


@runtime_checkable
class Hook(Protocol):
    """Called after each step: `(keys, x, pred, t, s) -> x`, x at level s; pred is the step's first prediction."""

    def __call__(self, keys: Any, x: Any, pred: Any, t: Any, s: Any, /) -> Any: ...


@runtime_checkable
class NoiseAwareHook(Protocol):
    """In a hook's place: what depends on the noise, and says with which denoiser and hook to sample (`edit.inpaint`).

    `shape` has the batch first.
    """

    def as_hook(self, noise: Any, order: Any, denoise: Any, shape: tuple[int, ...]) -> tuple[Any, Any]: ...
