"""What documents can be filtered by: their attributes, and what uno keeps beside them."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, null

from uno.data import document_query
from uno.data.document import DocumentPlan
from uno.data.document_fields import Form
from uno.data.fields import OPERATORS, Field, Kind, Searchable, Unreadable, dated, storable
from uno.data.filter_sql import COMPARE, TEXT_OPERATORS
from uno.data.tables import documents

_KINDS: Final[dict[Form, Kind]] = {
    "number": "number",
    "boolean": "boolean",
    "text": "text",
    "decimal": "number",
    "instant": "moment",
    "unordered": "choice",
}
_WHEN: Final = ("created_at", "updated_at")
_BESIDE: Final[dict[str, tuple[Kind, Any]]] = {"id": ("text", str), "version": ("number", int)}


class DocumentFields:
    """The attributes of one class of documents, by name."""

    def __init__(self, plan: DocumentPlan, backend: str) -> None:
        self._plan = plan
        self._backend = backend
        self._known: dict[str, Field] = {}

    def find(self, name: str) -> Field | None:
        """The field of this name, None where there is none, or where what is stored cannot be compared."""
        found = self._known.get(name) or self._field(name)
        if found is not None:  # clients ask for any name
            self._known[name] = found
        return found

    def check_order(self, name: str) -> None:
        """Raises `Misconfigured` for an attribute whose stored form has no order."""
        if name in self._plan.fields:
            document_query.sort_key(self._plan, self._backend, name)

    def _field(self, name: str) -> Field | None:
        plan = self._plan
        if name not in plan.fields:
            return self._beside(name)
        kind = _KINDS.get(plan.forms[name])
        if kind is None:
            return None
        wanted = plan.fields[name]
        is_text = plan.forms[name] == "text" and _takes_any_text(wanted)
        only = OPERATORS[kind] if kind != "text" or is_text else OPERATORS["moment"]
        return Field(
            name,
            kind,
            null(),
            _reader(wanted),
            compare=partial(self._compare, name),
            only=only,
            **self._order(name),
        )

    def _order(self, name: str) -> dict[str, Any]:
        plan, backend = self._plan, self._backend
        if plan.forms[name] == "unordered":
            return {}
        key = document_query.sort_key(plan, backend, name)
        return {"order": key, "bind": partial(document_query.bound, plan, backend, name)}

    def _beside(self, name: str) -> Field | None:
        if name not in _BESIDE:
            return None
        kind, wanted = _BESIDE[name]
        return Field(name, kind, documents.c[name], _reader(wanted), nullable=False, owner=self._plan.label)

    def _compare(self, name: str, operator: str, value: Any) -> ColumnElement[bool]:
        plan, backend = self._plan, self._backend
        if operator == "eq":
            return document_query.equals(plan, backend, name, value)
        if operator == "in":
            return document_query.equals_any(plan, backend, name, value)
        if operator in TEXT_OPERATORS:
            return TEXT_OPERATORS[operator](document_query.text_of(plan, backend, name), value, backend)
        key, bound = document_query.sort_key(plan, backend, name), document_query.bound(plan, backend, name, value)
        return COMPARE[operator](key, bound)


class _Sortable:
    """What lists without a cursor can be sorted by: objects do not have when they were stored."""

    def __init__(self, fields: DocumentFields) -> None:
        self._fields = fields

    def find(self, name: str) -> Field | None:
        found = self._fields.find(name)
        if found is None or found.order is None:
            self._fields.check_order(name)
        if found is None and name in _WHEN:
            return Field(name, "moment", documents.c[name], _reader(datetime), nullable=False)
        return found


def sortable(fields: Searchable) -> Searchable:
    """Where a list without a cursor finds what it is sorted by."""
    return _Sortable(fields) if isinstance(fields, DocumentFields) else fields


def _takes_any_text(wanted: Any) -> bool:
    try:
        TypeAdapter(wanted).validate_python("any text", strict=True)
    except ValidationError:
        return False
    return True


def _reader(wanted: Any) -> Callable[[Any], Any]:
    validate = dated(TypeAdapter(wanted).validate_python, wanted)

    def read(value: Any) -> Any:
        try:
            return storable(validate(value))
        except ValidationError as error:
            raise Unreadable(f"{error.errors(include_url=False, include_input=False)[0]['msg']}.") from None

    return read
