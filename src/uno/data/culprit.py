"""Which of many new rows the database refused, where it or its driver tells."""

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg
from sqlalchemy import Column, Table, event
from sqlalchemy.engine import Dialect, Engine, ExceptionContext

from uno.data import deadlines
from uno.data.changes import Values
from uno.data.failures import WRITTEN, chain
from uno.data.statement import bind_processor
from uno.data.values import problem_of

# The value of a column in the row at a place.
Look = Callable[[int, Column[Any]], Any]
# On an error of SQLite: how many rows it had taken from the list; the rows, up to the one that it refused.
_TAKEN: Final = "uno_taken"
_REFUSED: Final = "uno_refused"
_LINE = re.compile(r"COPY [^\n]*?, line (\d+)")
# PostgreSQL may say the words around them in another language.
_KEY = re.compile(r"\(([^()]*)\)=\((.*)\)", re.DOTALL)
_ROW = re.compile(r"\((.*)\)", re.DOTALL)
_FRACTION = re.compile(r"(\.\d*?)0+(?=\+|$)")
_PLAIN = (str, int, bool, UUID, Decimal)
# PostgreSQL cuts longer values of a row that it shows.
_SHOWN = 60


def count_rows(engine: Engine) -> None:
    """Let errors of SQLite say at which row of many it stopped."""

    @event.listens_for(engine, "do_executemany")
    def _execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        taken = 0

        def rows() -> Iterator[Any]:
            nonlocal taken
            for taken, row in enumerate(parameters, 1):  # noqa: B007 # read where it stops
                yield row

        def run() -> None:
            cursor.executemany(statement, rows())

        try:
            if not deadlines.ran(run, context):
                run()
        except sqlite3.Error as error:
            setattr(error, _TAKEN, taken)
            raise
        return True


def find_refused(engine: Engine) -> None:
    """Let errors of SQLite say the row, and what was written.

    Of many in one statement each is tried by itself, once they were refused.
    """

    @event.listens_for(engine, "handle_error")
    def _refused(context: ExceptionContext) -> None:
        error, execution = context.original_exception, context.execution_context
        compiled: Any = getattr(execution, "compiled", None)
        if not isinstance(error, sqlite3.IntegrityError) or not _writes(compiled):
            return
        rows = _rows_tried(error, execution, context.parameters) if compiled.isinsert else []
        if rows:
            setattr(error, _REFUSED, rows)
        setattr(error, WRITTEN, _written(compiled, rows[-1] if rows else _last(error, execution)))


def _writes(compiled: Any) -> bool:
    """Whether it is a statement of SQLAlchemy's that writes."""
    return bool(getattr(getattr(compiled, "statement", None), "is_dml", False))


def _rows_tried(error: BaseException, execution: Any, values: Any) -> list[Values]:
    """The new rows, up to the one that was refused."""
    names, taken = execution.compiled.positiontup, getattr(error, _TAKEN, None)
    if not names or not isinstance(values, list | tuple):
        return []
    if taken is not None:
        rows = [tuple(row) for row in values[:taken]]
    else:
        rows = [tuple(values[n : n + len(names)]) for n in range(0, len(values), len(names))]
        rows = rows if len(rows) == 1 else rows[: _tried(execution.cursor, str(execution.compiled), rows)]
    return [dict(zip(names, row, strict=False)) for row in rows]


def _last(error: BaseException, execution: Any) -> Values:
    """What was sent with the statement that was refused."""
    parameters: Sequence[Values] = execution.compiled_parameters or [{}]
    return parameters[getattr(error, _TAKEN, len(parameters)) - 1]


def _written(compiled: Any, row: Values) -> tuple[str, frozenset[str]]:
    """The table, and its columns that got a value; other parameters are those of a condition."""
    given = {name for name, value in row.items() if value is not None and compiled.binds[name]._is_crud}
    return compiled.statement.table.name, frozenset(given)


def _tried(cursor: Any, statement: str, rows: Sequence[Any]) -> int:
    """The number of the first that is refused, 0 if none is; nothing of it stays."""
    found = 0
    cursor.execute("SAVEPOINT uno_tried")
    try:
        for number, row in enumerate(rows, 1):
            try:
                cursor.execute(statement, row)
            except sqlite3.IntegrityError:
                found = number
                break
    except sqlite3.Error:  # it takes more than a row
        found = 0
    finally:
        cursor.execute("ROLLBACK TO uno_tried")
        cursor.execute("RELEASE uno_tried")
    return found


