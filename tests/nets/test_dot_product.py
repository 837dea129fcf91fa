"""Attention in blocks of heads and rows is JAX's own, in value, gradient and tangent, whatever its mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffjax as dj
from diffjax.denoising import forward_differentiable
from diffjax.errors import UserError
from diffjax.nets import dot_product

B, HEADS, D = 2, 3, 8
SIZES = {"whole": (40, 40), "blocks": (128, 128), "a last block in part": (150, 150), "other keys": (130, 17)}
MASKS = {
    "none": lambda n, m: None,
    "of keys": lambda n, m: jnp.asarray((np.arange(m) < np.array([[m], [m // 2]]))[:, None, None]),
    "shared": lambda n, m: jnp.asarray((np.arange(n)[:, None] // 4 >= np.arange(m) // 4)[None, None]),
}


def inputs(n: int, m: int) -> tuple[jax.Array, ...]:
    shapes = ((B, n, HEADS, D), (B, m, HEADS, D), (B, m, HEADS, D))
    return tuple(jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_attention_of_jax(size: str, mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dot_product, "BLOCK_NUMBERS", 3 * dot_product.ROWS * SIZES[size][1])  # two groups of heads
    arrays, chosen = inputs(*SIZES[size]), MASKS[mask](*SIZES[size])

    def both(attend):
        def total(*arrays):
            return jnp.sum(jnp.sin(attend(*arrays, mask=chosen)))

        out, tangent = jax.jvp(lambda *arrays: attend(*arrays, mask=chosen), arrays, arrays)
        return out, tangent, jax.grad(total, argnums=(0, 1, 2))(*arrays)

    ours, theirs = (jax.jit(lambda f=f: both(f))() for f in (dot_product.attend, jax.nn.dot_product_attention))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), ours, theirs)


@pytest.mark.parametrize("n", [40, 150])
def test_it_is_causal_where_it_is_asked_to_be(n: int) -> None:
    arrays = inputs(n, n)
    ours = dot_product.attend(*arrays, is_causal=True)
    np.testing.assert_allclose(ours, jax.nn.dot_product_attention(*arrays, is_causal=True), rtol=2e-5, atol=2e-5)


CUDNN = ("cudnn", "gpu", 9.0, jnp.bfloat16, 72, False)  # what it serves
REFUSED = {0: "xla", 2: 7.5, 3: jnp.float32, 4: 136, 5: True}  # by place in CUDNN, each alone
DIT = dj.nets.DiT(width=16, depth=2, heads=2, dtype="bfloat16", attention_kernel="cudnn")


def test_cudnn_computes_attention_where_it_is_asked_for_and_can() -> None:
    choose = dot_product.choose_kernel
    assert choose(*CUDNN) == choose("cudnn", "gpu", 8.0, jnp.float16, 128, False) == "cudnn"
    for place, value in REFUSED.items():
        assert choose(*(value if i == place else own for i, own in enumerate(CUDNN))) == "xla"
    assert choose("cudnn", "gpu", 9.0, jnp.bfloat16, 20, False) == choose("cudnn", "tpu", 0.0, *CUDNN[3:]) == "xla"
    assert choose("cudnn", "cpu", 0.0, *CUDNN[3:]) == "blocks"


def test_another_kernel_is_an_error_of_the_net() -> None:
    for make in (dj.nets.DiT, lambda **field: dj.nets.Transformer(4, (4,), **field)):
        with pytest.raises(UserError, match="attention_kernel"):
            make(attention_kernel="flash")


def test_on_a_cpu_a_net_that_asks_for_cudnn_is_the_net_itself() -> None:
    x, level = jax.random.normal(jax.random.key(0), (2, 8, 8, 1)), jnp.zeros((2, 1, 1, 1))
    variables = jax.tree.map(lambda leaf: leaf + 0.1, DIT.init(jax.random.key(0), x, level))
    plain = DIT.clone(attention_kernel="xla").apply(variables, x, level)
    np.testing.assert_array_equal(DIT.apply(variables, x, level), plain)


@pytest.mark.usefixtures("cuda")
def test_cudnn_is_in_the_gradient_and_not_where_derivatives_are_forward() -> None:
    x, level = jnp.zeros((2, 8, 8, 1)), jnp.zeros((2, 1, 1, 1))
    net = DIT.clone(heads=1)  # whose blocks no test has traced on a CPU
    variables = net.clone(attention_kernel="xla").init(jax.random.key(0), x, level)
    denoise = dj.denoiser(dj.Gaussian(dj.schedule.cosine, dj.predict.v), net, variables)

    def lowered(function) -> str:
        return jax.jit(function).trace(x).lower(lowering_platforms=("cuda",)).as_text()

    def call(denoise, x):
        return denoise(x, jnp.full((2, 1, 1, 1), 0.5), None)

    def pushforward(denoise):
        return lambda x: jax.jvp(lambda x: call(denoise, x), (x,), (x,))[1]

    gradient = lowered(jax.grad(lambda x: jnp.sum(call(denoise, x))))
    assert "cudnn$fmhaSoftmax(" in gradient
    assert "cudnn$fmhaSoftmaxBackward(" in gradient
    with pytest.raises(TypeError, match="forward-mode"):
        lowered(pushforward(denoise))
    assert "cudnn" not in lowered(pushforward(forward_differentiable(denoise)))
