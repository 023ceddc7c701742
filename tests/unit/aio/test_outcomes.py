"""An error that many wait for is each one's own: what one of them does to it is nothing to the others."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.steered import Skipping, settled

from uno import clock, context
from uno.aio import AsyncBatcher, AsyncCache, retry
from uno.aio.outcomes import twin
from uno.errors import Invalid, NotFound, Unavailable
from uno.result import Failure

Ask = Callable[[], Awaitable[Any]]
Source = Callable[[], Awaitable[Any]]


def of_a_cache(source: Source) -> Ask:
    async def load(key: str) -> Any:
        await settled()
        return await source()

    cache = AsyncCache(60.0, load_timeout=None)
    return lambda: cache.get("key", load)


def of_a_batch(source: Source) -> Ask:
    async def work(items: list[int]) -> list[Any]:
        return [await source()] * len(items)

    batcher = AsyncBatcher(work, max_wait_time=0)
    return lambda: batcher.add_item(1)


def of_an_item(source: Source) -> Ask:
    async def work(items: list[int]) -> list[Any]:
        try:
            return [await source()]
        except Exception as error:
            return [error]

    batcher = AsyncBatcher(work, max_wait_time=0, key=lambda item: item)
    return lambda: batcher.add_item(1)


SHARED = pytest.mark.parametrize("shared", [of_a_cache, of_a_batch, of_an_item])
Shared = Callable[[Source], Ask]


def once(error: Exception, *, told: bool = False) -> Source:
    """Fails the first time, with an error that is raised or given in a `Failure`."""
    left = [error]

    async def source() -> Any:
        if not left:
            return "value"
        if told:
            return Failure(left.pop())
        raise left.pop()

    return source


@pytest.mark.parametrize(
    ("shared", "told"),
    [(of_a_cache, False), (of_a_batch, False), (of_an_item, False), (of_a_cache, True), (of_an_item, True)],
)
async def test_a_caller_without_time_for_retries_takes_them_from_nobody(shared: Shared, told: bool) -> None:
    ask = shared(once(ConnectionError("once"), told=told))

    @retry(max_attempts=3, base_delay=30.0, budget=None, jitter=False)
    async def patient() -> Any:
        return await ask()

    async def hasty() -> Any:
        with context.use(context.Context(deadline=clock.monotonic() + 10.0)):
            return await patient()

    with clock.use(Skipping()):
        async with asyncio.timeout(30):
            first, second = await asyncio.gather(hasty(), patient(), return_exceptions=True)
    assert isinstance(first.error if isinstance(first, Failure) else first, ConnectionError)
    assert second == "value"


@SHARED
async def test_what_a_policy_further_inside_has_repeated_is_still_not_repeated(shared: Shared) -> None:
    calls: list[int] = []

    async def broken() -> Any:
        calls.append(1)
        raise Unavailable("away")

    inside = retry(max_attempts=2, base_delay=0, budget=None)(broken)
    ask = shared(inside)

    @retry(max_attempts=3, base_delay=0, budget=None)
    async def outside() -> Any:
        return await ask()

    with clock.use(Skipping()):
        async with asyncio.timeout(30):
            found = await asyncio.gather(outside(), outside(), return_exceptions=True)
    assert [type(one) for one in found] == [Unavailable] * 2
    assert len(calls) == 2


@SHARED
async def test_notes_of_one_caller_are_not_those_of_another(shared: Shared) -> None:
    ask = shared(once(ValueError("bad")))

    async def noting(name: str) -> list[str]:
        try:
            await ask()
        except ValueError as error:
            error.add_note(name)
            return error.__notes__
        raise AssertionError

    async with asyncio.timeout(30):
        assert await asyncio.gather(noting("a"), noting("b")) == [["a"], ["b"]]


async def test_notes_on_an_absence_that_is_remembered_are_not_kept() -> None:
    async def absent(key: str) -> str:
        error = NotFound("fruit", key)
        error.add_note("of the loader")
        raise error

    cache = AsyncCache(60.0, negative_ttl=60.0)
    for turn in range(3):
        with pytest.raises(NotFound) as caught:
            await cache.get("fig", absent)
        assert caught.value.__notes__ == ["of the loader"]
        caught.value.add_note(f"of caller {turn}")


class OfOnesOwn(ConnectionError):
    """Its signature is not that of its arguments, and not all of it is in its dictionary."""

    __slots__ = ("host",)

    def __init__(self, host: str, *, port: int) -> None:
        super().__init__(111, f"nobody listens at {host}:{port}")
        self.host, self.port = host, port


class Told(BaseModel):
    number: int


ERRORS: list[Callable[[], object]] = [
    lambda: Path("/there/is/no/such/file").stat(),
    lambda: b"\xff".decode(),
    lambda: json.loads("{"),
    lambda: compile("a b", "file", "exec"),
    lambda: __import__("there_is_no_such_module"),
    lambda: raised(OfOnesOwn("fig", port=7)),
    lambda: raised(ExceptionGroup("two", [ValueError(1), KeyError(2)])),
    lambda: raised(NotFound("fruit", "fig")),
    lambda: raised(Invalid.field("name", "It is too long.")),
]


def raised(error: Exception) -> None:
    try:
        raise KeyError("before")
    except KeyError as cause:
        raise error from cause


def caught(call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("call", ERRORS)
def test_a_twin_is_the_same_error_in_another_object(call: Callable[[], object]) -> None:
    error = caught(call)
    error.add_note("a note")
    made = twin(error)
    assert made is not error
    assert type(made) is type(error)
    assert (str(made), repr(made), made.args) == (str(error), repr(error), error.args)
    assert vars(made) == vars(error)
    for name in ("errno", "filename", "lineno", "start", "name", "host", "port", "exceptions"):
        assert getattr(made, name, None) == getattr(error, name, None)
    for name in ("__cause__", "__context__", "__suppress_context__", "__traceback__"):
        assert getattr(made, name) is getattr(error, name)


def test_an_error_that_nobody_can_make_is_given_to_all() -> None:
    error = caught(lambda: Told.model_validate({"number": "one"}))
    assert twin(error) is error
