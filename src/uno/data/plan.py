"""How objects of one mapped class become rows and rows become objects; worked out once, at start-up.

A plan is `fast` only where writing the rows ourselves is provably what SQLAlchemy's own flush
would do; otherwise `reason` says what made it `session`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from sqlalchemy import ARRAY, Column, Enum, Table, UniqueConstraint, event as sqlalchemy_event, inspect, types
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ColumnProperty, Mapper, RelationshipProperty
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.base import NO_VALUE, PASSIVE_OFF
from sqlalchemy.orm.interfaces import MapperProperty
from sqlalchemy.orm.state import InstanceState
from sqlalchemy.types import TypeDecorator, TypeEngine

from uno.data import record_ids
from uno.data.changes import differs
from uno.data.checks import Check, check_of
from uno.data.declared import declared
from uno.data.holds import Holds
from uno.data.marks import component_of, marks_of_columns
from uno.data.references import connect
from uno.domain import AggregateRoot
from uno.errors import Invalid, Misconfigured

Values = dict[str, Any]
# Under this key of SQLAlchemy's `info` an entity knows its entry in the unit of work.
ENTRY = "uno"
# Under this one a column knows its attribute, where that has another name.
ATTRIBUTE = "uno_attribute"
# The attribute of what can be deleted softly.
DELETED = "deleted_at"
# Characters of a wrong key that are shown.
_SHOWN = 64
# As what else numbers can be given.
_NUMBERS: dict[type, tuple[type, ...]] = {float: (int, Decimal), Decimal: (int, float)}

_KNOWN_TYPES = (
    types.String,
    types.Integer,
    types.Boolean,
    types.Numeric,
    types.Float,
    types.Date,
    types.DateTime,
    types.Time,
    types.Interval,
    types.Uuid,
    types.LargeBinary,
    types.JSON,
    types.ARRAY,
)


@dataclass(frozen=True, slots=True)
class Attribute:
    """One column and the attribute it is mapped to."""

    name: str
    column: Column[Any]
    default: Callable[[], Any] | None
    on_update: Callable[[], Any] | None
    generated: bool


class MappedPlan:
    """A class mapped by SQLAlchemy, declared or imperative."""

    def __init__(self, cls: type, mapper: Mapper[Any]) -> None:
        self.cls = cls
        self.mapper = mapper
        self.label = cls.__name__
        self.component = component_of(cls)
        self.table: Table = mapper.local_table  # type: ignore[assignment]
        # Where its rows are, those of classes that it inherits from, or that inherit from it, too.
        family = mapper.self_and_descendants
        self.tables = frozenset(one for m in family for one in (*m.tables, m.local_table, m.selectable))
        self.attributes = tuple(_attribute(p) for p in mapper.column_attrs if isinstance(p.columns[0], Column))
        for a in self.attributes:
            if a.name != a.column.key:
                a.column.info.setdefault(ATTRIBUTE, a.name)
        self.names = tuple(a.name for a in self.attributes)
        self.columns = tuple(a.column for a in self.attributes)
        by_column: dict[Any, str] = {column: p.key for p in mapper.column_attrs for column in p.columns}
        self.key_names = tuple(by_column[c] for c in mapper.primary_key)
        self._key_types = tuple(_python_type(c) for c in mapper.primary_key)
        # What makes of a key what is stored of it, where that may be something else.
        self.filed = record_ids.forms(self.label, mapper.primary_key)
        self._stored_key = record_ids.stored(mapper.primary_key)
        self.version_name = by_column[mapper.version_id_col] if mapper.version_id_col is not None else None
        self.version_key = None if mapper.version_id_col is None else mapper.version_id_col.key
        self._generated = {a.name for a in self.attributes if a.generated}
        self.unique_names = _unique(self.table, by_column)
        foreign = tuple(a.name for a in self.attributes if a.column.foreign_keys)
        # Setting one of these has to happen in the handler's order, if statements are run one by one.
        self.ordered_names = tuple(dict.fromkeys((*self.unique_names, *foreign)))
        self.reason = _why_session(self)
        self.has_events = issubclass(cls, AggregateRoot)
        self.deleted_name = DELETED if DELETED in self.names else None
        self.state_names = tuple(n for n in self.names if n != self.version_name)
        written = [(a.name, a.column) for a in self.attributes if a.name != self.version_name]
        self.declared = declared(cls)
        unseen = frozenset(name for name, said in self.declared.items() if said.hidden)
        self.marks = marks_of_columns(cls, getattr(self.table, "fullname", ""), written, unseen)
        self._manager = mapper.class_manager
        self._column_keys = {a.name: a.column.key for a in self.attributes}
        self._identity_class = mapper._identity_class
        # What brings values into the form of the columns; the database sets it.
        self.holds: Holds | None = None

    @property
    def fast(self) -> bool:
        return self.reason is None

    @cached_property
    def check(self) -> Check | None:
        """What the class says of its values."""
        return check_of(self)

    def stored_as(self, values: Mapping[str, Any]) -> Values:
        """Values that are given to many rows. Raises `Invalid`."""
        return {**values, **self.made(values)}

    def made(self, values: Mapping[str, Any], changed: Collection[str] | None = None) -> Values:
        """What of `values` the class and its columns make something else of. Raises `Invalid`."""
        made = {} if self.check is None else self.check(values, changed)
        if self.holds is not None:
            made |= self.holds({**values, **made} if made else values, changed)
        return made

    def checked(self, entity: Any, state: Values, changed: Collection[str] | None = None) -> Values:
        """`state`, and the entity, with what the class makes of values to be written. Raises `Invalid`."""
        made = self.made(state, changed)
        for name, value in made.items():
            setattr(entity, name, value)
        return {**state, **made} if made else state

    def formed(self, entity: Any, changed: Collection[str]) -> bool:
        """Give an entity what is changed in the form of its columns; whether anything has become another value."""
        try:
            made = {} if self.holds is None else self.holds(self.state(entity), changed)
        except Invalid:  # raised when it is checked, after what the class says
            return False
        for name, value in made.items():
            setattr(entity, name, value)
        return bool(made)

    @property
    def sort_names(self) -> tuple[str, ...]:
        """The fields that tell two rows apart."""
        return self.key_names

    def key(self, id: Any) -> tuple[Any, ...]:
        """The primary key as a tuple; a composite one is given as a tuple."""
        given = id if isinstance(id, tuple) else (id,)
        if len(given) != len(self.key_names):
            raise TypeError(f"{self.label} has a key of {len(self.key_names)} parts, got {id!r}.")
        parts = zip(self.key_names, self._key_types, given, strict=True)
        key = tuple([_as_key(name, wanted, value) for name, wanted, value in parts])
        return key if self._stored_key is None else self._stored_key(key)

    def id_of(self, key: tuple[Any, ...]) -> Any:
        """What `key` was made of."""
        return key[0] if len(key) == 1 else key

    def key_of(self, entity: Any) -> tuple[Any, ...]:
        """The primary key of an entity; parts may be None where the database makes them."""
        state = entity.__dict__
        key = tuple([state.get(name) for name in self.key_names])
        return key if self._stored_key is None else self._stored_key(key)

    def state(self, entity: Any) -> Values:
        """The values of all columns but the version, by attribute name; absent ones are left out."""
        held = entity.__dict__
        return {name: held[name] for name in self.state_names if name in held}

    def version(self, entity: Any) -> int | None:
        return None if self.version_name is None else entity.__dict__.get(self.version_name)

    def set_version(self, entity: Any, version: int) -> None:
        if self.version_name is not None:
            setattr(entity, self.version_name, version)

    def complete(self, entity: Any) -> bool:
        """Set defaults on a new entity; false where the database has to generate something."""
        held = entity.__dict__
        complete = True
        for a in self.attributes:
            if held.get(a.name) is not None:
                continue
            if a.name == self.version_name:
                continue
            if a.default is not None:
                setattr(entity, a.name, a.default())
            elif a.generated:
                complete = False
            elif a.name not in held:
                setattr(entity, a.name, None)
        return complete

    def await_generated(self, entity: Any) -> None:
        """Until the database has made them, reading these attributes is an error."""
        missing = [name for name in self._generated if entity.__dict__.get(name) is None]
        for name in missing:
            entity.__dict__.pop(name, None)
        instance_state(entity).callables = {name: _too_early(f"{self.label}.{name}") for name in missing}

    def take_generated(self, entity: Any, row: Values) -> None:
        """Set what the database generated; `row` is by column key."""
        for a in self.attributes:
            if entity.__dict__.get(a.name) is None:
                setattr(entity, a.name, row[a.column.key])

    def touch(self, entity: Any, changed: Values) -> None:
        """Apply `onupdate` to columns that were not changed by hand."""
        for a in self.attributes:
            if a.on_update is not None and a.name not in changed:
                changed[a.name] = a.on_update()
                setattr(entity, a.name, changed[a.name])

    def _row(self, values: Mapping[str, Any]) -> Values:
        return {self._column_keys[name]: value for name, value in values.items()}

    def key_row(self, key: tuple[Any, ...]) -> Values:
        """A key by column key."""
        return self._row(dict(zip(self.key_names, key, strict=True)))

    def insert_row(self, state: Values, key: tuple[Any, ...]) -> Values:
        """What an insert writes, by column key."""
        row = self._row({n: v for n, v in state.items() if v is not None or n not in self._generated})
        return row if self.version_key is None else row | {self.version_key: 1}

    def update_row(self, changed: Values, state: Values) -> Values:
        """What an update writes, by column key."""
        return self._row(changed)

    def build(self, values: Sequence[Any]) -> Any:
        """An object as SQLAlchemy would load it; `values` in the order of `columns`."""
        entity = self._manager.new_instance()
        state = instance_state(entity)
        held = dict(zip(self.names, values, strict=True))
        state.dict.update(held)
        key = tuple(held[name] for name in self.key_names)
        state.key = (self._identity_class, key, None)
        return entity

    def stored(self, entity: Any) -> None:
        """Tell SQLAlchemy's bookkeeping that the entity is as in the database."""
        state = instance_state(entity)
        state.key = (self._identity_class, self.key_of(entity), None)
        # A session that has it, of which a savepoint was undone, would otherwise look for its changes for ever.
        session: Any = state.session
        state._commit_all(state.dict, None if session is None else session.identity_map)

    def all_stored(self, pairs: Iterable[tuple[Any, tuple[Any, ...]]]) -> None:
        """The same for many, given with their keys."""

        def states() -> Iterator[tuple[Any, Any]]:
            for entity, key in pairs:
                state = instance_state(entity)
                state.key = (self._identity_class, key, None)
                yield state, state.dict

        InstanceState._commit_all_states(states())

    def changed(self, before: Values, after: Values) -> Values:
        """The values of `after` that differ from `before`."""
        # Most values are the same objects: those are told apart without a call.
        return {k: v for k, v in after.items() if k not in before or (before[k] is not v and differs(before[k], v))}

    def restore(self, entity: Any, values: Values) -> None:
        for name, value in values.items():
            if entity.__dict__.get(name) is not value:
                setattr(entity, name, value)

    def fill(self, entity: Any, values: Values) -> None:
        """What the entity does not say is as in `values`."""
        for name in values.keys() - entity.__dict__.keys():
            setattr(entity, name, values[name])


