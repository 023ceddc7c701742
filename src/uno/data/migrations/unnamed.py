"""Constraints without a name, as SQLModel makes them.

On SQLite Alembic does not see that a unique one went; and what comes or goes by a migration needs a name.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import count
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    AddConstraintOp,
    CreateUniqueConstraintOp,
    DropConstraintOp,
    MigrateOperation,
    MigrationScript,
    ModifyTableOps,
    UpgradeOps,
)
from alembic.runtime.migration import MigrationContext
from alembic.runtime.plugins import Plugin
from alembic.util import PriorityDispatchResult
from sqlalchemy import Column, ForeignKeyConstraint, MetaData, Table, UniqueConstraint, inspect

from uno.data.default_names import ENDINGS, default_name

PLUGIN = "uno.unnamed"
# What they are called while the table is copied, which is what PostgreSQL calls them.
_ENDINGS = {"unique": "key", "foreignkey": "fkey"}
_SHORT = {"unique": "uq", "foreignkey": "fk"}
_KINDS = {UniqueConstraint: "unique", ForeignKeyConstraint: "foreignkey"}


class DropUnnamed(MigrateOperation):
    """Drop the unique constraint, or the foreign key, of a table that has these columns and no name."""

    def __init__(self, table: Table, columns: Sequence[str], kind: str = "unique") -> None:
        self.table, self.columns, self.kind = table, columns, kind
        self.name = "_".join([table.name, *columns, _ENDINGS[kind]])

    def reverse(self) -> MigrateOperation:
        """Of a unique one. Without a name it cannot be made again."""
        made = CreateUniqueConstraintOp(self.name, self.table.name, self.columns, schema=self.table.schema)
        return ModifyTableOps(self.table.name, [made], schema=self.table.schema)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        shown = Table(self.table.name, MetaData(), *map(Column, self.columns), schema=self.table.schema)
        return "remove_constraint", UniqueConstraint(*shown.columns, name=self.name)


def _compare(comparing: AutogenContext, upgrade: UpgradeOps, schemas: Collection[str | None]) -> PriorityDispatchResult:
    for table in comparing.sorted_tables:
        if table.schema in schemas and comparing.run_name_filters(table.name, "table", {"schema_name": table.schema}):
            # Before their columns go.
            upgrade.ops[:0] = [DropUnnamed(table, one) for one in _gone(comparing, table)]
    return PriorityDispatchResult.CONTINUE


def _gone(comparing: AutogenContext, table: Table) -> list[tuple[str, ...]]:
    """The columns of each that is no longer wanted, or wanted with a name."""
    inspector = comparing.inspector
    if not inspector.has_table(table.name, schema=table.schema):
        return []
    kept = {
        frozenset(column.name for column in one.columns)
        for one in table.constraints
        if isinstance(one, UniqueConstraint) and not isinstance(one.name, str)
    }
    there = inspector.get_unique_constraints(table.name, schema=table.schema)
    unnamed = [tuple(one["column_names"]) for one in there if one["name"] is None]
    return [one for one in unnamed if frozenset(one) not in kept]


def name_all(script: MigrationScript, migrating: MigrationContext) -> None:
    """Name what is added to tables that are there, and what undoing that drops; on SQLite what is dropped as well."""
    if migrating.dialect.name == "sqlite":
        for group in script.upgrade_ops_list:
            group.ops = [part for one in group.ops for part in (*_taken_out(one), one)]
    names = _Names(migrating.connection, script)
    for one in (*_changes(script.upgrade_ops_list), *_changes(script.downgrade_ops_list)):
        if isinstance(one, AddConstraintOp | DropConstraintOp) and getattr(one, "constraint_name", "") is None:
            names.give(one)


def _changes(groups: Sequence[Any]) -> Iterator[Any]:
    """What is done to tables that are there."""
    for group in groups:
        for one in group.ops:
            yield from [one] if isinstance(one, DropUnnamed) else getattr(one, "ops", ())


def _taken_out(table: MigrateOperation) -> list[DropUnnamed]:
    """What is dropped from a table and has no name."""
    ops = table.ops if isinstance(table, ModifyTableOps) else []
    found = [one for one in ops if isinstance(one, DropConstraintOp) and one.constraint_name is None]
    ops[:] = [one for one in ops if one not in found]
    dropped: list[Any] = [one.to_constraint() for one in found]
    return [DropUnnamed(one.table, [c.name for c in one.columns], _KINDS[type(one)]) for one in dropped]


class _Names:
    """What PostgreSQL would call a constraint, with a number where something else is called so."""

    def __init__(self, connection: Any, script: MigrationScript) -> None:
        self._connection = connection
        changes = list(_changes(script.upgrade_ops_list))
        self._gone = {(one.table_name, one.constraint_name) for one in changes if isinstance(one, DropConstraintOp)}
        self._gone |= {(one.table.name, one.name) for one in changes if isinstance(one, DropUnnamed)}
        self._taken: dict[str | None, set[str]] = {}
        self._given: dict[tuple[Any, ...], str] = {}

    def give(self, one: Any) -> None:
        """The same to what is added and to what undoing that drops."""
        constraint = one.to_constraint()
        if type(constraint) not in _KINDS:
            return
        table, columns = constraint.table, tuple(column.name for column in constraint.columns)
        key = table.schema, table.name, type(constraint), columns
        if key not in self._given:
            self._given[key] = self._new(table, columns, ENDINGS[type(constraint)])
        one.constraint_name = self._given[key]

    def _new(self, table: Table, columns: Sequence[str], ending: str) -> str:
        taken = self._taken.get(table.schema)
        if taken is None:
            taken = self._taken[table.schema] = self._there(table.schema)
        endings = (f"{ending}{number or ''}" for number in count())
        name = next(name for each in endings if (name := default_name(table.name, columns, each)) not in taken)
        taken.add(name)
        return name

    def _there(self, schema: str | None) -> set[str]:
        """The names in a schema, of what has none those that it would have."""
        there = inspect(self._connection)
        asked = [
            (there.get_multi_unique_constraints, "column_names", "key"),
            (there.get_multi_foreign_keys, "constrained_columns", "fkey"),
            (there.get_multi_indexes, "column_names", "idx"),
        ]
        found = (
            (table, one["name"] or default_name(table, one[columns], ending))
            for ask, columns, ending in asked
            for (_, table), several in ask(schema=schema).items()
            for one in several
        )
        return {name for table, name in found if (table, name) not in self._gone}


@renderers.dispatch_for(DropUnnamed)
def _render(_: AutogenContext, drop: DropUnnamed) -> list[str]:
    more = f", schema={drop.table.schema!r}" if drop.table.schema else ""
    called = {_SHORT[drop.kind]: f"%(table_name)s_%(column_0_N_name)s_{_ENDINGS[drop.kind]}"}
    return [
        f"with op.batch_alter_table({drop.table.name!r}, naming_convention={called!r}{more}) as batch_op:",
        f"batch_op.drop_constraint({drop.name!r}, type_={drop.kind!r})",
        "",
    ]


Plugin(PLUGIN).add_autogenerate_comparator(_compare, "schema", qualifier="sqlite")
