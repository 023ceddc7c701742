"""Plain aggregates without a table: one JSON document each, with a version.

The attributes of a document are the fields of a dataclass, or what `__init__` takes and the class
annotates. They are written and read by pydantic, so value objects, decimals, dates and UUIDs come
back as they were.
"""

import dataclasses
import inspect
import json
from collections.abc import Sequence
from typing import Any, ClassVar, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError, create_model
from pydantic_core import PydanticSerializationError
from sqlalchemy import Table

from uno import clock
from uno.data.tables import documents
from uno.domain import AggregateRoot, Entity
from uno.errors import Misconfigured, UnoError

Values = dict[str, Any]
# Otherwise bytes would have to be UTF-8.
_CONFIG = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


def _kind(cls: type) -> str:
    name = cls.__dict__.get("name")
    return name if isinstance(name, str) else f"{cls.__module__}.{cls.__qualname__}"


def _fields(cls: type) -> dict[str, Any]:
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


def _id_type(cls: type) -> Any:
    hints = get_type_hints(cls.__init__)  # type: ignore[misc]
    if dataclasses.is_dataclass(cls):
        hints = get_type_hints(cls)
    return hints.get("id", str)


class DocumentPlan:
    """An aggregate stored as a document."""

    reason = None
    fast = True
    unique_names: tuple[str, ...] = ()
    key_names = ("kind", "id")
    version_name = "version"
    version_key = "version"
    columns = tuple(documents.columns)

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.label = cls.__name__
        self.kind = _kind(cls)
        self.table: Table = documents
        self.fields = _fields(cls)
        self._shape = self._make_shape()
        self._id = TypeAdapter(_id_type(cls))
        self.has_events = True

    def _make_shape(self) -> type[BaseModel]:
        for name, wanted in self.fields.items():
            try:
                TypeAdapter(wanted)
            except PydanticSchemaGenerationError:
                raise Misconfigured(
                    f"{self.label}.{name} is a {wanted!r}, which cannot be stored in a document; use a pydantic "
                    "model, a dataclass or a plain type."
                ) from None
        fields: dict[str, Any] = {name: (wanted, ...) for name, wanted in self.fields.items()}
        return create_model(f"{self.label}Document", __config__=_CONFIG, **fields)

    def key(self, id: Any) -> tuple[Any, ...]:
        return (self.kind, str(id))

    def id_of(self, key: tuple[Any, ...]) -> Any:
        return key[1]

    def key_of(self, entity: Any) -> tuple[Any, ...]:
        return (self.kind, str(entity.id))

    def state(self, entity: Any) -> Values:
        """The document, as JSON values."""
        held = {n: v for n, v in vars(entity).items() if n not in ("id", "version", "_events")}
        unknown = held.keys() - self.fields.keys()
        if unknown:
            raise Misconfigured(
                f"{self.label}.{min(unknown)} would not be stored; annotate it in the class, or keep it elsewhere."
            )
        missing = self.fields.keys() - held.keys()
        if missing:
            raise Misconfigured(f"{self.label}.{min(missing)} was never set, so the document would not be complete.")
        try:
            return self._dump(held)
        except PydanticSerializationError:
            wrong = next(name for name in held if not self._fits(name, held[name]))
            kind = type(held[wrong]).__name__
            raise Misconfigured(f"{self.label}.{wrong} is not what its annotation says but a {kind}.") from None

    def _dump(self, held: Values) -> Values:
        return self._shape.model_construct(**held).model_dump(mode="json", warnings="error")

    def _fits(self, name: str, value: Any) -> bool:
        try:
            self._dump({name: value})
        except PydanticSerializationError:
            return False
        return True

    def version(self, entity: Any) -> int:
        return int(entity.version)

    def set_version(self, entity: Any, version: int) -> None:
        entity.version = version

    def complete(self, entity: Any) -> bool:
        return True

    def await_generated(self, entity: Any) -> None:
        pass

    def touch(self, entity: Any, changed: Values) -> None:
        pass

    def build(self, values: Sequence[Any]) -> Any:
        row = dict(zip((c.key for c in self.columns), values, strict=True))
        cls: Any = self.cls
        entity = cls.__new__(cls)
        try:
            read = self._shape.model_validate_json(_as_json(row["body"]))
        except ValidationError as error:
            raise UnoError(f"The stored {self.label} {row['id']!r} does not fit its class: {error}") from error
        entity.__dict__.update({name: getattr(read, name) for name in self.fields})
        entity.__dict__["id"] = self._id.validate_strings(row["id"])
        entity.__dict__["version"] = row["version"]
        return entity

    def stored(self, entity: Any) -> None:
        pass

    def changed(self, before: Values, after: Values) -> Values:
        return {k: v for k, v in after.items() if k not in before or before[k] != v}

    def restore(self, entity: Any, values: Values) -> None:
        read = self._shape.model_validate_json(_as_json(values))
        entity.__dict__.update({name: getattr(read, name) for name in self.fields})

    def image(self, values: Values) -> Values:
        return values

    def key_row(self, key: tuple[Any, ...]) -> Values:
        return {"kind": key[0], "id": key[1]}

    def insert_row(self, state: Values, key: tuple[Any, ...]) -> Values:
        now = clock.now()
        return {"kind": key[0], "id": key[1], "version": 1, "body": state, "created_at": now, "updated_at": now}

    def update_row(self, changed: Values, state: Values) -> Values:
        return {"body": state, "updated_at": clock.now()}


def _as_json(body: Any) -> bytes:
    return json.dumps(body).encode()


def document_plan(cls: type) -> DocumentPlan | None:
    """The plan of a plain aggregate, None where the class is none."""
    return DocumentPlan(cls) if issubclass(cls, AggregateRoot) else None