def _too_early(attribute: str) -> Callable[[Any, Any], Any]:
    def refuse(_state: Any, passive: Any) -> Any:
        if passive != PASSIVE_OFF:  # SQLAlchemy itself looks
            return NO_VALUE
        raise Misconfigured(f"{attribute} is made by the database; `await uow.flush()` before reading it.")

    return refuse


def _watch(plan: MappedPlan) -> None:
    """Hear of columns that are set whose order of changes matters; once for each class."""
    for name in plan.ordered_names:
        attribute = getattr(plan.cls, name)
        if not sqlalchemy_event.contains(attribute, "set", _heard):
            sqlalchemy_event.listen(attribute, "set", _heard, propagate=True)


def _heard(entity: Any, *_: Any) -> None:
    """Tell the unit of work that knows the entity, if one does."""
    entry = inspect(entity).info.get(ENTRY)
    if entry is not None:
        entry.stamp()


def _python_type(column: Any) -> tuple[type, tuple[type, ...]] | None:
    """What a key given as text becomes, and what else it may be given as; None where it stays as it is."""
    try:
        wanted: type = column.type.python_type
    except NotImplementedError:
        return None
    if isinstance(column.type, TypeDecorator):  # which may take objects of its own
        return None if wanted is str else (wanted, (object,))
    return wanted, _NUMBERS.get(wanted, ())


