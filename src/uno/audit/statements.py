"""Audit rows that PostgreSQL makes itself, of all the rows that one statement wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Insert,
    Text,
    Uuid,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    select,
    types,
)
from sqlalchemy.dialects.postgresql import JSONB, array

from uno import clock
from uno.audit.tables import audit
from uno.data import wire
from uno.data.changes import Written

_Columns = Mapping[str, ColumnElement[Any]]
BACKEND = "postgresql"
# Of these PostgreSQL writes the text that `str` makes of them in Python.
_KEYS = (types.Integer, types.String, types.Uuid, types.Date)
_OTHERS = (types.Enum, types.CHAR)
# UUID version 7 has them for a counter of the identifiers of one millisecond (RFC 9562, section 6.2).
_BITS = 12


def selects(columns: Sequence[Column[Any]], key: Sequence[Column[Any]]) -> bool:
    """Whether the images of these columns and the text of this key are the same as in Python."""
    plain = all(isinstance(c.type, _KEYS) and not isinstance(c.type, _OTHERS) for c in key)
    return plain and all(wire.expression(column, BACKEND) is not None for column in columns)


def insert_from(written: Written) -> Insert:
    """The audit rows of `written`, whose identifiers are in the order of its rows."""
    before, after = _images(written)
    context = written.context
    values: dict[str, ColumnElement[Any]] = {
        "id": _uuid7(written.number),
        "kind": literal("change", Text),
        "component": literal(written.component, Text),
        "record_id": func.concat_ws(",", *(cast(part, Text) for part in written.key)),
        "operation": _operation(written),
        "actor": literal(context.actor, Text),
        "actor_source": literal(context.actor_source, Text),
        "tenant": literal(context.tenant, Text),
        "timestamp": literal(written.at, audit.c.timestamp.type),
        "before": before,
        "after": after,
        "correlation_id": literal(context.correlation_id, Text),
        "message_id": literal(context.message_id, Text),
        "traceparent": literal(context.traceparent, Text),
    }
    rows = select(*values.values()).select_from(written.source)
    return insert(audit).from_select(list(values), rows, include_defaults=False)


def _uuid7(number: ColumnElement[int]) -> ColumnElement[Any]:
    """As `ids.uuid7`, with a counter; later than all that this process has made so far."""
    since = number - 1
    milliseconds = literal(clock.milliseconds() + 1, BigInteger) + since.bitwise_rshift(_BITS)
    count = func.lpad(func.to_hex(since.bitwise_and((1 << _BITS) - 1)), 3, "0", type_=Text())
    rest = func.substr(cast(func.gen_random_uuid(), Text), 20, type_=Text())
    return cast(func.lpad(func.to_hex(milliseconds), 12, "0", type_=Text()) + "7" + count + rest, Uuid)


def _operation(written: Written) -> ColumnElement[str]:
    if written.before is None or written.after is None:
        return literal("create" if written.before is None else "delete", Text)
    if "deleted_at" not in written.after:
        return literal("update", Text)
    was_there, is_there = (image["deleted_at"].is_(None) for image in (written.before, written.after))
    return case((was_there == is_there, "update"), (is_there, "restore"), else_="soft_delete")


def _images(written: Written) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Full images of a create or delete, only the changed fields of an update."""
    before, after = written.before, written.after
    if before is None or after is None:
        return _image(before), _image(after)
    same: list[Any] = [case((_comparable(before[n]).is_not_distinct_from(_comparable(after[n])), n)) for n in after]
    unchanged: Any = array(same, type_=Text())
    return _image(before).op("-")(unchanged), _image(after).op("-")(unchanged)


def _image(columns: _Columns | None) -> ColumnElement[Any]:
    if columns is None:
        return null()
    made = wire.object_of(list(columns.items()), BACKEND)
    assert made is not None  # or `selects` had said so
    return made


def _comparable(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """PostgreSQL's `json` cannot be compared."""
    return cast(column, JSONB) if isinstance(column.type, types.JSON) else column
