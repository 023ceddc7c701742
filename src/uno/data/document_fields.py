"""What a class says about its document: which attributes, of which types, with which defaults."""

import copy
import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import NoneType
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from pydantic import PydanticInvalidForJsonSchema, TypeAdapter, ValidationError

from uno.domain import AggregateRoot, Entity

# How the stored JSON of an attribute is compared; "unordered" can only be equal, "opaque" not even that.
Form = Literal["number", "boolean", "text", "decimal", "instant", "unordered", "opaque"]
_FORMS: dict[Any, Form] = {"integer": "number", "number": "number", "boolean": "boolean"}
# The formats whose text has the order of the values.
_ORDERED = (None, "uuid", "date", "time", "email", "uri", "path")
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Default:
    """What an attribute is where a stored document lacks it; `constant` if it is the same each time."""

    make: Callable[[], Any]
    constant: bool = True


def fields_of(cls: type) -> dict[str, Any]:
    """The stored attributes of a class and their types."""
    hints = {n: t for n, t in get_type_hints(cls, include_extras=True).items() if get_origin(t) is not ClassVar}
    if dataclasses.is_dataclass(cls):
        wanted = [f.name for f in dataclasses.fields(cls)]
        return {name: hints[name] for name in wanted if name != "id"}
    init = get_type_hints(cls.__init__, include_extras=True)  # type: ignore[misc]
    parameters = [p for p in inspect.signature(cls).parameters if p in init]
    own = [name for name in hints if name not in Entity.__annotations__ and name not in AggregateRoot.__annotations__]
    found = {**{p: init[p] for p in parameters}, **{name: hints[name] for name in own}}
    return {name: t for name, t in found.items() if name not in ("id", "return", "version")}


def id_type(cls: type) -> Any:
    """The type of the id of an aggregate."""
    hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    if dataclasses.is_dataclass(cls):
        hints = get_type_hints(cls)
    return hints.get("id", str)


def class_values(cls: type, fields: dict[str, Any]) -> dict[str, Any]:
    """The attributes that have a value on the class itself."""
    found = {name: inspect.getattr_static(cls, name, _ABSENT) for name in fields}
    return {n: v for n, v in found.items() if v is not _ABSENT and not hasattr(type(v), "__get__")}


def defaults_of(cls: type, fields: dict[str, Any]) -> dict[str, Default]:
    """The defaults of a dataclass; else of the parameters of `__init__`, else of the class, that fit the annotation."""
    if dataclasses.is_dataclass(cls):
        own = [f for f in dataclasses.fields(cls) if f.name in fields]
        made = {f.name: f.default_factory for f in own if f.default_factory is not dataclasses.MISSING}
        factories = {name: Default(factory, constant=False) for name, factory in made.items()}
        values = {f.name: f.default for f in own if f.default is not dataclasses.MISSING}
        return {**factories, **_fitting(values, fields)}
    parameters = inspect.signature(cls).parameters
    given = {n: parameters[n].default for n in fields if n in parameters}
    given = {n: v for n, v in given.items() if v is not inspect.Parameter.empty}
    return {**_fitting(class_values(cls, fields), fields), **_fitting(given, fields)}


def _fitting(values: dict[str, Any], fields: dict[str, Any]) -> dict[str, Default]:
    """`items: list[str] | None = None` of `__init__` is no default of an attribute that is always a list."""
    found: dict[str, Default] = {}
    for name, value in values.items():
        try:
            fit = TypeAdapter(fields[name]).validate_python(value)
        except ValidationError:
            continue
        found[name] = Default(partial(copy.deepcopy, fit))
    return found


def form_of(wanted: Any) -> Form:
    """How attributes of this type are compared in the database."""
    try:
        schema = TypeAdapter(wanted).json_schema(mode="serialization")
    except PydanticInvalidForJsonSchema:
        return "opaque"
    one = _without_null(schema)
    if one.get("type") != "string":
        return _FORMS.get(one.get("type"), "opaque")
    if one.get("format") == "date-time":
        return "instant"
    if _plain(wanted) == "Decimal":
        return "decimal"
    return "text" if one.get("format") in _ORDERED else "unordered"


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the value itself, `$ref` followed; empty where there are several."""
    choices = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    if len(choices) != 1:
        return {}
    found: dict[str, Any] = choices[0]
    name = found.get("$ref", "").rpartition("/")[2]
    return schema["$defs"][name] if name else found


def _plain(wanted: Any) -> str:
    """The name of the type below Optional, Annotated, NewType and aliases."""
    if hasattr(wanted, "__supertype__"):
        return _plain(wanted.__supertype__)
    if hasattr(wanted, "__metadata__"):
        return _plain(wanted.__origin__)
    if hasattr(wanted, "__value__"):
        return _plain(wanted.__value__)
    choices = [one for one in get_args(wanted) if one is not NoneType]
    if len(choices) == 1 and NoneType in get_args(wanted):
        return _plain(choices[0])
    return str(getattr(wanted, "__name__", ""))
