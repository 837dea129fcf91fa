"""Functions as arguments: equal code over other arrays compiles nothing, and what is no longer referenced is freed."""

import functools
import gc
import types
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

import diffjax as dj
from diffjax.utils.closures import ClosureJit, as_pytree, intern_function

KEYS = dj.keys(0, 4)
NOISE, ORDER = dj.Gaussian(dj.schedule.cosine, dj.predict.v), dj.order.together
LOSS = dj.loss.regression(NOISE, ORDER)
X = jnp.arange(3.0)
FACTOR = 1.0  # what functions below read
SHIFT = jnp.ones(3)


class Counted:
    """A program that counts how often it is traced."""

    def __init__(self) -> None:
        self.traces = 0
        self.program = ClosureJit(self._call, ())

    def _call(self, function: Any, x: jax.Array) -> jax.Array:
        self.traces += 1
        return function(x)

    def __call__(self, function: Any, x: jax.Array = X) -> np.ndarray:
        return np.asarray(self.program(as_pytree(function), x))

    @property
    def kept(self) -> int:
        """How many functions have a program of their own."""
        return len(self.program._by_identity)


def over(weight: Any) -> Callable:
    return lambda x: x * weight


def settings(weight: Any) -> list[Callable]:
    """Every way to hold an array."""
    tree = {"a": weight, "b": [weight, weight]}
    net, variables = nn.Dense(3), {"params": {"kernel": jnp.diag(weight), "bias": weight}}

    def default(x: Any, by: Any = weight) -> Any:
        return x * by

    def keyword(x: Any, *, by: Any = weight) -> Any:
        return x * by

    def inner(x: Any) -> Any:
        return over(weight)(x) + default(x)

    return [
        over(weight),
        default,
        keyword,
        inner,
        lambda x: x * tree["a"] + tree["b"][1],
        lambda x: net.apply(variables, x[None])[0],
        functools.partial(lambda by, x: x * by, weight),
        Partial(lambda by, x: x * by, weight),
        lambda x: jax.nn.relu(x * weight),
    ]


@pytest.mark.parametrize("which", range(9))
def test_equal_code_over_other_arrays_is_one_program(which) -> None:
    run = Counted()
    for number in (1.0, 2.0, 3.0):
        function = settings(jnp.full(3, number))[which]
        np.testing.assert_allclose(run(function), function(X), rtol=1e-6)
    assert run.traces == 1


def test_other_code_constants_and_names_are_other_programs() -> None:
    run = Counted()
    for function in (lambda x: x + 1, lambda x: x + 2, lambda x: x - 1):
        np.testing.assert_allclose(run(function), function(X))
    for scale in (2, 2.0, True, 0.0, -0.0):  # equal as numbers, or of equal hash
        found = run(lambda x, scale=scale: x / 2 if scale is True else jnp.copysign(x, scale) * scale)
        np.testing.assert_array_equal(found, X / 2 if scale is True else np.copysign(X, scale) * scale)
    assert run.traces == 8


def test_globals_that_a_function_reads_count(monkeypatch) -> None:
    """A notebook's cells: a number or an array changes, and the next call sees it."""

    def scaled(x: Any) -> Any:
        return x * FACTOR + SHIFT

    run = Counted()
    np.testing.assert_allclose(run(scaled), X + 1)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    np.testing.assert_allclose(run(scaled), 3 * X + 1)
    monkeypatch.setitem(globals(), "SHIFT", jnp.zeros(3))
    np.testing.assert_allclose(run(scaled), 3 * X)
    assert run.traces == 2  # another number is another program, another array is not


def test_numbers_of_a_user_s_module_count(monkeypatch) -> None:
    """Also where a global has the same name, and that of an attribute alone does not."""
    settings = types.ModuleType("settings")
    monkeypatch.setitem(globals(), "SETTINGS", settings)
    monkeypatch.setitem(globals(), "ndim", 7)

    def scaled(x: Any) -> Any:
        return x * SETTINGS.FACTOR * FACTOR * x.ndim

    run = Counted()
    for settings.FACTOR in (2.0, 3.0):
        np.testing.assert_allclose(run(scaled), X * settings.FACTOR)
    monkeypatch.setitem(globals(), "ndim", 8)
    np.testing.assert_allclose(run(scaled), X * 3)
    assert run.traces == 2


def test_attributes_of_a_function_count() -> None:
    def made(needs: tuple[str, ...]) -> Callable:
        def loss(keys: Any, apply: Any, x0: Any, cond: Any) -> Any:
            return x0

        loss.needs = needs  # type: ignore[attr-defined]
        return loss

    assert intern_function(made(("teacher",))) is intern_function(made(("teacher",)))
    assert intern_function(made(("teacher",))) is not intern_function(made(("average",)))