def same_as_refused(
    error: BaseException, columns: Sequence[Column[Any]], size: int, look: Look, dialect: Dialect
) -> int | None:
    """The place of the row that SQLite did not take, in whatever order SQLAlchemy wrote them."""
    rows: Sequence[Values] = next((held for one in chain(error) if (held := getattr(one, _REFUSED, None))), [{}])
    columns = [column for column in columns if column.key in rows[-1]]
    processes = [bind_processor(column, dialect) for column in columns]

    def known(n: int) -> Values:
        given = ((column.key, process, look(n, column)) for column, process in zip(columns, processes, strict=True))
        return {
            name: value if process is None else process(value) for name, process, value in given if value is not None
        }

    def fits(sent: Values, row: Values) -> bool:
        return all(row[name] == value for name, value in sent.items())

    found = [n for n in range(size) if columns and fits(known(n), rows[-1])]
    if not found:
        return None
    # Of several that are alike it is as many as were tried.
    times = sum(fits(known(found[0]), row) for row in rows)
    return found[min(times, len(found)) - 1]


def culprit(error: BaseException, table: Table, size: int, look: Look, dialect: Dialect) -> int | None:
    """The place of the refused one among `size` rows that were inserted in this order; None where nothing tells it."""
    if size == 1:
        return 0
    for one in chain(error):
        if isinstance(one, sqlite3.Error):
            taken = getattr(one, _TAKEN, None)
            return None if taken is None else int(taken) - 1
        if isinstance(one, asyncpg.PostgresError):
            return _of_postgres(one, table, size, look, dialect)
    return _first_unfit(table, size, look, dialect)


def _of_postgres(error: Any, table: Table, size: int, look: Look, dialect: Dialect) -> int | None:
    if (line := _LINE.search(getattr(error, "context", None) or "")) is not None:
        return int(line[1]) - 1
    state, detail = error.sqlstate, getattr(error, "detail", None) or ""
    if state.startswith("22"):
        return _first_unfit(table, size, look, dialect)
    if getattr(error, "table_name", None) != table.name:
        return None
    if state == "23502":
        return _first_null(table, error.column_name, size, look)
    if state in ("23505", "23503") and (key := _KEY.search(detail)) is not None:
        found = _with_key(table, key, size, look, dialect)
        # Of two that are the same the second is one too many, whatever was stored before.
        return found[1] if state == "23505" and len(found) > 1 else next(iter(found), None)
    if state == "23514" and (row := _ROW.search(detail)) is not None:
        return _like(table, frozenset(row[1].split(", ")), size, look, dialect)
    return None


def _first_unfit(table: Table, size: int, look: Look, dialect: Dialect) -> int | None:
    """The first with a value that no column of its type takes."""
    return next((n for n in range(size) for c in table.columns if problem_of(c.type, look(n, c), dialect)), None)


def _first_null(table: Table, name: str, size: int, look: Look) -> int | None:
    column = _column(table, name)
    return None if column is None else next((n for n in range(size) if look(n, column) is None), None)


def _with_key(table: Table, key: "re.Match[str]", size: int, look: Look, dialect: Dialect) -> list[int]:
    columns = [_column(table, name) for name in key[1].split(", ")]
    known = [one for one in columns if one is not None]
    if len(known) != len(columns):  # an expression
        return []
    return [n for n in range(size) if ", ".join(_text(one, look(n, one), dialect) for one in known) == key[2]]


def _like(table: Table, shown: frozenset[str], size: int, look: Look, dialect: Dialect) -> int | None:
    """The one all of whose plain values are shown."""

    def fits(n: int) -> bool:
        given = ((column, look(n, column)) for column in table.columns)
        texts = (_text(column, value, dialect) for column, value in given if isinstance(value, _PLAIN))
        return all(text in shown for text in texts if len(text) < _SHOWN and ", " not in text)

    found = [n for n in range(size) if fits(n)]
    return found[0] if len(found) == 1 else None


def _column(table: Table, name: str) -> Column[Any] | None:
    plain = name.strip('"')
    return next((column for column in table.columns if column.name == plain), None)


def _text(column: Column[Any], value: Any, dialect: Dialect) -> str:
    """As PostgreSQL shows a value."""
    process = bind_processor(column, dialect)
    value = value if process is None or value is None else process(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(UTC)
        return _FRACTION.sub(r"\1", str(moment).removesuffix(":00") if value.tzinfo else str(moment)).replace(".+", "+")
    scale = getattr(column.type, "scale", None)
    if isinstance(value, Decimal) and scale is not None:
        return f"{value:.{scale}f}"
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
