"""Changing and deleting many rows: one statement on PostgreSQL, ledgers included, else read, then written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Select,
    and_,
    bindparam,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from uno import clock, context
from uno.data.bulk_books import Books, books_for, enter
from uno.data.bulk_errors import named
from uno.data.changes import Change, Written
from uno.data.lease import Transaction
from uno.data.plan import MappedPlan
from uno.data.record_ids import record_id

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Update:
    """What the rows become: `values` as asked for, `also` what goes with every change."""

    values: Values
    also: Values

    @property
    def all(self) -> Values:
        return {**self.values, **self.also}


def update_to(plan: MappedPlan, values: Mapping[str, Any]) -> Update:
    """With the values that `onupdate` makes, one for all rows."""
    also = {a.name: a.on_update() for a in plan.attributes if a.on_update is not None and a.name not in values}
    return Update(dict(values), also)


async def update_rows(uow: "UnitOfWork", plan: MappedPlan, chosen: Select[Any], change: Update) -> int:
    """Update the rows that differ; returns how many."""
    return await _changed(uow, plan, chosen, change)


async def delete_rows(uow: "UnitOfWork", plan: MappedPlan, chosen: Select[Any]) -> int:
    """Delete the rows; returns how many."""
    return await _changed(uow, plan, chosen, None)


async def _changed(uow: "UnitOfWork", plan: MappedPlan, chosen: Select[Any], change: Update | None) -> int:
    transaction = await uow.transaction()
    books = books_for(uow, plan)
    ordered = chosen.order_by(*plan.mapper.primary_key)
    if transaction.connection.dialect.name == "postgresql":
        ordered = ordered.with_for_update(of=plan.table)
    try:
        if transaction.connection.dialect.name == "postgresql" and not books.of_changes:
            return await _in_one_statement(uow, plan, transaction, ordered, change, books)
        return await _read_and_written(uow, plan, transaction, ordered, change, books)
    except Exception as error:  # whoever changes rows sees it, with the field that it is about
        values = None if change is None else change.values
        better = named(error, plan, transaction.connection.dialect, values=values)
        raise (better or error) from (error if better is not None else error.__cause__)


# -- in one statement


async def _in_one_statement(
    uow: "UnitOfWork",
    plan: MappedPlan,
    transaction: Transaction,
    chosen: Select[Any],
    change: Update | None,
    books: Books,
) -> int:
    known = bool(uow.tracked.of_plan(plan))
    statement = _one_statement(plan, chosen, change, books, known)
    rows = (await transaction.execute(statement)).all()
    if not known:
        return int(rows[0][0])
    _tell(uow, plan, [tuple(row) for row in rows], change)
    return len(rows)


def _tell(uow: "UnitOfWork", plan: MappedPlan, rows: Sequence[Sequence[Any]], change: Update | None) -> None:
    """Tell the unit of work what became of rows that it may know: their values, and the version before."""
    for row in rows:
        values = row[: len(plan.columns)]
        if change is None:
            uow.tracked.removed(plan, plan.key_of(plan.build(values)))
        else:
            uow.tracked.rewritten(plan, row[len(plan.columns)], values)


def _one_statement(
    plan: MappedPlan, chosen: Select[Any], change: Update | None, books: Books, known: bool
) -> Select[Any]:
    """WITH old (locked in the order of keys), new (what is written), a part for each book: the rows, or how many."""
    table, key = plan.table, plan.mapper.primary_key
    before = chosen if change is None else chosen.where(or_(*_differing(plan, change.values)))
    old: Any = before.cte("old")
    same = and_(*(column == old.c[column.key] for column in key))
    write: Any = delete(table) if change is None else update(table).values(_sets(plan, change))
    new: Any = write.where(same).returning(*plan.columns).cte("new")
    both = new.join(old, and_(*(new.c[column.key] == old.c[column.key] for column in key)))
    version = literal(None) if plan.version_key is None else old.c[plan.version_key]
    found: Any = (
        select(*(new.c[column.key] for column in plan.columns), version).select_from(both)
        if known
        else select(func.count()).select_from(new)
    )
    written = _written(plan, both, old, new, change, books)
    parts = [part for book in books.in_sql if (part := book.insert_from(written)) is not None]
    statement: Select[Any] = found.add_cte(*(part.cte(f"book{n}") for n, part in enumerate(parts)))
    return statement


def _written(plan: MappedPlan, both: Any, old: Any, new: Any, change: Update | None, books: Books) -> Written:
    wanted = [a for a in plan.attributes if a.name in (plan.state_names if change is None else change.all)]
    before = {a.name: old.c[a.column.key] for a in wanted}
    after = None if change is None else {a.name: new.c[a.column.key] for a in wanted}
    key = tuple(old.c[column.key] for column in plan.mapper.primary_key)
    number = func.row_number().over(order_by=key)
    return Written(
        component=plan.component,
        marks=plan.marks,
        source=both,
        number=number,
        key=key,
        before=before,
        after=after,
        context=context.current(),
        at=clock.now(),
        captured=books.captured,
        locked=old,
    )


def _sets(plan: MappedPlan, change: Update) -> dict[str, Any]:
    found: dict[str, Any] = {a.column.key: change.all[a.name] for a in plan.attributes if a.name in change.all}
    if plan.version_key is not None:
        found[plan.version_key] = plan.table.c[plan.version_key] + 1
    return found


def _differing(plan: MappedPlan, values: Values) -> list[ColumnElement[bool]]:
    """The condition that something changes at all."""
    return [_distinct(a.column, values[a.name]) for a in plan.attributes if a.name in values]


def _distinct(column: ColumnElement[Any], value: Any) -> ColumnElement[bool]:
    wanted = literal(value, column.type)
    if isinstance(column.type, JSON):  # PostgreSQL's `json` cannot be compared
        return cast(column, JSONB).is_distinct_from(cast(wanted, JSONB))
    return column.is_distinct_from(wanted)


# -- read, then written


async def _read_and_written(
    uow: "UnitOfWork",
    plan: MappedPlan,
    transaction: Transaction,
    chosen: Select[Any],
    change: Update | None,
    books: Books,
) -> int:
    found = [tuple(row) for row in (await transaction.execute(chosen)).all()]
    rows = [(row, _after(plan, row, change)) for row in found if _has_to(plan, row, change)]
    if not rows:
        return 0
    await _write(transaction, plan, [row for row, _ in rows], change)
    changes = [_change(plan, before, after) for before, after in rows]
    await enter(transaction, [*books.in_sql, *books.of_changes], changes, books.captured)
    version = None if plan.version_name is None else plan.names.index(plan.version_name)
    if uow.tracked.of_plan(plan):
        told = [(*(after or before), None if version is None else before[version]) for before, after in rows]
        _tell(uow, plan, told, change)
    return len(rows)


def _has_to(plan: MappedPlan, row: Sequence[Any], change: Update | None) -> bool:
    return change is None or bool(plan.changed(dict(zip(plan.names, row, strict=True)), change.values))


def _after(plan: MappedPlan, row: Sequence[Any], change: Update | None) -> tuple[Any, ...] | None:
    if change is None:
        return None
    values = {**dict(zip(plan.names, row, strict=True)), **change.all}
    if plan.version_name is not None:
        values[plan.version_name] += 1
    return tuple(values.values())


async def _write(
    transaction: Transaction, plan: MappedPlan, rows: Sequence[Sequence[Any]], change: Update | None
) -> None:
    table, key = plan.table, plan.mapper.primary_key
    places = [plan.names.index(name) for name in plan.key_names]
    write: Any = delete(table) if change is None else update(table).values(_sets(plan, change))
    write = write.where(and_(*(column == bindparam(f"k{n}", type_=column.type) for n, column in enumerate(key))))
    await transaction.execute(write, [{f"k{n}": row[place] for n, place in enumerate(places)} for row in rows])


def _change(plan: MappedPlan, before: Sequence[Any], after: Sequence[Any] | None) -> Change:
    entity = plan.build(before)
    state = None if after is None else plan.state(plan.build(after))
    return Change(plan.component, record_id(plan, plan.key_of(entity)), plan.state(entity), state, plan.marks)