def _as_key(name: str, taken: tuple[type, tuple[type, ...]] | None, value: Any) -> Any:
    """A key given as text, as the column's Python type. Raises `Invalid`."""
    if taken is None or value is None or isinstance(value, taken[0]):
        return value
    wanted: Any = taken[0]
    try:
        if isinstance(value, str):
            return wanted(value)
    except (TypeError, ValueError, ArithmeticError):
        pass
    else:
        if isinstance(value, taken[1]):
            return value
    given = repr(value[:_SHOWN]) if isinstance(value, str) else f"a {type(value).__name__}"
    raise Invalid.field(name, f"It is a {wanted.__name__}, and {given} is none.", "value")


def _attribute(prop: ColumnProperty[Any]) -> Attribute:
    column: Any = prop.columns[0]
    default, on_update = column.default, column.onupdate
    generated = column.server_default is not None or column.computed is not None or column.identity is not None
    generated = generated or column is getattr(column.table, "autoincrement_column", None)
    made = _maker(default)
    # What Python makes the database need not.
    return Attribute(prop.key, column, made, _maker(on_update), bool(generated) and made is None)


def _maker(default: Any) -> Callable[[], Any] | None:
    if default is None or not (default.is_callable or default.is_scalar):
        return None
    if default.is_callable:
        return lambda: default.arg(None)
    return lambda: default.arg


