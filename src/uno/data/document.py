"""Plain aggregates without a table: one JSON document each, with a version.

The attributes of a document are the fields of a dataclass, or what `__init__` takes and the class
annotates. They are written and read by pydantic, so value objects, decimals, dates and UUIDs come
back as they were. An attribute that a stored document lacks has its default.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticSchemaGenerationError,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticSerializationError
from sqlalchemy import Table

from uno import clock
from uno.data.changes import differs
from uno.data.checks import check_of_types
from uno.data.document_fields import Form, class_values, defaults_of, fields_of, form_of, id_type
from uno.data.frozen import Frozen, unchangeable
from uno.data.marks import component_of, marks_of_fields
from uno.data.tables import documents
from uno.data.values import Problem, no_such, text_problem, unfit
from uno.domain import AggregateRoot
from uno.errors import Invalid, Misconfigured

Values = dict[str, Any]
# Otherwise bytes would have to be UTF-8.
_CONFIG = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


def _kind(cls: type, fields: Values) -> str:
    name = cls.__dict__.get("name")
    named = isinstance(name, str) and "name" not in fields  # otherwise it is the default of an attribute
    return str(name) if named else f"{cls.__module__}.{cls.__qualname__}"


class DocumentPlan:
    """An aggregate stored as a document."""

    reason = None
    fast = True
    unique_names: tuple[str, ...] = ()
    key_names = ("kind", "id")
    sort_names = ("id",)
    version_name = "version"
    version_key = "version"
    columns = tuple(documents.columns)

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.label = cls.__name__
        self.component = component_of(cls)
        self.table: Table = documents
        self.fields = fields_of(cls)
        self.kind = _kind(cls, self.fields)
        self._on_class = class_values(cls, self.fields)
        self._fixed = unchangeable(self._on_class.values())
        self._adapters = {name: self._adapter(name, wanted) for name, wanted in self.fields.items()}
        self.defaults = defaults_of(cls, self.fields)
        self.check = check_of_types(self.label, self.fields)
        self._shape = self._make_shape()
        self._id = TypeAdapter(id_type(cls))
        # What refuses values that the database would not; it sets that.
        self.holds: Callable[[Values, Collection[str] | None], None] | None = None
        self.marks = marks_of_fields(cls, self.table.fullname, self.fields)
        self._loaders: dict[str, type[BaseModel]] = {}
        self.forms: dict[str, Form] = {name: form_of(wanted) for name, wanted in self.fields.items()}
        # What a query takes for an attribute that a stored document lacks.
        self.constants = {n: self.dump(n, v.make()) for n, v in self.defaults.items() if v.constant}
        self.has_events = True
        self.deleted_name = "deleted_at" if "deleted_at" in self.fields else None

    def _adapter(self, name: str, wanted: Any) -> TypeAdapter[Any]:
        try:
            return TypeAdapter(wanted)
        except PydanticSchemaGenerationError:
            raise Misconfigured(
                f"{self.label}.{name} is a {wanted!r}, which cannot be stored in a document; use a pydantic "
                "model, a dataclass or a plain type."
            ) from None

    def _make_shape(self) -> type[BaseModel]:
        fields: dict[str, Any] = {name: (wanted, ...) for name, wanted in self.fields.items()}
        fields |= {n: (self.fields[n], Field(default_factory=default.make)) for n, default in self.defaults.items()}
        return create_model(f"{self.label}Document", __config__=_CONFIG, **fields)

    def key(self, id: Any) -> tuple[Any, ...]:
        return (self.kind, str(id))

    def id_of(self, key: tuple[Any, ...]) -> Any:
        return key[1]

    def filed(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        """The kind is no part of what the trail has."""
        return key[1:]

    def key_of(self, entity: Any) -> tuple[Any, ...]:
        return (self.kind, str(entity.id))

    def state(self, entity: Any) -> Values:
        """The document, as JSON values."""
        held = {n: v for n, v in vars(entity).items() if n not in ("id", "version", "_events")}
        held = {**self._on_class, **held}
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
            raise self._unfit(wrong, held[wrong]) from None

    def _unfit(self, name: str, value: Any) -> Invalid:
        """It names the place inside the value, where pydantic finds it."""
        try:
            self._adapters[name].validate_python(value, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            return Invalid.field(".".join(map(str, (name, *first["loc"]))), first["msg"], first["type"])
        return Invalid.field(name, f"It is not what its annotation says but a {type(value).__name__}.", "type")

    def _dump(self, held: Values) -> Values:
        return self._shape.model_construct(**held).model_dump(mode="json", warnings="error")

    def _dump_one(self, name: str, value: Any) -> Any:
        held = self._shape.model_construct(**{name: value})
        return held.model_dump(mode="json", warnings="error", include={name})[name]

    def _fits(self, name: str, value: Any) -> bool:
        try:
            self._dump_one(name, value)
        except PydanticSerializationError:
            return False
        return True

    def dump(self, name: str, value: Any) -> Any:
        """The value as the attribute is stored; raises `Invalid` where it can be no such value."""
        try:
            fitting = value if self._fits(name, value) else self._adapters[name].validate_python(value)
            return self._dump_one(name, fitting)
        except (ValidationError, PydanticSerializationError):
            kind = type(value).__name__
            raise Invalid.field(name, f"{self.label}.{name} is never such a {kind}.", "type") from None

    def load(self, name: str, value: Any) -> Any:
        """The value of an attribute as the class has it, from the stored one; raises `Invalid` where it is none."""
        loader = self._loaders.get(name)
        if loader is None:
            fields: dict[str, Any] = {name: (self.fields[name], ...)}
            loader = self._loaders[name] = create_model(f"{self.label}Attribute", __config__=_CONFIG, **fields)
        try:
            return getattr(loader.model_validate_json(_as_json({name: value})), name)
        except ValidationError as error:
            raise Invalid.field(name, _reasons(error), "value") from None

    def frozen(self, entity: Any) -> Frozen | None:
        """What is `modified` once an attribute is set; None where one can change in its place."""
        return Frozen(entity) if self._fixed and unchangeable(vars(entity).values()) else None

    def version(self, entity: Any) -> int:
        return int(entity.version)

    def set_version(self, entity: Any, version: int) -> None:
        entity.version = version

    def complete(self, entity: Any) -> bool:
        """Always; raises `Invalid` where the entity has no id of the type that it is read with."""
        problem = self._problem_of_id(entity.id)
        if problem is not None:
            raise unfit({"id": problem})
        return True

    def _problem_of_id(self, id: Any) -> Problem | None:
        if id is None or id == "":
            return "missing", "It takes a value."
        try:
            self._id.validate_python(id, strict=True)
        except ValidationError:
            return no_such(id)
        return text_problem(str(id))

    def await_generated(self, entity: Any) -> None:
        pass

    def formed(self, entity: Any, changed: Collection[str]) -> bool:
        return False

    def touch(self, entity: Any, changed: Values) -> None:
        pass

    def build(self, values: Sequence[Any]) -> Any:
        row = dict(zip((c.key for c in self.columns), values, strict=True))
        cls: Any = self.cls
        entity = cls.__new__(cls)
        try:
            read = self._shape.model_validate_json(_as_json(row["body"]))
        except ValidationError as error:
            raise Misconfigured(
                f"The stored {self.label} {row['id']!r} does not fit its class: {_reasons(error)}; give a new "
                "attribute a default, or change the stored documents."
            ) from None
        entity.__dict__.update({name: getattr(read, name) for name in self.fields})
        entity.__dict__["id"] = self._id.validate_strings(row["id"])
        entity.__dict__["version"] = row["version"]
        return entity

    def stored(self, entity: Any) -> None:
        pass

    def stored_as(self, values: Mapping[str, Any]) -> Values:
        """What the class makes of values that are given to many. Raises `Invalid`."""
        return {**values, **self.made(values)}

    def made(self, values: Mapping[str, Any], changed: Collection[str] | None = None) -> Values:
        """What of `values` the class makes something else of. Raises `Invalid`."""
        return {} if self.check is None else self.check(values, changed)

    def checked(self, entity: Any, state: Values, changed: Collection[str] | None = None) -> Values:
        """`state`, with what the class makes of values to be written; the entity gets them. Raises `Invalid`."""
        made = None if self.check is None else self.check({**self._on_class, **vars(entity)}, changed)
        if made:
            vars(entity).update(made)
            state = self.state(entity)
        if self.holds is not None:
            self.holds(state, changed)
        return state

    def changed(self, before: Values, after: Values) -> Values:
        return {k: v for k, v in after.items() if k not in before or differs(before[k], v)}

    def restore(self, entity: Any, values: Values) -> None:
        read = self._shape.model_validate_json(_as_json(values))
        entity.__dict__.update({name: getattr(read, name) for name in self.fields})

    def key_row(self, key: tuple[Any, ...]) -> Values:
        return {"kind": key[0], "id": key[1]}

    def insert_row(self, state: Values, key: tuple[Any, ...]) -> Values:
        now = clock.now()
        return {"kind": key[0], "id": key[1], "version": 1, "body": state, "created_at": now, "updated_at": now}

    def update_row(self, changed: Values, state: Values) -> Values:
        return {"body": state, "updated_at": clock.now()}


def _reasons(error: ValidationError) -> str:
    """What is wrong where, without the values."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return ", ".join(f"{'.'.join(map(str, one['loc']))} ({one['msg']})" for one in found)


def _as_json(body: Any) -> bytes:
    return json.dumps(body).encode()


def document_plan(cls: type) -> DocumentPlan | None:
    """The plan of a plain aggregate, None where the class is none."""
    return DocumentPlan(cls) if issubclass(cls, AggregateRoot) else None
