"""How results that pydantic does not know look as JSON: entities and plain classes, and those that are stored.

What is stored is shown as a resource shows it (`uno.api.stored`). Another object shows its public attributes:
those its class annotates and those its `__init__` takes and keeps. What begins with an underscore, and what
`__init__` takes without keeping it, stays inside.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from operator import attrgetter
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from pydantic import PlainSerializer, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationUnexpectedValue, SchemaSerializer

# Before Python 3.12 pydantic takes only this TypedDict.
from typing_extensions import TypedDict

from uno.api.stored import Revealed, Whole, is_typed, stored

_MISSING = object()
_SHAPES: dict[type, Any] = {}


# What nothing is inside.
_LEAVES = frozenset({type(None), bool, int, float, str, bytes})
_UNKNOWN = (PydanticUserError, NameError, TypeError)


@dataclass(frozen=True, slots=True)
class Adapter:
    """What writes values of one type. `as_declared`: as pydantic would by itself."""

    core_schema: Any
    serializer: SchemaSerializer
    as_declared: bool


def wire_type(annotation: Any) -> Any:
    """What describes the JSON of this type: every class that pydantic does not know is replaced by its shape."""
    replaced = _replaced(annotation)
    try:
        found = Revealed(TypeAdapter(replaced).core_schema, revealed)
    except _UNKNOWN:
        return replaced
    return Annotated[Any, Whole(found.schema, _writer(found.schema))] if found.has_stored else replaced


def _replaced(annotation: Any) -> Any:
    arguments = get_args(annotation)
    origin: Any = get_origin(annotation)
    if origin in (Union, UnionType):
        return Union[tuple(_replaced(a) for a in arguments)]  # noqa: UP007 - made from a tuple
    if origin is Annotated:
        return Annotated[(_replaced(arguments[0]), *arguments[1:])]
    cls: Any = origin or annotation
    if not inspect.isclass(cls):
        return annotation
    known: Any = cls
    kept = stored(known)
    if kept is not None:
        return Annotated[Any, kept]
    if is_plain(known):
        return _shape(known)
    return origin[tuple(a if a is ... else _replaced(a) for a in arguments)] if arguments else annotation


def adapter(annotation: Any) -> Adapter | None:
    """What serialises a result of this type; None where the type says too little."""
    try:
        made: TypeAdapter[Any] = TypeAdapter(_replaced(annotation))
        schema = Revealed(made.core_schema, revealed).schema
    except _UNKNOWN:
        return None
    if schema is None:
        return Adapter(made.core_schema, made.serializer, as_declared=True)
    return Adapter(schema, _serializer(schema), as_declared=False)


def _serializer(schema: Any) -> SchemaSerializer:
    # Otherwise pydantic would take what it made for the classes inside, before the schema was changed.
    return SchemaSerializer(schema, _use_prebuilt=False)


def _writer(schema: Any) -> Callable[[Any], Any]:
    return partial(_serializer(schema).to_python, mode="json", by_alias=True, warnings=False, fallback=plain)


def plain(value: object) -> dict[str, Any]:
    """The public attributes of any object."""
    cls: Any = type(value)
    kept = stored(cls)
    if kept is not None:
        return kept.show(value)
    return {name: revealed(one) for name, one in _extract(cls)(value).items()}


def shown(value: Any) -> Any:
    """The value, or a list of values, with the objects that pydantic does not know as dictionaries."""
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    cls: Any = type(value)
    return plain(value) if stored(cls) is not None or is_plain(cls) else value


def revealed(value: Any) -> Any:
    """A value of any type in which objects that are stored are what can be seen of them."""
    cls: Any = type(value)
    if cls in _LEAVES:
        return value
    if isinstance(value, dict):
        return {name: revealed(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [revealed(one) for one in value]
    kept = stored(cls)
    if kept is not None:
        return kept.show(value)
    write = _own_writer(cls)
    return value if write is None else write(value)


@cache
def _own_writer(cls: type) -> Callable[[Any], Any] | None:
    """What writes objects of a class that may have others inside; None where pydantic does so by itself."""
    made = adapter(cls) if is_typed(cls) else None
    return None if made is None or made.as_declared else _writer(made.core_schema)


@cache
def is_plain(cls: type) -> bool:
    """Whether it is a class of attributes for which pydantic has no schema."""
    if cls.__module__ in (
        "builtins",
        "typing",
        "collections",
        "collections.abc",
        "datetime",
        "uuid",
        "decimal",
    ) or is_typeddict(cls):
        return False
    try:
        TypeAdapter(cls)
    except PydanticUserError:
        return True
    except (NameError, TypeError):
        return False
    return False


def _shape(cls: type) -> Any:
    if cls not in _SHAPES:
        _SHAPES[cls] = Any  # what a class that refers to itself finds inside
        fields = {name: _field(name, cls, hint) for name, hint in attributes(cls).items()}
        made = TypedDict(cls.__name__, fields)  # type: ignore[misc] # made from a dictionary
        made.__module__ = cls.__module__
        _SHAPES[cls] = Annotated[Any, PlainSerializer(_of(cls), return_type=made)]
    return _SHAPES[cls]


def _field(name: str, cls: type, hint: Any) -> Any:
    hint = _known(hint)
    return hint if name in _annotated(cls) else NotRequired[hint]


def _known(hint: Any) -> Any:
    """The wire type, or Any where it has none."""
    try:
        made = _replaced(hint)
        TypeAdapter(made)
    except _UNKNOWN:
        return Any
    return made


def _of(cls: type) -> Callable[[Any], Any]:
    extract, required = _extract(cls), _annotated(cls).keys() & attributes(cls).keys()

    def of(value: Any) -> Any:
        if isinstance(value, cls):
            return extract(value)
        if isinstance(value, dict) and required <= value.keys():
            return value  # shown() has made it
        raise PydanticSerializationUnexpectedValue(f"Expected `{cls.__qualname__}`, got {type(value).__qualname__}")

    return of


@cache
def _extract(cls: type) -> Callable[[Any], dict[str, Any]]:
    names = tuple(attributes(cls))
    # With one name it gives the value itself, with none there is nothing to get.
    read = attrgetter(*names) if len(names) > 1 else None

    def extract(value: Any) -> dict[str, Any]:
        try:
            if read is not None:
                return dict(zip(names, read(value), strict=True))
        except AttributeError:  # one of them was never set
            pass
        found = ((name, getattr(value, name, _MISSING)) for name in names)
        return {name: one for name, one in found if one is not _MISSING}

    return extract


@cache
def attributes(cls: type) -> Mapping[str, Any]:
    """The public attributes of a class with their annotations: `id`, what `__init__` takes, the others."""
    taken, annotated = _taken(cls), _annotated(cls)
    names = {name: None for name in ("id", *taken, *annotated) if name in taken or name in annotated}
    mapper = getattr(cls, "__mapper__", None)
    # Relationships would be loaded by looking at them.
    kept = names if mapper is None else [name for name in names if name in mapper.column_attrs]
    return {name: _narrower(annotated.get(name, Any), taken.get(name, Any)) for name in kept}


def _narrower(annotated: Any, taken: Any) -> Any:
    """The annotation of the class, unless only `__init__` knows: `id: Id` of a generic entity."""
    open_ = annotated is Any or isinstance(annotated, TypeVar)
    hint = taken if open_ else annotated
    return Any if isinstance(hint, TypeVar) else hint


def _annotated(cls: type) -> dict[str, Any]:
    hints = _hints(cls)
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, written in inspect.get_annotations(base).items():
            hint = _unwrapped(hints.get(name, Any if isinstance(written, str) else written))
            if not name.startswith("_") and hint is not ClassVar:
                found[name] = hint
    return found


def _taken(cls: type) -> dict[str, Any]:
    """What `__init__` takes, by name."""
    init = inspect.unwrap(cls.__init__)  # type: ignore[misc] # of the class, not of an instance
    if not inspect.isfunction(init):
        return {}
    hints = _hints(init)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(inspect.signature(init).parameters.values())[1:]
    return {p.name: hints.get(p.name, Any) for p in parameters if p.kind not in kinds and not p.name.startswith("_")}


def _hints(target: Any) -> dict[str, Any]:
    try:
        return get_type_hints(target, include_extras=True)
    except (NameError, TypeError):
        return {}


def _unwrapped(hint: Any) -> Any:
    """Without SQLAlchemy's `Mapped[...]`; ClassVar for what is no attribute of an instance."""
    if hint is ClassVar or get_origin(hint) is ClassVar:
        return ClassVar
    arguments = get_args(hint)
    return arguments[0] if getattr(get_origin(hint), "__name__", "") == "Mapped" and arguments else hint
