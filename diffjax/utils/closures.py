"""Functions as arguments of compiled programs: the arrays that they hold are passed, and equal code is one program.

`as_pytree(f)` is a pytree of the arrays that the function captured: in cells, in defaults, and, of a user's function,
in the globals that it reads. A new closure of equal code over other arrays compiles nothing. A function that captured
what may change without a trace (an instance of a plain class, a list in which calls are counted) equals itself alone:
it has a program of its own, and `closure_jit` drops that program with it.
"""

import functools
import types
import weakref
from collections.abc import Callable, Hashable
from typing import ParamSpec, TypeVar, cast, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial
from jaxtyping import Array, PyTree

from diffjax.utils.captures import Identity, Opaque, PytreeFunction, split, split_method
from diffjax.utils.code import is_user_function

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Function = TypeVar("Function")

_CONCRETIZATION_ERRORS = (  # of a program that reads the value of a traced array
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
_MAX_INTERNED_BYTES = 2**16  # bytes of arrays that `intern_function` compares

_intern_table: weakref.WeakValueDictionary[object, types.FunctionType] = weakref.WeakValueDictionary()
_value_readers: set[Hashable] = set()  # structures of functions that read the values of their arrays


def as_pytree(function: Function) -> Function:
    """The function as a pytree, so that the arrays that it holds pass through `jit` as arguments, not as constants."""
    if isinstance(function, Partial) and is_user_function(function.func):
        return cast(Function, Partial(_apply, as_pytree(function.func), *function.args, **function.keywords))
    if not callable(function) or not jax.tree_util.all_leaves([function]):
        return function
    try:
        content = split(function)
    except Opaque:
        return cast(Function, _by_identity(function))
    if jax.tree.leaves(content) and jax.tree.structure(content) in _value_readers:
        return cast(Function, _by_identity(function))
    return cast(Function, PytreeFunction(content, function))


def intern_function(function: Function) -> Function:
    """The first function that had this code and captured equal values; itself where that cannot be decided.

    Values made of functions, as a noise is of its schedule, then compare equal, and are compiled once.
    """
    if not isinstance(function, types.FunctionType):
        return function
    try:
        arrays, structure = jax.tree.flatten(split(function))
        values = tuple(map(_hashable_array, arrays))
    except Opaque:
        return function
    if sum(array.nbytes for array in arrays) > _MAX_INTERNED_BYTES:
        return function
    return _intern_table.setdefault((function.__code__, structure, values), function)


@overload
def closure_jit(
    function: Callable[Arguments, Result], *, static_argnames: str | tuple[str, ...] = ()
) -> Callable[Arguments, Result]: ...
@overload
def closure_jit(
    *, static_argnames: str | tuple[str, ...] = ()
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]: ...
def closure_jit(
    function: Callable[..., PyTree] | None = None, *, static_argnames: str | tuple[str, ...] = ()
) -> Callable[..., PyTree]:
    """`jax.jit` for programs that take functions: the program of a function is dropped with it."""
    if function is None:
        return functools.partial(closure_jit, static_argnames=static_argnames)
    return ClosureJit(function, static_argnames)


class ClosureJit:
    """One program for all functions that are compared by content, and one for each that equals itself alone."""

    def __init__(self, function: Callable[..., PyTree], static_argnames: str | tuple[str, ...]) -> None:
        self._function = function
        self._static = static_argnames
        self._shared = jax.jit(function, static_argnames=static_argnames)
        self._by_identity: dict[tuple[Identity, ...], Callable[..., PyTree]] = {}

    def __call__(self, *args: PyTree, **kwargs: PyTree) -> PyTree:
        try:
            return self._program((args, kwargs))(*args, **kwargs)
        except _CONCRETIZATION_ERRORS:  # a function read the value of an array that it holds, which becomes a constant
            constants = _with_constants((args, kwargs))
            if constants is None:
                raise
        args, kwargs = constants
        return self._program((args, kwargs))(*args, **kwargs)

    def _program(self, arguments: PyTree) -> Callable[..., PyTree]:
        """The compiled function for these arguments."""
        leaves = jax.tree.leaves(arguments, is_leaf=lambda node: isinstance(node, Identity))
        identities = tuple(dict.fromkeys(leaf for leaf in leaves if isinstance(leaf, Identity)))
        if not identities:
            return self._shared
        if identities not in self._by_identity:
            self._by_identity[identities] = jax.jit(_copy(self._function), static_argnames=self._static)
            for identity in identities:
                weakref.finalize(identity.ref(), self._by_identity.pop, identities, None)
        return self._by_identity[identities]


def _with_constants(arguments: PyTree) -> PyTree:
    """The arguments with functions that hold arrays compared by identity; None where there is no such function."""
    readers: list[Hashable] = []

    def by_identity(leaf: PyTree) -> PyTree:
        if not isinstance(leaf, PytreeFunction) or leaf.original is None or not jax.tree.leaves(leaf.content):
            return leaf
        readers.append(jax.tree.structure(leaf.content))
        return _by_identity(leaf.original)

    result = jax.tree.map(by_identity, arguments, is_leaf=lambda node: isinstance(node, PytreeFunction))
    _value_readers.update(readers)
    return result if readers else None


def _copy(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Another function that does the same: what is compiled of it is dropped with it."""

    @functools.wraps(function)
    def copy(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return function(*args, **kwargs)

    return copy


def _apply(function: Callable[..., PyTree], *args: PyTree, **kwargs: PyTree) -> PyTree:
    return function(*args, **kwargs)


def _by_identity(function: Callable[..., object]) -> PytreeFunction | Partial:
    """The function, equal to itself alone; one that no weak reference can be made to is kept alive."""
    try:
        content = split_method(function) if isinstance(function, types.MethodType) else Identity(function)
    except TypeError:
        return Partial(function)
    return PytreeFunction(content, function)


def _hashable_array(array: Array | np.ndarray) -> tuple[tuple[int, ...], str, bytes]:
    """Shape, dtype and bytes. Raises Opaque for an array that is traced, or of keys."""
    if isinstance(array, Tracer) or jnp.issubdtype(array.dtype, jax.dtypes.extended):
        raise Opaque
    return array.shape, str(array.dtype), np.asarray(array).tobytes()
