"""Transformers: what each output may depend on, one family for levels of examples and of positions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from quickly import few

from diffjax import loss, nets, order
from diffjax.denoising import denoiser, with_ranks
from diffjax.errors import UserError
from diffjax.nets.patchify import from_patches, to_patches
from diffjax.noise import Gaussian, Masking
from diffjax.predict import v
from diffjax.schedule import cosine
from diffjax.utils.prng import fold, keys

VOCAB, SHAPE, N = 5, (3, 4), 12
NOISE = Masking(VOCAB)
ORDERS = {"raster": order.raster, "shuffled": order.shuffled}
SOME = keys(1, 4)
X0 = jax.random.randint(jax.random.key(0), (4, N), 0, VOCAB)
COND = jnp.array([0, 1, 2, 1])


def moved(variables):
    """The same weights, no longer where outputs start at 0."""
    leaves, shape = jax.tree.flatten(variables)
    some = jax.random.split(jax.random.key(9), len(leaves))
    return shape.unflatten(
        [leaf + 0.2 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, some, strict=True)]
    )


def made(net, x, level):
    return moved(jax.jit(net.init)(jax.random.key(0), x, level, COND[: len(x)]))


@pytest.fixture(scope="module")
def causal():
    net = nets.Transformer(VOCAB, SHAPE, width=16, depth=2, heads=2, classes=3, causal=True)
    return net, made(net, X0, jnp.zeros((4, 1)))


@pytest.fixture(scope="module")
def both_ways():
    net = nets.Transformer(VOCAB, SHAPE, width=16, depth=2, heads=2, classes=3)
    return net, made(net, X0, jnp.zeros((4, 1)))


@pytest.mark.parametrize("name", ORDERS)
def test_no_output_knows_what_is_revealed_later(causal, name) -> None:
    """Changing the token at position i changes no logits of those revealed before it, nor its own, and some after."""
    net, variables = causal
    rank = order.ranks(ORDERS[name], SOME, (N,), 0)
    call = jax.jit(lambda x: net.apply(variables, x, jnp.zeros((4, 1)), COND, None, rank))
    before = call(X0)
    for i in range(N):
        change = np.asarray(jnp.any(call(X0.at[:, i].set((X0[:, i] + 1) % VOCAB)) != before, axis=2))
        later = np.asarray(rank > rank[:, i : i + 1])
        assert not change[~later].any(), i
        nexts = later.any(axis=1)
        assert change[nexts].any(axis=1).all(), i  # the rest of the order does depend on it


@pytest.mark.parametrize("name", few(ORDERS, "raster"))
def test_one_pass_is_every_step_of_the_generic_path(causal, name) -> None:
    """The bound's step that reveals position i has the logits, and the nats, of the one pass over all tokens."""
    net, variables = causal
    rank = order.ranks(ORDERS[name], SOME, (N,), 0)
    told = jax.jit(partial(with_ranks(denoiser(NOISE, net, variables), ORDERS[name], rank)))
    at_once = told(X0, jnp.zeros((4, N)), COND)
    total, corrupt, bound = jnp.zeros(4), jax.jit(jax.vmap(NOISE.corrupt)), jax.jit(NOISE.bound)
    for k in range(N):
        t, s = (order.levels(ORDERS[name], jnp.full(4, 1 - i / N), rank) for i in (k, k + 1))
        x_t, _ = corrupt(SOME, X0, t)
        pred = told(x_t, t, COND)
        revealed = np.asarray(t > s)
        assert revealed.sum() == 4
        np.testing.assert_allclose(pred[revealed], at_once[revealed], atol=2e-5)
        total += jnp.sum(bound(X0, pred, x_t, t, s), axis=1)

    def apply(x, level, cond, some, rank):
        return net.apply(variables, x, level, cond, None, rank)

    if name == "raster":
        np.testing.assert_allclose(loss.causal(NOISE, order.raster)(SOME, apply, X0, COND), total / N, rtol=1e-4)


def test_the_cache_gives_every_position_its_logits(causal) -> None:
    net, variables = causal
    rank = order.ranks(order.shuffled, SOME, (N,), 0)
    at_once = net.apply(variables, X0, jnp.zeros((4, 1)), COND, None, rank)
    at, rows, caches = jnp.argsort(rank, axis=1), jnp.arange(4), net.init_cache(4)
    following = jax.jit(lambda *given: net.apply(variables, *given, method="decode_step"))
    for k in range(N):
        token = X0[rows, at[:, k - 1]] if k else jnp.full(4, net.start_token)
        logits, caches = following(token, at[:, k - 1], at[:, k], COND, caches)
        np.testing.assert_allclose(logits, at_once[rows, at[:, k]], atol=1e-5)


