"""Many rows at once: `insert_many`, `update_many` and `delete_many` of repositories.

They write at once, in the transaction of the unit of work, with the rows of its books; what they
wrote it does not know as objects. Where that would not be the same as one object after the other,
it is done so: for documents, classes with hooks or a plan other than `fast`, and an open session.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from sqlalchemy import ClauseElement, Select

from uno.data import asked, hooks, untyped
from uno.data.bulk_books import enter_so_far
from uno.data.bulk_changes import delete_rows, update_rows, update_to
from uno.data.bulk_insert import can_copy, insert_rows
from uno.data.bulk_rows import Refused, checked, told
from uno.data.culprit import culprit, same_as_refused
from uno.data.database import Plan
from uno.data.document import DocumentPlan
from uno.data.filters import Filter
from uno.data.making import Make, maker
from uno.data.plan import MappedPlan
from uno.data.violations import named
from uno.errors import Conflict, Invalid, Misconfigured, VersionConflict

if TYPE_CHECKING:
    from uno.data.repository import Repository
    from uno.data.unit_of_work import UnitOfWork

Items = Iterable[Any] | AsyncIterable[Any]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rows: the conditions that `find` takes."""

    filters: Sequence[Any]
    equal: Mapping[str, Any]
    include_deleted: bool


def chosen(filters: Sequence[Any], equal: Mapping[str, Any], include_deleted: bool, everything: bool) -> Chosen:
    """Raises `Misconfigured` where nothing chooses and nobody said that everything is meant."""
    named = Filter(**equal)
    if not (everything or any(asked.chooses(one) for one in (*filters, named))):
        raise Misconfigured("This would change every row; say so with everything=True, or give a condition.")
    return Chosen(filters, {one.key: one.value for one in named.walk()}, include_deleted)


async def _one_by_one(uow: "UnitOfWork", plan: Plan) -> bool:
    """Whether each row has to go the way of a single one."""
    return isinstance(plan, DocumentPlan) or bool(hooks.of(plan.cls)) or await uow.path(plan) is not None


async def _copied(uow: "UnitOfWork", plan: MappedPlan) -> bool:
    if uow.database.backend != "postgresql":
        return True
    # PostgreSQL copies into no table with row-level security; and what a trigger makes of a key is not known.
    restricted = await uow.database.restricted_tables(uow.explicit)
    return plan.table.fullname not in restricted and can_copy(plan, uow.database.dialect)


@contextmanager
def _all_or_nothing(uow: "UnitOfWork") -> Iterator[None]:
    """After an error the unit of work writes nothing; one in a savepoint is undone with it."""
    try:
        yield
    except BaseException as error:
        uow.doom(error)
        raise


# -- insert


async def insert_many(repository: "Repository[Any]", uow: "UnitOfWork", plan: Plan, items: Items, batch: int) -> int:
    """Insert all `items`, `batch` at a time; returns how many they were."""
    if batch < 1:
        raise Invalid.field("batch", "It has to be at least 1.", "value")
    together = await _together(uow, plan)
    count = 0
    with _all_or_nothing(uow):
        async with aclosing(_batches(items, batch)) as batches:
            async for some in batches:
                if together is None or not await insert_rows(uow, together, _unknown(uow, some), count + 1):
                    await _add_each(repository, uow, plan, some, count + 1)
                count += len(some)
    return count


async def _together(uow: "UnitOfWork", plan: Plan) -> MappedPlan | None:
    """The plan, where many rows can be inserted at once; what was changed before is written and entered then."""
    if not isinstance(plan, MappedPlan) or await _one_by_one(uow, plan) or not await _copied(uow, plan):
        return None
    await _entered(uow, plan)
    return plan


async def _entered(uow: "UnitOfWork", plan: MappedPlan) -> None:
    with _all_or_nothing(uow):
        await uow.flush()
        await enter_so_far(uow, plan)


async def _batches(items: Items, size: int) -> AsyncGenerator[list[Any]]:
    if not isinstance(items, AsyncIterable):
        rest = iter(items)
        while some := list(islice(rest, size)):
            yield some
        return
    some = []
    async for item in items:
        some.append(item)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def _unknown(uow: "UnitOfWork", items: Sequence[Any]) -> Sequence[Any]:
    """Without the objects that the unit of work has already, and wrote before."""
    if not len(uow.tracked):
        return items
    known = ((item, uow.tracked.of(item)) for item in items)
    return [item for item, entry in known if entry is None or entry.status == "deleted"]


async def _add_each(
    repository: "Repository[Any]", uow: "UnitOfWork", plan: Plan, items: Sequence[Any], first: int
) -> None:
    names, make = frozenset(plan.names if isinstance(plan, MappedPlan) else ("id", *plan.fields)), maker(plan)
    made: list[Any] = []
    uow.rounds.refused = None
    try:
        for number, item in enumerate(items, first):
            known = isinstance(item, plan.cls)
            made.append(item if known else _made(plan, make, checked(plan.label, names, item, number), number))
            await repository.add(made[-1])
        await uow.flush()
    except (Conflict, Invalid) as error:
        raise _of_row(error, uow, plan, made, first) from error


