"""Averages of the weights: what they count, and what can be made of stored ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffjax.errors import UserError
from diffjax.training import ema

STEPS = 200


@pytest.fixture(scope="module")
def path() -> np.ndarray:
    """The way of one weight: it settles, and trembles."""
    noise = np.random.default_rng(0).normal(size=STEPS)
    return (np.exp(-np.arange(STEPS) / 30) + 0.1 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def averages(path) -> dict[str, np.ndarray]:
    """Of each name, the average after every step."""
    names = ("std=0.05", "std=0.075", "std=0.1", "0.9")

    def move(emas, at):
        step, value = at
        emas = ema.update_averages(emas, value, step)
        return emas, emas

    fresh = {name: jnp.asarray(3.0) for name in names}
    return jax.tree.map(np.asarray, jax.lax.scan(move, fresh, (jnp.arange(STEPS), jnp.asarray(path)))[1])


@pytest.mark.parametrize("std", [0.05, 0.1])
def test_a_power_average_is_the_integral_of_its_profile(path, averages, std) -> None:
    """Weights that stand still between steps: ∫ of (γ + 1) τ^γ / t^(γ + 1) over each step, in closed form."""
    power, k = ema.power_exponent(std) + 1, np.arange(1, STEPS + 1, dtype=np.float64)
    for t in (1, 2, 10, STEPS):
        shares = (k[:t] ** power - (k[:t] - 1) ** power) / t**power
        np.testing.assert_allclose(averages[f"std={std:g}"][t - 1], shares @ path[:t], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["0.9999", "0.9", "std=0.05"])
def test_an_average_is_a_mean_of_the_weights_that_were_seen(name) -> None:
    """After 200 steps the shares of all weights sum to 1 and grow with time, and of the first weights, from before any
    step, nothing is left (pytorch-image-models#1182)."""
    moments = jnp.eye(STEPS + 1)  # weights that are 1 at one moment each, the first one before any step

    def move(emas, at):
        step, value = at
        return ema.update_averages(emas, value, step), None

    (shares,) = jax.lax.scan(move, {name: moments[0]}, (jnp.arange(STEPS), moments[1:]))[0].values()
    assert 0 <= shares[0] < 1e-9
    assert bool(jnp.all(jnp.diff(shares) > -1e-9))
    np.testing.assert_allclose(jnp.sum(shares), 1, rtol=1e-5)


@pytest.mark.parametrize("std", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_the_exponent_has_that_standard_deviation(std) -> None:
    """By quadrature of the profile on [0, 1]."""
    gamma, tau = ema.power_exponent(std), (np.arange(200_000) + 0.5) / 200_000
    profile = (gamma + 1) * tau**gamma / 200_000
    mean = profile @ tau
    np.testing.assert_allclose(np.sqrt(profile @ (tau - mean) ** 2), std, rtol=1e-4)


def stamps(every: int, stds=(0.05, 0.1)) -> list[ema.StoredAverage]:
    return [(step, std) for step in range(every, STEPS + 1, every) for std in stds]


def made(averages, stored, amounts) -> float:
    return sum(amount * averages[f"std={std:g}"][step - 1] for (step, std), amount in zip(stored, amounts, strict=True))


def test_what_was_stored_is_made_of_itself() -> None:
    stored = stamps(20)
    amounts, off = ema.synthesis_weights(stored, STEPS, 0.1)
    np.testing.assert_allclose(amounts, [stamp == (STEPS, 0.1) for stamp in stored], atol=1e-8)
    assert off < 1e-7


def test_weights_that_stand_still_come_out_as_they_are() -> None:
    for every in (200, 100, 20, 5):
        for std in (0.03, 0.07, 0.2):
            assert abs(ema.synthesis_weights(stamps(every), STEPS, std)[0].sum() - 1) < 1e-9


@pytest.mark.parametrize("every", [40, 20, 10])
def test_an_average_made_afterwards_is_the_one_that_was_not_kept(path, averages, every) -> None:
    """Within what the difference of the profiles allows (Cauchy and Schwarz), and better the more was stored."""
    stored = stamps(every)
    amounts, off = ema.synthesis_weights(stored, STEPS, 0.075)
    gamma = ema.power_exponent(0.075)
    profile = np.sqrt((gamma + 1) ** 2 / (2 * gamma + 1) / STEPS)
    allowed = off * profile * np.sqrt(np.sum(path.astype(np.float64) ** 2))
    assert abs(made(averages, stored, amounts) - averages["std=0.075"][-1]) <= allowed + 1e-6
    assert off < every / 1_000


def test_the_more_is_stored_the_closer_any_length_comes() -> None:
    for std in (0.03, 0.07, 0.15, 0.2):
        off = [ema.synthesis_weights(stamps(every), STEPS, std)[1] for every in (100, 50, 20, 10, 5)]
        assert off == sorted(off, reverse=True)
        assert off[-1] < 0.01


def test_an_earlier_end_needs_nothing_of_what_came_later(averages) -> None:
    """At step 100, of what was stored until then: the average that training to step 100 would have had."""
    stored = [stamp for stamp in stamps(10) if stamp[0] <= 100]
    amounts, off = ema.synthesis_weights(stored, 100, 0.075)
    assert off < 0.01
    np.testing.assert_allclose(made(averages, stored, amounts), averages["std=0.075"][99], atol=2e-3)


def test_averages_of_what_does_not_change_keep_every_bit() -> None:
    weights = jnp.asarray(np.random.default_rng(0).normal(size=1_000), jnp.float32)
    for step in (0, 1, 2, 10, 10_000):
        emas = ema.update_averages({"0.999": weights, "std=0.1": weights}, weights, jnp.asarray(step))
        for average in emas.values():
            np.testing.assert_array_equal(average, weights)


def test_the_default_is_the_longest_decay() -> None:
    assert ema.default_average(("0.9", "0.999", "0.99", "std=0.2")) == "0.999"
    assert ema.default_average(("std=0.05", "std=0.1")) == "std=0.1"
    assert ema.average_names((0.999, "std=0.1")) == ("0.999", "std=0.1")
    assert ema.select_average(("0.9", "std=0.1"), "std=0.1") == "std=0.1"


@pytest.mark.parametrize(
    ("averages", "message"),
    [
        ((), r"train\.ema: .*0\.999"),
        ((1.0,), r"train\.ema: .*\[0, 1\)"),
        (("nan",), r"train\.ema: "),
        (("long",), r"train\.ema: "),
        (("std=0.3",), r"train\.ema_std: .*\(0, 0\.28\]"),
        (("std=0",), r"train\.ema_std: "),
        (("std=x",), r"train\.ema_std: "),
    ],
)
def test_what_is_no_average_is_refused(averages, message) -> None:
    with pytest.raises(UserError, match=message):
        ema.average_names(averages)


def test_what_was_not_kept_is_told() -> None:
    with pytest.raises(UserError, match=r"'0\.5'.* 0\.9, std=0\.1"):
        ema.select_average(("0.9", "std=0.1"), "0.5")
    with pytest.raises(UserError, match="std="):
        ema.std_from_name("0.9")