def test_hidden_inputs_say_nothing(causal) -> None:
    """Training with masked inputs: a masked token's value is nowhere in the output."""
    net, variables = causal
    rank = order.ranks(order.raster, SOME, (N,), 0)
    x = X0.at[:, 3].set(VOCAB)
    out = net.apply(variables, x, jnp.zeros((4, 1)), COND, None, rank)
    assert out.shape == (4, N, VOCAB)
    assert bool(jnp.any(out != net.apply(variables, X0, jnp.zeros((4, 1)), COND, None, rank)))


def test_masked_inputs_are_as_many_as_asked_for() -> None:
    seen = []

    def apply(x, level, cond, some, rank):
        seen.append(x == VOCAB)
        return jnp.zeros((*x.shape, VOCAB))

    x0 = jnp.zeros((400, N), jnp.int32)
    value = loss.causal(NOISE, order.raster, hide=0.8)(keys(0, 400), apply, x0, None)
    shares = np.asarray(jnp.mean(seen[0], axis=1))
    assert abs(shares.mean() - 0.4) < 4.5 * shares.std() / 20
    assert shares.std() > 0.8 / 12**0.5 > np.sqrt(np.mean(shares * (1 - shares)) / N) / 2  # each example has its own
    np.testing.assert_allclose(value, np.log(VOCAB), rtol=1e-5)  # of every position, hidden or not


def test_a_share_of_the_examples_is_taken_in_other_orders() -> None:
    seen = []

    def apply(x, level, cond, some, rank):
        seen.append(rank)
        return jnp.zeros((*x.shape, VOCAB))

    x0 = jnp.zeros((400, N), jnp.int32)
    for shuffle in (0.0, 0.25, 1.0):
        loss.causal(NOISE, order.raster, shuffle=shuffle)(keys(0, 400), apply, x0, None)
        np.testing.assert_array_equal(jnp.sort(seen[-1], axis=1)[0], order.raster.rank(jax.random.key(0), (N,)))
        mixed = jnp.any(jnp.diff(seen[-1], axis=1) < 0, axis=1)
        assert abs(float(jnp.mean(mixed)) - shuffle) <= 4.5 * (shuffle * (1 - shuffle) / 400) ** 0.5


@pytest.mark.parametrize("kind", few(["tokens", "patches"], "tokens"))
def test_one_level_for_all_is_every_position_at_that_level(both_ways, kind) -> None:
    if kind == "tokens":
        (net, variables), x, every = both_ways, X0, (4, N)
    else:
        net, x, every = nets.DiT(patch=2, width=16, depth=2, heads=2, classes=3), jnp.ones((4, 4, 6, 1)), (4, 4, 6, 1)
        variables = made(net, x, jnp.zeros((4, 1, 1, 1)))
    level = jax.random.uniform(jax.random.key(3), (4,) + (1,) * (x.ndim - 1))
    one = net.apply(variables, x, level, COND)
    np.testing.assert_allclose(net.apply(variables, x, jnp.broadcast_to(level, every), COND), one, atol=1e-5)
    varied = jnp.broadcast_to(level, every).at[:, 0].add(0.3)
    assert bool(jnp.any(jnp.abs(net.apply(variables, x, varied, COND) - one) > 1e-3))


def test_a_causal_dit_sees_earlier_patches_alone() -> None:
    net = nets.DiT(patch=1, width=16, depth=2, heads=2, causal=True)
    x, level = jax.random.normal(jax.random.key(0), (1, 3, 3, 1)), jnp.zeros((1, 1, 1, 1))
    variables = moved(jax.jit(net.init)(jax.random.key(0), x, level))
    slopes = jax.jit(jax.jacobian(lambda x: net.apply(variables, x.reshape(1, 3, 3, 1), level).ravel()))(x.ravel())
    assert bool(jnp.all(jnp.triu(slopes, 1) == 0))
    assert bool(jnp.all(jnp.tril(slopes)[jnp.tril_indices(9)] != 0))


