"""Declared tables: `Model` and the columns most of them want."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    DateTime,
    FunctionElement,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.types import TypeDecorator

from uno import clock, context, ids
from uno.data.tables import json_type
from uno.errors import Misconfigured


class UtcDateTime(TypeDecorator[datetime]):
    """A moment; aware UTC on every backend."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; use an aware datetime.")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class database_now(FunctionElement[datetime]):
    """The database's own time, in SQL: of the transaction on PostgreSQL."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(database_now)
def _now(_element: Any, _compiler: Any, **_: Any) -> str:
    return "CURRENT_TIMESTAMP"


@compiles(database_now, "sqlite")
def _now_as_text(_element: Any, _compiler: Any, **_: Any) -> str:
    # As SQLAlchemy writes moments, so that they compare with others.
    return "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))"


class Model(DeclarativeBase):
    """The base of declared tables; `uno.data.Repository` stores them."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        dict[str, Any]: json_type,
        list[str]: json_type,
    }

    # True: the unit of work writes down changes; "trigger": PostgreSQL does; False: nobody.
    __audit__: ClassVar[bool | Literal["trigger"]] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        table = cls.__dict__.get("__table__")
        if isinstance(table, Table):
            _give_numbers_once(table)
        if cls.__audit__ == "trigger" and table is not None:
            from uno.data.capture import by_trigger  # it knows how values are written, which knows this file

            by_trigger(cls)

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}.")
            setattr(self, name, value)


def _give_numbers_once(table: Table) -> None:
    """SQLite gives the number of a deleted row to another, whose history would be that of both."""
    key = table.autoincrement_column
    if key is not None and type(key.type) is Integer:
        table.dialect_options["sqlite"]["autoincrement"] = True


class UUIDMixin:
    """A UUID as primary key, made in Python, so that it is known before the insert.

    `__uuid__` says of which kind: version 7 (RFC 9562), the random version 4, or a ULID.
    """

    __uuid__: ClassVar[Literal["v7", "v4", "ulid"]] = "v7"

    @declared_attr
    def id(cls) -> Mapped[UUID]:
        return mapped_column(Uuid, primary_key=True, default=_maker(cls.__uuid__), sort_order=-100)


def _maker(kind: str) -> Callable[[], UUID]:
    makers = {"v7": ids.uuid7, "v4": ids.uuid4, "ulid": ids.ulid}
    if kind not in makers:
        raise Misconfigured(f"__uuid__ is {' or '.join(map(repr, makers))}, not {kind!r}.")
    return makers[kind]


def _actor() -> str | None:
    return context.current().actor


class ULIDMixin:
    """A ULID as primary key, 26 characters."""

    id: Mapped[str] = mapped_column(String(26), primary_key=True, default=ids.new_id, sort_order=-100)


class TimestampMixin:
    """`created_at`, and `updated_at`, which moves only when something changed.

    uno writes the time of `uno.clock`; where others insert rows without it, it is the database's.
    """

    created_at: Mapped[datetime] = mapped_column(
        UtcDateTime, default=clock.now, server_default=database_now(), sort_order=100
    )
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime, default=clock.now, server_default=database_now(), onupdate=clock.now, sort_order=101
    )


class ActorMixin:
    """`created_by` and `updated_by`: the actor of the context, None where there is none."""

    created_by: Mapped[str | None] = mapped_column(String, default=_actor, sort_order=104)
    updated_by: Mapped[str | None] = mapped_column(String, default=_actor, onupdate=_actor, sort_order=105)


class SoftDeleteMixin:
    """`deleted_at`: repositories leave out what has one, and what is unique is so among the others only."""

    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime, sort_order=103)

    @property
    def is_deleted(self) -> bool:
        return self.deleted_at is not None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        table = cls.__dict__.get("__table__")
        if isinstance(table, Table):
            _unique_among_the_living(table)


def _unique_among_the_living(table: Table) -> None:
    living = table.c.deleted_at.is_(None)
    for constraint in [one for one in table.constraints if isinstance(one, UniqueConstraint)]:
        table.constraints.remove(constraint)
        name = constraint.name if isinstance(constraint.name, str) else None
        Index(name or _name_of(table, constraint), *constraint.columns, unique=True)
    for index in table.indexes:
        if index.unique:
            index.dialect_options["postgresql"]["where"] = living
            index.dialect_options["sqlite"]["where"] = living


def _name_of(table: Table, constraint: UniqueConstraint) -> str:
    return f"uq_{table.name}_{'_'.join(column.name for column in constraint.columns)}"


class VersionMixin:
    """Optimistic concurrency: a stale change is a `VersionConflict` and leaves nothing."""

    version: Mapped[int] = mapped_column(BigInteger, nullable=False, sort_order=102)

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.version}
