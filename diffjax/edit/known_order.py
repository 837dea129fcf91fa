"""Generation orders that begin with the known positions."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from diffjax.edit.observation import Observation
from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.utils.memo import memoize_by_arguments


def known_first(order: Order, observation: Observation) -> Order:
    """The order with the exactly known positions before all others, for a causal net trained on any order.

    Then every sampled token is conditional on all known ones (Hoogeboom et al. 2022, section 3). Raises UserError where
    the order's width is not 0, or where examples differ in their masks.
    """
    if order.width > 0:
        raise UserError(f"known_first: expected an order of width 0, such as order.shuffled, got {order.width:g}")
    known = np.asarray(observation.std == 0)
    if observation.batched and len(known) > 1:
        raise UserError("known_first: expected one mask for all examples; solve each mask in a batch of its own")
    return _known_first(order, known.tobytes())


@memoize_by_arguments
def _known_first(order: Order, packed: bytes) -> Order:
    known = np.frombuffer(packed, bool)

    def rank(key: Key[Array, ""], positions: tuple[int, ...]) -> Array:
        sort_key = order.rank(key, positions).ravel() + jnp.where(jnp.asarray(known), 0, 1)
        return ((jnp.argsort(jnp.argsort(sort_key)) + 0.5) / len(known)).reshape(positions)

    return Order(0.0, rank)
