"""FLOPs of the matrix products and convolutions of a function, counted in its traced program."""

import math
from collections import Counter
from collections.abc import Callable

import jax
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Jaxpr, JaxprEqn, Literal, Var, jaxprs_in_params


def count_flops(function: Callable[..., object], *arguments: object) -> Counter[np.dtype]:
    """FLOPs of a call by the dtype of the factors: two for each product of numbers and its addition.

    A product of m×k and k×n matrices has 2·m·n·k. Padding counts for nothing, nor do zeros between the entries of a
    convolution's input. A loop counts as often as it runs, but once where that depends on values; of the branches of a
    condition the one with the most counts.
    """
    return _jaxpr_flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def _jaxpr_flops(jaxpr: Jaxpr) -> Counter[np.dtype]:
    total: Counter[np.dtype] = Counter()
    for equation in jaxpr.eqns:
        total.update(_equation_flops(equation))
    return total


def _equation_flops(equation: JaxprEqn) -> Counter[np.dtype]:
    name = equation.primitive.name
    if name in _PRODUCTS:
        return Counter({np.dtype(_shaped(equation.invars[0]).dtype): 2 * _PRODUCTS[name](equation)})
    inner = [_jaxpr_flops(jaxpr) for jaxpr in jaxprs_in_params(equation.params)]
    if name == "cond":
        return max(inner, key=Counter.total)
    repeats = int(equation.params["length"]) if name == "scan" else 1
    total: Counter[np.dtype] = Counter()
    for flops in inner:
        total.update({dtype: repeats * count for dtype, count in flops.items()})
    return total


def _shaped(variable: Var | Literal) -> ShapedArray:
    assert isinstance(variable.aval, ShapedArray), "a factor has a shape"
    return variable.aval


def _dot_products(equation: JaxprEqn) -> int:
    """Products of numbers in a `dot_general`."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left_shape = _shaped(equation.invars[0]).shape
    return math.prod(_shaped(equation.outvars[0]).shape) * math.prod(left_shape[axis] for axis in contracted)


def _convolution_products(equation: JaxprEqn) -> int:
    """Products of numbers in a `conv_general_dilated`; along each axis, the pairs of an input and a kernel's entry."""
    params = equation.params
    dimensions = params["dimension_numbers"]
    image_shape, kernel_shape = (_shaped(factor).shape for factor in equation.invars)
    output_shape = _shaped(equation.outvars[0]).shape
    pairs = 1
    for i, (low, _) in enumerate(params["padding"]):
        size = image_shape[dimensions.lhs_spec[2 + i]]
        spread = params["lhs_dilation"][i]
        outputs = np.arange(output_shape[dimensions.out_spec[2 + i]]) * params["window_strides"][i]
        entries = np.arange(kernel_shape[dimensions.rhs_spec[2 + i]]) * params["rhs_dilation"][i]
        places = outputs[:, None] + entries - low
        pairs *= int(((places >= 0) & (places <= (size - 1) * spread) & (places % spread == 0)).sum())
    batch, features = (output_shape[axis] for axis in dimensions.out_spec[:2])
    inputs = kernel_shape[dimensions.rhs_spec[1]]
    return batch * features * inputs * pairs


_PRODUCTS = {"dot_general": _dot_products, "conv_general_dilated": _convolution_products}
