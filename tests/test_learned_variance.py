"""The learned variance of the reverse process: its range, its bound, its loss, and sampling with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax.protocols import Prediction

BETAS = np.linspace(1e-4, 0.02, 1000)
NOISE = dj.Gaussian(dj.schedule.discrete_linear(), dj.predict.eps, inputs=dj.net_inputs.discrete_steps())
NET = dj.nets.DiT(width=16, depth=1, heads=2, classes=3, frequencies=32, learned_variance=True)
X = jax.random.normal(jax.random.key(0), (4, 4, 4, 2))
LABELS = jnp.array([0, 1, 2, 3])


def at(index: int, batch: int = 1) -> jax.Array:
    return jnp.full((batch, 1, 1, 1), index / 1000)


@pytest.fixture(scope="module")
def variables() -> dict:
    """Random ones, since the published initialization puts out 0."""
    shapes = jax.eval_shape(NET.init, jax.random.key(0), X, at(500, 4), LABELS)
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    draws = [0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, draws)


@pytest.mark.parametrize("step", [2, 10, 500, 1000])
def test_the_range_is_that_of_the_paper(step) -> None:
    """From the posterior's variance to beta, in the logarithm (Nichol & Dhariwal 2021, eq. 15)."""
    alpha_bar = np.cumprod(1 - BETAS)
    beta = BETAS[step - 1]
    least = beta * (1 - alpha_bar[step - 2]) / (1 - alpha_bar[step - 1])
    x_t, x0 = X[:1], X[1:2]
    t, s = at(step), at(step - 1)
    key = jax.random.key(3)
    z = jax.random.normal(key, x_t[0].shape)
    mean = NOISE.posterior(key, x_t[0], x0[0], t[0], s[0]) - np.sqrt(least) * z
    for share in (0.0, 0.4, 1.0):
        pred = Prediction(x0[0], jnp.full(x0[0].shape, share))
        drawn = NOISE.posterior(key, x_t[0], pred, t[0], s[0])
        deviation = np.exp(0.5 * (share * np.log(beta) + (1 - share) * np.log(least)))
        np.testing.assert_allclose(drawn - mean, deviation * z, rtol=2e-3, atol=2e-5)


def test_nothing_is_drawn_in_the_last_step_and_nothing_moves_where_s_is_t() -> None:
    pred = Prediction(X[0], jnp.ones(X[0].shape))
    key = jax.random.key(0)
    np.testing.assert_allclose(NOISE.posterior(key, X[1], pred, jnp.array(0.001), jnp.array(0.0)), X[0], atol=1e-6)
    np.testing.assert_array_equal(NOISE.posterior(key, X[1], pred, jnp.array(0.5), jnp.array(0.5)), X[1])


def test_the_bound_is_the_divergence_of_two_normals() -> None:
    t, s = at(700, 4), at(650, 4)
    share = jax.random.uniform(jax.random.key(5), X.shape)
    x0 = X[::-1]
    m_t, m_s = NOISE.coefficients(t), NOISE.coefficients(s)
    rho = NOISE.noise_correlation(t, s)
    variance = m_s.sigma**2 * (1 - rho**2)
    wider = variance * (m_t.sigma / m_s.sigma) ** (2 * share)
    shift = (m_s.alpha - m_s.sigma * rho * m_t.alpha / m_t.sigma) * (X - x0)  # of the posterior's mean
    divergence = 0.5 * (jnp.log(wider / variance) + (variance + shift**2) / wider - 1)
    bound = NOISE.bound(x0, Prediction(X, share), X, t, s)
    np.testing.assert_allclose(bound, divergence.sum(-1), rtol=2e-3)
    plain = NOISE.bound(x0, Prediction(X, jnp.zeros(X.shape)), X, t, s)
    np.testing.assert_allclose(plain, NOISE.bound(x0, X, X, t, s), rtol=1e-6)


def test_the_hybrid_loss_trains_the_mean_as_regression_does_and_the_variance_by_the_bound(variables) -> None:
    keys = dj.keys(0, 4)

    def mean_alone(x: jax.Array, level: jax.Array, cond: jax.Array, keys: jax.Array) -> jax.Array:
        return jnp.split(NET.apply(variables, x, level, cond, keys), 2, axis=-1)[0]

    def total(loss: dj.loss.Loss, apply: dj.loss.Apply) -> jax.Array:
        return loss(keys, apply, X, LABELS)

    simple = total(dj.loss.regression(NOISE, dj.order.together), mean_alone)
    without = total(dj.loss.hybrid(NOISE, dj.order.together, bound_weight=0.0), lambda *a: NET.apply(variables, *a))
    np.testing.assert_allclose(without, simple, rtol=1e-5)

    def value(offsets: jax.Array, bound_weight: float) -> jax.Array:
        loss = dj.loss.hybrid(NOISE, dj.order.together, bound_weight=bound_weight)
        return total(loss, lambda *a: NET.apply(variables, *a) + offsets).mean()

    without, once, twice = (jax.grad(value)(jnp.zeros((1, 1, 1, 4)), weight)[0, 0, 0] for weight in (0.0, 0.1, 0.2))
    np.testing.assert_allclose(once[:2], without[:2], rtol=1e-5)
    np.testing.assert_array_equal(without[2:], 0)
    assert (np.abs(once[2:]) > 0).all()
    np.testing.assert_allclose(twice[2:], 2 * once[2:], rtol=1e-4)


