"""The interfaces of the library: denoiser, noise, net, step rule and hook, and the values that pass between them.

`b` is the batch, `shape` the shape of one example. A noise level `t` always broadcasts against `x`: `[b, 1, 1, 1]`
where all positions of an image share one level, `[b, h, w, 1]` or `[b, n]` where each position has its own. Of two
levels `(t, s)`, `t` is the noisier.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Float, Key, PyTree, Shaped

from diffjax.errors import UserError
from diffjax.utils.closures import intern_function
from diffjax.utils.prng import Keys as Keys
from diffjax.utils.values import describe_value

Sample = Shaped[Array, "b *shape"]  # x: real for Gaussian, integer tokens for Masking
Level = Float[Array, "b *#shape"]
Cond = PyTree  # every leaf has the batch as its first axis; None for an unconditional model
Values = Shaped[Array, "..."]  # x, a prediction or a net's output, of one example or of a batch
Times = Float[Array, "..."]  # noise levels that broadcast against it
Schedule = Callable[[Times], tuple[Times, Times]]  # t -> (alpha, sigma)


class Pair(NamedTuple):
    """The predictions of one denoiser without and with the condition."""

    unconditional: Sample
    conditional: Sample


class Prediction(NamedTuple):
    """E[x0 | x_t], and the variance of x_s (Nichol & Dhariwal 2021, eq. 15)."""

    x0: Sample
    variance_share: Sample  # in the log, 0: of q(x_s | x_t, x0), 1: of q(x_t | x_s)


class ConditionPart(NamedTuple):
    """One named part of a condition: its values, and for which examples it is present."""

    value: Any  # [b, ...], of NumPy or JAX
    present: Any  # bool [b]


class Coefficients(NamedTuple):
    """alpha and sigma of x_t = alpha x0 + sigma eps at a time t, and their derivatives there."""

    alpha: Times
    sigma: Times
    d_alpha: Times
    d_sigma: Times


@runtime_checkable
class Denoise(Protocol):
    """The model: `(x_t, t, cond) -> E[x0 | x_t, cond]` or logits, float32; or a step rule's `prediction_type`."""

    def __call__(self, x_t: Sample, t: Level, cond: Cond, /) -> PyTree: ...


@runtime_checkable
class Noise(Protocol):
    """The corruption process. Methods with a `key` take one example; callers `vmap` them over the batch.

    `channel_axes` is the number of trailing axes of an example that are channels, and so share one position.
    """

    @property
    def channel_axes(self) -> int: ...

    def data(self, x0: Values) -> Values:
        """The data in the dtype of the computation. Raises UserError for data of another kind."""
        ...

    def prediction(self, pred: Values, x_t: Values) -> Values:
        """A denoiser's prediction in at least float32. Raises UserError where its shape does not fit x_t."""
        ...

    def check_prior(self) -> None:
        """Raise UserError where the prior is not the distribution of x at level 1."""

    def prior(self, key: Key[Array, ""], shape: tuple[int, ...]) -> Values:
        """A draw from the prior, the distribution of x at level 1."""
        ...

    def corrupt(self, key: Key[Array, ""], x0: Values, t: Times) -> tuple[Values, Values]:
        """x_t ~ q(x_t | x0), and the net's regression target there."""
        ...

    def feed(self, x_t: Values, t: Times) -> Values:
        """The net's input for x_t."""
        ...

    def level(self, t: Times) -> Times:
        """The net's level input for t, in [0, 1] unless the net was made for another."""
        ...

    def read(self, out: Values, x_t: Values, t: Times) -> Values:
        """The prediction that the net's output stands for."""
        ...

    def miss(self, out: Values, target: Values, x_t: Values, t: Times) -> Values:
        """The training error at each position, in the space of the net's output."""
        ...

    def posterior(self, key: Key[Array, ""], x_t: Values, pred: PyTree, t: Times, s: Times) -> Values:
        """A draw of x_s ~ q(x_s | x_t, x0), with the prediction in place of x0."""
        ...

    def bound(self, x0: Values, pred: PyTree, x_t: Values, t: Times, s: Times) -> Values:
        """The term of the variational bound for the step from t to s, in nats at each position."""
        ...

    def bound_grid(self, steps: int, levels: int | None = None) -> Times:
        """The grid `[steps + 1]` of a bound, noisiest first, for x of `levels` values or, with None, for a density."""
        ...

    def boundary_terms(self, key: Key[Array, ""], x0: Values, s: Times, levels: int | None = None) -> Values:
        """The prior and reconstruction terms of the bound, in nats at each position; s is the last grid point."""
        ...

    def log_snr(self, t: Times) -> Times:
        """The log of the signal-to-noise ratio."""
        ...

    def time(self, log_snr: Times) -> Times:
        """The t that has this log-SNR."""
        ...

    def log_weight(self, t: Times) -> Times:
        """The log of the weight that `miss` gives to the squared error of x0."""
        ...