def _unique(table: Table, by_column: Mapping[Any, str]) -> tuple[str, ...]:
    """Attributes in a unique constraint or index beside the primary key."""
    columns: list[Any] = []
    if not isinstance(table, Table):
        return ()
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            columns += constraint.columns
    for index in table.indexes:
        if index.unique:
            columns += [e for e in index.expressions if isinstance(e, Column)] or list(table.columns)
    return tuple(dict.fromkeys(by_column[c] for c in columns if c in by_column))


def _why_session(plan: MappedPlan) -> str | None:
    """Why rows of this class must be written by SQLAlchemy's own flush, if they must."""
    return next(filter(None, _reasons(plan)), None)


def _reasons(plan: MappedPlan) -> Iterable[str | None]:
    mapper = plan.mapper
    related = mapper.inherits is not None or len(mapper.self_and_descendants) > 1
    yield "inheritance" if related or mapper.polymorphic_on is not None else None
    yield "mapped to something other than one table" if not isinstance(mapper.local_table, Table) else None
    for prop in mapper.attrs:
        yield _property_reason(prop)
    for a in plan.attributes:
        yield _column_reason(a)
    yield _version_reason(mapper)
    yield _listener_reason(mapper)
    yield _session_reason()


def _property_reason(prop: MapperProperty[Any]) -> str | None:
    if isinstance(prop, RelationshipProperty):
        # Only what is written through a relationship needs the session's own ordering.
        return None if prop.viewonly else f"relationship {prop.key}"
    if isinstance(prop, ColumnProperty):
        if len(prop.columns) != 1 or not isinstance(prop.columns[0], Column):
            return f"column property {prop.key}"
        return f"deferred column {prop.key}" if prop.deferred else None
    return f"{type(prop).__name__} {prop.key}"


