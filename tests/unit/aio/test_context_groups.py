"""AsyncContextGroup: what is entered together is left together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from uno.aio import AsyncContextGroup
from uno.errors import Misconfigured


class Things:
    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextlib.asynccontextmanager
    async def one(self, name: str, *, fails: str = "") -> AsyncIterator[str]:
        await asyncio.sleep(0)
        if fails == "entering":
            raise ZeroDivisionError(name)
        self.notes.append(f"+{name}")
        try:
            yield name
        finally:
            self.notes.append(f"-{name}")
            await asyncio.sleep(0)
            if fails == "leaving":
                raise ZeroDivisionError(name)

    @contextlib.contextmanager
    def plain(self, name: str) -> Iterator[str]:
        yield name
        self.notes.append(f"-{name}")


@pytest.fixture
def things() -> Things:
    return Things()


async def test_contexts_are_left_in_reverse(things: Things) -> None:
    group = AsyncContextGroup(things.one("a"), name="both")
    group.add(things.one("b"))
    async with group as entered:
        assert entered is group
        assert group.values == ["a", "b"]
        assert await group.enter_async_context(things.one("c")) == "c"
        assert group.enter_context(things.plain("d")) == "d"
    assert things.notes == ["+a", "+b", "+c", "-d", "-c", "-b", "-a"]


@pytest.mark.parametrize("where", [0, 1, 2])
async def test_what_was_entered_is_left_where_another_one_fails_to_be(things: Things, where: int) -> None:
    made = [things.one(str(n), fails="entering" if n == where else "") for n in range(3)]
    with pytest.raises(ZeroDivisionError):
        async with AsyncContextGroup(*made):
            raise AssertionError
    entered = [str(n) for n in range(where)]
    assert things.notes == [f"+{n}" for n in entered] + [f"-{n}" for n in reversed(entered)]


async def test_all_are_left_where_one_fails_to_be_and_errors_are_chained(things: Things) -> None:
    with pytest.raises(ZeroDivisionError, match="b") as caught:
        async with AsyncContextGroup(things.one("a"), things.one("b", fails="leaving"), things.one("c")):
            raise OSError
    assert isinstance(caught.value.__context__, OSError)
    assert things.notes[3:] == ["-c", "-b", "-a"]


@pytest.mark.parametrize("steps", range(12))
async def test_wherever_it_is_cancelled_all_that_was_entered_is_left(things: Things, steps: int) -> None:
    async def use() -> None:
        async with AsyncContextGroup(things.one("a"), things.one("b")) as group:
            await group.enter_async_context(things.one("c"))
            await asyncio.sleep(0)

    task = asyncio.create_task(use())
    for _ in range(steps):
        await asyncio.sleep(0)
    was_over = task.done()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() is not was_over
    entered = [note[1] for note in things.notes if note[0] == "+"]
    assert [note[1] for note in things.notes if note[0] == "-"] == entered[::-1]


async def test_a_context_that_swallows_the_error_of_another_one_is_told_of() -> None:
    @contextlib.asynccontextmanager
    async def swallows() -> AsyncIterator[None]:
        with contextlib.suppress(ZeroDivisionError):
            yield

    with pytest.raises(Misconfigured, match="swallowed the error of another"):
        async with AsyncContextGroup(swallows(), Things().one("b", fails="entering")):
            raise AssertionError


async def test_use_outside_of_the_block_is_refused(things: Things) -> None:
    group = AsyncContextGroup(name="mail")
    with pytest.raises(Misconfigured, match="'mail' is not entered yet, and nobody would leave"):
        await group.enter_async_context(things.one("a"))
    async with group:
        with pytest.raises(Misconfigured, match="is open; make one for each block"):
            await group.__aenter__()
        with pytest.raises(Misconfigured, match="is open; there write"):
            group.add(things.one("a"))
    with pytest.raises(Misconfigured, match="is closed"):
        await group.enter_async_context(things.one("a"))
    with pytest.raises(Misconfigured, match="is closed"):
        group.enter_context(things.plain("a"))
    assert things.notes == []


async def test_what_is_pushed_is_done_at_the_end_and_refused_where_there_is_none(things: Things) -> None:
    async def leave(*about: Any) -> None:
        things.notes.append("async exit" if about else "async callback")

    def close(*about: Any) -> None:
        things.notes.append("exit" if about else "callback")

    def push_all(group: AsyncContextGroup) -> Iterator[Any]:
        yield lambda: group.push_async_exit(leave)
        yield lambda: group.push(close)
        yield lambda: group.push_async_callback(leave)
        yield lambda: group.callback(close)

    group = AsyncContextGroup()
    for push in push_all(group):
        with pytest.raises(Misconfigured, match="is not entered yet, and nobody would leave"):
            push()
    async with group:
        for push in push_all(group):
            assert push() in (leave, close)
    assert things.notes == ["callback", "async callback", "exit", "async exit"]
    for push in push_all(group):
        with pytest.raises(Misconfigured, match="is closed"):
            push()


@pytest.mark.parametrize(("wrong", "text"), [(5, "not 5"), (contextlib.nullcontext, "not <class"), (None, "not None")])
def test_what_is_no_context_is_refused(wrong: Any, text: str) -> None:
    with pytest.raises(Misconfigured, match=text):
        AsyncContextGroup(wrong)


def test_a_synchronous_context_is_refused_with_the_way_to_enter_it(things: Things) -> None:
    with pytest.raises(Misconfigured, match=r"group\.enter_context"):
        AsyncContextGroup(things.plain("a"))  # type: ignore[arg-type]
