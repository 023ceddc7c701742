"""Rows that the database itself makes JSON of, in the forms of `uno.data.wire`; Python passes the text on.

Only for classes whose plan is `fast` and whose columns all have a form in SQL; and only what is stored is seen,
so who has changed objects of the class in this unit of work reads them instead.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Select,
    Subquery,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    true,
    type_coerce,
)

from uno.data import paging, wire
from uno.data.finding import answer
from uno.data.paging import Order
from uno.data.plan import MappedPlan
from uno.data.recent import Recent
from uno.data.statement import Prepared, fixed
from uno.data.unit_of_work import UnitOfWork
from uno.data.untyped import chosen

# A whole row in `row_to_json`; no column has such a name, which would come before it.
WHOLE = "the row"
# Letters of a name in PostgreSQL.
_LABEL = 63
# How many rows are shown, and one more, which shows that there are others. Without names, which those of conditions
# could be.
_SIZE, MORE = (bindparam(None, type_=Integer, unique=True) for _ in range(2))
# Orders that are remembered: clients choose them.
MOST_ORDERS = 100


@dataclass(slots=True)
class Row:
    """One row as the text of a JSON object, and its version where it has one; of a new one the key as texts."""

    text: str
    version: int | None
    key: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """A stretch of a sorted list as the text of a JSON array. `next` is the cursor of what follows."""

    text: str
    count: int
    next: str | None
    total: int | None = None


class Renderer:
    """Makes JSON objects of the attributes `names` of a class, on one backend."""

    def __init__(self, plan: MappedPlan, names: Sequence[str], backend: str) -> None:
        self._plan = plan
        self._backend = backend
        columns = {a.name: a.column for a in plan.attributes}
        forms = {name: wire.expression(columns[name], backend) for name in names if name in columns}
        self._forms = {name: form for name, form in forms.items() if form is not None}
        known = len(self._forms) == len(names) and plan.version_name in (None, *names)
        fits = len(names) <= wire.MEMBERS if backend == "sqlite" else all(len(name) <= _LABEL for name in names)
        self.possible = plan.fast and known and fits
        self.versioned = plan.version_name is not None
        # What is asked for, whatever the conditions.
        self._asked: tuple[Any, ...] = (plan, "texts", tuple(names))
        self._one: Prepared | None = None
        self._orders: Recent[str, Sequence[Order]] = Recent(MOST_ORDERS)

    def ready(self, uow: UnitOfWork, order: Sequence[Order] = ()) -> bool:
        """Whether the database says what this unit of work would read, and where such a list goes on."""
        placed = all(one.field.name in self._forms for one in order)
        return self.possible and placed and uow.opened is None and not uow.tracked.touches(self._plan)

    def order(self, sort: str, make: Callable[[], Sequence[Order]]) -> Sequence[Order]:
        """What `make` makes of `sort`, which raises where it is wrong."""
        found = self._orders.get(sort)
        return self._orders.keep(sort, make()) if found is None else found

    async def one(self, uow: UnitOfWork, id: Any) -> Row | None:
        """The row with this id, None where there is none or it is softly deleted."""
        if self._one is None:
            self._one = uow.database.prepare(self._select_one())
        key = {f"k{n}": value for n, value in enumerate(self._plan.key(id))}
        rows = await self._rows(uow, self._one, key)
        if not rows:
            return None
        self._check(rows[0][0])
        return Row(*rows[0])

    async def page(
        self, uow: UnitOfWork, order: Sequence[Order], limit: int, where: Sequence[ColumnElement[bool]] = ()
    ) -> Rows:
        """The first `limit` rows that fit `where`, in this order."""
        question = *self._asked, *(one.said for one in order)
        sizes = {_SIZE.key: limit, MORE.key: limit + 1}
        rows = await answer(uow, question, where, lambda: self._select_page(order, where), sizes)
        text, count, last = rows[0]
        self._check(text or "")
        following = paging.cursor(order, json.loads(last), dict.__getitem__) if count > limit and last else None
        return Rows(text or "[]", min(count, limit), following)

    def _check(self, text: str) -> None:
        """Whether the JSON is what was asked for."""

    async def _rows(self, uow: UnitOfWork, prepared: Prepared, parameters: dict[str, Any]) -> Sequence[Any]:
        if uow.explicit is not None:
            return (await uow.explicit.execute(self._select_one(), parameters)).all()  # type: ignore[no-any-return]
        return await uow.reading.fetch(prepared, parameters)

    # -- statements

    def _select_one(self) -> Select[Any]:
        key = enumerate(self._plan.mapper.primary_key)
        found = self._objects([column == bindparam(f"k{n}", type_=column.type) for n, column in key])
        columns: list[Any] = [found.c.object, found.c.version]
        return chosen(*columns)

    def _select_page(self, order: Sequence[Order], where: Sequence[ColumnElement[bool]] = ()) -> Select[Any]:
        found = self._objects(where, [one.by for one in order])
        return self._page_of_sqlite(found) if self._backend == "sqlite" else self._page_of_postgres(found)

    def _page_of_postgres(self, found: Subquery) -> Select[Any]:
        """Half the time of one aggregate that leaves out the last row: nothing is sorted again, or made twice."""
        texts: Any = type_coerce(func.array(select(found.c.object).scalar_subquery()), ARRAY(Text))
        # Not to be made for each of its uses.
        made = chosen(texts.label("texts")).offset(literal_column("0")).subquery().c.texts
        whole = fixed("[") + func.array_to_string(made[1:_SIZE], fixed(","), type_=Text()) + fixed("]")
        columns: list[Any] = [whole, func.cardinality(made, type_=Integer()), made[_SIZE]]
        return chosen(*columns)

    def _page_of_sqlite(self, found: Subquery) -> Select[Any]:
        placed = select(found.c.object, func.row_number().over().label("place")).subquery()
        text, place = placed.c.object, placed.c.place
        shown = func.group_concat(case((place <= _SIZE, text)), ",", type_=Text())
        columns: list[Any] = [literal("[", Text) + shown + "]", func.count(), func.max(case((place == _SIZE, text)))]
        return chosen(*columns)

    def _objects(self, where: Sequence[ColumnElement[bool]], order: Sequence[ColumnElement[Any]] = ()) -> Subquery:
        """The texts and versions of rows; of a list no more than `more`."""
        on_sqlite = self._backend == "sqlite"
        shown: list[Any] = [form.label(name) for name, form in self._forms.items()]
        found = chosen(*([self._object(), self._version().label("version")] if on_sqlite else shown))
        found = found.where(*where, self._living())
        rows = (found.order_by(*order).limit(MORE) if order else found).subquery(WHOLE)
        if on_sqlite:
            return rows
        text = cast(func.row_to_json(rows.table_valued()), Text)
        name = self._plan.version_name
        version = literal(None, Integer) if name is None else rows.c[name]
        return select(text.label("object"), version.label("version")).select_from(rows).subquery()

    def _object(self) -> ColumnElement[Any]:
        parts = (part for name, form in self._forms.items() for part in (literal(name, Text), form))
        return func.json_object(*parts, type_=Text()).label("object")

    def _version(self) -> ColumnElement[Any]:
        key = self._plan.version_key
        return literal(None, Integer) if key is None else self._plan.table.c[key]

    def _living(self) -> ColumnElement[bool]:
        name = self._plan.deleted_name
        return true() if name is None else self._plan.table.c[name].is_(None)