def _made(plan: Plan, make: Make, values: Mapping[str, Any], number: int) -> Any:
    try:
        entity = make(values)
        plan.checked(entity, plan.state(entity), values)
    except Invalid as error:
        raise told(error, number) from None
    return entity


def _of_row(error: Refused, uow: "UnitOfWork", plan: Plan, made: Sequence[Any], first: int) -> Refused:
    """The error with the number of the row that a hook or the database refused, where that can be told."""
    if isinstance(error, VersionConflict) or (isinstance(error, Conflict) and error.repeatable):
        return error
    place = _place(error, uow, plan, made)
    better = named(error, plan)
    return better if place is None else told(better, first + place)


def _place(error: Refused, uow: "UnitOfWork", plan: Plan, made: Sequence[Any]) -> int | None:
    refused = uow.rounds.refused
    if refused is not None:
        return next((n for n, one in enumerate(made) if one is refused), None)
    if isinstance(error, Invalid) and (plan.check is not None or plan.holds is not None):
        found = next((n for n, one in enumerate(made) if not _is_valid(plan, one)), None)
        if found is not None:
            return found
    if isinstance(plan, DocumentPlan):
        return None
    # SQLAlchemy wrote it, in an order of its own.
    names, dialect = {a.column: a.name for a in plan.attributes}, uow.database.dialect

    def look(n: int, column: Any) -> Any:
        return made[n].__dict__.get(names.get(column))

    if uow.database.backend == "sqlite":
        return same_as_refused(error, list(names), len(made), look, dialect)
    return culprit(error, plan.table, len(made), look, dialect)


def _is_valid(plan: Plan, entity: Any) -> bool:
    try:
        plan.checked(entity, plan.state(entity))
    except Invalid:
        return False
    return True


# -- update and delete


async def update_many(
    repository: "Repository[Any]", uow: "UnitOfWork", plan: Plan, chosen: Chosen, values: Mapping[str, Any]
) -> int:
    """Give the chosen rows these values; returns how many had others."""
    _check_values(plan, values)
    values = plan.stored_as(values)
    if await _one_by_one(uow, plan):
        return await _set_each(uow, plan, await _found(repository, chosen), values)
    assert isinstance(plan, MappedPlan)
    query = await _query(repository, uow, plan, chosen)
    with _all_or_nothing(uow):
        return await update_rows(uow, plan, query, update_to(plan, values))


async def delete_many(repository: "Repository[Any]", uow: "UnitOfWork", plan: Plan, chosen: Chosen) -> int:
    """Delete the chosen rows; returns how many they were."""
    if await _one_by_one(uow, plan):
        found = await _found(repository, chosen)
        with _all_or_nothing(uow):
            for entity in found:
                await repository.delete(entity)
            await uow.flush()
        return len(found)
    assert isinstance(plan, MappedPlan)
    query = await _query(repository, uow, plan, chosen)
    with _all_or_nothing(uow):
        return await delete_rows(uow, plan, query)


async def _found(repository: "Repository[Any]", chosen: Chosen) -> list[Any]:
    return await repository.find(*chosen.filters, include_deleted=chosen.include_deleted, **chosen.equal)


async def _query(repository: "Repository[Any]", uow: "UnitOfWork", plan: MappedPlan, chosen: Chosen) -> Select[Any]:
    """What selects the rows, once everything that was changed before is written and entered."""
    seen = repository._undeleted(uow, plan, chosen.include_deleted)
    where = repository._where(uow, plan, [*chosen.filters, *seen], dict(chosen.equal))
    query = untyped.chosen(*plan.columns).where(*where)
    await _entered(uow, plan)
    return query


async def _set_each(uow: "UnitOfWork", plan: Plan, found: Sequence[Any], values: Mapping[str, Any]) -> int:
    states = [plan.state(entity) for entity in found]
    with _all_or_nothing(uow):
        for entity in found:
            for name, value in values.items():
                setattr(entity, name, value)
        changed = [bool(plan.changed(before, plan.state(one))) for before, one in zip(states, found, strict=True)]
        await uow.flush()
    return sum(changed)


def _check_values(plan: Plan, values: Mapping[str, Any]) -> None:
    if not values:
        raise Misconfigured("update_many() without values changes nothing.")
    fixed = {"id", "version"} if isinstance(plan, DocumentPlan) else {*plan.key_names, plan.version_name}
    names = plan.fields if isinstance(plan, DocumentPlan) else plan.names
    for name, value in values.items():
        if name in fixed:
            raise Misconfigured(f"{plan.label}.{name} is not changed by update_many(): keys stay, versions count.")
        if name not in names:
            raise Invalid.field(name, f"{plan.label} has no such attribute.", "unknown")
        if isinstance(value, ClauseElement):
            raise Misconfigured(f"update_many() takes a value for {plan.label}.{name}, not an SQL expression.")
