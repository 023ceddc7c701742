"""The table of the audit trail; append only."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import ClauseElement, Column, ColumnElement, Index, Select, Selectable, Table, Text, Uuid, func, select
from sqlalchemy.types import TypeDecorator

from uno.data.fields import Field
from uno.data.model import UtcDateTime
from uno.data.paging import Order
from uno.data.stamps import STAMPED
from uno.data.tables import json_type, metadata
from uno.errors import id_text


class KeyText(TypeDecorator[str]):
    """A key of any type as text, so that `record_id == 123` means what it says."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        return None if value is None else id_text(value)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        return self


audit = Table(
    "uno_audit",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("component", Text, nullable=False),
    Column("record_id", KeyText, nullable=False),
    Column("operation", Text, nullable=False),
    Column("actor", Text),
    Column("actor_source", Text, nullable=False),
    Column("tenant", Text),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("before", json_type),
    Column("after", json_type),
    Column("correlation_id", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("traceparent", Text),
    Index("ix_uno_audit_record", "component", "record_id", "id"),
    Index("ix_uno_audit_correlation", "correlation_id"),
    info={STAMPED: "id"},
)
# Entries have their ids in the order in which they were written.
_ID = Field("id", "choice", audit.c.id, TypeAdapter(UUID).validate_python)


def chosen(
    equal: Mapping[str, Any], operations: Iterable[str] | None, since: datetime | None, until: datetime | None
) -> list[ColumnElement[bool]]:
    """The conditions of entries with these values, of these operations, from `since` to before `until`."""
    found = [audit.c[name] == value for name, value in equal.items() if value is not None]
    if operations is not None:
        found.append(audit.c.operation.in_(list(operations)))
    if since is not None:
        found.append(audit.c.timestamp >= since)
    if until is not None:
        found.append(audit.c.timestamp < until)
    return found


def is_condition(given: object) -> bool:
    return isinstance(given, ClauseElement) and not isinstance(given, Selectable)


def in_order(newest_first: bool) -> list[Order]:
    """What a cursor says of the list that it belongs to."""
    return [Order(_ID, newest_first)]


def behind(id: UUID, newest_first: bool) -> ColumnElement[bool]:
    """What comes after the entry with this id."""
    return audit.c.id < id if newest_first else audit.c.id > id


def entries(where: Iterable[ColumnElement[bool]], newest_first: bool, limit: int | None) -> Select[Any]:
    """The first `limit` entries that fit."""
    order = audit.c.id.desc() if newest_first else audit.c.id
    return select(audit).where(*where).order_by(order).limit(limit)


def number(where: Iterable[ColumnElement[bool]]) -> Select[Any]:
    """How many entries fit."""
    return select(func.count()).select_from(audit).where(*where)
