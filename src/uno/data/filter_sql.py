"""A filter as a SQL expression. Every name in it comes from a declared column, every value is bound."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    any_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB

from uno.data.fields import Field, Searchable, Unreadable
from uno.data.filter_values import Unfit, Values
from uno.data.filters import SEPARATOR, Condition, Filter, Limits, cut
from uno.data.letters import SMALL, small
from uno.data.plan import DELETED
from uno.errors import FieldError, Invalid

Sql: TypeAlias = ColumnElement[bool]
_NAMED = 5
_LISTED = 100


def compile_filter(given: Filter, fields: Searchable, backend: str, limits: Limits | None = None) -> Sql:
    """Raises `Invalid` with everything that is wrong, each by the key that it came under."""
    compiler = _Compiler(fields, backend, limits or Limits())
    made = compiler.group(given)
    if compiler.errors:
        raise _invalid(compiler.errors)
    return made


def _invalid(errors: list[FieldError]) -> Invalid:
    text = "; ".join(f"{e.field}: {e.message}" for e in errors[:_NAMED])
    more = f"; and {len(errors) - _NAMED} more" if len(errors) > _NAMED else ""
    return Invalid(text + more, tuple(errors[:_LISTED]))


class _Compiler:
    def __init__(self, fields: Searchable, backend: str, limits: Limits) -> None:
        self._fields = fields
        self._backend = backend
        self._values = Values(limits)
        self.errors: list[FieldError] = []

    def group(self, part: Filter | Condition) -> Sql:
        if isinstance(part, Condition):
            return self._condition(part)
        inner = [self.group(one) for one in part.parts]
        if part.kind == "or":
            return or_(false(), *inner)
        found = and_(true(), *inner)
        # NULL is not true, so its opposite is.
        return not_(func.coalesce(found, false())) if part.kind == "not" else found

    def _condition(self, condition: Condition) -> Sql:
        name, operator = condition.split()
        field = self._fields.find(name)
        if field is None:
            return self._unknown(condition, name)
        try:
            value = self._values.of(field, operator, condition)
        except Unreadable as error:
            return self._wrong(condition, str(error), error.code)
        found = _compared(field, operator, value, self._backend)
        return found if field.relation is None else _through(field.relation, found)

    def _unknown(self, condition: Condition, name: str) -> Sql:
        """No field of this name: it may be one with an operator that nobody knows, or be called otherwise."""
        head, separator, rest = name.rpartition(SEPARATOR)
        field = self._fields.find(head) if rest else None
        if field is not None and field.kind != "json":
            unfit = Unfit(field, rest)
            return self._wrong(condition, str(unfit), unfit.code)
        path = name.replace(SEPARATOR, ".")
        hint = f" Did you mean {cut(path)!r}?" if separator and self._fields.find(path) is not None else ""
        return self._wrong(condition, f"There is no field {cut(name)!r} to filter by.{hint}", "unknown")

    def _wrong(self, condition: Condition, message: str, code: str) -> Sql:
        self.errors.append(FieldError(cut(condition.key), message, code))
        return false()


# ── comparisons ──


def _compared(field: Field, operator: str, value: Any, backend: str) -> Sql:
    if field.compare is not None:
        return _by_itself(field.compare, operator, value)
    if operator == "is_null":
        null = _is_null(field, backend)
        return null if value else not_(null)
    if operator == "has":
        return _has(field, value, backend)
    if field.kind == "json":
        return _json_compared(field, operator, value, backend)
    return _plain(field.column, operator, value, backend)


def _is_null(field: Field, backend: str) -> Sql:
    if field.kind != "json":
        return field.column.is_(None)
    if field.path:
        return _text_of(field, backend).is_(None)  # type: ignore[no-any-return]
    # JSON's own null is None to whoever reads it, as that of SQL.
    kind = func.json_type(field.column) if backend == "sqlite" else func.jsonb_typeof(_jsonb(field))
    return func.coalesce(kind, "null") == "null"


def _by_itself(compare: Callable[[str, Any], Sql], operator: str, value: Any) -> Sql:
    """What a field that knows only some comparisons makes of the others."""
    if operator in ("in", "not_in"):
        found = compare("in", [one for one in value if one is not None])
        found = or_(found, compare("eq", None)) if None in value else found
        return found if operator == "in" else not_(func.coalesce(found, false()))
    if operator == "between":
        return and_(compare("gte", value[0]), compare("lte", value[1]))
    if operator == "ne":
        return not_(func.coalesce(compare("eq", value), false()))
    if operator == "is_null":
        null = compare("eq", None)
        return null if value else not_(null)
    return compare(operator, value)


def _plain(column: ColumnElement[Any], operator: str, value: Any, backend: str) -> Sql:
    if operator in ("in", "not_in"):
        found: Sql = column.in_([one for one in value if one is not None])
        found = or_(found, column.is_(None)) if None in value else found
        return found if operator == "in" else not_(func.coalesce(found, false()))
    if operator == "between":
        return column.between(*value)
    if operator in TEXT_OPERATORS:
        return TEXT_OPERATORS[operator](column, value, backend)
    return COMPARE[operator](column, value)


COMPARE: Final[Mapping[str, Callable[[Any, Any], Sql]]] = {
    "eq": lambda column, value: column == value,
    # Otherwise NULL would differ from nothing.
    "ne": lambda column, value: column.is_distinct_from(value),
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "gt": lambda column, value: column > value,
    "gte": lambda column, value: column >= value,
}


def _contains(column: Any, value: str, backend: str) -> Sql:
    # SQLite's LIKE does not tell a from A.
    if backend == "sqlite":
        return func.instr(column, value) > 0
    return column.contains(value, autoescape=True)  # type: ignore[no-any-return]


def _starts(column: Any, value: str, backend: str) -> Sql:
    if backend == "sqlite":
        return func.substr(column, 1, len(value)) == value
    return column.startswith(value, autoescape=True)  # type: ignore[no-any-return]


def _ends(column: Any, value: str, backend: str) -> Sql:
    if backend == "sqlite":
        return func.substr(column, -len(value)) == value if value else column.is_not(None)
    return column.endswith(value, autoescape=True)  # type: ignore[no-any-return]


def _caseless(compare: Callable[[Any, str, str], Sql], on_postgres: str) -> Callable[[Any, str, str], Sql]:
    """SQLite's LIKE takes no pattern longer than 50,000 bytes; its `lower` knows ASCII letters only."""

    def compared(column: Any, value: str, backend: str) -> Sql:
        if backend == "sqlite":
            return compare(getattr(func, SMALL)(column, type_=String()), small(value), backend)
        return getattr(column, on_postgres)(value, autoescape=True)  # type: ignore[no-any-return]

    return compared