@runtime_checkable
class GaussianNoise(Noise, Protocol):
    """A noise x_t = alpha x0 + sigma eps of real numbers, eps ~ N(0, 1); `Gaussian` is one.

    `schedule` is t -> (alpha, sigma), and `data_std` the standard deviation of the data.
    """

    @property
    def schedule(self) -> Schedule: ...

    @property
    def data_std(self) -> float: ...

    def coefficients(self, t: Times) -> Coefficients:
        """alpha, sigma and their derivatives."""
        ...

    def eps(self, x_t: Values, x0: Values, t: Times) -> Values:
        """(x_t - alpha x0) / sigma."""
        ...

    def noise_correlation(self, t: Times, s: Times) -> Times:
        """alpha_t sigma_s / (alpha_s sigma_t): the correlation of eps_t and eps_s, in [0, 1]."""
        ...


@runtime_checkable
class TokenNoise(Noise, Protocol):
    """A noise of integer tokens 0 … `vocab` - 1, each replaced by the mask token `vocab`; `Masking` is one."""

    @property
    def vocab(self) -> int: ...

    def keep_probability(self, t: Times) -> Times:
        """The probability that a token is not masked at t: 1 at t = 0, and 0 at t = 1."""
        ...

    def unmask_probability(self, t: Times, s: Times) -> Times:
        """The probability that a token masked at t is not masked at s."""
        ...


@runtime_checkable
class Net(Protocol):
    """What is trained: `init(key, x, level, cond) -> variables`, `apply(variables, x, level, cond, keys) -> out`.

    All else that the library needs to know is in its attribute `traits` (`NetTraits`).
    """

    def init(self, *args: PyTree, **kwargs: PyTree) -> PyTree: ...

    def apply(self, *args: PyTree, **kwargs: PyTree) -> PyTree: ...


@dataclass(frozen=True)
class Step:
    """A step rule, from level t to level s. Raises UserError where `needs` is no class.

    `init(x) -> carry` makes the rule's state; `update(keys, noise, denoise, x, t, s, carry) -> (x, carry)` moves x from
    t to s, `denoise(x_t, t)` being bound to its condition.
    `evaluations`: calls of the denoiser per step.
    `per_position`: positions may have different levels, and where t = s nothing changes.
    `stochastic`: it uses the keys, and so cannot be inverted.
    `needs`: the protocol of the noises that it serves, `Noise`, `GaussianNoise` or `TokenNoise`.
    `reorders`: it chooses by itself which positions to reveal.
    `plan`: `(noise, grid) -> rows`, its coefficients for a grid; row k is one more argument of `update` at step k.
    `order`: its order of accuracy; None where it is stochastic, or nothing is claimed.
    `prediction_type`: the NamedTuple that `denoise` must return in place of an array.
    `name`: its name in messages; by default the function that made `update` (`heun` of `steps.heun()`), or else the
    module and name of `update`.
    """

    init: Callable[[Values], PyTree]
    update: Callable[..., tuple[Values, PyTree]]
    evaluations: int = 1
    per_position: bool = False
    stochastic: bool = False
    needs: type = Noise
    reorders: bool = False
    plan: Callable[..., PyTree] | None = None
    order: int | None = None
    prediction_type: type[tuple] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or _maker_of(self.update))
        for name in ("init", "update", "plan"):
            object.__setattr__(self, name, intern_function(vars(self)[name]))
        if not isinstance(self.needs, type):
            raise UserError(f"Step: needs must be Noise, GaussianNoise or TokenNoise, got {describe_value(self.needs)}")


def _maker_of(update: Callable[..., object]) -> str:
    """The name of the function that returned this one, or of one that is not local, its module and name."""
    maker, inner, _ = getattr(update, "__qualname__", type(update).__qualname__).partition(".<locals>")
    return maker if inner else f"{update.__module__}.{maker}"


@runtime_checkable
class Hook(Protocol):
    """Called after each step: `(keys, x, pred, t, s) -> x`, x at level s; pred is the step's first prediction."""

    def __call__(self, keys: Keys, x: Sample, pred: PyTree, t: Level, s: Level, /) -> Sample: ...


@runtime_checkable
class NoiseAwareHook(Protocol):
    """In place of a hook: returns the denoiser and hook to sample `shape` with, the batch first (`edit.inpaint`).

    `order` is an `Order`, whose module imports this one.
    """

    def as_hook(self, noise: Noise, order: Any, denoise: Denoise, shape: tuple[int, ...]) -> tuple[Denoise, Hook]: ...
