"""Constraints without a name, as SQLModel makes them.

On SQLite Alembic does not see that a unique one went; and what comes or goes by a migration needs a name.
"""

from collections.abc import Collection, Sequence
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
from alembic.runtime.plugins import Plugin
from alembic.util import PriorityDispatchResult
from sqlalchemy import Column, ForeignKeyConstraint, MetaData, Table, UniqueConstraint

PLUGIN = "uno.unnamed"
# What they are called while the table is copied, which is what PostgreSQL calls them.
_ENDINGS = {"unique": "key", "foreignkey": "fkey"}
_SHORT = {"unique": "uq", "foreignkey": "fk"}
_KINDS = {UniqueConstraint: "unique", ForeignKeyConstraint: "foreignkey"}
_LONGEST = 63


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
    """The columns of each that is no longer wanted."""
    inspector = comparing.inspector
    if not inspector.has_table(table.name, schema=table.schema):
        return []
    wanted = {frozenset(c.name for c in one.columns) for one in table.constraints if isinstance(one, UniqueConstraint)}
    there = inspector.get_unique_constraints(table.name, schema=table.schema)
    unnamed = [tuple(one["column_names"]) for one in there if one["name"] is None]
    return [one for one in unnamed if frozenset(one) not in wanted]


def name_all(script: MigrationScript, dialect: str) -> None:
    """Name what is added to tables that are there, and what undoing that drops; on SQLite what is dropped as well."""
    if dialect == "sqlite":
        for group in script.upgrade_ops_list:
            group.ops = [part for one in group.ops for part in (*_taken_out(one), one)]
    for groups in (script.upgrade_ops_list, script.downgrade_ops_list):
        for one in (one for group in groups for table in group.ops for one in getattr(table, "ops", ())):
            if isinstance(one, AddConstraintOp | DropConstraintOp) and getattr(one, "constraint_name", "") is None:
                _name(one)


def _taken_out(table: MigrateOperation) -> list[DropUnnamed]:
    """What is dropped from a table and has no name."""
    ops = table.ops if isinstance(table, ModifyTableOps) else []
    found = [one for one in ops if isinstance(one, DropConstraintOp) and one.constraint_name is None]
    ops[:] = [one for one in ops if one not in found]
    dropped: list[Any] = [one.to_constraint() for one in found]
    return [DropUnnamed(one.table, [c.name for c in one.columns], _KINDS[type(one)]) for one in dropped]


def _name(one: Any) -> None:
    constraint = one.to_constraint()
    kind = _KINDS.get(type(constraint))
    name = DropUnnamed(constraint.table, [c.name for c in constraint.columns], kind).name if kind else ""
    one.constraint_name = name if 0 < len(name) <= _LONGEST else None


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
