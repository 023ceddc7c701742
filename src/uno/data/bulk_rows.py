"""Rows that come many at a time: checked, completed, and turned into columns."""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Column
from sqlalchemy.engine import Dialect

from uno.data.checks import Check
from uno.data.holds import Holds
from uno.data.plan import Attribute, MappedPlan
from uno.data.statement import bind_processor
from uno.data.values import Problem, unfit
from uno.errors import Conflict, Invalid, Misconfigured, again

Key = tuple[Any, ...]
Held = Mapping[str, Any]
Refused: TypeAlias = Invalid | Conflict


@dataclass(slots=True)
class Rows:
    """New rows of one class: a list for each attribute but the version.

    `first` is the number of the first, counted from 1. `entities` are the rows that came as objects,
    with their place in the lists. `refused` is the place of one that the database did not take.
    """

    plan: MappedPlan
    first: int
    size: int
    columns: dict[str, list[Any]]
    entities: list[tuple[int, Any]]
    refused: int | None = None

    def keys(self) -> list[Key]:
        return list(zip(*(self.columns[name] for name in self.plan.key_names), strict=True))

    def states(self) -> Iterator[dict[str, Any]]:
        """What the audit trail shows of each row, in the order of the columns."""
        names = self.plan.state_names
        for values in zip(*(self.columns[name] for name in names), strict=True):
            yield dict(zip(names, values, strict=True))

    def fill(self, name: str, make: Callable[[], Any]) -> None:
        """Give a value to each row that has none, and to its object."""
        column = self.columns[name]
        missing = [n for n, value in enumerate(column) if value is None]
        for n in missing:
            column[n] = make()
        if missing:
            for n, entity in self.entities:
                entity.__dict__[name] = column[n]

    def given(self) -> list[tuple[list[str], Sequence[int] | None]]:
        """Which attributes are written in which rows (None for all): not those that the database generates."""
        lacking = {
            a.name: [v is None for v in self.columns[a.name]]
            for a in self.plan.attributes
            if a.generated and a.name in self.columns
        }
        always = [name for name in self.columns if not any(lacking.get(name, ()))]
        mixed = [name for name, flags in lacking.items() if any(flags) and not all(flags)]
        if not mixed:
            return [(always, None)]
        groups: dict[tuple[bool, ...], list[int]] = {}
        for n in range(self.size):
            groups.setdefault(tuple(lacking[name][n] for name in mixed), []).append(n)
        return [
            ([*always, *(name for name, gone in zip(mixed, flags, strict=True) if not gone)], places)
            for flags, places in groups.items()
        ]


@contextmanager
def uncollected() -> Iterator[None]:
    """Without looking for garbage: there is none among thousands of objects that have just been made.

    It takes as long as the rest, and Python looks because there are so many. Nothing is awaited inside.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read(plan: MappedPlan, items: Iterable[Any], first: int) -> Rows:
    """`items` are objects of the class, or mappings from attributes to values. Raises `Invalid`."""
    with uncollected():
        return _read(plan, items, first)


def _read(plan: MappedPlan, items: Iterable[Any], first: int) -> Rows:
    held: list[Held] = []
    entities: list[tuple[int, Any]] = []
    known = frozenset(plan.names)
    for item in items:
        if isinstance(item, plan.cls):
            entities.append((len(held), item))
            held.append(item.__dict__)
        else:
            held.append(checked(plan.label, known, item, first + len(held)))
    columns = {name: [row.get(name) for row in held] for name in plan.state_names}
    rows = Rows(plan, first, len(held), columns, entities)
    _fill_declared(rows, held)
    for attribute in plan.attributes:
        if attribute.name in columns:
            _complete(rows, attribute)
    if plan.check is not None:
        _check(rows, plan.check)
    if plan.holds is not None:
        _look_at(rows, plan.holds)
    return rows


def checked(label: str, known: frozenset[str], item: Any, number: int) -> Held:
    """A mapping whose keys are attributes; the row's `number` is for the error."""
    if not isinstance(item, Mapping):
        raise Misconfigured(f"Row {number} is neither a {label} nor a mapping but a {type(item).__name__}.")
    if not known.issuperset(item):
        unknown = next(str(name) for name in item if name not in known)
        raise told(Invalid.field(unknown, f"{label} has no such attribute.", "unknown"), number)
    return item


