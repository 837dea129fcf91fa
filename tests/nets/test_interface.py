"""What is no net, or cannot be called as one, is refused by one line that says what to write."""

import itertools
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

import diffjax as dj
from diffjax.nets import from_equinox, from_nnx
from diffjax.traits import NetTraits, net_traits

X = jnp.ones((8, 2))
NOISE = dj.Gaussian(dj.schedule.cosine, dj.predict.v)
LOSS = dj.loss.regression(NOISE, dj.order.together)


def fit(net: Any) -> Any:
    return dj.fit(jax.random.key(0), net, LOSS, itertools.repeat({"x": X}), 1)


class Simple(nnx.Module):
    def __init__(self, layer: Any = None):
        self.dense = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        self.layer = layer

    def __call__(self, x, level, cond=None, keys=None):
        return self.dense(x) if self.layer is None else self.layer(self.dense(x))


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, level, cond=None, keys=None):
        return nn.BatchNorm(use_running_average=False)(nn.Dense(2)(x))


class Dropped(nn.Module):
    @nn.compact
    def __call__(self, x, level, cond=None, keys=None):
        return nn.Dropout(0.5, deterministic=False)(nn.Dense(2)(x))


class Sown(nn.Module):
    @nn.compact
    def __call__(self, x, level, cond=None, keys=None):
        if not self.is_initializing():
            self.variable("memory", "last", jnp.zeros_like, x).value = x
        return nn.Dense(2)(x)


class NoLevel(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(x)


class NoKeys(nn.Module):
    @nn.compact
    def __call__(self, x, level, cond=None):
        return nn.Dense(2)(x)


class NeedsKeys(nn.Module):
    @nn.compact
    def __call__(self, x, level, cond, keys):
        return nn.Dense(2)(x)


class NeedsTrain(nn.Module):
    @nn.compact
    def __call__(self, x, level, cond=None, keys=None, *, train):
        return nn.Dense(2)(x)


class Bare:
    def init(self, key, x, level, cond):
        return {"weight": jnp.ones(2)}

    def apply(self, variables, x, level, cond=None, keys=None):
        return x


@pytest.mark.parametrize(
    ("net", "match"),
    [
        (Simple(), r"^net: .*dj\.nets\.from_nnx\(module\)"),
        (Simple, r"^net: .*Simple\(\.\.\.\)"),
        (lambda x: x, "^net: .*init.*apply"),
        (Bare(), r'^net: Bare\.init .*\{"params"'),
        (Normed(), "^net: .*batch_stats.*GroupNorm"),
        (Dropped(), "^net: .*keys"),
        (Sown(), "^net: .*memory"),
        (NoLevel(), r"^net: NoLevel\.__call__ .*level.*cond.*def __call__\(self, x, level"),
        (NoKeys(), r"^net: NoKeys\.__call__ .*keys"),
        (NeedsKeys(), r"^net: NeedsKeys\.__call__ .*keys"),
        (NeedsTrain(), r"^net: NeedsTrain\.__call__ .*train"),
    ],
)
def test_fit_says_what_to_write(net, match, untyped) -> None:
    with pytest.raises(dj.UserError, match=match):
        fit(net)


def test_an_optional_argument_more_is_fine() -> None:
    class More(nn.Module):
        @nn.compact
        def __call__(self, x, level, cond=None, keys=None, scale=1.0, *, train=False):
            return nn.Dense(2)(x) * scale

    assert int(fit(More()).step) == 1


def test_freeze_and_lora_ask_for_a_net_too(untyped) -> None:
    for call in (lambda: dj.nets.lora(Simple()), lambda: dj.freeze(Simple(), optax.sgd(0.1), ("*",))):
        with pytest.raises(dj.UserError, match=r"^net: .*from_nnx"):
            call()


def test_a_module_of_nnx_that_keeps_a_state_is_refused_as_it_is_called() -> None:
    norm = nnx.BatchNorm(2, rngs=nnx.Rngs(0))
    with pytest.raises(dj.UserError, match=r"^from_nnx: Simple .*BatchStat layer/(mean|var)"):
        fit(from_nnx(Simple(norm)))
    fixed = nnx.BatchNorm(2, use_running_average=True, rngs=nnx.Rngs(0))
    assert int(fit(from_nnx(Simple(fixed))).step) == 1


class Unhashable(nnx.Module):
    def __init__(self):
        self.dense = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        self.sizes = {1, 2}

    def __call__(self, x, level, cond=None, keys=None):
        return self.dense(x)


class WithoutCond(nnx.Module):
    def __init__(self):
        self.dense = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

    def __call__(self, x, level):
        return self.dense(x)


class Empty(nnx.Module):
    def __call__(self, x, level, cond=None, keys=None):
        return x


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (Simple, r"Simple\(\.\.\.\)"),
        (Normed(), "flax.nnx"),
        (WithoutCond(), "cond.*keys.*def"),
        (Empty(), "Empty .*parameters"),
        (Unhashable(), "hashed"),
    ],
)
def test_from_nnx_says_what_is_wrong(module, match) -> None:
    with pytest.raises(dj.UserError, match=match):
        from_nnx(module)


