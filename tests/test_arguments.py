"""The public surface under wrong arguments: each becomes what was meant, or one line that names it.

Every argument of every function is given the wrong kind, the wrong shape, a maker that was not called, and a text.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import diffjax as dj
from diffjax.errors import UserError

pytestmark = pytest.mark.usefixtures("untyped")

KEYS, N = dj.keys(0, 4), 4
NOISE, MASKS = dj.Gaussian(dj.schedule.cosine, dj.predict.v), dj.Masking(5)
ORDER, RASTER = dj.order.together, dj.order.raster
X = jnp.zeros((N, 3))
TOKENS = jnp.zeros((N, 3), jnp.int32)
NULL = jnp.array(0)
COND = jnp.zeros(N, jnp.int32)
NET = dj.nets.MLP(width=4, depth=1)
SEEN = dj.edit.inpaint(jnp.zeros(3), jnp.array([True, False, False]))


def denoise(x: Any, t: Any, cond: Any) -> Any:
    return x * 0.5


def logits(x: Any, t: Any, cond: Any) -> Any:
    return jnp.zeros((*x.shape, 5))


def batches() -> Any:
    return iter([{"x": X}] * 9)


NOISED = {"keys": KEYS, "noise": NOISE, "denoise": denoise}
MODEL = {"keys": KEYS, "noise": NOISE, "order": ORDER, "denoise": denoise}
DRAW = {**MODEL, "shape": (3,), "steps": 2}
SURFACE: dict[str, tuple[Callable, dict[str, Any]]] = {
    "sample": (dj.sample, {**DRAW, "grid": None, "step": None, "start": None, "hook": None, "cond": COND}),
    "stepwise": (lambda **given: list(dj.stepwise(**given)), DRAW),
    "invert": (dj.invert, {**MODEL, "x": X, "steps": 2, "step": None, "cond": COND}),
    "adaptive": (
        dj.adaptive,
        {"keys": KEYS, "noise": NOISE, "denoise": denoise, "shape": (3,), "rtol": 0.1, "atol": 0.1},
    ),
    "bits": (dj.likelihood.bits_per_dim, {**MODEL, "x": X, "cond": COND, "method": "bound", "draws": 2, "steps": 4}),
    "bits_vs_context": (
        dj.likelihood.bits_vs_context,
        {"keys": KEYS, "noise": MASKS, "order": RASTER, "denoise": logits, "x": TOKENS, "visible": (0, 1)},
    ),
    "regression": (dj.loss.regression, {"noise": NOISE, "order": ORDER, "weight": None, "times": None, "given": 0.0}),
    "bound": (dj.loss.bound, {"noise": NOISE, "order": ORDER, "steps": 4}),
    "causal": (dj.loss.causal, {"noise": MASKS, "order": RASTER, "hide": 0.1, "shuffle": 0.0}),
    "cfg": (dj.guidance.cfg, {"denoise": denoise, "scale": 2.0, "null": NULL, "rule": dj.guidance.linear, "calls": 1}),
    "autoguidance": (dj.guidance.autoguidance, {"denoise": denoise, "weak": denoise, "scale": 2.0}),
    "interval": (dj.guidance.interval, {"scale": 2.0, "low": 0.1, "high": 0.9}),
    "rescaled": (dj.guidance.rescaled, {"phi": 0.7, "rule": dj.guidance.linear}),
    "momentum": (dj.guidance.momentum, {"step": dj.steps.ddim(), "scale": 2.0, "beta": -0.5}),
    "vary": (dj.edit.vary, {**MODEL, "x0": X, "strength": 0.5, "steps": 4}),
    "solve": (dj.edit.solve, {**MODEL, "observation": SEEN, "method": dj.edit.clamp(), "steps": 2}),
    "Gaussian": (dj.Gaussian, {"schedule": dj.schedule.cosine, "parameterization": dj.predict.v, "data_std": 1.0}),
    "Masking": (dj.Masking, {"vocab": 5, "keep": lambda t: 1 - t}),
    "ddim": (dj.steps.ddim, {"eta": 0.5}),
    "unipc": (dj.steps.unipc, {"order": 2, "variant": "bh2"}),
    "edm_of": (dj.schedule.edm_of, {"sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0}),
    "shift": (dj.schedule.shift, {"schedule": dj.schedule.flow, "factor": 3.0}),
    "rolling": (dj.order.rolling, {"width": 0.3}),
    "blocks": (dj.order.blocks, {"count": 2, "shuffled": False}),
    "karras": (dj.grids.karras, {"noise": NOISE, "steps": 4, "sigma_min": 0.01, "sigma_max": 10.0, "rho": 7.0}),
    "keys_of": (dj.keys, {"seed": 0, "count": 4}),
    "load": (dj.load, {"source": "runs/none", "ema": None, "step": None}),
    "report": (dj.lab.report, {"step": dj.steps.ddim()}),
    "error": (dj.diagnostics.by_noise_level.denoising_error, {**NOISED, "x0": X, "cond": COND, "t": jnp.array([0.5])}),
    "several": (dj.guidance.several, {"denoise": denoise, "scales": {"a": 2.0}, "null": {"a": NULL}}),
    "perturbed": (dj.guidance.perturbed_attention, {"denoise": denoise, "scale": 2.0, "blocks": (0,)}),
    "inpaint": (dj.edit.inpaint, {"image": X[0], "known": X[0] > -1, "noise_std": 0.0}),
    "interpolate": (
        dj.edit.interpolate,
        {**MODEL, "images": (X, X), "shares": jnp.array([0.5]), "steps": 4, "cond": COND},
    ),
    "min_snr": (dj.weights.min_snr, {"gamma": 5.0}),
    "logit_normal": (dj.times.logit_normal, {"mean": 0.0, "std": 1.0}),
    "denoiser": (dj.denoiser, {"noise": NOISE, "net": NET, "variables": {"params": {}}}),
    "fit": (
        lambda batches, **given: dj.fit(batches=batches() if callable(batches) else batches, **given),
        {
            "keys": jax.random.key(0),
            "net": NET,
            "loss": dj.loss.regression(NOISE, ORDER),
            "batches": batches,
            "steps": 1,
            "optimizer": optax.sgd(0.1),
            "ema": (0.9,),
            "start": None,
            "accumulate": 1,
            "devices": jax.devices()[:1],
        },
    ),
}
REFUSES = {"load", "perturbed", "inpaint", "report"}  # needs a run, a net, something to draw; takes a minute
NO_NUMBER = ["1", None, (1.0, 2.0), float("nan"), jnp.ones(3), dj.steps.ddim]
WRONG: dict[str, list[Any]] = {
    "keys": [0, "keys", None, jax.random.PRNGKey(0), np.zeros((N, 2), np.uint32), dj.keys],
    "noise": ["cosine", dj.schedule.cosine, dj.Gaussian, None, 3],
    "order": ["together", dj.order.rolling, dj.order.blocks, None, 1.0],
    "denoise": ["net", NET, dj.nets.MLP, lambda x: x, None, X],
    "weak": ["net", NET, dj.nets.MLP, lambda x: x, None],
    "shape": [3, "3", (0,), (2.5,), (), None, (-1, 3)],
    "steps": [2.5, -1, 0, "10", True, (3,)],
    "grid": ["karras", dj.grids.karras, [[1.0, 0.0]], [0.0, 1.0], [0.5, 0.6, 0.0], [1.2, 0.0], [1.0]],
    "step": ["ddim", dj.steps.ddim, dj.steps, 3],
    "start": [jnp.zeros((N, 4)), jnp.zeros((N - 1, 3)), jnp.zeros(3), "noise", dj.keys],
    "hook": ["inpaint", dj.edit.inpaint, 3, lambda x: x],
    "cond": ["three", ["three"] * N, jnp.zeros(N + 1), jnp.zeros(()), [1, 2]],
    "x": [jnp.zeros((N + 1, 3)), jnp.zeros((0, 3)), "x", None, 1.0],
    "x0": [jnp.zeros((N + 1, 3)), jnp.zeros((0, 3)), "x", None, 1.0],
    "method": ["exactly", 3, None, dj.edit.clamp],
    "draws": ["two", 2.5, None, 1],
    "visible": ["all", (0.5,), (7,), 3],
    "weight": ["min_snr", dj.weights.min_snr, 3, lambda: 0.0],
    "times": ["uniform", dj.times.logit_normal, 3, lambda u: u],
    "given": ["0.5", None, 2.0, (0.5,)],
    "hide": ["0.5", None, 2.0],
    "shuffle": ["0.5", None, 2.0],
    "scale": ["2", None, (1.0, 2.0), float("inf"), [1.0]],
    "null": [None],
    "rule": ["linear", dj.guidance.rescaled, 3, lambda a, b: a],
    "calls": [3, "two", 1.5],
    "low": ["0", None, 2.0, -0.1],
    "high": ["0", None, 2.0],
    "phi": ["0.7", None, 7.0],
    "beta": ["0.5", None, 2.0],
    "strength": ["0.5", None, 0.0, 2.0],
    "observation": ["mask", None, X],
    "schedule": ["cosine", dj.schedule.edm_of, 3, None, lambda t: t],
    "parameterization": ["v", None, dj.predict],
    "data_std": ["1", None, 0.0, float("inf"), jnp.ones(2)],
    "vocab": ["5", None, 0, 2.5, True],
    "keep": ["linear", 3, lambda t: t],
    "eta": NO_NUMBER,
    "order_": [],
    "variant": ["bh3", 3, None],
    "sigma_min": [*NO_NUMBER, 0.0],
    "sigma_max": [*NO_NUMBER, 0.0],
    "rho": [*NO_NUMBER, 0.0],
    "factor": [*NO_NUMBER, 0.0],
    "width": [*NO_NUMBER, 2.0],
    "count": [*NO_NUMBER, 0],
    "shuffled": ["yes", 3, None],
    "rtol": ["0.1", None, 0.0],
    "atol": ["0.1", None, 0.0],
    "net": ["MLP", dj.nets.MLP, None, denoise],
    "variables": [{"kernel": X}, X, "params", None],
    "loss": [dj.loss.regression, "regression", None, lambda x: x],
    "batches": ["digits", None, X, {"x": X}, [(X, COND)], [X], [{"image": X}], [], iter([])],
    "optimizer": [optax.adam, "adam", 1e-3],
    "ema": ["long", -1.0, (2.0,), optax.ema],
    "accumulate": [0, "2", 1.5],
    "seed": ["0", None, 2.5],
    "source": [3, None, dj.load],
    "t": ["0.5", None, 0.5, jnp.zeros(0)],
    "scales": ["2", None, {}, {"b": 1.0}, {"a": "2"}],
    "blocks": ["0", None, (0.5,), ()],
    "image": ["in.png", None],
    "known": ["mask", None, X[0], X > 0],
    "noise_std": ["0.1", None, -1.0],
    "images": ["in.png", None, X, (X,), (X[:2], X), (X, "in.png")],
    "shares": ["half", None, 0.5],
    "gamma": [*NO_NUMBER, 0.0],
    "mean": NO_NUMBER,
    "std": [*NO_NUMBER, 0.0],
}
SPECIAL: dict[tuple[str, str], list[Any]] = {
    ("unipc", "order"): [7, "2", 2.5, None],
    ("fit", "start"): ["runs/digits", X, {"params": X}],
    ("fit", "keys"): [0, "key", None, jax.random.PRNGKey(0)],
    ("load", "step"): ["last", 2.5],
    ("load", "ema"): [3, 0.9],
    ("report", "step"): ["ddim", dj.steps.ddim, None],
    ("keys_of", "count"): ["4", None, 2.5, -1],
    ("momentum", "scale"): ["2", (1.0, 2.0), float("inf"), jnp.ones(3)],
}
CASES = [
    pytest.param(name, argument, value, id=f"{name}-{argument}-{place}")
    for name, (_, given) in SURFACE.items()
    for argument in given
    for place, value in enumerate(SPECIAL.get((name, argument), WRONG.get(argument, [])))
]


def test_the_surface_takes_what_is_right() -> None:
    for name, (function, given) in SURFACE.items():
        if name not in REFUSES:
            assert function(**given) is not None, name


@pytest.mark.parametrize(("name", "argument", "value"), CASES)
def test_a_wrong_argument_is_one_line_that_names_it(name, argument, value) -> None:
    function, given = SURFACE[name]
    with pytest.raises(UserError) as caught:
        function(**{**given, argument: value})
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    named = {"parameterization": "prediction", "scales": "scale", "batches": "batch", "accumulate": "accumulate"}.get(
        argument, argument
    )
    assert named in message.lower() or argument in message, message


@pytest.mark.parametrize("make", [np.float32, np.float64, jnp.float32, np.asarray, jnp.asarray])
def test_numbers_of_numpy_and_jax_are_numbers(make) -> None:
    assert dj.steps.ddim(make(0.5)) is dj.steps.ddim(0.5)
    assert dj.schedule.shift(dj.schedule.flow, make(2.0)) is dj.schedule.shift(dj.schedule.flow, 2.0)
    assert dj.Gaussian(dj.schedule.cosine, dj.predict.v, make(0.5)).data_std == 0.5
    assert dj.guidance.momentum(dj.steps.ddim(), make(2.0)) is dj.guidance.momentum(dj.steps.ddim(), 2.0)
    assert dj.order.rolling(make(0.5)) is dj.order.rolling(0.5)
    guided = [dj.guidance.cfg(lambda x, t, c: x * c[:, None], scale, jnp.array(0.0)) for scale in (make(2.0), 2.0)]
    np.testing.assert_array_equal(*(each(X + 1, jnp.ones((N, 1)), jnp.ones(N)) for each in guided))
    with pytest.raises(UserError, match="eta"):
        jax.jit(lambda eta: dj.steps.ddim(eta).order or 0)(0.5)


def test_a_list_of_numbers_is_a_condition() -> None:
    def by_cond(x: Any, t: Any, cond: Any) -> Any:
        return x * 0 + cond[:, None]

    found = dj.sample(KEYS, NOISE, ORDER, by_cond, (3,), steps=1, cond=[1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(found[:, 0], [1, 2, 3, 4], atol=1e-5)


def test_a_seed_is_a_number_or_a_key() -> None:
    root = jax.random.key(3)
    for seed in (3, np.int64(3), jnp.asarray(3), root):
        np.testing.assert_array_equal(jax.random.key_data(dj.keys(seed, 4)), jax.random.key_data(dj.keys(3, 4)))
    with pytest.raises(UserError, match="seed"):
        dj.keys(dj.keys(0, 2), 4)


def test_a_noise_of_one_s_own_is_told_what_it_lacks() -> None:
    class Half:
        channel_axes = 1

        def prior(self, key: Any, shape: Any) -> Any:
            return jnp.zeros(shape)

    with pytest.raises(UserError, match=r"Half has no .*corrupt"):
        dj.sample(KEYS, Half(), ORDER, denoise, (3,), steps=1)
