"""Rows are written in the order that foreign keys want."""

from typing import Any

from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table

from uno.data.changes import Operation
from uno.data.order import for_foreign_keys

metadata = MetaData()
parent = Table("parent", metadata, Column("id", Integer, primary_key=True))
child = Table("child", metadata, Column("id", Integer, primary_key=True), Column("p", ForeignKey("parent.id")))


def operations(kind: str, table: Table, ids: range) -> list[tuple[str, Operation]]:
    return [(f"{kind} {table.name} {n}", Operation(kind, table, "", {"id": n}, {}, {})) for n in ids]  # type: ignore[arg-type]


def names(pairs: list[tuple[str, Operation]]) -> list[str]:
    return [name for name, _ in for_foreign_keys(pairs)]


def test_a_parent_is_added_before_its_child_and_deleted_after_it() -> None:
    one = range(1)
    pairs = operations("insert", child, one) + operations("update", parent, one) + operations("insert", parent, one)
    assert names(pairs) == ["update parent 0", "insert parent 0", "insert child 0"]
    pairs = operations("delete", parent, one) + operations("delete", child, one)
    assert names(pairs) == ["delete child 0", "delete parent 0"]
    pairs = operations("insert", child, one) + operations("update", parent, one)
    assert names(pairs) == ["insert child 0", "update parent 0"]


class Watched(Operation):
    """Counts how often any of them is looked at."""

    looks = 0

    def __getattribute__(self, name: str) -> Any:
        Watched.looks += 1
        return super().__getattribute__(name)


def test_many_rows_are_ordered_in_a_time_that_grows_with_their_number() -> None:
    """Looking through all rows that wait took 2.2 s for twice 4,000."""

    def looks(number: int) -> float:
        """For each row, for both orders."""
        kinds = [("insert", child, number), ("update", parent, number), ("insert", parent, 1)]
        pairs = [(kind, Watched(kind, table, "", {}, {}, {})) for kind, table, count in kinds for _ in range(count)]  # type: ignore[arg-type]
        Watched.looks = 0
        assert [name for name, _ in for_foreign_keys(pairs)][-1] == "insert"
        for_foreign_keys([*pairs[number:], *pairs[:number]])
        return Watched.looks / len(pairs)

    assert looks(2_000) < 2 * looks(200)
