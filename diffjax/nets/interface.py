"""The validation of nets.

A net is any hashable object with `init(key, x, level, cond) -> {"params": ...}` and
`apply({"params": ...}, x, level, cond, keys) -> out`: a module of Flax linen, or one of nnx or Equinox
wrapped by `from_nnx` or `from_equinox`.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import Parameter
from typing import Protocol, runtime_checkable

import flax.linen as nn
from flax import errors
from jaxtyping import PyTree

from diffjax.errors import UserError
from diffjax.protocols import Cond, Net
from diffjax.traits import ClonableNet, net_traits

ARGUMENTS = ("x", "level", "cond", "keys")
SIGNATURE = "def __call__(self, x, level, cond=None, keys=None)"
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@runtime_checkable
class _HasNullCondition(Protocol):
    @property
    def null_cond(self) -> Cond: ...


def check_net(net: object) -> None:
    """Raise UserError for what is not a net, with what to write instead."""
    if isinstance(net, type):
        raise UserError(f"net: expected an instance, got the class {net.__name__}; write {net.__name__}(...)")
    if not isinstance(net, Net):
        raise UserError(
            f"net: a {type(net).__name__} has no init and apply, as modules of flax.linen have; of a flax.nnx module "
            "write dj.nets.from_nnx(module), of an Equinox module dj.nets.from_equinox(module)"
        )
    net_traits(net)
    if isinstance(net, nn.Module):
        check_arguments(net, ARGUMENTS, (), SIGNATURE)
        check_arguments(net, ARGUMENTS[:3], (), SIGNATURE)  # in sampling there are no keys


def check_arguments(module: object, positional: Sequence[str], keywords: Sequence[str], write: str) -> None:
    """Raise UserError where `module.__call__` does not take these arguments; `write` is the signature to write."""
    signature = inspect.signature(type(module).__call__)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        signature.bind(module, *positional, **dict.fromkeys(keywords))
    except TypeError as error:
        name = type(module).__name__
        parameters = list(signature.parameters.values())[1:]
        problem = _missing_parameters(parameters, positional, keywords) or _required(parameters, positional, keywords)
        raise UserError(f"net: {name}.__call__ {problem or error}; write {write}") from None


def _missing_parameters(parameters: Sequence[Parameter], positional: Sequence[str], keywords: Sequence[str]) -> str:
    """The arguments that have no parameter."""
    kinds = {parameter.kind for parameter in parameters}
    places = sum(parameter.kind in _POSITIONAL for parameter in parameters)
    missing = [] if Parameter.VAR_POSITIONAL in kinds else list(positional[places:])
    if Parameter.VAR_KEYWORD not in kinds:
        names = {parameter.name for parameter in parameters}
        missing += [name for name in keywords if name not in names]
    return f"has no argument {' and no argument '.join(missing)}" if missing else ""


def _required(parameters: Sequence[Parameter], positional: Sequence[str], keywords: Sequence[str]) -> str:
    """The parameters without a default that get no argument."""
    places = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    others = [parameter for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY]
    left = [candidate for candidate in (*places[len(positional) :], *others) if candidate.name not in keywords]
    names = [candidate.name for candidate in left if candidate.default is Parameter.empty]
    return f"needs the argument {' and '.join(names)}, which is not always given: it needs a default" if names else ""


def net_null_condition(net: object) -> Cond:
    """The null condition of a net or module, without a batch axis; None for one without conditions."""
    return net.null_cond if isinstance(net, _HasNullCondition) else None


def clone(net: Net, **changes: PyTree) -> Net:
    """The net with these fields changed. Raises UserError where it has no `clone`."""
    if not isinstance(net, ClonableNet):
        raise UserError(f"net: {type(net).__name__} has no clone, as modules of flax.linen have")
    return net.clone(**changes)


def check_variables(net: object, variables: PyTree) -> None:
    """Raise UserError where `init` returned more or other than parameters, as with BatchNorm."""
    name = type(net).__name__
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise UserError(f'net: {name}.init must return {{"params": parameters}}, got {_describe_variables(variables)}')
    others = [collection for collection in variables if collection != "params"]
    if others:
        raise UserError(
            f"net: {name} has the state {', '.join(others)} beside its params, and a net is a function of its params "
            "alone; use GroupNorm or LayerNorm in place of BatchNorm, and sow nothing in init"
        )


@contextmanager
def explain_flax_errors(net: object) -> Iterator[None]:
    """A context that turns Flax's errors about rngs and state into UserErrors: nets have neither."""
    try:
        yield
    except errors.InvalidRngError as error:
        raise UserError(
            f"net: {type(net).__name__} draws from a Flax rng, and a net is given keys, one for each example ("
            f"{_first_sentence(error)}); use diffjax.nets.layers.Dropout(rate)(h, keys), which drops nothing for "
            "keys=None, or draw with jax.vmap over keys"
        ) from error
    except (errors.ModifyScopeVariableError, errors.ScopeCollectionNotFound) as error:
        raise UserError(
            f"net: {type(net).__name__} keeps a state, and a net is a function of its params alone ("
            f"{_first_sentence(error)}); use GroupNorm or LayerNorm in place of BatchNorm"
        ) from error


def _describe_variables(variables: PyTree) -> str:
    if isinstance(variables, Mapping):
        return f"a dict of {', '.join(map(str, variables)) or 'nothing'}"
    return f"a {type(variables).__name__}"


def _first_sentence(error: Exception) -> str:
    return str(error).split(" (https:")[0].rstrip(".")