TEXT_OPERATORS: Final[Mapping[str, Callable[[Any, str, str], Sql]]] = {
    "contains": _contains,
    "starts_with": _starts,
    "ends_with": _ends,
    "icontains": _caseless(_contains, "icontains"),
    "istarts_with": _caseless(_starts, "istartswith"),
    "iends_with": _caseless(_ends, "iendswith"),
}


def _has(field: Field, value: Any, backend: str) -> Sql:
    """Whether a list has the value among its own."""
    if backend == "sqlite":  # which has arrays as JSON
        path = _sqlite_path(field)
        each = func.json_each(field.column, path).table_valued("value", "type")
        is_list = func.json_type(field.column, path) == "array"
        return and_(is_list, exists(select(1).select_from(each).where(_sqlite_same(each.c.value, each.c.type, value))))
    if field.kind == "array":
        held: Any = field.column.type
        return literal(value, held.item_type) == any_(field.column)
    inside = _jsonb(field)
    return and_(func.jsonb_typeof(inside) == "array", inside.contains(literal(value, JSONB())))


# ── inside JSON ──


def _jsonb(field: Field) -> Any:
    column: Any = cast(field.column, JSONB) if not isinstance(field.column.type, JSONB) else field.column
    column = type_coerce(column, JSONB())
    return column[field.path] if field.path else column