def test_what_may_change_without_a_trace_is_compiled_by_itself() -> None:
    box = SimpleNamespace(scale=2.0)
    run, found = Counted(), []
    for box.scale in (2.0, 5.0):
        found.append(run(lambda x: x * box.scale)[1])
    assert found == [2.0, 5.0]
    assert run.traces == 2

    class Model:
        def __init__(self, scale: float) -> None:
            self.scale = scale

        def __call__(self, x: Any) -> Any:
            return x * self.scale

        def method(self, x: Any) -> Any:
            return x + self.scale

    models = [Model(2.0), Model(3.0)]
    assert [run(model)[1] for model in models * 2] == [2, 3, 2, 3]
    assert [run(model.method)[1] for model in models * 2] == [3, 4, 3, 4]
    assert run.traces == 6


def test_side_effects_of_tracing_reach_what_was_captured() -> None:
    calls: list[Any] = []
    count = 0

    def noted(x: Any) -> Any:
        nonlocal count
        count += 1
        return x

    def listed(x: Any) -> Any:
        calls.append(x.shape)
        return x

    run = Counted()
    run(noted)
    run(listed)
    assert (count, calls) == (1, [(3,)])


def test_a_function_that_looks_at_the_values_of_its_arrays_may() -> None:
    """Then they are constants, as they are to plain code, and each such function is a program of its own."""
    run = Counted()
    for number in (1, 2, 3):
        table = np.arange(3) * number

        def chosen(x: Any, table: Any = table) -> Any:
            return x * 2 if table[1] > 1 else x + float(table.sum())

        np.testing.assert_allclose(run(chosen), chosen(X))


def test_what_is_no_longer_referenced_is_forgotten() -> None:
    run = Counted()
    for number in (1.0, 2.0, 3.0):
        box = SimpleNamespace(scale=number)
        run(lambda x, box=box: x * box.scale)
    assert run.kept <= 3
    gc.collect()
    assert run.kept <= 1  # the last is held by the loop's own names at most
    array = jnp.ones(3)
    gone = weakref.ref(array)
    run(over(array))
    del array
    gc.collect()
    assert gone() is None


def test_values_made_of_equal_functions_are_equal() -> None:
    """So that a noise, an order or a rule of a new lambda each time compiles nothing."""
    noises = [dj.Gaussian(lambda t: (1 - t, t), dj.predict.v) for _ in range(2)]
    assert noises[0] == noises[1]
    assert len({hash(noise) for noise in noises}) == 1
    masks = [dj.Masking(4, lambda t: (1 - t) ** 2) for _ in range(2)]
    assert masks[0] == masks[1]
    power = [2.0, 3.0]
    assert len({dj.Masking(4, lambda t, p=p: (1 - t) ** p) for p in power}) == 2
    orders = [dj.Order(0.0, lambda key, positions: jnp.full(positions, 0.5)) for _ in range(2)]
    assert orders[0] == orders[1]
    tables = [intern_function(over(np.arange(3) + k)) for k in (0, 0, 1)]
    assert tables[0] is tables[1]
    assert tables[0] is not tables[2]
    assert intern_function(optax.adam(1e-3).update) is intern_function(optax.adam(1e-3).update)
    assert intern_function(optax.adam(1e-3).update) is not intern_function(optax.adam(2e-3).update)


def test_new_closures_of_a_sampler_compile_nothing() -> None:
    def draw(weight: Any) -> Any:
        def denoise(x: Any, t: Any, cond: Any) -> Any:
            return x * weight[None]

        def hook(keys: Any, x: Any, pred: Any, t: Any, s: Any) -> Any:
            return x + 0 * weight[None]

        noise = dj.Gaussian(lambda t: (1 - t, t), dj.predict.v)
        return dj.sample(KEYS, noise, ORDER, denoise, (3,), steps=2, hook=hook)

    first, weight = draw(jnp.full(3, 0.5)), jnp.full(3, 0.25)
    draw(weight)
    compilations, other = compiled_by(lambda: draw(weight))
    assert not compilations
    assert not np.allclose(first, other)


def test_a_second_fit_of_an_equal_net_and_loss_compiles_nothing() -> None:
    def run() -> Any:
        def loss(keys: Any, apply: Any, x0: Any, cond: Any) -> Any:
            return 2 * LOSS(keys, apply, x0, cond)

        batches = iter(lambda: {"x": jnp.ones((4, 3))}, None)
        given = {"optimizer": optax.adam(1e-3), "devices": jax.devices()[:1]}
        return dj.fit(jax.random.key(0), dj.nets.MLP(width=4, depth=1), loss, batches, 2, **given)

    first = run()
    compilations, second = compiled_by(run)
    assert not compilations
    for one, other in zip(jax.tree.leaves(first.params), jax.tree.leaves(second.params), strict=True):
        np.testing.assert_array_equal(one, other)


def compiled_by(call: Callable[[], Any]) -> tuple[list[str], Any]:
    """What XLA compiled during a call, and the call's result."""
    seen: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: seen.append(name))
    try:
        result = call()
    finally:
        jax.monitoring.clear_event_listeners()
    return [name for name in seen if "backend_compile" in name], result
