"""Audit rows that PostgreSQL makes itself, of all the rows that one statement wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
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
    literal_column,
    null,
    or_,
    select,
    types,
)
from sqlalchemy.dialects.postgresql import JSONB, array

from uno.audit.tables import audit
from uno.data import record_ids, wire
from uno.data.changes import Written
from uno.data.marks import HIDDEN, Marks
from uno.data.stamps import digits_now, moment
from uno.data.statement import fixed

_Columns = Mapping[str, ColumnElement[Any]]
BACKEND = "postgresql"
# Bits of a place among the identifiers of one microsecond, and the variant in front of them.
_PLACES = 14
_FIRST_PLACE = 0x8000


def selects(columns: Sequence[Column[Any]], key: Sequence[Column[Any]]) -> bool:
    """Whether the images of these columns and the text of this key are the same as in Python."""
    return record_ids.in_sql(key) and all(wire.expression(column, BACKEND) is not None for column in columns)


def insert_from(written: Written) -> Insert | None:
    """The audit rows of `written`, whose identifiers are in the order of its rows; None where there are none."""
    marks = written.marks
    if not marks.audited or marks.table in written.captured or (written.before and not _shown(written)):
        return None
    before, after = _images(written)
    context = written.context
    values: dict[str, ColumnElement[Any]] = {
        "id": _id(written),
        "kind": fixed("change"),
        "component": fixed(written.component),
        "record_id": record_ids.id_text_in_sql(written.key),
        "operation": _operation(written),
        "actor": _value(context.actor),
        "actor_source": _value(context.actor_source),
        "tenant": _value(context.tenant),
        "timestamp": _value(written.at, audit.c.timestamp.type),
        "before": before,
        "after": after,
        "correlation_id": _value(context.correlation_id),
        "message_id": _value(context.message_id),
        "traceparent": _value(context.traceparent),
    }
    rows = select(*values.values()).select_from(written.source)
    if written.before is not None and written.after is not None:
        # An update of nothing but what is left out is none.
        rows = rows.where(or_(*(_differs(written, name) for name in _shown(written))))
    return insert(audit).from_select(list(values), rows, include_defaults=False)


def _value(value: Any, type_: Any = Text) -> ColumnElement[Any]:
    return value if isinstance(value, ColumnElement) else literal(value, type_)


def _id(written: Written) -> ColumnElement[Any]:
    """As `ids.uuid7_at`; beyond its last place they go on in the next microsecond."""
    random = func.right(cast(func.gen_random_uuid(), Text), literal_column("12"), type_=Text())
    if written.number is None:
        return cast(digits_now() + fixed(f"{_FIRST_PLACE:x}") + random, Uuid)
    first, now = moment(written.locked)
    since = written.number - 1
    # All that have a place in this microsecond begin alike, and are made in half the time.
    alike = first + func.to_hex(_FIRST_PLACE + since) + random
    return cast(case((since < 1 << _PLACES, alike), else_=_later(since, now) + random), Uuid)


def _later(since: ColumnElement[int], now: ColumnElement[int]) -> ColumnElement[str]:
    micros = now + since.bitwise_rshift(_PLACES)
    fraction = (micros % 1000) * 4096 // 1000
    place = _FIRST_PLACE + since.bitwise_and((1 << _PLACES) - 1)
    return _digits(micros // 1000, 12) + "7" + _digits(fraction, 3) + _digits(place, 4)


def _digits(number: ColumnElement[int], count: int) -> ColumnElement[str]:
    return func.lpad(func.to_hex(number), count, "0", type_=Text())


def _operation(written: Written) -> ColumnElement[str]:
    if written.before is None or written.after is None:
        return fixed("create" if written.before is None else "delete")
    if "deleted_at" not in written.after:
        return fixed("update")
    was_there, is_there = (image["deleted_at"].is_(None) for image in (written.before, written.after))
    return case((was_there == is_there, "update"), (is_there, "restore"), else_="soft_delete")


def _images(written: Written) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Full images of a create or delete, only the changed fields of an update."""
    before, after, marks = written.before, written.after, written.marks
    if before is None or after is None:
        return _image(before, marks), _image(after, marks)
    if len(_shown(written)) == 1:  # which has changed, or there would be no row
        return _image(before, marks), _image(after, marks)
    same: list[Any] = [case((~_differs(written, name), fixed(name))) for name in _shown(written)]
    unchanged: Any = array(same, type_=Text())
    return _image(before, marks).op("-")(unchanged), _image(after, marks).op("-")(unchanged)


def _shown(written: Written) -> list[str]:
    """The attributes of which anything is written down."""
    return [name for name in written.after or written.before or () if name in written.marks.forms]


def _differs(written: Written, name: str) -> ColumnElement[bool]:
    assert written.before is not None
    assert written.after is not None
    return _comparable(written.before[name]).is_distinct_from(_comparable(written.after[name]))


def _image(columns: _Columns | None, marks: Marks) -> ColumnElement[Any]:
    if columns is None:
        return null()
    shown = [(name, _shown_as(name, column, marks)) for name, column in columns.items() if name in marks.forms]
    made = wire.object_of(shown, BACKEND)
    assert made is not None  # or `selects` had said so
    return made


def _shown_as(name: str, column: ColumnElement[Any], marks: Marks) -> ColumnElement[Any]:
    return case((column.is_not(None), literal(HIDDEN, Text))) if name in marks.redacted else column


def _comparable(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """PostgreSQL's `json` cannot be compared."""
    return cast(column, JSONB) if isinstance(column.type, types.JSON) else column
