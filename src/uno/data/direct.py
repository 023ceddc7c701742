"""One row, created or changed: written, written down and shown as JSON by one statement of PostgreSQL.

It is the commit of a unit of work that has nothing else to write. Only for classes of which Python knows
nothing but columns: no hooks, no constructor or validators of their own. Where the row is not as the statement
expects it, nothing is written and the error is a `VersionConflict`; who repeats the message takes the usual way,
which finds out why.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    Executable,
    SmallInteger,
    Text,
    and_,
    any_,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from uno import clock, context
from uno.data import hooks, record_ids, wire
from uno.data.bulk_books import Books, books_for
from uno.data.changes import Operation, Said, Written
from uno.data.commit import run_statement
from uno.data.lookups import Row as Key
from uno.data.model import UtcDateTime
from uno.data.plan import MappedPlan
from uno.data.recent import Recent
from uno.data.rendered import WHOLE, Renderer, Row
from uno.data.statement import Prepared
from uno.data.unfit import raise_named
from uno.data.values import WRONG
from uno.data.writer import stale
from uno.errors import Invalid

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork

Values = dict[str, Any]
# Who sets attributes, and does nothing else.
_CONSTRUCTORS = ("uno.data.model", "sqlalchemy.orm.decl_base")
# SQLAlchemy's own listener to new objects.
_MADE = "_event_on_init"
_SAID = [
    (f"said_{name}", name)
    for name in ("actor", "actor_source", "tenant", "correlation_id", "message_id", "traceparent")
]
# Statements that are kept for a class: clients choose which attributes they give.
MOST_SHAPES = 100
# Digits of a version that fits into other columns than the smallest.
_DIGITS = 9


@dataclass(slots=True)
class Direct:
    """What a unit of work does in place of its usual commit, and which rows are new by it."""

    run: Callable[["UnitOfWork"], Any]
    inserts: Sequence[Key]


def is_plain(plan: MappedPlan) -> bool:
    """Whether setting attributes of new objects does nothing but that."""
    cls: Any = plan.cls
    manager = plan.mapper.class_manager
    constructor: Any = manager.original_init
    own = constructor.__module__ not in _CONSTRUCTORS or cls.__setattr__ is not object.__setattr__
    listeners = {name: len(list(getattr(cls, name).dispatch.set)) for name in plan.names}
    # The plan's own listens to the order of changes.
    heard = any(count > (name in plan.ordered_names) for name, count in listeners.items())
    made = any(one.__name__ != _MADE for one in manager.dispatch.init)
    return plan.fast and not (own or heard or made or plan.mapper.validators)


class OneRow:
    """Writes single rows of a class and shows their attributes `names`."""

    def __init__(self, plan: MappedPlan, names: Sequence[str]) -> None:
        self._plan = plan
        self._names = names
        self._by_name = {a.name: a.column for a in plan.attributes}
        self._binds = [(f"v_{name}", name) for name in self._by_name]
        self._prepared: Recent[Any, Prepared] = Recent(MOST_SHAPES)
        # For which the statements are, and what was asked last.
        self._in_sql: Sequence[Any] = ()
        self._books: tuple[Sequence[Any], Books] | None = None
        plain = plan.version_name is not None and not plan.has_events and is_plain(plan)
        plain = plain and record_ids.in_sql(plan.mapper.primary_key)
        self.possible = plain and Renderer(plan, names, "postgresql").possible
        self._new = [(a.name, a.default, a.generated) for a in plan.attributes if a.name != plan.version_name]
        version = None if plan.version_name is None else self._by_name[plan.version_name].type
        self._small = isinstance(version, SmallInteger)
        # What cannot be compared in SQL, or is changed by parts of it.
        self._unfit = {n for n, c in self._by_name.items() if isinstance(c.type, JSON | ARRAY)}

    async def ready(self, uow: "UnitOfWork") -> bool:
        """Whether the database can do it all for this unit of work, which has nothing else to do."""
        database = uow.database
        if database.backend != "postgresql" or database.commit != "auto":
            return False
        if not self.possible or not uow.untouched or hooks.of(self._plan.cls):
            return False
        table = self._plan.table.fullname
        if table in await database.restricted_tables() or table in database.captured:
            return False
        if database.tenants.possible and database.tenants.has(*(book.table for book in uow.books)):
            return False
        return not self._books_of(uow).of_changes

    def _books_of(self, uow: "UnitOfWork") -> Books:
        """Those of an application are the same each time, but for one that keeps the answer to a request."""
        if self._books is None or self._books[0] != uow.books:
            found = books_for(uow, self._plan)
            if not found.of_changes and found.in_sql != self._in_sql:
                self._in_sql, self._prepared = found.in_sql, Recent(MOST_SHAPES)
            self._books = uow.books, found
        return self._books[1]

    def create(self, uow: "UnitOfWork", given: Mapping[str, Any]) -> Row:
        """The row that the commit will insert; its JSON is there afterwards."""
        plan, row = self._plan, Row("", None)
        values: Values = {}
        for name, default, generated in self._new:
            value = given.get(name)
            if value is None and default is not None:
                value = default()
            if value is not None or not generated:
                values[name] = value
        values |= plan.made(values)
        names = tuple(values)
        prepared = self._text(uow, ("create", names), lambda: self._insert(uow, names))
        key = tuple([values.get(name) for name in plan.key_names])

        def operation() -> Operation:
            return Operation("insert", plan.table, plan.label, {}, self._columns(values), {})

        uow.direct = Direct(self._run(prepared, values, operation, row), [(plan, key)])
        return row

    def fits(self, names: Mapping[str, Any], versions: Sequence[str]) -> bool:
        """Whether it can change these attributes of what has one of these versions.

        Who names none has to read first: the time of a change is after that of the change before.
        """
        return bool(names) and any(map(self._is_version, versions)) and self._unfit.isdisjoint(names)

    def change(self, uow: "UnitOfWork", id: Any, given: Mapping[str, Any], versions: Sequence[str]) -> Row:
        """The row that the commit will change, where something of it differs; its JSON is there afterwards."""
        plan, row = self._plan, Row("", None)
        values = {a.name: given[a.name] for a in plan.attributes if a.name in given}
        values |= plan.made(values)
        names = tuple(values)
        values |= {a.name: a.on_update() for a in plan.attributes if a.on_update is not None and a.name not in given}
        also = tuple(values)[len(names) :]
        key = plan.key(id)
        more: Values = {f"k{n}": part for n, part in enumerate(key)}
        more["versions"] = [int(one) for one in versions if self._is_version(one)]
        prepared = self._text(uow, ("change", names), lambda: self._update(uow, names, also))

        def operation() -> Operation:
            return Operation("update", plan.table, plan.label, plan.key_row(key), self._columns(values), {})

        uow.direct = Direct(self._run(prepared, values, operation, row, more), [])
        return row

    def _is_version(self, text: str) -> bool:
        plain = text.isascii() and text.isdigit() and len(text) <= _DIGITS and text == str(int(text))
        return plain and (not self._small or int(text) < 2**15)

    def _columns(self, values: Values) -> Values:
        return {self._by_name[name].key: value for name, value in values.items()}

    def _run(
        self,
        prepared: Prepared,
        values: Values,
        operation: Callable[[], Operation],
        row: Row,
        more: Mapping[str, Any] | None = None,
    ) -> Callable[["UnitOfWork"], Any]:
        async def run(uow: "UnitOfWork") -> None:
            said = context.current()
            parameters: Values = {bind: values[name] for bind, name in self._binds if name in values}
            parameters |= {bind: getattr(said, name) for bind, name in _SAID}
            parameters["said_at"] = clock.now()
            if more is not None:
                parameters.update(more)
            try:
                rows = await run_statement(uow, prepared.sql, prepared.arguments(parameters))
            except (Invalid, *WRONG) as error:
                raise_named(error, [operation()], uow.database.dialect)
                raise
            if not rows:
                raise stale([operation()])
            row.text, row.version, *row.key = rows[0]

        return run

    # -- statements

    def _text(self, uow: "UnitOfWork", shape: Any, make: Callable[[], Executable]) -> Prepared:
        found = self._prepared.get(shape)
        return self._prepared.keep(shape, uow.database.prepare(make())) if found is None else found

    def _insert(self, uow: "UnitOfWork", names: Sequence[str]) -> Executable:
        plan = self._plan
        values = {self._by_name[name]: self._value(name) for name in names}
        values[self._by_name[str(plan.version_name)]] = literal_column("1")
        new = insert(plan.table).values(values).returning(*plan.columns).cte("new")
        after = {a.name: new.c[a.column.key] for a in plan.attributes if a.name in plan.state_names}
        return self._whole(uow, new, None, after)

    def _update(self, uow: "UnitOfWork", names: Sequence[str], also: Sequence[str]) -> Executable:
        plan, table = self._plan, self._plan.table
        old = table.alias("old")
        sets: dict[Any, ColumnElement[Any]] = {self._by_name[name]: self._value(name) for name in (*names, *also)}
        version: Any = table.c[str(plan.version_key)]
        key = list(enumerate(plan.mapper.primary_key))
        found = [column == bindparam(f"k{n}", type_=column.type) for n, column in key]
        # What was read and what is changed are the same state: somebody else's change in between is a conflict.
        found += [old.c[str(column.key)] == column for _, column in key] + [old.c[version.key] == version]
        found.append(version == any_(bindparam("versions", type_=ARRAY(version.type))))
        if plan.deleted_name is not None:
            found.append(self._by_name[plan.deleted_name].is_(None))
        found.append(or_(*(self._by_name[name].is_distinct_from(self._value(name)) for name in names)))
        # No column has such a name.
        was = {name: f"was {n}" for n, name in enumerate((*names, *also))}
        shown = [old.c[self._by_name[name].key].label(label) for name, label in was.items()]
        write: Any = update(table).values({**sets, version: version + literal_column("1")}).where(and_(*found))
        new = write.returning(*plan.columns, *shown).cte("new")
        before = {name: new.c[label] for name, label in was.items()}
        after = {name: new.c[self._by_name[name].key] for name in before}
        return self._whole(uow, new, before, after)

    def _value(self, name: str) -> ColumnElement[Any]:
        return bindparam(f"v_{name}", type_=self._by_name[name].type)

    def _whole(self, uow: "UnitOfWork", new: Any, before: Any, after: Any) -> Executable:
        """What is written, a part for each book, and what is shown of it."""
        plan = self._plan
        key = tuple(new.c[column.key] for column in plan.mapper.primary_key)
        at = bindparam("said_at", type_=UtcDateTime())
        said = Said(*(bindparam(bind, type_=Text) for bind, _ in _SAID))
        captured = uow.database.captured
        written = Written(plan.component, plan.marks, new, None, key, before, after, said, at, captured)
        parts = [part for book in self._books_of(uow).in_sql if (part := book.insert_from(written)) is not None]
        forms: list[Any] = []
        for name in self._names:
            form = wire.expression(new.c[self._by_name[name].key], "postgresql")
            assert form is not None  # or it would not be possible
            forms.append(form.label(name))
        row = select(*forms).subquery(WHOLE)
        text = cast(func.row_to_json(row.table_valued()), Text)
        shown: Any = select(text, row.c[str(plan.version_name)], *map(record_ids.part_in_sql, key))
        found: Executable = shown.select_from(row).add_cte(*(part.cte(f"book{n}") for n, part in enumerate(parts)))
        return found
