"""Many new rows: by COPY on PostgreSQL, by one prepared statement on SQLite."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, Column, Enum, and_, bindparam, cast, func, insert, select, text, true, tuple_
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.engine import Dialect

from uno import clock, context
from uno.data.bulk_books import Books, books_for, enter
from uno.data.bulk_errors import named
from uno.data.bulk_rows import Key, Rows, read, records, stored, written_columns
from uno.data.changes import Change, Written
from uno.data.culprit import Look, culprit
from uno.data.lease import Transaction
from uno.data.plan import Attribute, MappedPlan, cast_type
from uno.data.record_ids import record_id
from uno.domain.aggregate import numbered_events
from uno.errors import Conflict, Invalid

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork

# What asyncpg sends in PostgreSQL's binary format without being told how.
_BINARY = frozenset(
    (
        *("BIGINT", "INTEGER", "SMALLINT", "NUMERIC", "FLOAT", "REAL", "DOUBLE PRECISION", "BOOLEAN"),
        *("VARCHAR", "TEXT", "BPCHAR", "BYTEA", "DATE", "INTERVAL", "UUID", "JSON", "JSONB"),
    )
)
_MOMENTS = tuple(f"{kind} {zone} TIME ZONE" for kind in ("TIMESTAMP", "TIME") for zone in ("WITH", "WITHOUT"))
# Keys in one query.
_AT_ONCE = 500


def can_copy(plan: MappedPlan, dialect: Dialect) -> bool:
    """Whether PostgreSQL's COPY takes all columns of a class."""
    return all(_is_binary(a.column, dialect) for a in plan.attributes)


def _is_binary(column: Column[Any], dialect: Dialect) -> bool:
    kind = cast_type(column, dialect).upper().removesuffix("[]")
    return kind in _BINARY or kind in _MOMENTS or isinstance(column.type, Enum)


async def insert_rows(uow: "UnitOfWork", plan: MappedPlan, items: Sequence[Any], first: int) -> bool:
    """Insert them, the ledgers' rows too; False, with nothing done, where the database alone makes the keys."""
    rows = read(plan, items, first)
    transaction = await uow.transaction()
    if not await _give_keys(transaction, rows):
        return False
    books = books_for(uow, plan)
    try:
        await _write(transaction, rows)
    except Exception as error:  # whoever inserts sees it, with the field that it is about
        better = named(error, plan, transaction.connection.dialect, rows)
        raise (better or error) from (error if better is not None else error.__cause__)
    await _enter(transaction, rows, books)
    _told(uow, rows)
    return True


def _told(uow: "UnitOfWork", rows: Rows) -> None:
    """Tell the unit of work and the objects."""
    plan = rows.plan
    uow.tracked.added_again(plan, frozenset(rows.keys()) if len(uow.tracked) else frozenset())
    stored(rows)
    if plan.has_events:
        for _, entity in rows.entities:
            uow.take_events(numbered_events(entity))


# -- rows


async def _write(transaction: Transaction, rows: Rows) -> None:
    dialect = transaction.connection.dialect
    table = rows.plan.table
    for names, places in rows.given():
        columns = written_columns(rows.plan, names)
        try:
            if dialect.name == "postgresql":
                sent = records(rows, names, places, dialect)
                await transaction.copy(table, [column.name for column in columns], sent)
            else:
                await transaction.execute(insert(table), _as_parameters(rows, names, places, [c.key for c in columns]))
        except (Conflict, Invalid) as error:
            some = range(rows.size) if places is None else places
            place = culprit(error, table, len(some), _look(rows, some), dialect)
            rows.refused = None if place is None else some[place]
            raise


def _look(rows: Rows, places: Sequence[int]) -> Look:
    by_column = {a.column: rows.columns[a.name] for a in rows.plan.attributes if a.name in rows.columns}
    return lambda place, column: by_column[column][places[place]] if column in by_column else None


def _as_parameters(rows: Rows, names: Sequence[str], places: Sequence[int] | None, keys: list[str]) -> Any:
    """For SQLAlchemy, which converts the values itself."""
    found: list[Any] = [rows.columns[n] if places is None else [rows.columns[n][p] for p in places] for n in names]
    if len(keys) > len(names):
        found.append([1] * len(found[0]))
    return [dict(zip(keys, values, strict=True)) for values in zip(*found, strict=True)]