def test_from_equinox_says_what_is_wrong() -> None:
    eqx = pytest.importorskip("equinox")

    class WithKeys(eqx.Module):
        weight: Any

        def __call__(self, x, level, cond=None, keys=None):
            return x

    class Stateful(eqx.Module):
        norm: Any

        def __call__(self, x, level, cond=None, *, key=None):
            return x

    class Constant(eqx.Module):
        size: int

        def __call__(self, x, level, cond=None, *, key=None):
            return x

    norm, _ = eqx.nn.make_with_state(eqx.nn.BatchNorm)(2, "batch", mode="batch")
    for module, match in (
        (
            WithKeys(jnp.ones(2)),
            r"^net: WithKeys.* key.*def __call__\(self, x, level, cond=None, \*,",
        ),
        (Stateful(norm), "^from_equinox: Stateful .*norm/.*GroupNorm"),
        (Constant(3), "^from_equinox: .*Constant.*parameters"),
        (Constant, r"^from_equinox: .*Constant\(\.\.\.\)"),
        (Simple(), "^from_equinox: module .*Equinox"),
    ):
        with pytest.raises(dj.UserError, match=match):
            from_equinox(module)


def test_params_of_another_net_are_refused() -> None:
    net = from_nnx(Simple())
    with pytest.raises(dj.UserError, match=r"^net: variables .*dense/"):
        net.apply({"params": {"other": jnp.ones(2)}}, X, X[:, :1])


def test_a_net_without_traits_has_the_defaults() -> None:
    assert net_traits(Normed()) == NetTraits()


class WrongTraits(nn.Module):
    traits = 3

    @nn.compact
    def __call__(self, x, level, cond=None, keys=None):
        return nn.Dense(2)(x)


@pytest.mark.usefixtures("untyped")
def test_wrong_traits_are_refused_by_name() -> None:
    with pytest.raises(dj.UserError, match=r"^net: WrongTraits\.traits .*NetTraits"):
        fit(WrongTraits())
    for field, value in (("vocab", 2.5), ("convolutional", 1), ("fixed", "base/*"), ("conditions", 3)):
        with pytest.raises(dj.UserError, match=f"^NetTraits: {field}"):
            NetTraits(**{field: value})


@pytest.mark.parametrize("wrap", [dj.nets.lora, lambda net: dj.freeze(net, optax.sgd(0.1), ("*bias",))[0]])
def test_wrappers_have_the_traits_of_their_net(wrap) -> None:
    net = dj.nets.Transformer(vocab=3, shape=(4,), causal=True, classes=2)
    wrapped = wrap(net)
    fixed = ("base/*",) if wrap is dj.nets.lora else ()
    assert wrapped.traits == replace(net.traits, fixed=fixed)
    assert int(wrapped.null_cond) == 2


def test_the_kinds_of_noise() -> None:
    kinds = (dj.Noise, dj.GaussianNoise, dj.TokenNoise)
    assert [isinstance(NOISE, kind) for kind in kinds] == [True, True, False]
    assert [isinstance(dj.Masking(3), kind) for kind in kinds] == [True, False, True]
