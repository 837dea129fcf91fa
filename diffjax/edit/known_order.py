"""An order in which what is known comes first."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from diffjax.errors import UserError
from diffjax.order import Order
from diffjax.utils.memo import memoize_by_arguments


def known_first(order: Order, observation: Any) -> Order:
    """The order, but that the positions known exactly come before all others, for a causal net trained on any order.

    Then what is drawn is drawn given all that is known (Hoogeboom et al. 2022, section 3). Raises UserError where the
    order's width is not 0, or where each example has a mask of its own.
    """
    if order.width > 0:
        raise UserError(f"known_first: expected an order of width 0, such as order.shuffled, got {order.width:g}")
    known = np.asarray(observation.std == 0)
    if observation.batched and len(known) > 1:
        raise UserError("known_first: expected one mask for all examples; solve those of another mask by themselves")
    return _known_first(order, known.tobytes())


@memoize_by_arguments
def _known_first(order: Order, packed: bytes) -> Order:
    known = np.frombuffer(packed, bool)

    def rank(key: Key[Array, ""], positions: tuple[int, ...]) -> Array:
        late = order.rank(key, positions).ravel() + jnp.where(jnp.asarray(known), 0, 1)
        return ((jnp.argsort(jnp.argsort(late)) + 0.5) / len(known)).reshape(positions)

    return Order(0.0, rank)