def _sqlite_path(field: Field) -> str:
    return "$" + "".join(f'."{step}"' for step in field.path)


def _text_of(field: Field, backend: str) -> Any:
    if backend == "sqlite":
        return func.json_extract(field.column, _sqlite_path(field), type_=String())
    return _jsonb(field).as_string()


def _json_compared(field: Field, operator: str, value: Any, backend: str) -> Sql:
    if operator in ("in", "not_in"):
        found = _json_among(field, value, backend)
        return found if operator == "in" else not_(func.coalesce(found, false()))
    if operator == "between":
        low, high = value
        return and_(_json_compared(field, "gte", low, backend), _json_compared(field, "lte", high, backend))
    if value is None:
        null = _is_null(field, backend)
        return null if operator == "eq" else not_(null)
    if operator == "ne":
        return not_(func.coalesce(_json_compared(field, "eq", value, backend), false()))
    if operator in TEXT_OPERATORS:
        return and_(_is_kind(field, "", backend), TEXT_OPERATORS[operator](_text_of(field, backend), value, backend))
    return _json_ordered(field, operator, value, backend)


def _json_among(field: Field, values: Sequence[Any], backend: str) -> Sql:
    """One term for all of a kind: SQLite takes no more than 1,000 beside each other."""
    given = [one for one in values if one is not None]
    found = [_text_of(field, backend).is_(None)] if None in values else []
    if backend == "sqlite":
        stored: Any = func.json_extract(field.column, _sqlite_path(field))
        kinds: list[list[Any]] = [[one for one in given if isinstance(one, str)]]
        kinds.append([one for one in given if isinstance(one, int | float) and not isinstance(one, bool)])
        found += [and_(_is_kind(field, kind[0], backend), stored.in_(kind)) for kind in kinds if kind]
        found += [_is_kind(field, one, backend) for one in (True, False) if any(it is one for it in given)]
    elif given:
        found.append(_jsonb(field).in_(bindparam(None, given, type_=JSONB(), expanding=True, unique=True)))
    return or_(false(), *found)


def _json_ordered(field: Field, operator: str, value: Any, backend: str) -> Sql:
    same_kind = _is_kind(field, value, backend)
    if isinstance(value, bool) and operator != "eq":
        return false()
    if isinstance(value, bool) and backend == "sqlite":
        return same_kind
    if backend == "sqlite":
        return and_(same_kind, COMPARE[operator](func.json_extract(field.column, _sqlite_path(field)), value))
    return case((same_kind, COMPARE[operator](_jsonb(field), literal(value, JSONB()))), else_=false())


def _is_kind(field: Field, value: Any, backend: str) -> Sql:
    """Whether what is stored is of the kind of `value`: only then it can be compared."""
    if backend == "sqlite":
        return _sqlite_is(func.json_type(field.column, _sqlite_path(field)), value)
    kind = "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
    return func.jsonb_typeof(_jsonb(field)) == kind


def _sqlite_is(kind: Any, value: Any) -> Sql:
    if isinstance(value, bool):
        return kind == ("true" if value else "false")  # type: ignore[no-any-return]
    return kind.in_(["text"] if isinstance(value, str) else ["integer", "real"])  # type: ignore[no-any-return]


def _sqlite_same(stored: Any, kind: Any, value: Any) -> Sql:
    same_kind = _sqlite_is(kind, value) if value is not None else kind == "null"
    return same_kind if isinstance(value, bool) or value is None else and_(same_kind, stored == value)


def _through(relation: Any, found: Sql) -> Sql:
    """What is softly deleted is not there."""
    target = relation.property.mapper
    if DELETED in target.column_attrs:
        found = and_(found, getattr(target.class_, DELETED).is_(None))
    is_many: bool = relation.property.uselist
    return relation.any(found) if is_many else relation.has(found)  # type: ignore[no-any-return]
