"""The optimised grid: the least sum there is, and nearer to the exact flow than every grid of a name."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quickly import few

from diffjax import grid_search, grids, oracles, order, predict, schedule, steps
from diffjax.errors import UserError
from diffjax.experiment import specs
from diffjax.noise import Gaussian, Masking
from diffjax.sampling.loop import sample
from diffjax.utils.closures import as_pytree
from diffjax.utils.prng import keys

NOISE = Gaussian(schedule.cosine, predict.v)
WEIGHTS, MEANS, STDS = np.array([0.2, 0.5, 0.3]), np.array([-1.5, 0.1, 1.2]), np.array([0.05, 0.2, 0.1])
DENOISE = oracles.mixture(NOISE, WEIGHTS, MEANS[:, None], STDS[:, None, None] ** 2)


def data(count: int, seed: int = 0) -> jax.Array:
    rng = np.random.default_rng(seed)
    k = rng.choice(3, count, p=WEIGHTS)
    return jnp.asarray((MEANS[k] + STDS[k] * rng.normal(size=count))[:, None], jnp.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_dynamic_programming_finds_the_least_of_all_paths(count) -> None:
    for seed in range(5):
        cost = np.random.default_rng(seed).uniform(size=(8, 8))

        def total(path, cost=cost):
            return sum(cost[a, b] for a, b in itertools.pairwise(path))

        every = [(0, *inner, 7) for inner in itertools.combinations(range(1, 7), count - 1)]
        found = grid_search.shortest_path(cost, count)
        assert len(found) == count + 1
        assert found == list(min(every, key=total))


def test_descent_ends_where_no_move_helps() -> None:
    goal = [0, 17, 33, 40]
    found = grid_search.coordinate_descent(
        lambda path: sum(abs(a - b) for a, b in zip(path, goal, strict=True)), [0, 1, 2, 40], 41, 50
    )
    assert found == goal


def test_costs_are_the_local_errors_of_the_rule() -> None:
    stops, x = jnp.array([0.9, 0.6, 0.3, 0.0]), data(16)
    given = grid_search.StepContext(as_pytree(DENOISE), None, keys(0, 16))
    path = grid_search.reference_path(NOISE, given, x, stops)
    cost = grid_search.jump_errors(grid_search.NoiseRule(NOISE, steps.ddim()), given, path, stops)
    for i, j in itertools.combinations(range(4), 2):
        options = {"grid": stops[jnp.array([i, j])], "step": steps.ddim(), "start": path[i]}
        there = sample(keys(0, 16), NOISE, order.together, DENOISE, (1,), **options)
        np.testing.assert_allclose(cost[i, j], jnp.sqrt(jnp.mean((there - path[j]) ** 2)), rtol=1e-4)
    assert np.all(np.isinf(cost[np.tril_indices(4)]))


@pytest.mark.parametrize("rule", few(["ddim", "dpmpp_2m"], "dpmpp_2m"))
def test_it_beats_every_grid_of_a_name_on_other_noise(rule) -> None:
    step, some = getattr(steps, rule)(), keys(1, 2000)
    fine = sample(some, NOISE, order.together, DENOISE, (1,), steps=1000, step=steps.heun())

    def miss(grid) -> float:
        x = sample(some, NOISE, order.together, DENOISE, (1,), grid=grid, step=step)
        return float(jnp.sqrt(jnp.mean((x - fine) ** 2)))

    found = grids.optimise(NOISE, DENOISE, data(512), 8, step=step, search=grids.Search(candidates=32))
    karras = [
        grids.karras(NOISE, 8, low, high, rho) for low, high in ((0.002, 80.0), (0.1, 10.0)) for rho in (3.0, 7.0)
    ]
    even = [grids.log_snr(NOISE, 8, -reach, reach) for reach in (4.0, 6.0, 10.0)]
    assert miss(found) < min(miss(grid) for grid in (grids.uniform(NOISE, 8), *karras, *even))


@pytest.mark.parametrize(
    "make", [schedule.flow, schedule.edm, schedule.linear_beta], ids=["flow", "edm", "linear_beta"]
)
def test_grids_fall_strictly_between_their_ends(make) -> None:
    noise = Gaussian(make, predict.v)
    denoise = oracles.gaussian(noise, np.zeros(1), np.eye(1))
    found = np.asarray(grids.optimise(noise, denoise, data(8), 5, search=grids.Search(candidates=16, rounds=1)))
    assert found.shape == (6,)
    assert (found[0], found[-1]) == (1, 0)
    assert np.all(np.diff(found) < 0)
    own = jnp.array([0.9, 0.7, 0.5, 0.2, 0.1])
    kept = np.asarray(grids.optimise(noise, denoise, data(8), 2, search=grids.Search(candidates=own, rounds=0)))
    assert set(kept) <= set(np.asarray(own))
    assert (kept[0], kept[-1]) == (own[0], own[-1])


def test_what_cannot_be_optimised_is_refused() -> None:
    for options, message in (
        ({"step": steps.posterior()}, "^step: posterior"),
        ({"search": grids.Search(candidates=8)}, "^steps: "),
        ({"search": grids.Search(candidates=1)}, "^candidates: "),
        ({"search": grids.Search(candidates=jnp.array([0.1, 0.5]))}, "^candidates: "),
    ):
        with pytest.raises(UserError, match=message):
            grids.optimise(NOISE, DENOISE, data(4), 10, **options)
    with pytest.raises(UserError, match=r"^noise: "):
        grids.optimise(Masking(4), DENOISE, data(4), 2)


def test_it_is_no_grid_that_a_config_can_name() -> None:
    with pytest.raises(UserError, match="'optimise'"):
        specs.instantiate(grids, "optimise", "grid", NOISE, 8)
