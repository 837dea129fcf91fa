"""Rules whose x0 keeps to a range: worked out by hand, for any rule, and with a learned variance."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffjax import order, predict, sample, schedule, steps
from diffjax.errors import UserError
from diffjax.noise import Gaussian
from diffjax.protocols import Prediction, Step
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
FAR = jnp.array([[3.0, -2.0, 0.25]])
X = jnp.array([[0.5, -0.1, 1.0]])


def far(x, t, cond):
    """A denoiser of data beyond the range."""
    return jnp.broadcast_to(FAR, x.shape)


def move(rule: Step, denoise=lambda x, t: FAR) -> np.ndarray:
    t, s = jnp.full((1, 1), 0.8), jnp.full((1, 1), 0.3)
    return np.asarray(rule.update(keys(0, 1), NOISE, denoise, X, t, s, rule.init(X))[0])


@pytest.mark.parametrize(
    "rule", [steps.posterior(), steps.midpoint(), steps.unipc(), steps.dpmpp_2m_sde(), steps.pndm()]
)
def test_data_beyond_the_limit_are_drawn_at_the_limit(rule) -> None:
    drawn = sample(keys(0, 2), NOISE, order.together, far, (3,), steps=4, step=steps.clipped(rule, 1.5))
    np.testing.assert_allclose(drawn, jnp.broadcast_to(jnp.clip(FAR, -1.5, 1.5), (2, 3)), atol=1e-5)
    free = sample(keys(0, 2), NOISE, order.together, far, (3,), steps=4, step=steps.clipped(rule, 5.0))
    np.testing.assert_allclose(free, jnp.broadcast_to(FAR, (2, 3)), atol=1e-5)


def test_the_eps_of_ddim_with_a_limit_is_that_of_the_prediction() -> None:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (map(float, NOISE.schedule(jnp.array(t))) for t in (0.8, 0.3))
    clip = np.clip(FAR, -1, 1)
    np.testing.assert_allclose(
        move(steps.ddim(limit=1.0)), alpha_s * clip + sigma_s * (X - alpha_t * FAR) / sigma_t, rtol=1e-5
    )
    np.testing.assert_allclose(
        move(steps.clipped(steps.ddim())), alpha_s * clip + sigma_s * (X - alpha_t * clip) / sigma_t, rtol=1e-5
    )


def test_a_learned_variance_is_kept_and_the_upper_one_is_its_end() -> None:
    def learned(share):
        return lambda x, t: Prediction(FAR, jnp.full(FAR.shape, share))

    clipped = steps.clipped(steps.posterior(learned_variance=True))
    assert clipped.prediction_type is Prediction
    upper = move(steps.clipped(steps.posterior(upper_variance=True)))
    np.testing.assert_allclose(move(clipped, learned(1.0)), upper, rtol=1e-6)
    assert np.abs(move(clipped, learned(0.0)) - upper).min() > 1e-3


def test_a_clipped_rule_claims_no_order_and_is_one_object() -> None:
    assert steps.clipped(steps.heun()).order is None
    assert steps.clipped(steps.heun()).evaluations == 2
    assert steps.clipped() is steps.clipped(None, 1)
    assert steps.ddim(limit=2.0).order is None


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: steps.clipped(limit=0.0), "^clipped: limit .*0"),
        (lambda: steps.clipped(steps.heun(), float("nan")), "^clipped: limit"),
        (lambda: steps.ddim(limit=-1.0), "^ddim: limit .*-1"),
        (lambda: steps.posterior(True, True), "^posterior: .*learned_variance.*upper_variance"),
        (lambda: steps.pndm("yes"), "^pndm: runge_kutta"),
    ],
)
def test_mistakes_name_the_argument(make, named) -> None:
    with pytest.raises(UserError, match=named):
        make()
