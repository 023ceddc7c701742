"""Filters and sort keys on the attributes of documents.

They compare what is stored, which is JSON, so each kind of value needs a comparison of its own.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    DateTime,
    Float,
    Integer,
    Numeric,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB

from uno.data.document import DocumentPlan
from uno.data.tables import documents
from uno.errors import Misconfigured

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# SQLite's integers have 64 bits; JSON's larger ones are floats there.
_LARGEST = 2**63 - 1
# Beyond it a decimal is compared as it was written, not digit by digit.
_DIGITS = 1000


def equals(plan: DocumentPlan, backend: str, name: str, value: Any) -> ColumnElement[bool]:
    """`name` of the document is `value`; None also where the document lacks it."""
    if value is None:
        return _text(_body(plan, backend, name), backend, name).is_(None)
    form = plan.forms[name]
    if form == "opaque":
        raise Misconfigured(
            f"{plan.label}.{name} cannot be filtered by; documents are found by numbers, texts, dates, enums and "
            f"the like: compare it in Python, or store {plan.label} in a table."
        )
    dumped = plan.dump(name, value)
    if form == "decimal" and backend == "sqlite":
        return _same_decimal(_text(_body(plan, backend, name), backend, name), [Decimal(dumped)])
    same: ColumnElement[bool] = _key(plan, backend, name) == _bound(form, backend, dumped)
    return same


def equals_any(plan: DocumentPlan, backend: str, name: str, values: Sequence[Any]) -> ColumnElement[bool]:
    """`name` of the document is one of `values`, of which none is None."""
    form, dumped = plan.forms[name], [plan.dump(name, value) for value in values]
    if form == "decimal" and backend == "sqlite":
        return _same_decimal(_text(_body(plan, backend, name), backend, name), [Decimal(one) for one in dumped])
    key, plain = _key(plan, backend, name), [_plain(form, backend, one) for one in dumped]
    if backend == "postgresql" and form == "instant":
        moments = cast(literal(plain, ARRAY(Text())), ARRAY(DateTime(timezone=True)))
        return key == any_(moments)
    given = bindparam(None, plain, type_=JSONB(), expanding=True, unique=True)
    return key.in_(given if backend == "postgresql" and form in ("number", "boolean") else plain)


def sort_key(plan: DocumentPlan, backend: str, name: str) -> ColumnElement[Any]:
    """What to order by to get the order of the values."""
    if plan.forms[name] in ("opaque", "unordered"):
        raise Misconfigured(
            f"{plan.label}.{name} cannot be sorted by, its stored form has no order; sort in Python, or store "
            f"{plan.label} in a table."
        )
    return _key(plan, backend, name)


def bound(plan: DocumentPlan, backend: str, name: str, value: Any) -> Any:
    """A value as `sort_key` can be compared with it."""
    return _bound(plan.forms[name], backend, plan.dump(name, value))


def text_of(plan: DocumentPlan, backend: str, name: str) -> ColumnElement[Any]:
    """A text as such."""
    return _text(_body(plan, backend, name), backend, name)


def _key(plan: DocumentPlan, backend: str, name: str) -> ColumnElement[Any]:
    body, form = _body(plan, backend, name), plan.forms[name]
    text = _text(body, backend, name)
    if backend == "sqlite":
        keys: dict[str, ColumnElement[Any]] = {"decimal": cast(text, Float), "instant": _microseconds(text)}
        return keys.get(form, text)
    if form in ("number", "boolean"):
        return func.nullif(body[name], literal(JSON.NULL, JSONB()), type_=JSONB())
    if form in ("decimal", "instant"):
        kind = Numeric() if form == "decimal" else DateTime(timezone=True)
        # Documents of other classes may have anything under this name, and a cast would fail.
        return case((documents.c.kind == plan.kind, cast(text, kind)))
    return text


def _body(plan: DocumentPlan, backend: str, name: str) -> ColumnElement[Any]:
    """The document, with the default of an attribute that it lacks: so it is read as well."""
    body = type_coerce(documents.c.body, JSONB() if backend == "postgresql" else JSON())
    if plan.constants.get(name) is None:
        return body
    default = {name: plan.constants[name]}
    if backend == "sqlite":
        return func.json_patch(json.dumps(default), body, type_=JSON())
    return literal(default, JSONB()).op("||", return_type=JSONB())(body).self_group()


def _text(body: ColumnElement[Any], backend: str, name: str) -> ColumnElement[Any]:
    """The value; text on PostgreSQL, SQL's own kind on SQLite, NULL for null."""
    return func.json_extract(body, f'$."{name}"') if backend == "sqlite" else body[name].as_string()


def _bound(form: str, backend: str, dumped: Any) -> Any:
    plain = _plain(form, backend, dumped)
    if backend == "postgresql" and form == "instant":
        return cast(literal(plain, Text()), DateTime(timezone=True))
    return literal(plain, JSONB()) if backend == "postgresql" and form in ("number", "boolean") else plain


def _plain(form: str, backend: str, dumped: Any) -> Any:
    """A value of Python that is sent."""
    if form == "instant":
        moment = datetime.fromisoformat(dumped)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        if backend == "sqlite":
            return (moment - _EPOCH) // timedelta(microseconds=1)
        # As text: asyncpg takes the first and the last moment of Python for infinity.
        return moment.isoformat()
    if form == "decimal":
        return Decimal(dumped)
    if form == "number":
        dumped = dumped if isinstance(dumped, float) else int(dumped)
        return float(dumped) if backend == "sqlite" and abs(dumped) > _LARGEST else dumped
    return dumped


def _same_decimal(text: ColumnElement[Any], values: Sequence[Decimal]) -> ColumnElement[bool]:
    """SQLite has no decimals: the digits are compared as text, without the zeros at the end."""
    stored = case((text.contains("."), func.rtrim(func.rtrim(text, "0"), ".")), else_=text)
    exponent = and_(text.contains("E"), cast(text, Float).in_([float(value) for value in values]))
    return or_(stored.in_([digits for value in values for digits in _digits(value)]), exponent)


def _digits(value: Decimal) -> list[str]:
    if value == 0:
        return ["0", "-0"]
    digits = format(value, "f") if abs(value.adjusted()) < _DIGITS else str(value)
    return [digits.rstrip("0").rstrip(".") if "." in digits else digits]


def _microseconds(text: ColumnElement[Any]) -> ColumnElement[Any]:
    """ISO text as microseconds since 1970: texts of several time zones, with and without a fraction, compare wrong."""
    fraction = func.substr(text, 20, 1) == "."
    zone = case((fraction, func.substr(text, 27)), else_=func.substr(text, 20))
    seconds = cast(func.strftime("%s", func.substr(text, 1, 19).concat(zone)), Integer)
    return seconds * 1_000_000 + case((fraction, cast(func.substr(text, 21, 6), Integer)), else_=0)
