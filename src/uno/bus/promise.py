"""What a message promises as its result, and whether a value is of that kind."""

import inspect
import sys
from types import NoneType, UnionType
from typing import Annotated, Any, ForwardRef, Union, get_args, get_origin, get_type_hints, is_typeddict

from uno.messages import Message, result_type

# What type checkers and JSON take for one of them.
_NUMBERS: dict[Any, tuple[type, ...]] = {float: (float, int), complex: (complex, float, int)}


class WrongResult(TypeError):
    """A handler returned something else than its message promises: a bug."""

    def __init__(self, message: type[Any], promised: Any, value: Any, detail: str = "") -> None:
        super().__init__(
            f"The handler of {message.__qualname__} returned {type(value).__qualname__}, "
            f"but the message promises {getattr(promised, '__qualname__', promised)}{detail}."
        )


def result_of(message: type[Message]) -> Any:
    """The `R` of a message with its forward references resolved; `Any` where that cannot be done.

    `Command[None]` promises `NoneType`, and `Command` nothing: None.
    """
    found = result_type(message)
    if found is None and _says_none(message):
        return NoneType
    if isinstance(found, str):
        found = ForwardRef(found)
    if not isinstance(found, ForwardRef):
        return found
    names = {**vars(sys.modules[message.__module__]), message.__name__: message}
    try:
        return get_type_hints(type("Holder", (), {"__annotations__": {"result": found}}), names)["result"]
    except NameError:
        return Any


def _says_none(message: type[Message]) -> bool:
    bases = (base for cls in message.__mro__ for base in cls.__dict__.get("__orig_bases__", ()))
    return any(get_args(base) == (None,) for base in bases)


def classes_of(promised: Any) -> tuple[type, ...]:
    """The classes of what is promised, for isinstance(); empty where nothing is certain, or nothing promised."""
    return () if promised is None else tuple(_classes(promised) or ())


def _classes(promised: Any) -> list[type] | None:
    origin, arguments = get_origin(promised), get_args(promised)
    if origin is Annotated:
        return _classes(arguments[0])
    if origin in (Union, UnionType):
        found = [_classes(one) for one in arguments]
        return None if None in found else [cls for one in found for cls in one or ()]
    cls: Any = origin or promised
    if cls is Any or not inspect.isclass(cls) or is_typeddict(cls) or getattr(cls, "_is_protocol", False):
        return None
    # A model of pydantic's that has its arguments is a class of its own; what it is made of is one too.
    generic = getattr(cls, "__pydantic_generic_metadata__", None) or {}
    return list(_NUMBERS.get(cls, (generic.get("origin") or cls,)))
