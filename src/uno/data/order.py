"""The order in which operations are written one by one: the handler's, made right for foreign keys."""

from collections import Counter, deque
from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import Table

from uno.data.changes import Operation

E = TypeVar("E")
Pair = tuple[E, Operation]


def for_foreign_keys(pairs: Sequence[Pair[E]]) -> list[Pair[E]]:
    """Rows are added before others refer to them, and deleted after those.

    Where that leaves a choice, and always within one table, the given order is kept.
    """
    tables = list(dict.fromkeys(operation.table for _, operation in pairs))
    parents = {table: [p for p in tables if p is not table and _refers(table, p)] for table in tables}
    if not any(parents.values()):
        return list(pairs)
    children = {table: [c for c in tables if table in parents[c]] for table in tables}
    inserts = Counter(operation.table for _, operation in pairs if operation.kind == "insert")
    waiting = {table: deque(n for n, (_, op) in enumerate(pairs) if op.table is table) for table in tables}
    ordered: list[Pair[E]] = []
    while len(ordered) < len(pairs):
        heads = sorted(queue[0] for queue in waiting.values() if queue)
        free = (n for n in heads if not _blocked(pairs[n][1], waiting, inserts, parents, children))
        chosen = next(free, heads[0])
        operation = pairs[chosen][1]
        waiting[operation.table].popleft()
        inserts[operation.table] -= operation.kind == "insert"
        ordered.append(pairs[chosen])
    return ordered


def _refers(table: Table, other: Table) -> bool:
    return any(key.column.table is other for key in table.foreign_keys)


def _blocked(
    operation: Operation,
    waiting: dict[Table, deque[int]],
    inserts: Counter[Table],
    parents: dict[Table, list[Table]],
    children: dict[Table, list[Table]],
) -> bool:
    """Whether a row it refers to is still to be added, or one that refers to it still to be written."""
    if operation.kind == "delete":
        return any(waiting[child] for child in children[operation.table])
    return any(inserts[parent] for parent in parents[operation.table])
