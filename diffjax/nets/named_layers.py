"""Layers under the names that they have in files of published weights, with the arithmetic of torch."""

import flax.linen as nn

from diffjax.nets.layers import dense_dot_general


def named_dense(features: int, name: str, use_bias: bool = True) -> nn.Dense:
    """A dense layer over the last axis."""
    return nn.Dense(features, use_bias, dot_general=dense_dot_general, name=name)


def named_layer_norm(epsilon: float, name: str) -> nn.LayerNorm:
    """LayerNorm with scale and bias, whose variance is that of the differences from the mean."""
    return nn.LayerNorm(epsilon, use_fast_variance=False, name=name)
