"""How objects that are stored look in any answer: as a resource of their class shows them.

What is hidden in the model is left out, also where the object is inside a pydantic model, a dataclass or a dictionary:
there the schema that pydantic made is used with its places for such objects filled otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache, cached_property
from typing import Annotated, Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import PydanticSerializationUnexpectedValue, core_schema

from uno.app.representation import encoders
from uno.data.schemas import Schemas
from uno.data.traits import plan_of, traits_of
from uno.domain import AggregateRoot
from uno.errors import Misconfigured

Schema = Any  # of pydantic-core: dictionaries of many kinds
# What in a schema is none.
_OTHER = frozenset({"metadata", "config", "default", "expected", "cls"})


class Stored:
    """Objects of one class. As an annotation it tells pydantic so."""

    def __init__(self, cls: type, schemas: Schemas) -> None:
        self.cls = cls
        self._schemas = schemas
        made = encoders(schemas.plan, [one.name for one in schemas.visible])
        # Of what has no JSON form whoever writes the answer makes one.
        loose = {one.name for one in schemas.visible if one.type is object}
        self._encoders = [(name, _same if name in loose else encode) for name, encode in made]
        self._names = frozenset(name for name, _ in made)

    def show(self, value: Any) -> dict[str, Any]:
        """What can be seen of it, as JSON values."""
        try:
            return {name: encode(getattr(value, name)) for name, encode in self._encoders}
        except AttributeError:  # one of them was never set
            return {name: encode(getattr(value, name)) for name, encode in self._encoders if hasattr(value, name)}

    def _serialise(self, value: Any) -> Any:
        if isinstance(value, self.cls):
            return self.show(value)
        if isinstance(value, dict) and self._names >= value.keys():
            return value  # show() has made it
        kind = type(value).__qualname__
        raise PydanticSerializationUnexpectedValue(f"Expected `{self.cls.__qualname__}`, got {kind}")

    @cached_property
    def schema(self) -> Schema:
        """What stands in pydantic's schemas for an object of the class."""
        return TypeAdapter(Annotated[Any, self]).core_schema

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> Schema:
        fields = {name: core_schema.typed_dict_field(core_schema.any_schema(), required=False) for name in self._names}
        shown = core_schema.typed_dict_schema(fields)
        made = core_schema.plain_serializer_function_ser_schema(self._serialise, return_schema=shown)
        return core_schema.any_schema(serialization=made)

    def __get_pydantic_json_schema__(self, _schema: Schema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _described(self._schemas.read.__pydantic_core_schema__, handler)


def _same(value: Any) -> Any:
    return value


def _described(schema: Schema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
    # The handler itself would not look for the name of the schema.
    return handler(core_schema.definitions_schema(schema, []))


@cache
def stored(cls: type) -> Stored | None:
    """What shows objects of this class, None where it is none that can be stored."""
    # Other aggregates hide nothing but what begins with an underscore, and keep what they like.
    if not hasattr(cls, "__mapper__") and not (issubclass(cls, AggregateRoot) and is_dataclass(cls)):
        return None
    try:
        plan = plan_of(cls)
    except (Misconfigured, NameError, TypeError, AttributeError):
        return None  # an aggregate that nobody stores
    return Stored(cls, Schemas(plan, traits_of(plan, strange=object)))


# ── inside schemas ──


class Revealed:
    """A schema in which objects that are stored show what can be seen of them.

    `has_stored` says whether there are such places, `schema` is None where nothing had to be changed.
    Values of which the schema says nothing go through `reveal`.
    """

    def __init__(self, given: Schema, reveal: Callable[[Any], Any]) -> None:
        self._any = core_schema.plain_serializer_function_ser_schema(reveal)
        self._refs: dict[str, Stored] = {}
        self.has_stored, self._has_any = False, False
        self._find(given)
        self.schema = self._made(given) if self.has_stored or self._has_any else None

    def _find(self, node: Any) -> None:
        found = _stored_in(node)
        if found is not None:
            self.has_stored = True
            if "ref" in node:
                self._refs[node["ref"]] = found
            return
        self._has_any = self._has_any or _is_open(node)
        for one in _inner(node):
            self._find(one)

    def _made(self, node: Any) -> Any:
        if isinstance(node, list | tuple):
            return type(node)([self._made(one) for one in node])
        if not isinstance(node, Mapping):
            return node
        found = _stored_in(node) or self._refs.get(node.get("schema_ref", ""))
        if found is not None:
            return found.schema
        if _is_open(node):
            return {**node, "serialization": self._any}
        skipped = _OTHER if _is_schema(node) else ()
        made = {name: one if name in skipped else self._made(one) for name, one in node.items()}
        if node.get("type") == "definitions":
            made["definitions"] = [self._made(one) for one in node["definitions"] if one["ref"] not in self._refs]
        return made


def _is_schema(node: Any) -> bool:
    return isinstance(node, Mapping) and isinstance(node.get("type"), str)


def _is_open(node: Any) -> bool:
    return _is_schema(node) and node["type"] == "any" and "serialization" not in node


def _stored_in(node: Any) -> Stored | None:
    known = _is_schema(node) and node["type"] in ("model", "dataclass", "is-instance")
    return stored(node["cls"]) if known and isinstance(node["cls"], type) else None


def _inner(node: Any) -> list[Any]:
    if isinstance(node, list | tuple):
        return list(node)
    if not isinstance(node, Mapping):
        return []
    skipped = _OTHER if _is_schema(node) else ()
    return [one for name, one in node.items() if name not in skipped]


class Whole:
    """As an annotation: what stands for a type that has stored objects somewhere inside."""

    def __init__(self, schema: Schema, write: Callable[[Any], Any]) -> None:
        self._schema, self._write = schema, write

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> Schema:
        return core_schema.any_schema(serialization=core_schema.plain_serializer_function_ser_schema(self._write))

    def __get_pydantic_json_schema__(self, _schema: Schema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _described(self._schema, handler)


def is_typed(cls: type) -> bool:
    """Whether pydantic writes objects of this class by the types of their fields."""
    return issubclass(cls, BaseModel) or is_dataclass(cls)
