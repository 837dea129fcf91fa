"""FLOPs, against the formula of a product and against convolutions that count themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import conv_general_dilated

from diffjax.profiling.flops import count_flops

M, K, N = 3, 5, 7
LEFT, RIGHT = jnp.zeros((M, K)), jnp.zeros((K, N))


def total(function, *arguments) -> int:
    return count_flops(function, *arguments).total()


def test_a_product_has_two_for_each_pair_of_numbers() -> None:
    assert total(jnp.matmul, LEFT, RIGHT) == 2 * M * N * K
    assert total(jax.jit(jnp.matmul), jnp.zeros((4, M, K)), jnp.zeros((4, K, N))) == 4 * 2 * M * N * K
    assert total(jnp.add, LEFT, LEFT) == 0


def test_xla_counts_the_same_for_a_product() -> None:
    analysis = jax.jit(jnp.matmul).lower(LEFT, RIGHT).compile().cost_analysis()
    assert analysis is not None
    assert analysis["flops"] == total(jnp.matmul, LEFT, RIGHT)


def test_the_gradient_has_two_products_more() -> None:
    gradient = jax.grad(lambda left, right: (left @ right).sum() ** 2, argnums=(0, 1))
    assert total(gradient, LEFT, RIGHT) == 3 * 2 * M * N * K


def test_a_loop_counts_as_often_as_it_runs_and_a_condition_by_its_longest_branch() -> None:
    square = jnp.zeros((K, K))
    assert total(lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, length=9)[0], square) == 9 * 2 * K**3
    assert total(lambda x: jax.lax.map(lambda row: row @ x, x), square) == K * 2 * K**2
    branches = (lambda x: x, lambda x: x @ x @ x, lambda x: x @ x)
    assert total(lambda i, x: jax.lax.switch(i, branches, x), 1, square) == 2 * 2 * K**3


def test_the_dtype_is_that_of_the_factors() -> None:
    half = LEFT.astype(jnp.bfloat16), RIGHT.astype(jnp.bfloat16)
    flops = count_flops(
        lambda a, b, c, d: (jnp.matmul(a, b, preferred_element_type="float32"), c @ d), *half, LEFT, RIGHT
    )
    assert flops == {np.dtype(jnp.bfloat16): 2 * M * N * K, np.dtype(np.float32): 2 * M * N * K}


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "SAME"},
        {"padding": "VALID", "window_strides": (2, 1)},
        {"padding": ((2, 1), (0, 3)), "rhs_dilation": (1, 2)},
        {"padding": ((1, 1), (1, 2)), "lhs_dilation": (2, 3)},
        {"padding": ((-1, 0), (0, 2))},
        {"padding": "SAME", "feature_group_count": 2},
        {"padding": "SAME", "batch_group_count": 2},
    ],
    ids=str,
)
def test_a_convolution_of_ones_sums_to_its_products(options) -> None:
    """Of an image and a kernel of ones every product is 1, but for those with padding, which are 0."""
    image, kernel = jnp.ones((4, 6, 7, 8)), jnp.ones((3, 2, 8 // options.get("feature_group_count", 1), 6))
    options = {"window_strides": (1, 1), "dimension_numbers": ("NHWC", "HWIO", "NHWC"), **options}
    products = conv_general_dilated(image, kernel, **options).sum()
    assert total(lambda image, kernel: conv_general_dilated(image, kernel, **options), image, kernel) == 2 * products