def _complete(rows: Rows, attribute: Attribute) -> None:
    if attribute.default is not None:
        rows.fill(attribute.name, attribute.default)
    elif not attribute.generated:
        for _, entity in rows.entities:
            entity.__dict__.setdefault(attribute.name, None)


def _fill_declared(rows: Rows, held: Sequence[Held]) -> None:
    """What a mapping leaves out has the default of the class, too, and not only that of the column."""
    made = {a.name: said.default for a in rows.plan.attributes if (said := rows.plan.declared.get(a.name)) is not None}
    objects = {place for place, _ in rows.entities}
    for name, make in made.items():
        if make is not None and name in rows.columns and len(objects) < rows.size:
            column = rows.columns[name]
            for n in [n for n, row in enumerate(held) if name not in row and n not in objects]:
                column[n] = make()


def _check(rows: Rows, check: Check) -> None:
    """What the class says of values; raises `Invalid` that tells the number of the row."""
    names = [name for name in rows.columns if name in check.names]
    entities = dict(rows.entities)
    for n, values in enumerate(zip(*(rows.columns[name] for name in names), strict=True)):
        try:
            made = check(dict(zip(names, values, strict=True)))
        except Invalid as error:
            raise told(error, rows.first + n) from None
        for name, value in made.items():
            rows.columns[name][n] = value
            if n in entities:
                setattr(entities[n], name, value)


def _look_at(rows: Rows, holds: Holds) -> None:
    """Values in the form of their columns; raises `Invalid` that tells the number of the row."""
    found: dict[str, tuple[int, Problem]] = {}
    for name, values in rows.columns.items():
        made, wrong = holds.column(name, values)
        if made:
            _write(rows, name, made)
        if wrong is not None:
            found[name] = wrong
    if found:
        place = min(place for place, _ in found.values())
        raise told(unfit({name: problem for name, (n, problem) in found.items() if n == place}), rows.first + place)


def _write(rows: Rows, name: str, made: Mapping[int, Any]) -> None:
    column = rows.columns[name]
    for place, value in made.items():
        column[place] = value
    for place, entity in rows.entities:
        if place in made:
            setattr(entity, name, made[place])


def told(error: Refused, number: int) -> Refused:
    """The same error with the number of its row."""
    if error.row is not None:
        return error
    each = "; ".join(f"{one.field}: {one.message}" for one in error.errors) if isinstance(error, Invalid) else ""
    return again(error, *([each] if each else []), row=number)


def stored(rows: Rows) -> None:
    """Tell the objects that they are in the database."""
    with uncollected():
        _stored(rows)


def _stored(rows: Rows) -> None:
    plan = rows.plan
    keys = rows.keys() if rows.entities else []
    generated = [a.name for a in plan.attributes if a.generated]
    version = {} if plan.version_name is None else {plan.version_name: 1}
    for _, entity in rows.entities:
        held = entity.__dict__
        held.update(version)
        for name in generated:
            if held.get(name, entity) is None:
                del held[name]  # the database made it, and reading it has to read the row
    plan.all_stored((entity, keys[place]) for place, entity in rows.entities)


def records(rows: Rows, names: Sequence[str], places: Sequence[int] | None, dialect: Dialect) -> Iterable[Any]:
    """The rows as the driver takes them, with the version last if there is one."""
    found: list[Iterable[Any]] = []
    by_name = {a.name: a.column for a in rows.plan.attributes}
    for name in names:
        values = rows.columns[name] if places is None else [rows.columns[name][n] for n in places]
        found.append(_sent(by_name[name], values, dialect))
    if rows.plan.version_name is not None:
        found.append([1] * (rows.size if places is None else len(places)))
    return zip(*found, strict=True)


def _sent(column: Column[Any], values: list[Any], dialect: Dialect) -> list[Any]:
    process = bind_processor(column, dialect)
    return values if process is None else [process(value) for value in values]


def written_columns(plan: MappedPlan, names: Sequence[str]) -> list[Column[Any]]:
    """The columns of `records`."""
    by_name = {a.name: a.column for a in plan.attributes}
    version = [] if plan.version_name is None else [by_name[plan.version_name]]
    return [*(by_name[name] for name in names), *version]
