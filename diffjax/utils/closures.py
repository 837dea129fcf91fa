"""Functions as arguments of compiled programs: the arrays that they hold are passed, and equal code is one program.

`as_pytree(f)` is a pytree. Its leaves are the arrays among what the function captured (cells, defaults, and the globals
that a user's function reads); all else, its code first, is what programs are told apart by. So a new closure of the
same code over other arrays compiles nothing. Where something captured may change without a trace (an object of a class
of one's own, a list in which calls are counted) the function counts as itself alone: it is compiled by itself, and
`closure_jit` forgets that program with it.
"""

import functools
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial

from diffjax.utils.captures import Opaque, bound_method_part, split
from diffjax.utils.code import is_user_function
from diffjax.utils.function_parts import Identity, build_value, identities

_CONCRETIZATION_ERRORS = (  # what JAX raises where a value is asked for that is traced
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerBoolConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
_MAX_INTERNED_BYTES = 2**16  # bytes of arrays that `intern_function` compares


class Spec:
    """What a portable function is but for its arrays. There is one object of each kind, equal to itself alone."""

    def __init__(self, part: Any) -> None:
        self.part = part
        self.identity_parts = tuple(dict.fromkeys(identities(part)))  # no program of them outlives their values


_specs: weakref.WeakValueDictionary[Any, Spec] = weakref.WeakValueDictionary()
_intern_table: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
_value_readers: weakref.WeakSet[Spec] = weakref.WeakSet()  # of functions that looked at the values of their arrays


@jax.tree_util.register_pytree_node_class
class PytreeFunction:
    """A function as a pytree of the arrays, and trees of arrays, that it holds.

    `original` is what it was made of, where that is known.
    """

    def __init__(self, spec: Spec, arrays: tuple[Any, ...], original: Any = None) -> None:
        self.spec = spec
        self.arrays = arrays
        self.original = original

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return build_value(self.spec.part, self.arrays)(*args, **kwargs)

    def tree_flatten(self) -> tuple[tuple[Any, ...], Spec]:
        """The arrays, and everything else."""
        return self.arrays, self.spec

    @classmethod
    def tree_unflatten(cls, spec: Spec, arrays: tuple[Any, ...]) -> "PytreeFunction":
        """The function with these arrays in place of its own."""
        return cls(spec, tuple(arrays))


def as_pytree(function: Any) -> Any:
    """The function as a pytree, so that the arrays that it holds pass through `jit` as arguments, not as constants."""
    if isinstance(function, Partial) and is_user_function(function.func):
        return Partial(_apply, as_pytree(function.func), *function.args, **function.keywords)
    if not jax.tree_util.all_leaves([function]):
        return function
    arrays: list[Any] = []
    try:
        spec = _spec(split(function, arrays))
    except Opaque:
        return _by_identity(function)
    return (
        _by_identity(function) if arrays and spec in _value_readers else PytreeFunction(spec, tuple(arrays), function)
    )


def intern_function(function: Any) -> Any:
    """The first function that had this code and captured equal values; itself where that cannot be told.

    What is made of functions, such as a noise of its schedule, is then equal where they are, and compiled once.
    """
    arrays: list[Any] = []
    try:
        part = split(function, arrays) if isinstance(function, types.FunctionType) else None
        contents = tuple(map(_content, jax.tree.leaves(arrays)))
    except Opaque:
        return function
    if part is None or sum(len(content[2]) for content in contents) > _MAX_INTERNED_BYTES:
        return function
    return _intern_table.setdefault((part, jax.tree.structure(arrays), contents), function)


def closure_jit(function: Any = None, *, static_argnames: str | tuple[str, ...] = ()) -> Any:
    """`jax.jit` for programs that take functions: it forgets those of functions that are no more."""
    if function is None:
        return functools.partial(closure_jit, static_argnames=static_argnames)
    return ClosureJit(function, static_argnames)


def cache_hashable(count: int) -> Callable[[Callable], Callable]:
    """`functools.lru_cache` of so many results; of what cannot be hashed nothing is remembered."""

    def remember(make: Callable) -> Callable:
        cached = functools.lru_cache(count)(make)

        @functools.wraps(make)
        def call(*args: Any) -> Any:
            try:
                hash(args)
            except TypeError:
                return make(*args)
            return cached(*args)

        return call

    return remember


class ClosureJit:
    """One program for all functions that are told apart by what they are, and one for each that is itself alone."""

    def __init__(self, function: Callable, static_argnames: str | tuple[str, ...]) -> None:
        self._function = function
        self._static = static_argnames
        self._shared = jax.jit(function, static_argnames=static_argnames)
        self._by_identity: dict[tuple[Identity, ...], Any] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.program((args, kwargs))(*args, **kwargs)
        except _CONCRETIZATION_ERRORS:  # a function read the value of an array that it holds: a constant to it
            with_constants = _with_constants((args, kwargs))
            if with_constants is None:
                raise
        return self.program(with_constants)(*with_constants[0], **with_constants[1])

    def program(self, arguments: Any) -> Any:
        """The jitted function that serves what is given."""
        parts = tuple(
            dict.fromkeys(part for function in _functions(arguments) for part in function.spec.identity_parts)
        )
        if not parts:
            return self._shared
        if parts not in self._by_identity:
            self._by_identity[parts] = jax.jit(_copy(self._function), static_argnames=self._static)
            for part in parts:
                weakref.finalize(part.ref(), self._by_identity.pop, parts, None)
        return self._by_identity[parts]


def _with_constants(arguments: Any) -> Any:
    """What is given, but functions with arrays as themselves alone; None where there is none."""
    changed: list[Spec] = []

    def alone(leaf: Any) -> Any:
        if not isinstance(leaf, PytreeFunction) or not leaf.arrays or leaf.original is None:
            return leaf
        changed.append(leaf.spec)
        return _by_identity(leaf.original)

    result = jax.tree.map(alone, arguments, is_leaf=lambda leaf: isinstance(leaf, PytreeFunction))
    _value_readers.update(changed)
    return result if changed else None


def _functions(tree: Any) -> Iterator[PytreeFunction]:
    leaves = jax.tree.leaves(tree, is_leaf=lambda leaf: isinstance(leaf, PytreeFunction))
    return (leaf for leaf in leaves if isinstance(leaf, PytreeFunction))


def _copy(function: Callable) -> Callable:
    """Another function that does the same: what is compiled of it is dropped with it."""

    @functools.wraps(function)
    def copy(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return copy


def _apply(function: Any, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def _by_identity(function: Any) -> Any:
    """The function as itself alone, whatever it holds; what no weak reference can be made to is kept alive."""
    try:
        if isinstance(function, types.MethodType):
            return PytreeFunction(_spec(bound_method_part(function)), (), function)
        return PytreeFunction(_spec(Identity(function)), (), function)
    except TypeError:
        return Partial(function)


def _spec(part: Any) -> Spec:
    return _specs.setdefault(part, Spec(part))


def _content(array: Any) -> tuple[Any, ...]:
    """What tells arrays of other values apart. Raises Opaque for one that is traced."""
    if isinstance(array, Tracer) or jnp.issubdtype(array.dtype, jax.dtypes.extended):
        raise Opaque
    return array.shape, str(array.dtype), np.asarray(array).tobytes()
