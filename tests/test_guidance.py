"""Guidance commutes with every row, is neutral at 1, serves pictures and tokens alike, and is a pytree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from diffjax import guidance, predict, schedule
from diffjax.errors import UserError
from diffjax.noise import Gaussian

NULL = jnp.asarray(3, jnp.int32)
NOISE = Gaussian(schedule.cosine, predict.v)
GRID = jnp.linspace(1.0, 0.0, 6)


def net(x_t, t, cond):
    """Anything that depends on all it is given."""
    return jnp.sin(x_t * (1.0 + cond.reshape(-1, 1, 1, 1))) - t


def weak(x_t, t, cond):
    return net(x_t, t, cond) / 2


def logits(x_t, t, cond):
    """Of five tokens."""
    return jnp.sin((x_t[..., None] + 1.0) * jnp.arange(5.0)[None, None] + cond[:, None, None]) - t[..., None]


# Each takes a denoiser and a scale of which 1 is neutral.
NEUTRAL = {
    "linear": lambda d, w: guidance.cfg(d, w, NULL),
    "two calls": lambda d, w: guidance.cfg(d, w, NULL, calls=2),
    "interval": lambda d, w: guidance.cfg(d, guidance.interval(w, 0.3, 0.9), NULL),
    "rescaled": lambda d, w: guidance.cfg(d, w, NULL, rule=guidance.rescaled(0.7)),
    "thresholded": lambda d, w: guidance.cfg(d, w, NULL, rule=guidance.thresholded(99.5, limit=2.0)),
    "apg": lambda d, w: guidance.cfg(d, w, NULL, rule=guidance.apg(0.0, 0.5)),
    "zero_star": lambda d, w: guidance.cfg(d, w, NULL, rule=guidance.zero_star(NOISE, 0.04)),
    "autoguidance": lambda d, w: guidance.autoguidance(d, weak, w),
}
EVERY = {
    **NEUTRAL,
    "plus_plus": lambda d, w: guidance.cfg(d, guidance.plus_plus(w / 4, NOISE, GRID), NULL),
    "inside another": lambda d, w: guidance.cfg(guidance.cfg(d, w, NULL), w, jnp.asarray(2, jnp.int32)),
    "rules in a row": lambda d, w: guidance.cfg(
        d, w, NULL, rule=guidance.thresholded(99.5, 1.0, guidance.rescaled(0.7))
    ),
}


COVERING = {("linear", 1), ("apg", 4), ("zero_star", 4), ("plus_plus", 1)}  # quick: each kind of scale, rule and shape


@pytest.mark.parametrize("channels", [4, pytest.param(16, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "row", [predict.x0, predict.eps, predict.v, predict.velocity, predict.score, predict.edm], ids=lambda r: r.name
)
def test_guiding_the_output_is_guiding_x0(row, channels) -> None:
    with jax.enable_x64(True):
        noise, w = Gaussian(schedule.linear_beta, row, 0.6), 2.5
        x, t = jax.random.normal(jax.random.key(0), (3, 2, 2, channels)), jnp.full((3, 1, 1, 1), 0.4)
        cond = jnp.array([0, 1, 2])

        def x0(x_t, t, cond):
            return noise.read(net(x_t, t, cond), x_t, t)

        null = jnp.broadcast_to(NULL, 3)
        mixed = (1 - w) * net(x, t, null) + w * net(x, t, cond)
        guided = guidance.cfg(Partial(x0), w, NULL)(x, t, cond)
        np.testing.assert_allclose(guided, noise.read(mixed, x, t), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NEUTRAL)
def test_one_is_neutral_bit_for_bit(name) -> None:
    x, t = jax.random.normal(jax.random.key(0), (3, 2, 2, 3)), jnp.array([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1)
    cond = jnp.array([0, 1, 2])
    np.testing.assert_array_equal(NEUTRAL[name](net, 1.0)(x, t, cond), net(x, t, cond))


@pytest.mark.parametrize("calls", [1, 2])
def test_zero_is_unconditional_bit_for_bit(calls) -> None:
    x, t = jax.random.normal(jax.random.key(0), (3, 2, 2, 1)), jnp.full((1, 1, 1, 1), 0.4)
    guided = guidance.cfg(net, 0.0, NULL, calls=calls)(x, t, jnp.array([0, 1, 2]))
    np.testing.assert_array_equal(guided, net(x, t, jnp.array([3, 3, 3])))


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        pytest.param(name, channels, marks=[] if (name, channels) in COVERING else pytest.mark.long)
        for name in EVERY
        for channels in (1, 3, 4, 16)
    ],
)
def test_every_guidance_serves_every_shape_and_both_ends_of_time(name, channels) -> None:
    """Compiled, mapped, differentiated; of one level and of one for each position; finite where alpha or sigma is 0."""
    x, cond = jax.random.normal(jax.random.key(0), (4, 2, 2, channels)), jnp.array([0, 1, 2, 0])
    together = jnp.array([0.0, 0.3, 0.7, 1.0]).reshape(4, 1, 1, 1)
    apart = jnp.linspace(0.0, 1.0, 16).reshape(4, 2, 2, 1)

    def alone(guided, x, t, cond):
        return guided(x[None], t[None], cond[None])[0]

    def loss(guided, x, t):
        return jnp.sum(guided(x, t, cond) ** 2)

    guided = EVERY[name](net, 2.5)
    for t in (together, apart):
        found = guided(x, t, cond)
        assert found.shape == x.shape
        assert found.dtype == x.dtype
        assert bool(jnp.all(jnp.isfinite(found)))
        np.testing.assert_allclose(jax.jit(lambda g, *a: g(*a))(guided, x, t, cond), found, atol=1e-5)
        np.testing.assert_allclose(jax.vmap(alone, (None, 0, 0, 0))(guided, x, t, cond), found, atol=1e-5)
        assert bool(jnp.all(jnp.isfinite(jax.jit(jax.grad(loss, 1))(guided, x, t))))


def test_two_calls_are_one_to_rounding() -> None:
    x, t = jax.random.normal(jax.random.key(0), (3, 2, 2, 3)), jnp.full((3, 1, 1, 1), 0.4)
    one, two = (guidance.cfg(net, 2.5, NULL, calls=calls)(x, t, jnp.arange(3)) for calls in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_of_equal_predictions_no_rule_makes_anything_else() -> None:
    """Where the condition says nothing, guidance does nothing, and no rule divides by the difference."""
    x, t, cond = jnp.linspace(-0.9, 0.9, 12).reshape(1, 2, 2, 3), jnp.full((1, 1, 1, 1), 0.5), jnp.array([3])
    for rule in (guidance.linear, guidance.rescaled(), guidance.thresholded(), guidance.apg(0.5, 1.0)):
        guided = guidance.cfg(lambda x_t, t, cond: x_t * 0.5, 3.0, NULL, rule=rule)
        np.testing.assert_allclose(guided(x, t, cond), x / 2, atol=1e-6)
        flat = guidance.cfg(lambda x_t, t, cond: 0 * x_t, 3.0, NULL, rule=rule)
        np.testing.assert_array_equal(flat(x, t, cond), 0 * x)


@pytest.mark.parametrize("size", [0.0, 1e-12, 1.0, 1e12])
def test_rescaling_what_is_constant_is_finite(size) -> None:
    """Two flat predictions, whose deviation is 0 or what rounding leaves: the value and its slope by each number of
    them, and by a factor of them all (diffusers#13425)."""
    flat = size * jax.random.normal(jax.random.key(0), (2, 64, 1, 1, 1))
    without, given = flat * jnp.ones((1, 1, 4, 4, 3))
    rule = guidance.rescaled(0.7)

    def total(factor, without, given):
        return jnp.sum(rule(factor * without, factor * given, 3.0, given, jnp.zeros((64, 1, 1, 1))))

    for found in jax.jit(jax.value_and_grad(total, (0, 1, 2)))(1.0, without, given):
        assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("name", ["linear", "two calls", "interval", "autoguidance"])
def test_tokens_are_guided_by_their_logits(name) -> None:
    """Of position i the scale is that of its own level; p(token)^w q(token)^(1-w) is what logits mean."""
    x, cond = jnp.array([[0, 5, 2], [5, 5, 1]]), jnp.array([0, 1])
    t = jnp.array([[0.0, 0.5, 1.0], [0.4, 0.2, 0.0]])
    made = {"autoguidance": lambda w: guidance.autoguidance(logits, lambda *a: logits(*a) / 2, w)}
    guided = made.get(name, lambda w: NEUTRAL[name](logits, w))
    given, without = logits(x, t, cond), logits(x, t, jnp.array([3, 3]))
    without = given / 2 if name == "autoguidance" else without
    w = np.where((t >= 0.3) & (t <= 0.9), 2.5, 1.0) if name == "interval" else np.full(t.shape, 2.5)
    tilted = jax.nn.softmax(given) ** w[..., None] * jax.nn.softmax(without) ** (1 - w[..., None])
    expected = tilted / jnp.sum(tilted, axis=-1, keepdims=True)
    np.testing.assert_allclose(jax.nn.softmax(guided(2.5)(x, t, cond)), expected, rtol=1e-4)
    np.testing.assert_array_equal(guided(1.0)(x, t, cond), given)


def test_examples_and_positions_may_have_their_own_scales() -> None:
    x, cond = jax.random.normal(jax.random.key(0), (3, 2, 2, 4)), jnp.arange(3)
    t = jnp.full((3, 1, 1, 1), 0.5)
    each = jnp.array([1.0, 2.0, 0.5])
    expected = [guidance.cfg(net, float(w), NULL)(x[i : i + 1], t[:1], cond[i : i + 1]) for i, w in enumerate(each)]
    np.testing.assert_allclose(guidance.cfg(net, each, NULL)(x, t, cond), jnp.concatenate(expected), atol=1e-6)
    within = guidance.cfg(guidance.cfg(net, each, NULL), 1.0, jnp.asarray(2, jnp.int32))
    np.testing.assert_allclose(within(x, t, cond), jnp.concatenate(expected), atol=1e-6)
    where = jax.random.uniform(jax.random.key(1), (3, 2, 2, 1))
    mixed = (1 - where) * net(x, t, jnp.array([3, 3, 3])) + where * net(x, t, cond)
    np.testing.assert_allclose(guidance.cfg(net, where, NULL)(x, t, cond), mixed, atol=1e-6)


def test_an_interval_guides_inside_and_nowhere_else() -> None:
    x, cond = jax.random.normal(jax.random.key(0), (5, 1, 1, 1)), jnp.array([0, 1, 2, 0, 1])
    t = jnp.array([0.1, 0.25, 0.5, 0.75, 0.9]).reshape(5, 1, 1, 1)
    found = guidance.cfg(net, guidance.interval(4.0, 0.25, 0.75), NULL)(x, t, cond)
    inside = guidance.cfg(net, 4.0, NULL)(x, t, cond)
    np.testing.assert_array_equal(found[1:4], inside[1:4])
    np.testing.assert_array_equal(found[::4], net(x, t, cond)[::4])
    fading = guidance.interval(lambda t: 1 + t, 0.25, 0.75)(t)
    np.testing.assert_allclose(fading.ravel(), [1, 1.25, 1.5, 1.75, 1])


def test_outside_an_interval_half_is_not_computed() -> None:
    """Where one example is inside, all pairs are; a rule that is not neutral at 1 is applied in either case."""
    sizes = []

    def counted(x_t, t, cond):
        jax.debug.callback(lambda _: sizes.append(len(x_t)), t)
        return net(x_t, t, cond)

    x, cond = jax.random.normal(jax.random.key(0), (2, 1, 1, 4)), jnp.array([0, 1])
    rule = guidance.thresholded(99.5, limit=0.1)
    guided = jax.jit(guidance.cfg(counted, guidance.interval(4.0, 0.25, 0.75), NULL, rule=rule))
    for ts in ([0.1, 0.9], [0.1, 0.5], [0.5, 0.5]):
        t = jnp.array(ts).reshape(2, 1, 1, 1)
        each = jnp.where((t > 0.25) & (t < 0.75), 4.0, 1.0)
        np.testing.assert_allclose(guided(x, t, cond), guidance.cfg(net, each, NULL, rule=rule)(x, t, cond), atol=1e-6)
    jax.effects_barrier()
    assert sizes == [2, 4, 4]


def test_a_negative_prompt_is_a_condition_in_the_place_of_none() -> None:
    """It is led away from: of two classes on a line, further from the one that is not wanted."""
    means = jnp.array([-1.0, 0.5, 2.0, 0.0])  # of x0 given each of three classes, and given nothing

    def exact(x_t, t, cond):
        return jnp.broadcast_to(means[cond].reshape(-1, 1, 1, 1), x_t.shape)

    x, t, cond = jnp.zeros((1, 1, 1, 1)), jnp.full((1, 1, 1, 1), 0.5), jnp.array([1])
    from_nothing = guidance.cfg(exact, 2.0, NULL)(x, t, cond)
    from_high = guidance.cfg(exact, 2.0, jnp.asarray(2, jnp.int32))(x, t, cond)
    np.testing.assert_allclose((from_nothing.item(), from_high.item()), (1.0, -1.0))


def test_conditions_are_trees() -> None:
    cond = {"label": jnp.array([0, 1]), "text": (jnp.ones((2, 3, 4)), jnp.array([True, False]))}
    null = {"label": jnp.asarray(3), "text": (jnp.zeros((3, 4)), jnp.asarray(False))}

    def seeing(x_t, t, cond):
        words, present = cond["text"]
        read = jnp.where(present, words.sum((1, 2)), 0) + cond["label"]
        return x_t * read.reshape(-1, 1, 1, 1)

    x, t = jnp.ones((2, 1, 1, 1)), jnp.ones((2, 1, 1, 1))
    guided = guidance.cfg(seeing, 2.0, null)(x, t, cond)
    np.testing.assert_allclose(guided.ravel(), [2 * 12 - 3, 2 * 1 - 3])


def test_new_values_compile_nothing() -> None:
    traced = 0

    @jax.jit
    def run(denoise, x, t, cond):
        nonlocal traced
        traced += 1
        return denoise(x, t, cond)

    given = jnp.ones((3, 1, 1, 2)), jnp.ones((3, 1, 1, 1)), jnp.arange(3)
    for at, make in enumerate(EVERY.values(), 1):
        if make is not EVERY["thresholded"]:
            for scale in (1.0, 2.0, 3.5):
                run(make(net, scale), *given)
            assert traced == at, "compiled again"
        else:
            run(make(net, 1.0), *given)
    before = traced
    for phi in (0.1, 0.5):
        run(guidance.cfg(net, guidance.interval(2.0, phi / 2, phi), NULL, rule=guidance.rescaled(phi)), *given)
    assert traced == before + 1


MISTAKES = {
    "^cfg: .*null": lambda: guidance.cfg(net, 2.0, None),
    "cond=": lambda: guidance.cfg(net, 2.0, NULL)(jnp.ones((1, 1, 1, 1)), jnp.ones((1, 1, 1, 1)), None),
    "^cfg: null .*cond": lambda: guidance.cfg(net, 2.0, {"a": NULL})(
        jnp.ones((1, 1, 1, 1)), jnp.ones((1, 1, 1, 1)), jnp.array([0])
    ),
    "^cfg: null .*shape": lambda: guidance.cfg(net, 2.0, jnp.zeros((3, 2)))(
        jnp.ones((1, 1, 1, 1)), jnp.ones((1, 1, 1, 1)), jnp.array([0])
    ),
    "^plus_plus: .*strength": lambda: guidance.plus_plus(2.0, NOISE, GRID),
    "plus_plus: noise": lambda: guidance.plus_plus(0.5, None, GRID),
    "^thresholded: percentile": lambda: guidance.thresholded(0.0),
    "^thresholded: limit": lambda: guidance.thresholded(99.0, limit=-1.0),
    "^apg: norm": lambda: guidance.apg(0.0, -1.0),
    "^apg: eta": lambda: guidance.apg(float("inf")),
    "^zero_star: share": lambda: guidance.zero_star(NOISE, 1.0),
    "zero_star: noise": lambda: guidance.zero_star(None),
    "rescaled": lambda: guidance.cfg(logits, 2.0, NULL, rule=guidance.rescaled())(
        jnp.ones((1, 3), jnp.int32), jnp.ones((1, 1)), jnp.array([0])
    ),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_named(message, untyped) -> None:
    with pytest.raises(UserError, match=message):
        MISTAKES[message]()