def _column_reason(a: Attribute) -> str | None:
    column = a.column
    defaults: tuple[Any, ...] = (column.default, column.onupdate)
    for default in defaults:
        if default is not None and not (default.is_scalar or default.is_callable):
            return f"SQL default of {a.name}"
        if default is not None and default.is_callable and _wants_context(default.arg):
            return f"context-sensitive default of {a.name}"
    if column.server_onupdate is not None or column.computed is not None:
        return f"server-side update of {a.name}"
    for type_ in (column.type, *column.type._variant_mapping.values()):
        if not _known(type_):
            return f"type {type_!r} of {a.name}"
        if type_._has_bind_expression or type_._has_column_expression:
            return f"SQL expression of the type of {a.name}"
    return None


def _wants_context(function: Any) -> bool:
    # SQLAlchemy wraps functions without parameters in its own; others get the context.
    return getattr(getattr(function, "__code__", None), "co_filename", "").find("sqlalchemy") < 0


def _known(type_: TypeEngine[Any]) -> bool:
    plain = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    if plain.should_evaluate_none:
        return False
    return isinstance(plain, _KNOWN_TYPES)


def _version_reason(mapper: Mapper[Any]) -> str | None:
    if mapper.version_id_col is None:
        return None
    # SQLAlchemy's own generator, which counts, is a function that the mapper defines.
    if getattr(mapper.version_id_generator, "__module__", None) != Mapper.__module__:
        return "version made by a generator of its own"
    return None if isinstance(mapper.version_id_col.type, types.Integer) else "version that is not an Integer"


def _session_reason() -> str | None:
    # A session without an engine connects to nothing; it has the listeners of all sessions.
    dispatch: Any = AsyncSession.sync_session_class().dispatch
    return "session listeners" if any(list(getattr(dispatch, name)) for name in dispatch._event_names) else None


def _listener_reason(mapper: Mapper[Any]) -> str | None:
    own = ("before_insert", "after_insert", "before_update", "after_update", "before_delete", "after_delete")
    if any(list(getattr(mapper.dispatch, name)) for name in own):
        return "mapper listeners"
    manager = mapper.class_manager
    watched = ("load", "refresh", "init_failure")
    return "instance listeners" if any(list(getattr(manager.dispatch, name)) for name in watched) else None


def mapped_plan(cls: type) -> MappedPlan | None:
    """The plan of a mapped class, None where it is not mapped."""
    try:
        mapper: Any = inspect(cls)
    except NoInspectionAvailable:
        return None
    if not isinstance(mapper, Mapper):
        return None
    connect(cls, mapper)
    plan = MappedPlan(cls, mapper)
    if plan.has_events and plan.version_name is None:
        raise Misconfigured(
            f"{cls.__qualname__} is an aggregate but its mapping has no version; give its table a "
            "column version and map it with version_id_col=table.c.version."
        )
    _watch(plan)
    return plan


def cast_type(column: Column[Any], dialect: Dialect) -> str:
    """The column's type for a cast: without length or precision, which would cut values silently, and collation."""
    compiled = str(column.type.compile(dialect=dialect)).partition(" COLLATE ")[0]
    plain = compiled.split("(")[0].strip() if not isinstance(column.type, Enum) else compiled
    rest = compiled.rpartition(")")[2] if "(" in compiled and not isinstance(column.type, Enum) else ""
    return "bpchar" if plain.upper() == "CHAR" else plain + rest


def is_array(column: Column[Any]) -> bool:
    return isinstance(column.type, ARRAY)
