"""Every output of a net, denoiser, hook, rule, weight or schedule has the shape and kind it must, or is refused."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import diffjax as dj
from diffjax.errors import UserError

pytestmark = pytest.mark.usefixtures("untyped")
KEYS = dj.keys(0, 4)
X = jax.random.normal(jax.random.key(1), (4, 3))
TOKENS = jax.random.randint(jax.random.key(2), (4, 3), 0, 5)
NUMBERS, MASKS = dj.Gaussian(dj.schedule.cosine, dj.predict.v), dj.Masking(5)
TOGETHER = dj.order.together
OUTPUTS = {
    "fewer": lambda x: x[:, :1] * 0.0,
    "flat": lambda x: x[:, 0] * 0.0,
    "an integer": lambda x: jnp.zeros(x.shape, int),
    "a truth": lambda x: jnp.zeros(x.shape, bool),
    "complex": lambda x: jnp.zeros(x.shape, complex),
    "two": lambda x: (x * 0.0, x * 0.0),
    "none": lambda x: None,
}


def loss_of(out: Callable) -> Any:
    return dj.loss.regression(NUMBERS, TOGETHER)(KEYS, lambda x, level, cond=None, keys=None: out(x), X, None)


def bound_of(out: Callable) -> Any:
    return dj.loss.bound(NUMBERS, TOGETHER, steps=2)(KEYS, lambda x, level, cond=None, keys=None: out(x), X, None)


def sampled(out: Callable, **options: Any) -> Any:
    return dj.sample(KEYS, NUMBERS, TOGETHER, lambda x, t, cond: out(x), shape=(3,), steps=1, **options)


def bits(method: str) -> Callable:
    def of(out: Callable) -> Any:
        return dj.likelihood.bits_per_dim(KEYS, NUMBERS, TOGETHER, lambda x, t, cond: out(x), X, method=method)

    return of


def guided(out: Callable) -> Any:
    null = jnp.array(0)
    return dj.guidance.cfg(lambda x, t, cond: out(x), scale=2.0, null=null)(X, jnp.ones((4, 1)), jnp.zeros(4, int))


def edited(out: Callable) -> Any:
    seen = dj.edit.inpaint(jnp.zeros(3), jnp.array([True, False, False]))
    return dj.edit.solve(KEYS, NUMBERS, TOGETHER, lambda x, t, cond: out(x), seen, method=dj.edit.clamp(), steps=1)


USES = {
    "loss": loss_of,
    "bound": bound_of,
    "sample": sampled,
    "ode": bits("ode"),
    "bits of the bound": bits("bound"),
    "guidance": guided,
    "edit": edited,
    "error": lambda out: dj.diagnostics.by_noise_level.denoising_error(
        KEYS, NUMBERS, lambda x, t, cond: out(x), X, None, jnp.array([0.5])
    ),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_predictions_of_numbers_have_the_shape_of_x(use, output) -> None:
    with pytest.raises(UserError, match=r"output|prediction|denoiser") as caught:
        USES[use](OUTPUTS[output])
    if output in ("fewer", "flat"):  # both shapes are given
        count = 8 if use == "guidance" else 4
        assert {f"({count}, 3)", {"fewer": f"({count}, 1)", "flat": f"({count},)"}[output]} == set(
            re.findall(r"\([\d, ]+\)", str(caught.value))
        )


@pytest.mark.parametrize("output", [lambda x: jnp.zeros((4, 5)), lambda x: jnp.zeros((4, 1, 5)), lambda x: x * 0.0])
def test_logits_are_one_row_for_each_token(output) -> None:
    with pytest.raises(UserError, match=r"vocab=5"):
        dj.sample(KEYS, MASKS, TOGETHER, lambda x, t, cond: output(x), shape=(3,), steps=1)
    with pytest.raises(UserError, match=r"vocab=5"):
        dj.loss.regression(MASKS, TOGETHER)(KEYS, lambda x, level, cond=None, keys=None: output(x), TOKENS, None)


def test_a_hook_returns_x_in_its_shape_and_type() -> None:
    for hook in (lambda keys, x, pred, t, s: x[:, :1], lambda keys, x, pred, t, s: jnp.ones(x.shape, int)):
        with pytest.raises(UserError, match="hook"):
            sampled(lambda x: x * 0.0, hook=hook)
    halves = sampled(lambda x: x * 0.0, hook=lambda keys, x, pred, t, s: x.astype(jnp.float16))
    assert halves.dtype == jnp.float32


def test_rules_weights_and_times_keep_the_shape_of_what_they_are_given() -> None:
    def flat(*given: Any) -> Any:
        return given[1][:, 0] if len(given) == 5 else jnp.ones(())

    rule = dj.guidance.cfg(lambda x, t, cond: x, scale=2.0, null=jnp.array(0), rule=flat)
    with pytest.raises(UserError, match="guidance rule"):
        rule(X, jnp.ones((4, 1)), jnp.zeros(4, int))
    for name, option in (("weight", flat), ("times", lambda noise, u: u[:1])):
        loss = dj.loss.regression(NUMBERS, TOGETHER, **{name: option})
        with pytest.raises(UserError, match=name):
            loss(KEYS, lambda x, level, cond=None, keys=None: x * 0.0, X, None)
    order = dj.Order(0.5, lambda key, positions: jnp.ones(1))
    with pytest.raises(UserError, match="rank"):
        dj.sample(KEYS, MASKS, order, lambda x, t, cond: jnp.zeros((*x.shape, 5)), shape=(3,), steps=1)


def test_logits_of_a_short_type_are_drawn_from_in_float32() -> None:
    """In bfloat16 the Gumbel noise of a draw has 8 bits, and rare tokens come too often or never.

    40,000 draws of 200 tokens: the total variation of exact draws is 0.028 in the mean, with deviation 0.0012.
    """
    p = np.random.default_rng(0).dirichlet(np.full(200, 0.5))
    logits = jnp.log(jnp.asarray(p, jnp.float32)).astype(jnp.bfloat16)
    given = jax.nn.softmax(logits.astype(jnp.float32))
    noise = dj.Masking(200)
    denoise = Partial(lambda table, x, t, cond: jnp.broadcast_to(table, (*x.shape, 200)), logits)
    x = dj.sample(dj.keys(0, 4_000), noise, TOGETHER, denoise, shape=(10,), steps=1)
    shares = np.bincount(np.asarray(x).ravel(), minlength=200) / x.size
    assert np.abs(shares - np.asarray(given)).sum() / 2 < 0.034


@pytest.mark.parametrize(
    "kind",
    [
        np.uint8,
        np.int16,
        bool,
        *(pytest.param(kind, marks=pytest.mark.long) for kind in (np.int8, np.uint16, np.uint32)),
    ],
)
def test_tokens_of_any_integer_type_are_the_same_tokens(kind) -> None:
    """Also where the mask does not fit into the type: 256 would be 0 in uint8, 128 would be -128 in int8."""
    vocab = {np.uint8: 256, np.int8: 128}.get(kind, 2 if kind is bool else 300)
    noise = dj.Masking(vocab)
    tokens = np.asarray(np.random.default_rng(0).integers(0, min(vocab, 127), (4, 12)), kind)

    def apply(x: Any, level: Any, cond: Any = None, keys: Any = None) -> Any:
        return jax.nn.one_hot(x, vocab) + jnp.arange(vocab)[None, None] / vocab

    def denoise(x: Any, t: Any, cond: Any) -> Any:
        return apply(x, t)

    wide = tokens.astype(np.int32)
    for make in (dj.loss.regression, dj.loss.bound):
        loss = make(noise, TOGETHER)
        np.testing.assert_array_equal(loss(KEYS, apply, tokens, None), loss(KEYS, apply, wide, None))
    given = (KEYS, noise, TOGETHER, denoise)
    for method in ("bound",):
        each = [dj.likelihood.bits_per_dim(*given, x, method=method, draws=4)[0] for x in (tokens, wide)]
        np.testing.assert_array_equal(*each)
    np.testing.assert_array_equal(*(dj.edit.vary(*given, x, strength=0.3, steps=4) for x in (tokens, wide)))
    start = np.where(np.arange(12) % 2, tokens, tokens[:, ::-1])
    stops = jnp.array([0.5, 0.0])
    np.testing.assert_array_equal(
        *(dj.sample(*given, (12,), start=x, grid=stops) for x in (start, start.astype(np.int32)))
    )


def test_integers_are_no_numbers_and_numbers_no_tokens() -> None:
    def apply(x: Any, level: Any, cond: Any = None, keys: Any = None) -> Any:
        return x * 0.0

    with pytest.raises(UserError, match=r"x: .*uint8"):
        dj.loss.regression(NUMBERS, TOGETHER)(KEYS, apply, np.zeros((4, 3), np.uint8), None)
    with pytest.raises(UserError, match=r"x: .*float32"):
        dj.loss.regression(MASKS, TOGETHER)(KEYS, apply, X, None)


def test_a_scale_for_each_example_is_of_this_batch_also_under_another_guidance() -> None:
    """[b] scales meet their own example, however guidances are nested; another number of them is refused."""

    def denoise(x: Any, t: Any, cond: Any) -> Any:
        return jnp.ones_like(x) * cond["a"][:, None] + 10.0 * cond["b"][:, None]

    null = {"a": jnp.array(0.0), "b": jnp.array(0.0)}
    cond = {"a": jnp.ones(4), "b": jnp.ones(4)}
    scales = jnp.arange(1.0, 5.0)
    inner = dj.guidance.cfg(denoise, scales, null)
    outer = dj.guidance.several(inner, {"a": 1.0, "b": 1.0}, null)
    t = jnp.ones((4, 1))
    np.testing.assert_allclose(outer(X, t, cond), inner(X, t, cond), rtol=1e-6)
    np.testing.assert_allclose(inner(X, t, cond)[:, 0], 11 * scales, rtol=1e-6)
    for count in (2, 3, 8):
        with pytest.raises(UserError, match=f"scale: .*{count},"):
            dj.guidance.cfg(denoise, jnp.ones(count), null)(X, t, cond)


def test_copies_for_a_causal_net_are_made_by_at_once() -> None:
    """A net that knows each example's order takes no copies of which it cannot tell whose they are."""
    net = dj.nets.Transformer(5, (3,), 8, 1, 1, causal=True, classes=2)
    variables = jax.jit(net.init)(jax.random.key(0), TOKENS[:1], jnp.zeros((1, 1)))
    denoise = dj.denoiser(MASKS, net, variables)
    null, cond = net.null_cond, jnp.array([0, 1, 0, 1])

    def stacked(x: Any, t: Any, cond: Any) -> Any:
        both = (jnp.concatenate([each, each]) for each in (x, t))
        without, given = jnp.split(denoise(*both, jnp.concatenate([jnp.full_like(cond, null), cond])), 2)
        return 2 * given - without

    def beside(x: Any, t: Any, cond: Any) -> Any:
        without, given = dj.guidance.batched_predictions(denoise, x, t, jnp.full_like(cond, null), cond)
        return 2 * given - without

    def drawn(guided: Any) -> Any:
        return dj.sample(KEYS, MASKS, dj.order.shuffled, guided, (3,), steps=3, cond=cond)

    with pytest.raises(UserError, match=r"batched_predictions"):
        drawn(stacked)
    np.testing.assert_array_equal(drawn(beside), drawn(dj.guidance.cfg(denoise, 2.0, null)))
