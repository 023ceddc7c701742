"""What objects refer to, as JSON values beside them: read by a query of its own, or made by the one that makes JSON.

Both show the same: the attributes that are asked for, of objects that are not softly deleted, in the order of the
relationship or else of the key, and never more than a limit beside one object.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Subquery,
    Text,
    case,
    cast,
    func,
    inspect,
    literal,
    literal_column,
    select,
)
from sqlalchemy.orm import RelationshipProperty, aliased
from sqlalchemy.sql.util import ClauseAdapter

from uno.data import wire
from uno.data.paging import Order
from uno.data.plan import MappedPlan
from uno.data.portions import among, portions
from uno.data.rendered import MORE, WHOLE, Renderer
from uno.data.statement import fixed
from uno.data.unit_of_work import UnitOfWork
from uno.data.untyped import chosen
from uno.errors import Invalid


@dataclass(frozen=True, slots=True)
class Related:
    """The objects of one relationship of `plan`, with these attributes; at most `most` beside one object."""

    plan: MappedPlan
    name: str
    target: MappedPlan
    names: tuple[str, ...]
    most: int

    @property
    def relation(self) -> RelationshipProperty[Any]:
        return self.plan.mapper.relationships[self.name]

    @property
    def is_list(self) -> bool:
        return bool(self.relation.uselist)

    def made_in(self, backend: str) -> bool:
        """Whether the database itself can make their JSON."""
        columns = {a.name: a.column for a in self.target.attributes}
        fits = backend != "sqlite" or len(self.names) <= wire.MEMBERS
        known = all(wire.expression(columns[name], backend) is not None for name in self.names)
        return self.target.fast and fits and known

    def json(self, backend: str, found: Any, keys: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
        """Their JSON beside a row of `found`, whose key is in the columns `keys`; NULL where there is none of one."""
        owner, other = _twins(self.plan, self.target)
        forms = {n: wire.expression(getattr(other, n), backend) for n in self.names}
        shown = [form.label(n) for n, form in forms.items() if form is not None]
        if backend == "sqlite":
            parts = (part for name, form in forms.items() for part in (fixed(name), form))
            shown = [func.json_object(*parts, type_=Text()).label("object")]
        own = [getattr(owner, name) for name in self.plan.key_names]
        same = [one == key for one, key in zip(own, keys, strict=True)]
        statement: Select[Any] = self._joined(select(*shown), owner, other).where(*same)
        rows = statement.limit(self.most + 1 if self.is_list else 1).correlate(found).subquery("the row beside")
        return _one_value(backend, rows, is_list=self.is_list)

    async def beside(self, uow: UnitOfWork, entities: Iterable[Any]) -> dict[tuple[Any, ...], Any]:
        """Their JSON values by the key of the object that refers to them. Raises `Invalid` where they are too many."""
        keys = list(dict.fromkeys(self.plan.key_of(one) for one in entities))
        found: defaultdict[tuple[Any, ...], list[Any]] = defaultdict(list)
        if uow.tracked.touches(self.target):
            await uow.flush()
        for some in portions(keys):
            await self._read(uow, some, found)
        if self.is_list:
            return {key: found[key] for key in keys}
        return {key: next(iter(found[key]), None) for key in keys}

    async def _read(self, uow: UnitOfWork, keys: Sequence[Any], found: Mapping[Any, list[Any]]) -> None:
        owner, other = _twins(self.plan, self.target)
        own = [getattr(owner, name) for name in self.plan.key_names]
        shown = [getattr(other, name) for name in self.names]
        statement: Select[Any] = self._joined(chosen(*own, *shown), owner, other).where(among(own, keys))
        rows = await uow.read(statement.limit(len(keys) * self.most + 1))
        columns = {a.name: a.column for a in self.target.attributes}
        encoders = [wire.encoder(columns[name]) for name in self.names]
        width = len(own)
        for row in rows:
            pairs = zip(self.names, encoders, row[width:], strict=True)
            found[tuple(row[:width])].append({name: encode(value) for name, encode, value in pairs})
        if self.is_list and any(len(one) > self.most for one in found.values()):
            raise too_many(self.name, self.most)

    def _joined(self, statement: Select[Any], owner: Any, other: Any) -> Select[Any]:
        target, relation = self.target, self.relation
        adapted = ClauseAdapter(inspect(other).selectable)
        order = [adapted.traverse(one) for one in relation.order_by or ()]
        order += [getattr(other, name) for name in target.key_names]
        joined = statement.join_from(owner, getattr(owner, self.name).of_type(other)).order_by(*order)
        gone = target.deleted_name
        return joined if gone is None else joined.where(getattr(other, gone).is_(None))


class Extending(Renderer):
    """Makes JSON objects that have what they refer to in them."""

    def __init__(self, plan: MappedPlan, names: Sequence[str], backend: str, related: Sequence[Related]) -> None:
        super().__init__(plan, names, backend)
        self._related = related
        self._asked += tuple(related)
        self.possible = self.possible and all(one.made_in(backend) for one in related)

    def ready(self, uow: UnitOfWork, order: Sequence[Order] = ()) -> bool:
        return super().ready(uow, order) and not any(uow.tracked.touches(one.target) for one in self._related)

    def _check(self, text: str) -> None:
        excess = next((one for one in self._related if _mark(one) in text), None)
        if excess is not None:
            raise too_many(excess.name, excess.most)

    def _objects(self, where: Sequence[ColumnElement[bool]], order: Sequence[ColumnElement[Any]] = ()) -> Subquery:
        on_sqlite = self._backend == "sqlite"
        forms: list[Any] = [form.label(name) for name, form in self._forms.items()]
        shown = [self._object(), self._version().label("version")] if on_sqlite else forms
        primary = enumerate(self._plan.mapper.primary_key)
        keys: list[ColumnElement[Any]] = [column.label(f"key {n}") for n, column in primary]
        fitting = chosen(*shown, *keys).where(*where, self._living())
        # A limit is reached before: nothing is looked for beside other rows.
        first = fitting.order_by(*order).limit(MORE) if order else fitting
        found = first.subquery("found")
        keys = [found.c[f"key {n}"] for n in range(len(keys))]
        beside = [one.json(self._backend, found, keys).label(one.name) for one in self._related]
        own = ("object", "version") if on_sqlite else tuple(self._forms)
        rows = select(*(found.c[name] for name in own), *beside).subquery(WHOLE)
        version = self._plan.version_name
        told = rows.c.version if on_sqlite else literal(None, Integer) if version is None else rows.c[version]
        text = self._spliced(rows) if on_sqlite else cast(func.row_to_json(rows.table_valued()), Text)
        many = [
            (func.json_array_length(rows.c[one.name]) > one.most, fixed(_mark(one)))
            for one in self._related
            if one.is_list
        ]
        text = case(*many, else_=text) if many else text
        return select(text.label("object"), told.label("version")).select_from(rows).subquery()

    def _spliced(self, rows: Subquery) -> ColumnElement[Any]:
        text: Any = func.substr(rows.c.object, 1, func.length(rows.c.object) - 1, type_=Text())
        for one in self._related:
            text = text + fixed(f',"{one.name}":') + func.coalesce(rows.c[one.name], fixed("null"))
        return text + fixed("}")  # type: ignore[no-any-return]


def _twins(owner: MappedPlan, other: MappedPlan) -> tuple[Any, Any]:
    """Both classes under other names than those of the statement around."""
    return aliased(owner.cls), aliased(other.cls)


def _mark(one: Related) -> str:
    """In place of an object with too many: no JSON has such a letter as it is."""
    return f"\x01{one.name}"


def _one_value(backend: str, rows: Any, *, is_list: bool) -> ColumnElement[Any]:
    if backend != "sqlite":
        one = func.row_to_json(rows.table_valued())
        made = func.coalesce(func.json_agg(one), literal_column("'[]'::json")) if is_list else one
        return select(made).scalar_subquery()
    if not is_list:
        return select(rows.c.object).scalar_subquery()
    joined = func.coalesce(func.group_concat(rows.c.object, ",", type_=Text()), "")
    return select(fixed("[") + joined + fixed("]")).scalar_subquery()


def too_many(name: str, most: int) -> Invalid:
    text = f"There are more than {most} {name} beside one of them; ask for those by themselves."
    return Invalid.field("include", text, "too_many")
