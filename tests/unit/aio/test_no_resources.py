"""What is no resource is refused where it is registered, with what to write instead."""

import gc
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import nan
from typing import Any

import pytest

from uno.aio import AsyncManager, ResourceRegistry, managed_resource
from uno.errors import Misconfigured


class Client:
    async def start(self) -> None: ...

    async def close(self) -> None: ...


async def connect() -> Client:
    return Client()


@asynccontextmanager
async def connected() -> AsyncIterator[Client]:
    yield Client()


def opened() -> None: ...


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (connect, r"is what connect\(\) gives: register\('client', await connect\(…\)\)"),
        (opened, "is None: let what makes it return it"),
        (lambda: Client, r"is what Client\(\) gives: register\('client', Client\(…\)\)"),
        (lambda: connect, r"is what connect\(\) gives: register\('client', connect\(…\)\)"),
        (
            connected,
            r"a _AsyncGeneratorContextManager, is opened and closed by `async with` only: .*start=it.__aenter__",
        ),
    ],
)
async def test_what_is_not_yet_a_resource_is_refused_with_what_to_write(make: Callable[[], Any], text: str) -> None:
    registry = ResourceRegistry()
    with pytest.raises(Misconfigured, match=f"^The resource 'client'.* {text}"):
        await registry.register("client", make())
    with pytest.raises(Misconfigured, match=f"^The resource 'client'.* {text}"):
        async with managed_resource(make(), "client", registry=registry):
            raise AssertionError("it must not come here")
    assert len(registry) == 0


async def test_a_call_that_nobody_awaited_is_not_told_twice() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(Misconfigured):
            await ResourceRegistry().register("client", connect(), close=opened)
        gc.collect()
    assert told == []


async def test_where_it_is_said_how_it_opens_or_closes_it_may_be_anything() -> None:
    story: list[str] = []

    class Entered:
        async def __aenter__(self) -> None:
            story.append("in")

        async def __aexit__(self, *_: object) -> None:
            story.append("out")

    registry, entered = ResourceRegistry(), Entered()
    await registry.register("class", Client, close=lambda: story.append("-class"))
    await registry.register("function", opened, start=lambda: story.append("+function"))
    await registry.register("somebody else's", Client, owned=False)
    await registry.register(
        "entered", entered, start=entered.__aenter__, close=lambda: entered.__aexit__(None, None, None)
    )
    await registry.start()
    await registry.close()
    assert story == ["+function", "in", "out", "-class"]


@pytest.mark.parametrize("wrong", [5, None, [1], {"a": 1, 2: 3}])
async def test_a_dependency_is_a_name(wrong: Any) -> None:
    with pytest.raises(
        Misconfigured, match="depends_on of the resource 'client' is the names of other resources, not "
    ):
        await ResourceRegistry().register("client", Client(), depends_on=wrong)


@pytest.mark.parametrize("wrong", [nan, "1", True, [1]])
async def test_a_number_of_seconds_is_one(wrong: Any) -> None:
    registry, manager = ResourceRegistry(), AsyncManager()
    with pytest.raises(Misconfigured, match="close_timeout of the resource 'client' is a number"):
        await registry.register("client", Client(), close_timeout=wrong)
    with pytest.raises(Misconfigured, match=r"until of close\(\) is a number"):
        await registry.close(until=wrong)
    with pytest.raises(Misconfigured, match="grace of an AsyncManager is a number"):
        manager.request_shutdown(grace=wrong)
    with pytest.raises(Misconfigured, match="grace of an AsyncManager is a number"):
        await manager.shutdown(wrong)
    assert not manager.is_shutting_down()


async def test_a_grace_period_is_not_below_0() -> None:
    manager = AsyncManager()
    with pytest.raises(Misconfigured, match="0 seconds or more"):
        manager.request_shutdown(grace=-1)
    with pytest.raises(Misconfigured, match="0 seconds or more"):
        await manager.shutdown(-1)
