"""What a callable needs, read from its annotations. Used while starting only."""

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from uno.errors import Misconfigured, Problem

_VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Dependency:
    """One parameter: its `type` (`T | None` is `T`), and whether it is `required`, that is, has no default."""

    type: Any
    required: bool = True
    positional_only: bool = False

    @property
    def annotated(self) -> bool:
        """Whether there is anything to resolve it by."""
        return self.type is not Parameter.empty


def dependencies_of(target: Callable[..., Any]) -> dict[str, Dependency]:
    """The parameters of a class or function by name, `*args` and `**kwargs` left out.

    Type parameters of a base class are filled in. Raises `Misconfigured` for an annotation that
    names something unknown at run time.
    """
    hints = _hints(target)
    return {
        name: Dependency(
            hints.get(name, Parameter.empty),
            required=parameter.default is Parameter.empty,
            positional_only=parameter.kind is Parameter.POSITIONAL_ONLY,
        )
        for name, parameter in _parameters(target).items()
        if parameter.kind not in _VARIADIC
    }


def result_of(target: Callable[..., Any]) -> Any:
    """The return annotation of a function, `Parameter.empty` without one."""
    return _hints(target).get("return", Parameter.empty)


def name_of(hint: Any) -> str:
    """How a type or callable is called in a message: `Repository[Order]`."""
    if isinstance(hint, str):
        return hint
    if arguments := get_args(hint):
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            return " | ".join(name_of(a) for a in arguments)
        return f"{name_of(origin)}[{', '.join(name_of(a) for a in arguments)}]"
    if hint is type(None):
        return "None"
    name = getattr(hint, "__qualname__", None) or getattr(hint, "__name__", None) or repr(hint)
    return str(name).rpartition("<locals>.")[2]


def _parameters(target: Callable[..., Any]) -> Mapping[str, Parameter]:
    try:
        return inspect.signature(target).parameters
    except (TypeError, ValueError) as error:
        raise _unreadable(target, f"Its parameters cannot be read ({error}): wrap it in a function.") from error


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Resolved annotations of the parameters (and `return`)."""
    try:
        hints = _class_hints(target) if inspect.isclass(target) else get_type_hints(_function(target))
    except NameError as error:
        raise _unreadable(
            target,
            f"One of its annotations names `{error.name}`, which is not there at run time: "
            "import it at the top of the module, outside `if TYPE_CHECKING`.",
        ) from error
    return {name: plain(hint) for name, hint in hints.items()}


def _function(target: Callable[..., Any]) -> Any:
    """What carries the annotations of a function, method, partial or callable object."""
    while isinstance(target, functools.partial):
        target = target.func
    return target if inspect.isroutine(target) else type(target).__call__


def _class_hints(target: type) -> dict[str, Any]:
    owner, build = _constructor(target)
    if build is None:
        return {}
    hints = get_type_hints(build)
    if set(_parameters(target)) - set(_parameters(build)):
        hints = get_type_hints(target) | hints  # pydantic and its like: the fields are the parameters
    filled = dict(zip(parameters_of(owner), base_arguments(target, owner) or (), strict=False))
    return {name: substitute(hint, filled) for name, hint in hints.items()}


def _constructor(target: type) -> tuple[type, Any]:
    """The function that takes the arguments, and the class that has it; what `typing` puts into a protocol is none."""
    for name in ("__init__", "__new__"):
        for owner in target.__mro__[:-1]:
            build = vars(owner).get(name)
            if build is not None and not str(build.__module__).startswith("typing"):
                return owner, build
    return target, None


def plain(hint: Any) -> Any:
    """Without `Annotated` and without `| None`: what is asked for."""
    if get_origin(hint) is Annotated:
        return plain(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        kept = [argument for argument in get_args(hint) if argument is not type(None)]
        return plain(kept[0]) if len(kept) == 1 else hint
    return hint


def parameters_of(hint: Any) -> tuple[Any, ...]:
    """The type variables that are still open in it."""
    return (hint,) if isinstance(hint, TypeVar) else tuple(getattr(hint, "__parameters__", ()))


def substitute(hint: Any, filled: Mapping[Any, Any]) -> Any:
    """The same type with its type variables filled in."""
    if isinstance(hint, TypeVar):
        return filled.get(hint, hint)
    variables = parameters_of(hint) if get_args(hint) else ()
    return hint[tuple(filled.get(v, v) for v in variables)] if variables else hint


def base_arguments(target: type, base: type) -> tuple[Any, ...] | None:
    """What `target` puts in for the type parameters of its `base`; None if it is none of its bases."""
    if target is base:
        return parameters_of(base)
    for parent in vars(target).get("__orig_bases__", target.__bases__):
        origin = get_origin(parent) or parent
        if base not in getattr(origin, "__mro__", ()):
            continue
        inner = base_arguments(origin, base) or ()
        filled = dict(zip(parameters_of(origin), get_args(parent), strict=False))
        return tuple(substitute(argument, filled) for argument in inner)
    return None


def _unreadable(target: Any, message: str) -> Misconfigured:
    problem = Problem("unresolvable annotation", name_of(target), message)
    return Misconfigured(str(problem), [problem])
