"""Which values a database cannot store: looked for only once it has said that there is one."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import Integer, Numeric, String, Table, event, types
from sqlalchemy.engine import Dialect, Engine, ExceptionContext
from sqlalchemy.types import TypeDecorator, TypeEngine

from uno.data.changes import Operation, Values
from uno.data.failures import translate
from uno.data.postgres_numbers import fits
from uno.data.tables import documents, metadata
from uno.errors import FieldError, Invalid

# A column, its type and its value.
Written = tuple[str, TypeEngine[Any], Any]


def raise_named(error: Invalid, operations: Iterable[Operation], dialect: Dialect) -> None:
    """Raise an error that names the values which do not fit; return if there is none, or if `error` names some."""
    written = (one for op in operations if _is_the_handlers(op.table) for one in _of_operation(op))
    better = None if error.errors else _named(written, dialect)
    if better is not None:
        raise better from error


def name_unfit(engine: Engine) -> None:
    """Name the values in the errors of all statements that SQLAlchemy runs on `engine`."""

    @event.listens_for(engine, "handle_error")
    def _refused(context: ExceptionContext) -> Invalid | None:
        compiled: Any = getattr(context.execution_context, "compiled", None)
        known = translate(context.original_exception)
        if not isinstance(known, Invalid) or known.errors:
            return None
        if compiled is None:
            return _named(_not_sent(context.parameters), context.dialect)
        rows = getattr(context.execution_context, "compiled_parameters", None) or ()
        return _named((one for row in rows for one in _of_row(compiled, row)), context.dialect)


def _named(written: Iterable[Written], dialect: Dialect) -> Invalid | None:
    found = {name: problem for name, type_, value in written if (problem := problem_of(type_, value, dialect))}
    if not found:
        return None
    text = "; ".join(f"{name}: {message}" for name, (_, message) in found.items())
    errors = [FieldError(name, message, code) for name, (code, message) in found.items()]
    return Invalid(f"The database cannot store this: {text}", errors)


def _is_the_handlers(table: Table) -> bool:
    """Not the ledgers, which repeat the values."""
    return table is documents or table.metadata is not metadata


def _of_operation(operation: Operation) -> Iterator[Written]:
    row = {**operation.key, **operation.values}
    for name, value in row.items():
        yield from _of_column(operation.table, name, operation.table.c[name].type, value)


def _of_row(compiled: Any, row: Values) -> Iterator[Written]:
    table = getattr(compiled.statement, "table", None)
    for name, value in row.items():
        bind = compiled.binds.get(name)
        if bind is not None and not bind.expanding:  # a list, for IN, has the type of its elements
            # Of a comparison SQLAlchemy numbers the names.
            yield from _of_column(table, _name_of(bind, compiled.binds.values(), table), bind.type, value)


def _name_of(bind: Any, binds: Iterable[Any], table: Any) -> str:
    """The column; SQLAlchemy names the parameter of a value that stands by itself `param`."""
    own: str = getattr(bind, "_orig_key", bind.key)
    if own != "param":
        return own
    columns = [] if table is None else [c.key for c in table.columns if c.type is bind.type]
    same = (one._orig_key for one in binds if one.type is bind.type and one._orig_key != own)
    return next(same, columns[0] if columns else own)


def _not_sent(parameters: Any) -> Iterator[Written]:
    """Numbers that are refused before there is a statement to send."""
    for row in parameters if isinstance(parameters, list | tuple) else [parameters]:
        if isinstance(row, dict):
            yield from ((name, Numeric(), value) for name, value in row.items() if not fits(value))


def _of_column(table: Any, name: str, type_: TypeEngine[Any], value: Any) -> Iterable[Written]:
    """A column; of a document its attributes."""
    if table is documents and name == "body" and isinstance(value, dict):
        return [(attribute, type_, held) for attribute, held in value.items()]
    return [(name, type_, value)]


def problem_of(type_: TypeEngine[Any], value: Any, dialect: Dialect) -> tuple[str, str] | None:
    """The code and the sentence for a value that no column of this type takes."""
    if value is None:
        return None
    if isinstance(type_, Numeric) and not fits(value):
        return _TOO_LARGE
    process = type_.dialect_impl(dialect).bind_processor(dialect)
    sent = value if process is None else process(value)
    plain = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    if isinstance(plain, types.JSON):
        return _NUL if "\\u0000" in json.dumps(value, default=str) else None
    if isinstance(sent, str) and not isinstance(plain, Numeric | Integer):
        return _text_problem(plain, sent)
    if isinstance(sent, str):
        return _digits_problem(plain, sent)
    if isinstance(sent, int | float | Decimal) and sent == sent:  # NaN is not
        return _TOO_LARGE if _is_too_large(plain, sent) else None
    return None


_NUL = ("null_character", "It has a NUL character.")
_TOO_LARGE = ("too_large", "The number is too large, or has too many digits.")


def _text_problem(type_: TypeEngine[Any], text: str) -> tuple[str, str] | None:
    if "\x00" in text:
        return _NUL
    longest = type_.length if isinstance(type_, String) else None
    if longest is not None and len(text) > longest:
        return "string_too_long", f"It can have at most {longest} characters."
    return None


def _digits_problem(type_: TypeEngine[Any], text: str) -> tuple[str, str] | None:
    """Of a number that is given as text."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return "type", "It has to be a number."
    return _TOO_LARGE if number.is_finite() and _is_too_large(type_, number) else None


def _is_too_large(type_: TypeEngine[Any], number: Any) -> bool:
    if isinstance(type_, Integer):
        bits = 15 if isinstance(type_, types.SmallInteger) else 63 if isinstance(type_, types.BigInteger) else 31
        return not -(2**bits) <= number < 2**bits
    if isinstance(type_, Numeric) and type_.precision is not None and type_.asdecimal:
        scale = type_.scale or 0
        # From half a unit of the last digit on, it is rounded up.
        return bool(abs(number) >= Decimal(10) ** (type_.precision - scale) - Decimal(5).scaleb(-scale - 1))
    return False