def test_the_best_variance_adds_the_error_of_the_mean() -> None:
    """Where the mean of x_s errs by d with variance E d², the bound is least at the posterior's variance plus E d²."""
    t, s = at(800), at(750)
    x0 = jax.random.normal(jax.random.key(0), (4096, 1, 1, 1))
    m_t, m_s = NOISE.coefficients(t), NOISE.coefficients(s)
    rho = NOISE.noise_correlation(t, s)
    least = m_s.sigma**2 * (1 - rho**2)
    error = (m_s.alpha - m_s.sigma * rho * m_t.alpha / m_t.sigma) ** 2 * jnp.mean((0.1 * x0) ** 2)
    best = jnp.log((least + error) / least) / (2 * jnp.log(m_t.sigma / m_s.sigma))

    def bound(share: jax.Array) -> jax.Array:
        pred = Prediction(0.9 * x0, jnp.broadcast_to(share, x0.shape))
        return NOISE.bound(x0, pred, x0, t, s).mean()

    assert 0 < float(best[0, 0, 0, 0]) < 1
    assert abs(float(jax.grad(bound)(best[0, 0, 0, 0]))) < 1e-3 * abs(float(jax.grad(bound)(best[0, 0, 0, 0] + 0.2)))


def test_guidance_moves_the_mean_and_keeps_the_variance_of_the_condition(variables) -> None:
    plain = dj.denoiser(NOISE, NET, variables)
    wide = dj.with_variance(plain)
    t, cond = at(300, 4), jnp.array([0, 1, 2, 1])
    guided = dj.guidance.cfg(wide, 2.0, NET.null_cond)(X, t, cond)
    np.testing.assert_allclose(guided.x0, dj.guidance.cfg(plain, 2.0, NET.null_cond)(X, t, cond), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(guided.variance_share, wide(X, t, cond).variance_share, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(wide(X, t, cond).x0, plain(X, t, cond))


def test_sampling_with_the_learned_variance(variables) -> None:
    """Under jit, the same for any batch, and other than without; a rule that does not read it sees x0."""
    wide = dj.with_variance(dj.denoiser(NOISE, NET, variables))
    keys, cond = dj.keys(0, 4), jnp.array([0, 1, 2, 3])
    learned = dj.steps.posterior(learned_variance=True)

    def draw(keys: jax.Array, cond: jax.Array, denoise: dj.Denoise, step: dj.Step) -> jax.Array:
        return dj.sample(keys, NOISE, dj.order.together, denoise, (4, 4, 2), cond=cond, steps=5, step=step)

    together = draw(keys, cond, wide, learned)
    alone = draw(keys[2:3], cond[2:3], wide, learned)
    np.testing.assert_allclose(together[2:3], alone, rtol=1e-4, atol=1e-5)
    plain = dj.denoiser(NOISE, NET, variables)
    assert float(jnp.abs(together - draw(keys, cond, plain, dj.steps.posterior())).max()) > 1e-3
    np.testing.assert_array_equal(
        draw(keys, cond, wide, dj.steps.posterior()), draw(keys, cond, plain, dj.steps.posterior())
    )


def test_what_has_no_learned_variance_is_refused(variables) -> None:
    net = dj.nets.MLP(width=4, depth=1)
    x = jnp.zeros((1, 2))
    denoise = dj.denoiser(NOISE, net, net.init(jax.random.key(0), x, jnp.zeros((1, 1))))
    with pytest.raises(dj.UserError, match="MLP"):
        dj.with_variance(denoise)
    plain = dj.denoiser(NOISE, NET, variables)
    rule = dj.steps.posterior(learned_variance=True)
    with pytest.raises(dj.UserError, match="posterior"):
        dj.sample(dj.keys(0, 1), NOISE, dj.order.together, plain, (4, 4, 2), cond=LABELS[:1], steps=2, step=rule)
    with pytest.raises(dj.UserError, match="output"):
        dj.loss.hybrid(NOISE, dj.order.together)(dj.keys(0, 4), lambda x, *_: x, X, None)