def test_a_dit_causal_in_blocks_sees_its_block_and_those_before() -> None:
    net = nets.DiT(patch=1, width=16, depth=2, heads=2, causal=3)
    x, level = jax.random.normal(jax.random.key(0), (1, 3, 3, 1)), jnp.zeros((1, 1, 1, 1))
    variables = moved(jax.jit(net.init)(jax.random.key(0), x, level))
    slopes = jax.jit(jax.jacobian(lambda x: net.apply(variables, x.reshape(1, 3, 3, 1), level).ravel()))(x.ravel())
    block = jnp.arange(9) // 3
    np.testing.assert_array_equal(slopes != 0, block[:, None] >= block[None])
    with pytest.raises(UserError, match=r"^DiT: .*causal=3"):
        net.apply(variables, x[:, :2, :2], level)


def test_patches_come_back_where_they_were() -> None:
    x = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    patches = to_patches(x, 2)
    assert patches.shape == (2, 6, 12)
    np.testing.assert_array_equal(patches[0, 1].reshape(2, 2, 3), x[0, :2, 2:4])
    np.testing.assert_array_equal(from_patches(patches, x.shape, 2), x)


def test_examples_drop_by_their_own_keys() -> None:
    net = nets.Transformer(VOCAB, SHAPE, width=16, depth=1, heads=2, dropout=0.5)
    variables = moved(jax.jit(net.init)(jax.random.key(0), X0, jnp.zeros((4, 1))))
    apply = jax.jit(lambda x, level, keys: net.apply(variables, x, level, None, keys))
    whole = apply(X0, jnp.ones((4, 1)), SOME)
    np.testing.assert_allclose(apply(X0[2:], jnp.ones((2, 1)), SOME[2:]), whole[2:], atol=1e-5)
    assert bool(jnp.any(whole != apply(X0, jnp.ones((4, 1)), fold(SOME, 1))))


@pytest.mark.long
def test_losses_teach_both() -> None:
    """A few steps on one example bring its bits down: causal by one pass, bidirectional by the bound."""
    for net, objective in (
        (nets.Transformer(VOCAB, SHAPE, width=16, depth=1, causal=True), loss.causal(NOISE, order.shuffled)),
        (nets.Transformer(VOCAB, SHAPE, width=16, depth=1), loss.bound(NOISE, order.together)),
    ):
        variables = jax.jit(net.init)(jax.random.key(0), X0, jnp.zeros((4, 1)))

        @jax.jit
        def value(variables, some, net=net, objective=objective):
            return jnp.mean(objective(some, lambda *given: net.apply(variables, *given), X0, None))

        optimizer = optax.adam(1e-2)

        @jax.jit
        def taught(variables, value=value, optimizer=optimizer):
            def body(k, state):
                variables, memory = state
                change, memory = optimizer.update(jax.grad(value)(variables, fold(SOME, k)), memory)
                return optax.apply_updates(variables, change), memory

            return jax.lax.fori_loop(0, 60, body, (variables, optimizer.init(variables)))[0]

        assert float(value(taught(variables), SOME)) < 0.7 * float(value(variables, SOME))


def test_mistakes_are_told(causal, both_ways) -> None:
    level = jnp.zeros((4, 1))
    rank = order.ranks(order.raster, SOME, (N,), 0)
    for call, told in (
        (lambda: causal[0].apply(causal[1], X0, level, COND), "Transformer: .*ranks"),
        (lambda: both_ways[0].apply(both_ways[1], X0, level, COND, None, rank), "loss.bound"),
        (lambda: causal[0].apply(causal[1], X0[:, :5], level, COND, None, rank[:, :5]), "12.* 5"),
        (lambda: nets.Transformer(5, (3, 4), width=10).init(jax.random.key(0), X0, level), "heads"),
        (lambda: nets.Transformer(5, (0, 4)).init(jax.random.key(0), X0, level), "shape"),
        (lambda: nets.DiT(patch=5).init(jax.random.key(0), jnp.ones((1, 4, 4, 1)), jnp.ones((1, 1, 1, 1))), "patch"),
        (lambda: with_ranks(denoiser(NOISE, *causal), order.rolling(0.5), rank), "order.*0.5"),
        (lambda: denoiser(Masking(7), *causal), "^denoiser: Masking .*7.*Transformer .*5"),
        (lambda: denoiser(Gaussian(cosine, v), *causal), "^denoiser: Gaussian .*Transformer "),
    ):
        with pytest.raises(UserError, match=told):
            call()
