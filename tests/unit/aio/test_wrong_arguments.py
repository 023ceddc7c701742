"""What is written wrongly is named as it was written."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from uno.aio import (
    AsyncLock,
    AsyncSemaphore,
    RestartPolicy,
    TaskGroup,
    TaskManager,
    concurrent_limited,
    in_thread,
    rate_limited,
    retry,
    timeout_handler,
)
from uno.errors import Misconfigured


async def work() -> None:
    return None


async def greet(name: str) -> None:
    return None


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: RestartPolicy(base_delay=-1), "base_delay and max_delay of a RestartPolicy"),
        (lambda: RestartPolicy(exponential_base=0.5), "exponential_base is 1 or more"),
        (lambda: timeout_handler(work), r"@timeout_handler\(5.0\)"),
        (lambda: timeout_handler("5"), "timeout_seconds of timeout_handler"),
        (lambda: timeout_handler(0), "timeout_seconds of timeout_handler"),
        (lambda: rate_limited(work), "@rate_limited needs a rate"),
        (lambda: rate_limited(operations_per_second=0), "operations_per_second of rate_limited"),
        (lambda: rate_limited(5, burst_limit=0), "burst_limit 1 or more, not 5 and 0"),
        (lambda: concurrent_limited(work), "@concurrent_limited needs a number"),
        (lambda: retry(retry_exceptions="ValueError"), "retry_exceptions of retry.. is a class"),
        (lambda: retry(base_delay=-1), "base_delay and max_delay of retry"),
        (
            lambda: AsyncLock("a", scope="database", database="sqlite:///a.db"),
            "Database, not a str: AsyncLock",
        ),
        (lambda: AsyncSemaphore(2, "mail").release(), "This task has no place of .*'mail'"),
    ],
)
def test_what_is_wrong_is_named(make: Callable[[], Any], text: str) -> None:
    async def main() -> None:
        make()

    with pytest.raises(Misconfigured, match=text):
        asyncio.run(main())


async def test_a_thread_does_not_take_what_a_call_gave() -> None:
    with pytest.raises(Misconfigured, match="not its call, which gave 7"):
        await in_thread(int("7"))  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="not its call, which gave <coroutine"):
        await in_thread(work())  # type: ignore[arg-type]


async def test_what_cannot_be_called_again_is_refused_before_it_is_called() -> None:
    async with TaskManager() as manager:
        with pytest.raises(Misconfigured, match="greet cannot be called without arguments .*use functools.partial"):
            manager.create_task(greet, restart=RestartPolicy())  # type: ignore[arg-type]
        assert manager.tasks == []


async def test_a_group_says_what_it_takes() -> None:
    async with TaskGroup("g") as group:
        with pytest.raises(Misconfigured, match="^The task group 'g' takes coroutines"):
            group.create_task(work)  # type: ignore[arg-type]
