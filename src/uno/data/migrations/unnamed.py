"""Unique constraints without a name, as SQLModel makes them: on SQLite Alembic does not see that they went."""

from collections.abc import Collection
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import CreateUniqueConstraintOp, MigrateOperation, ModifyTableOps, UpgradeOps
from alembic.runtime.plugins import Plugin
from alembic.util import PriorityDispatchResult
from sqlalchemy import Column, MetaData, Table, UniqueConstraint

PLUGIN = "uno.unnamed"
# What they are called while the table is copied.
_NAMES = {"uq": "uq_%(table_name)s_%(column_0_N_name)s"}


class DropUnnamed(MigrateOperation):
    """Drop the unique constraint of a table that has these columns and no name."""

    def __init__(self, table: Table, columns: tuple[str, ...]) -> None:
        self.table, self.columns = table, columns
        self.name = f"uq_{table.name}_{'_'.join(columns)}"

    def reverse(self) -> MigrateOperation:
        """Without a name it cannot be made again."""
        made = CreateUniqueConstraintOp(self.name, self.table.name, self.columns, schema=self.table.schema)
        return ModifyTableOps(self.table.name, [made], schema=self.table.schema)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        shown = Table(self.table.name, MetaData(), *map(Column, self.columns), schema=self.table.schema)
        return "remove_constraint", UniqueConstraint(*shown.columns, name=self.name)


def _compare(comparing: AutogenContext, upgrade: UpgradeOps, schemas: Collection[str | None]) -> PriorityDispatchResult:
    for table in comparing.sorted_tables:
        if table.schema in schemas and comparing.run_name_filters(table.name, "table", {"schema_name": table.schema}):
            upgrade.ops += [DropUnnamed(table, one) for one in _gone(comparing, table)]
    return PriorityDispatchResult.CONTINUE


def _gone(comparing: AutogenContext, table: Table) -> list[tuple[str, ...]]:
    """The columns of each that is no longer wanted; one of a column that goes is dropped with it."""
    inspector = comparing.inspector
    if not inspector.has_table(table.name, schema=table.schema):
        return []
    wanted = {frozenset(c.name for c in one.columns) for one in table.constraints if isinstance(one, UniqueConstraint)}
    there = inspector.get_unique_constraints(table.name, schema=table.schema)
    unnamed = [tuple(one["column_names"]) for one in there if one["name"] is None]
    return [one for one in unnamed if frozenset(one) not in wanted and set(one) <= {c.name for c in table.columns}]


@renderers.dispatch_for(DropUnnamed)
def _render(_: AutogenContext, drop: DropUnnamed) -> list[str]:
    more = f", schema={drop.table.schema!r}" if drop.table.schema else ""
    return [
        f"with op.batch_alter_table({drop.table.name!r}, naming_convention={_NAMES!r}{more}) as batch_op:",
        f"batch_op.drop_constraint({drop.name!r}, type_='unique')",
        "",
    ]


Plugin(PLUGIN).add_autogenerate_comparator(_compare, "schema", qualifier="sqlite")