# -- keys


async def _give_keys(transaction: Transaction, rows: Rows) -> bool:
    """Fetch the keys that the database makes, all at once."""
    for attribute in rows.plan.attributes:
        if attribute.name not in rows.plan.key_names or not attribute.generated:
            continue
        missing = sum(value is None for value in rows.columns[attribute.name])
        if missing:
            made = await _next(transaction, attribute, missing, rows.columns[attribute.name])
            if made is None:
                return False
            rows.fill(attribute.name, iter(made).__next__)
    return True


async def _next(transaction: Transaction, attribute: Attribute, count: int, given: list[Any]) -> Iterable[Any] | None:
    """The next values of a column, None where only an insert makes them."""
    column = attribute.column
    if transaction.connection.dialect.name == "postgresql":
        name = transaction.connection.dialect.identifier_preparer.format_table(column.table)
        sequence = cast(func.pg_get_serial_sequence(name, column.name), REGCLASS)
        numbers = func.generate_series(1, count).alias()
        made = (await transaction.execute(select(func.nextval(sequence)).select_from(numbers))).scalars().all()
        return None if None in made else list(made)
    if column is not column.table.autoincrement_column:
        return None
    # Nobody else writes meanwhile.
    last = (await transaction.execute(select(func.max(column)))).scalar() or 0
    if column.table.dialect_options["sqlite"]["autoincrement"]:
        used = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        last = max(last, (await transaction.execute(used, {"name": column.table.name})).scalar() or 0)
    start = max([last, *(value for value in given if value is not None)]) + 1
    return range(start, start + count)


# -- ledgers


async def _enter(transaction: Transaction, rows: Rows, books: Books) -> None:
    plan = rows.plan
    if books.in_sql:
        written = _written(rows, books)
        statements = [statement for book in books.in_sql if (statement := book.insert_from(written)) is not None]
        for statement in statements:
            await transaction.execute(statement)
    if books.of_changes:
        states = rows.states() if len(rows.given()) == 1 and _complete(rows) else await _stored(transaction, rows)
        changes = (
            Change(plan.component, record_id(plan, key), None, state, plan.marks)
            for key, state in zip(rows.keys(), states, strict=True)
        )
        await enter(transaction, books.of_changes, changes, books.captured)


def _complete(rows: Rows) -> bool:
    return len(rows.given()[0][0]) == len(rows.columns)


async def _stored(transaction: Transaction, rows: Rows) -> list[dict[str, Any]]:
    """The rows as the database completed them."""
    plan, keys = rows.plan, rows.keys()
    columns = tuple(plan.mapper.primary_key)
    found: dict[Key, dict[str, Any]] = {}
    for start in range(0, len(keys), _AT_ONCE):
        some = keys[start : start + _AT_ONCE]
        where = columns[0].in_([key[0] for key in some]) if len(columns) == 1 else tuple_(*columns).in_(some)
        for row in await transaction.execute(select(*plan.columns).where(where)):
            entity = plan.build(row)
            found[plan.key_of(entity)] = plan.state(entity)
    return [found[key] for key in keys]


def _written(rows: Rows, books: Books) -> Written:
    """The rows that were copied, found by their keys, in the order in which they came."""
    plan = rows.plan
    columns = tuple(plan.mapper.primary_key)
    given = [bindparam(None, rows.columns[n], ARRAY(c.type)) for n, c in zip(plan.key_names, columns, strict=True)]
    names = [f"k{n}" for n in range(len(columns))]
    keys: Any = func.unnest(*given).table_valued(*names, with_ordinality="n", name="k").render_derived()
    found = and_(true(), *(column == keys.c[name] for column, name in zip(columns, names, strict=True)))
    images = {a.name: a.column for a in plan.attributes if a.name in plan.state_names}
    source = plan.table.join(keys, found)
    return Written(
        component=plan.component,
        marks=plan.marks,
        source=source,
        number=keys.c.n,
        key=columns,
        before=None,
        after=images,
        context=context.current(),
        at=clock.now(),
        captured=books.captured,
    )
