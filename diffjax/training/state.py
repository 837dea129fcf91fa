"""The state of a training run, as one tree."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Int, Key, PyTree, Shaped

from diffjax.nets.interface import check_variables, explain_flax_errors
from diffjax.protocols import Net
from diffjax.training.ema import average_names, default_average, initial_averages
from diffjax.training.joint_leaves import join
from diffjax.utils.memo import cache_hashable
from diffjax.utils.random_draws import draw_bits, evaluate_with_bits


@struct.dataclass
class State:
    """All that the next step depends on.

    `step` counts the steps taken, `position` the batches of the data's endless order that were used or skipped,
    `faults` the steps with numbers that were not finite. `emas` is one moving average of the weights per name (ema.py),
    `key` the source of all randomness. `halted`: the step after this state was not finite, and nothing moves until the
    host has decided; it is never saved.
    """

    step: Int[Array, ""]
    position: Int[Array, ""]
    faults: Int[Array, ""]
    params: PyTree
    opt_state: PyTree
    emas: dict[str, PyTree]
    key: Key[Array, ""]
    halted: Bool[Array, ""]

    @property
    def ema(self) -> PyTree:
        """The default average, as Flax variables."""
        return {"params": self.emas[default_average(tuple(self.emas))]}


def create(
    key: Key[Array, ""],
    net: Net,
    optimizer: optax.GradientTransformation,
    averages: tuple[float | str, ...],
    x: Shaped[Array | np.ndarray, "b ..."],
    cond: PyTree,
) -> State:
    """The state at step 0, for examples like those of the batch (x, cond).

    Raises UserError for a net with more variables than its parameters.
    """
    level = jnp.zeros((1,) * x.ndim)
    example = jax.tree.map(lambda leaf: jnp.asarray(leaf)[:1], (x, cond))

    init_key, run_key = jax.random.split(key)
    params, opt_state = _initialize(net, optimizer, init_key, example[0], level, example[1])
    return State(
        step=jnp.zeros((), jnp.int32),  # buffers of their own, to be donated
        position=jnp.zeros((), jnp.int32),
        faults=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=opt_state,
        emas=initial_averages(average_names(averages), params),
        key=run_key,
        halted=jnp.zeros((), bool),
    )


def _initialize(net: Net, optimizer: optax.GradientTransformation, *arguments: PyTree) -> tuple[PyTree, PyTree]:
    """Parameters and optimizer state, by two programs: the random bits, and the rest for equal nets and optimizers.

    Arrays that a net holds, such as a module's weights, are arguments of the program: as constants they would take
    several times their size on the host, and equal nets may hold different weights.
    """

    def init(*arguments: PyTree) -> tuple[PyTree, PyTree]:
        with explain_flax_errors(net):
            variables = net.init(*arguments)
        check_variables(net, variables)
        return variables["params"], optimizer.init(variables["params"])

    traced, tree = jax.make_jaxpr(init, return_shape=True)(*arguments)
    inputs = (traced.consts, jax.tree.leaves(arguments))
    bits = draw_bits(traced, *inputs)
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves((inputs, bits)))
    programs = _compiled_programs(net, optimizer)
    if shapes not in programs:
        programs[shapes] = jax.jit(partial(evaluate_with_bits, traced))
    leaves = programs[shapes](bits, *inputs)
    return jax.tree.unflatten(jax.tree.structure(tree), leaves)


@cache_hashable(8)
def _compiled_programs(net: Net, optimizer: optax.GradientTransformation) -> dict[object, Callable]:
    """The programs of equal nets and optimizers, by the shapes of their arguments."""
    return {}


def warm_start(state: State, params: PyTree) -> State:
    """The state with these weights, which all its averages begin with."""
    return replace(state, params=params, emas=initial_averages(tuple(state.emas), params))


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of a tree is finite; integers and keys are."""
    floats = [leaf for leaf in join(tree).values() if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.asarray([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))
