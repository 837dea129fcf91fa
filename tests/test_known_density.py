"""The distance to a known law: nothing for the exact denoiser, and what a closed form says for one that is off."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from quickly import few

from diffjax import oracles, order, predict, sampling, schedule
from diffjax.diagnostics import known_density
from diffjax.distributions import Mixture
from diffjax.errors import UserError
from diffjax.likelihood.bits import bits_per_dim
from diffjax.noise import Gaussian, Masking
from diffjax.utils.prng import keys

K, D, R, N = 4, 6, 2, 64
_rng = np.random.default_rng(0)
LAW = Mixture(
    jnp.log(jnp.array([0.4, 0.1, 0.3, 0.2])),
    jnp.asarray(_rng.normal(size=(K, D)), jnp.float32),
    jnp.asarray(_rng.normal(size=(K, D, R)) / 2, jnp.float32),
    jnp.asarray(_rng.uniform(0.05, 0.3, (K, D)), jnp.float32),
    jnp.array([0, 1, 0, 1]),
)
NOISES = {
    "cosine, v": Gaussian(schedule.cosine, predict.v),
    "flow, velocity": Gaussian(schedule.flow, predict.velocity),
    "linear_beta, eps": Gaussian(schedule.linear_beta, predict.eps),
}
DRAW = jax.jit(jax.vmap(LAW.draw))
X, LABELS = DRAW(keys(0, N))
SHAPED = X.reshape(N, 2, 3, 1)


def off_by(delta, low, high, noise, exact, x_t, t, cond):
    """The exact denoiser, and delta added to every number where the log-SNR lies in a band."""
    inside = (noise.log_snr(t) > low) & (noise.log_snr(t) < high)
    return exact(x_t, t, cond) + jnp.where(inside, delta, 0.0)


@pytest.mark.parametrize("cond", [None, LABELS], ids=("no label", "labels"))
@pytest.mark.parametrize("name", few(NOISES, "linear_beta, eps"))
def test_the_exact_denoiser_lacks_nothing(name, cond) -> None:
    noise = NOISES[name]
    cond = None if cond is None else cond[:8]
    found = known_density.denoiser_gap(keys(1, 8), noise, oracles.mixture_denoiser(noise, LAW), LAW, SHAPED[:8], cond)
    assert found.total[0] < 1e-6
    np.testing.assert_allclose(found.excess, 0, atol=1e-9)
    assert np.all(found.exact_error > 0)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
def test_a_shift_in_a_band_costs_what_its_closed_form_says(noise) -> None:
    """½ delta² d (snr at the band's end - snr at its beginning), however few the examples."""
    denoise = Partial(functools.partial(off_by, 0.1, -2.0, 4.0, noise), oracles.mixture_denoiser(noise, LAW))
    edges = jnp.linspace(-6.0, 8.0, 29)  # -2 and 4 among them
    found = known_density.denoiser_gap(keys(1, 8), noise, denoise, LAW, SHAPED[:8], None, edges=edges)
    expected = 0.01 * D * (np.exp(4.0) - np.exp(-2.0)) / 2
    np.testing.assert_allclose(found.total[0], expected, rtol=1e-3)
    assert found.total[1] < 1e-4 * expected
    inside = (found.log_snr > -2) & (found.log_snr < 4)
    t = noise.time(jnp.asarray(found.log_snr))
    weight = np.where(inside, np.exp(noise.log_weight(t)), 0)
    np.testing.assert_allclose(found.excess, 0.01 * np.broadcast_to(weight, found.excess.shape), rtol=1e-3, atol=1e-9)


def off_everywhere(exact, x_t, t, cond):
    return 0.95 * exact(x_t, t, cond) + 0.02


def test_the_gap_is_what_the_bound_has_too_much() -> None:
    """Of the bound's terms the cross product of both errors is 0 on average: within five of its standard errors."""
    noise = NOISES["cosine, v"]
    exact = oracles.mixture_denoiser(noise, LAW)
    wrong = Partial(off_everywhere, exact)
    ours, theirs = (
        np.asarray(bits_per_dim(keys(2, N), noise, order.together, d, SHAPED, draws=64)[0], float)
        for d in (wrong, exact)
    )
    more = (ours - theirs) * D * np.log(2)
    found, error = known_density.denoiser_gap(keys(1, N), noise, wrong, LAW, SHAPED).total
    assert found > 0.1
    assert abs(found - more.mean()) < 5 * (error**2 + more.var() / N) ** 0.5


@pytest.mark.parametrize("cond", [None, LABELS], ids=("no label", "labels"))
def test_the_least_error_adds_up_to_the_entropy(cond) -> None:
    """h = d/2 log 2πe - ½ ∫ d/(1 + snr) - mmse(snr) d snr (Guo et al. 2005, eq. 182), within five standard errors."""
    noise, edges = Gaussian(schedule.cosine, predict.x0), jnp.linspace(-14.0, 14.0, 129)
    found = known_density.denoiser_gap(
        keys(3, N), noise, oracles.mixture_denoiser(noise, LAW), LAW, SHAPED, cond, edges=edges
    )
    snr = np.exp(np.asarray(edges, float))
    normal = D * np.diff(np.log1p(snr))
    each = D / 2 * np.log(2 * np.pi * np.e) - (normal - D * found.exact_error * np.diff(snr)).sum(axis=1) / 2
    entropy, error = known_density.entropy(keys(4, 2_048), LAW, cond is not None)
    assert abs(each.mean() - entropy) < 5 * (error**2 + each.var() / N) ** 0.5 + 2e-3
    assert (error**2 + each.var() / N) ** 0.5 < 0.1


@pytest.mark.parametrize("given", [False, True])
def test_the_entropy_is_the_mean_of_the_bits(given) -> None:
    """Two estimates from other draws, within five standard errors; that in closed form but for doubt has the lesser."""
    x, labels = DRAW(keys(5, 2_048))
    nats = known_density.exact_bits(LAW, x, labels if given else None) * D * np.log(2)
    found, error = known_density.entropy(keys(4, 2_048), LAW, given)
    other = nats.std() / len(nats) ** 0.5
    assert error < other / 3
    assert abs(found - nats.mean()) < 5 * (error**2 + other**2) ** 0.5


def test_samples_of_the_exact_denoiser_are_like_the_law_and_others_are_not() -> None:
    """|z| above 4.5 is once in 150,000; shares of 512 among four components are apart by 0.12 less often."""
    noise = NOISES["cosine, v"]
    real, own = DRAW(keys(6, 512))
    drawn = sampling.sample(
        keys(7, 512), noise, order.together, oracles.mixture_denoiser(noise, LAW), (D,), cond=own, steps=64
    )
    found = known_density.compare_with_density(LAW, drawn, real, own, own)
    assert abs(found.z) < 4.5
    assert max(found.component_distance, found.real_component_distance) < 0.12
    assert abs(found.accuracy - found.real_accuracy) < 0.12
    assert known_density.compare_with_density(LAW, 0.9 * drawn, real, own, own).z > 4.5  # too dull
    assert known_density.compare_with_density(LAW, 1.2 * drawn, real, own, own).z < -4.5
    wrong = known_density.compare_with_density(LAW, drawn, real, 1 - own, own)
    assert wrong.accuracy == pytest.approx(1 - found.accuracy)
    assert known_density.compare_with_density(LAW, drawn[own == 0][:256], real, None, None).component_distance > 0.2
    assert known_density.compare_with_density(LAW, drawn, real, None, None).accuracy is None


def test_what_has_no_distance_is_refused() -> None:
    noise = NOISES["cosine, v"]
    exact = oracles.mixture_denoiser(noise, LAW)
    with pytest.raises(UserError, match="Gaussian noise, got Masking"):
        known_density.denoiser_gap(keys(0, N), Masking(3), exact, LAW, SHAPED)
    for edges in (jnp.zeros(1), jnp.array([1.0, -1.0])):
        with pytest.raises(UserError, match="edges must be"):
            known_density.denoiser_gap(keys(0, N), noise, exact, LAW, SHAPED, edges=edges)
