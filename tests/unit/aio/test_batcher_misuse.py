"""What a batcher cannot be made of, and what its operation may not do."""

import functools
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from tests.unit.aio.test_batcher import Work

from uno.aio import AsyncBatcher, BatchMismatch
from uno.errors import Misconfigured


def test_an_operation_written_with_def_is_refused_before_it_does_anything() -> None:
    class Store:
        def insert(self, rows: list[int]) -> list[int]:
            raise AssertionError

    def insert(table: str, rows: list[int]) -> list[int]:
        raise AssertionError

    for sync in (insert, partial(insert, "rows"), Store().insert):
        with pytest.raises(Misconfigured, match=r"insert.* is none: write `async def`"):
            AsyncBatcher(sync)  # type: ignore[arg-type]


async def test_an_operation_may_be_whatever_gives_something_to_await() -> None:
    class Store:
        async def insert(self, table: str, rows: list[int]) -> list[int]:
            return rows

    @functools.wraps(Store.insert)
    def wrapper(table: str, rows: list[int]) -> Any:
        return Store().insert(table, rows)

    for operation in (partial(Store().insert, "rows"), partial(wrapper, "rows"), lambda rows: Work()(rows), Work()):
        assert await AsyncBatcher(operation, max_wait_time=0).add_item(1) in (1, 10)
    with pytest.raises(BatchMismatch, match="has run, and returned a list that nobody can await"):
        await AsyncBatcher(lambda rows: rows, max_wait_time=0).add_item(1)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"batch_operation": 3}, "batch_operation"),
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"max_batch_size": 1.5}, "whole number"),
        ({"max_wait_time": -1}, "max_wait_time"),
        ({"max_wait_time": float("inf")}, "max_wait_time"),
        ({"max_wait_time": "1"}, "max_wait_time"),
        ({"key": "id"}, "key"),
        ({"max_pending": 0}, "max_pending"),
        ({"max_concurrency": True}, "max_concurrency"),
    ],
)
def test_what_it_cannot_be_made_of_is_named(wrong: dict[str, Any], says: str) -> None:
    async def echo(items: list[int]) -> list[int]:
        return items

    with pytest.raises(Misconfigured, match=says):
        AsyncBatcher(**{"batch_operation": echo, **wrong})


@pytest.mark.parametrize("seconds", ["1", float("nan"), -1, True])
async def test_a_time_that_nobody_can_wait_is_refused_before_anything_ends(seconds: Any) -> None:
    batcher = AsyncBatcher(Work(), name="rows")
    waiting = batcher.submit(1)
    for end in (batcher.flush, batcher.aclose):
        with pytest.raises(Misconfigured, match="^timeout of the batcher rows is "):
            await end(seconds)
    assert batcher.pending == 1
    await batcher.aclose()
    assert await waiting == 10


async def test_an_operation_that_waits_for_its_own_batcher_is_told_so() -> None:
    async def nested(items: list[int]) -> Sequence[int]:
        return [await batcher.add_item(item + 1) for item in items]

    batcher: AsyncBatcher[int, int] = AsyncBatcher(nested, max_wait_time=0, name="tree")
    with pytest.raises(Misconfigured, match="tree waits for the same batcher"):
        await batcher.add_item(1)

    async def closes(items: list[int]) -> Sequence[int]:
        await closed.aclose()
        return items

    closed: AsyncBatcher[int, int] = AsyncBatcher(closes, max_wait_time=0, name="end")
    with pytest.raises(Misconfigured, match="end waits for the same batcher"):
        await closed.add_item(1)
