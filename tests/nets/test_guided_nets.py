"""Every guidance of every net, its wrappers included, is what two calls of plain nets and the formula give."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import PyTree

import diffjax as dj
from diffjax.denoising import is_causal, with_ranks
from diffjax.nets.adapters import lora
from diffjax.nets.condition_encoders import Picture
from diffjax.nets.controlnet import control
from diffjax.order import ranks
from diffjax.protocols import ConditionPart
from tests.quickly import few

B, SCALE = 3, 2.5
SKETCH = Picture(part="sketch", shape=(4, 4, 1))
GAUSSIAN, TOKENS = dj.Gaussian(dj.schedule.cosine, dj.predict.x0), dj.Masking(5)
UNET = dj.nets.UNet(width=8, multipliers=(1, 1), heads=2, classes=3, attention=(1,))
DIT = dj.nets.DiT(patch=2, width=8, depth=2, heads=2, classes=3)
CAUSAL = dj.nets.Transformer(vocab=5, shape=(4, 4, 1), width=8, depth=2, heads=2, classes=3, causal=True)


def told_of_sketches(net: Any) -> Any:
    return net.clone(conditions=(*net.conditions, SKETCH))


def frozen(net: Any) -> Any:
    return dj.freeze(net, optax.sgd(0.1), ("*bias",))[0]


NETS = {  # a base, and what is put around it
    "unet": (UNET, lambda net: net),
    "dit": (DIT, lambda net: net),
    "transformer": (CAUSAL.clone(causal=False), lambda net: net),
    "causal": (CAUSAL, lambda net: net),
    "lora of a unet": (UNET, lambda net: lora(net, rank=1)),
    "lora of a causal": (CAUSAL, lambda net: lora(net, rank=1)),
    "controlled unet": (UNET, lambda net: control(told_of_sketches(net))),
    "controlled dit": (DIT, lambda net: control(told_of_sketches(net))),
    "frozen dit": (DIT, frozen),
    "frozen lora of a controlled dit": (DIT, lambda net: frozen(lora(control(told_of_sketches(net)), rank=1))),
}
GUIDANCES = {
    "cfg": lambda denoise, null: dj.guidance.cfg(denoise, SCALE, null),
    "cfg in two calls": lambda denoise, null: dj.guidance.cfg(denoise, SCALE, null, calls=2),
    "autoguidance": lambda denoise, null: dj.guidance.autoguidance(denoise, weaker(denoise), SCALE),
    "perturbed_attention": lambda denoise, null: dj.guidance.perturbed_attention(denoise, SCALE, (1,)),
    "cfg of perturbed_attention": lambda denoise, null: dj.guidance.cfg(
        dj.guidance.perturbed_attention(denoise, SCALE, (1,)), SCALE, null
    ),
}


def weaker(denoise: Any) -> Any:
    return replace(denoise, variables=jax.tree.map(lambda leaf: 0.9 * leaf, denoise.variables))


def in_some_order(denoise: Any) -> Any:
    """Causal nets told an order, another one for each example."""
    if not is_causal(denoise):
        return denoise
    return with_ranks(denoise, dj.order.shuffled, ranks(dj.order.shuffled, dj.keys(0, B), (16,), 0))


def moved(variables: PyTree) -> PyTree:
    """Weights at which every layer says something, those included that begin at 0."""
    leaves, treedef = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return treedef.unflatten(
        [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )


QUICK = {  # each guidance of two kinds of nets at least, and each kind of net
    "unet": ("cfg", "perturbed_attention", "cfg of perturbed_attention"),
    "causal": ("cfg", "cfg in two calls", "autoguidance"),
    "frozen lora of a controlled dit": GUIDANCES,
}
PAIRS = [
    pytest.param(net, name, marks=[] if name in QUICK.get(net, ()) else pytest.mark.long, id=f"{net}-{name}")
    for net in NETS
    for name in GUIDANCES
]


@pytest.fixture(scope="module")
def case(request: Any) -> tuple[Any, Any, tuple[Any, Any], Any]:
    """A denoiser, the same with identity attention in its second block, where both are asked, and their condition."""
    base, wrap = NETS[request.param]
    net, perturbed = wrap(base), wrap(base.clone(perturbed=(1,)))
    tokens = base in (CAUSAL, CAUSAL.clone(causal=False))
    x = jnp.arange(B * 16).reshape(B, 16) % 6 if tokens else jax.random.normal(jax.random.key(2), (B, 4, 4, 1))
    t = jnp.linspace(0.2, 0.9, B).reshape((B, 1) if tokens else (B, 1, 1, 1))
    cond: Any = jnp.arange(B) % 3
    if "controlled" in request.param:
        cond = {
            "label": cond,
            "sketch": ConditionPart(jax.random.uniform(jax.random.key(3), (B, 4, 4, 1)), jnp.ones(B, bool)),
        }
    noise = TOKENS if tokens else GAUSSIAN
    variables = moved(jax.jit(net.init)(jax.random.key(0), x, noise.level(t), cond))
    return dj.denoiser(noise, net, variables), dj.denoiser(noise, perturbed, variables), (x, t), cond


@pytest.mark.parametrize(("case", "name"), PAIRS, indirect=["case"], scope="module")
def test_guidance_of_a_net_is_the_formula_of_its_predictions(case, name) -> None:
    """(1 - w) without + w given, of predictions that are called one by one."""
    denoise, _, at, cond = case
    one_by_one, perturbed, weak = map(in_some_order, (denoise, case[1], weaker(denoise)))
    null = jax.tree.map(
        lambda null, leaf: jnp.broadcast_to(null, leaf.shape).astype(leaf.dtype), denoise.net.null_cond, cond
    )

    def mix(without: Any, given: Any) -> Any:
        return (1 - SCALE) * without + SCALE * given

    given = one_by_one(*at, cond)
    sees_itself = mix(perturbed(*at, cond), given)
    expected = {
        "cfg": lambda: mix(one_by_one(*at, null), given),
        "cfg in two calls": lambda: mix(one_by_one(*at, null), given),
        "autoguidance": lambda: mix(weak(*at, cond), given),
        "perturbed_attention": lambda: sees_itself,
        "cfg of perturbed_attention": lambda: mix(mix(perturbed(*at, null), one_by_one(*at, null)), sees_itself),
    }
    guided = in_some_order(GUIDANCES[name](denoise, denoise.net.null_cond))(*at, cond)
    np.testing.assert_allclose(guided, expected[name](), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("case", few(NETS, *QUICK), indirect=True)
def test_identity_attention_changes_what_a_net_predicts(case) -> None:
    """So that the cases above are not all alike."""
    denoise, perturbed, at, cond = (*map(in_some_order, case[:2]), *case[2:])
    assert float(jnp.max(jnp.abs(perturbed(*at, cond) - denoise(*at, cond)))) > 1e-3
