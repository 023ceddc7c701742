"""What is remembered of what clients ask for: the last so many."""

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.dialects.postgresql import asyncpg

from uno.data.changes import Operation
from uno.data.postgres import MAX_TEXTS, PostgresWriter
from uno.data.recent import Recent

NAMES = [f"c{n}" for n in range(12)]


def test_who_was_not_used_for_the_longest_time_makes_room() -> None:
    recent: Recent[str, int] = Recent(2)
    assert recent.get("a") is None
    assert (recent.keep("a", 1), recent.keep("b", 2), recent.get("a"), recent.keep("c", 3)) == (1, 2, 1, 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_what_is_always_used_stays_whatever_else_comes() -> None:
    recent: Recent[int, str] = Recent(100)
    recent.keep(-1, "common")
    for number in range(10_000):
        assert recent.get(number) is None
        recent.keep(number, "odd")
        assert recent.get(-1) == "common"
    assert len(recent) == 100


def test_threads_take_nothing_from_each_other_but_room() -> None:
    recent: Recent[int, int] = Recent(5)

    def use(start: int) -> None:
        for number in range(start, start + 20_000):
            key = number % 11
            assert recent.get(key) in (None, key)
            recent.keep(key, key)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(4)))
    assert len(recent) <= 5


def test_the_writer_keeps_so_many_shapes_and_a_common_one_is_the_same_text() -> None:
    dialect: Any = asyncpg.dialect()
    table = Table("wide", MetaData(), Column("id", Integer, primary_key=True), *(Column(n, Integer) for n in NAMES))
    writer = PostgresWriter(dialect)

    def text(names: tuple[str, ...]) -> str:
        return writer.one_statement([Operation("update", table, "Wide", {"id": 1}, dict.fromkeys(names, 1), {})]).sql

    common = text(("c0",))
    early = text(("c1",))
    odd = [names for count in range(2, 9) for names in combinations(NAMES, count)]
    assert len(odd) > 3_000
    for names in odd:
        text(names)
        assert text(("c0",)) is common
    again = text(("c1",))
    assert again == early
    assert again is not early  # it was forgotten
    assert [len(one) for one in vars(writer).values() if isinstance(one, Recent)] == [MAX_TEXTS, MAX_TEXTS]
