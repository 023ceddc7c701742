"""The end of a host: whatever happens in it, every module is unloaded and no thread is left."""

import asyncio
import threading
from typing import Any

import pytest

from uno import clock
from uno.errors import Unavailable
from uno.modules import (
    Event,
    EventHandlingError,
    EventInput,
    EventOutput,
    Module,
    ModuleHost,
    ModuleHostConfig,
    handles,
)
from uno.resilience import RetryPolicy

DEADLINE = 20.0


class Work(Event[EventInput, EventOutput]):
    name = "endings.work"


class Working(Module):
    """Blocks its thread until the test lets it fail."""

    def __init__(self) -> None:
        self.working, self.release = threading.Event(), threading.Event()
        self.unloaded = False
        self.fails = False

    def on_unload(self) -> None:
        self.unloaded = True

    @handles(Work)
    def work(self, input: EventInput) -> EventOutput:
        self.working.set()
        if self.fails:
            self.release.wait(DEADLINE)
            raise ValueError("too late")
        return EventOutput()


class Exiting(Module):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_unload(self) -> None:
        raise self.error


class Slow(Module):
    begun = False

    async def on_unload(self) -> None:
        self.begun = True
        await asyncio.Event().wait()


def a_host(*modules: Module, **config: Any) -> ModuleHost:
    host = ModuleHost(ModuleHostConfig(**config))
    for one in modules:
        host.register(one)
    return host


@pytest.fixture(autouse=True)
def forget_others() -> None:
    """The threads of hosts that other tests left to the garbage collector."""
    _others.clear()
    _others.update(threading.enumerate())


_others: set[threading.Thread] = set()


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("uno.module") and one not in _others]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
async def test_a_module_that_exits_while_it_is_unloaded_keeps_no_other_one_loaded(error: BaseException) -> None:
    for at_once in (False, True):
        before, exiting = Working(), Exiting(error)
        host = a_host(before, exiting)
        await host.handle_async(Work(input=EventInput()))
        with pytest.raises(type(error)):
            if at_once:
                host.shutdown()
            else:
                await host.shutdown_async()
        assert (before.unloaded, before.host, exiting.host) == (True, None, None)
        assert host.modules == []
        assert threads() == []


async def test_a_shutdown_that_is_cancelled_unloads_the_others_too() -> None:
    before, slow = Working(), Slow()
    host = a_host(before, slow)
    await host.handle_async(Work(input=EventInput()))
    ending = asyncio.create_task(host.shutdown_async())
    async with clock.timeout(DEADLINE):
        while not slow.begun:
            await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
    assert (before.unloaded, before.host, slow.host, host.modules) == (True, None, None, [])
    assert threads() == []
    a_host(slow)


async def test_a_shutdown_that_is_cancelled_while_it_waits_for_threads_has_closed_them() -> None:
    working = Working()
    working.fails = True
    host = a_host(working)
    event = asyncio.create_task(host.handle_async(Work(input=EventInput())))
    assert await asyncio.to_thread(working.working.wait, DEADLINE)
    ending = asyncio.create_task(host.shutdown_async())
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    working.release.set()
    with pytest.raises(EventHandlingError, match="too late"):
        await event
    await asyncio.to_thread(join)


def join() -> None:
    for one in threads():
        one.join(DEADLINE)
        assert not one.is_alive()


@pytest.mark.parametrize("wait", [True, False])
async def test_an_event_that_is_repeated_after_the_end_gets_no_new_thread(wait: bool) -> None:
    working = Working()
    working.fails = True
    host = a_host(working, retry_policy=RetryPolicy(max_retries=1, base_delay=0))
    event = asyncio.create_task(host.handle_async(Work(input=EventInput())))
    assert await asyncio.to_thread(working.working.wait, DEADLINE)
    ending = asyncio.create_task(host.shutdown_async(wait=wait))
    async with clock.timeout(DEADLINE):
        while host.modules:
            await asyncio.sleep(0)
        await asyncio.to_thread(host.shutdown, wait=False)
        working.release.set()
        await ending
        with pytest.raises(EventHandlingError, match="The host has been shut down") as caught:
            await event
    assert isinstance(caught.value.original_error, Unavailable)
    await asyncio.to_thread(join)


async def test_a_host_that_was_shut_down_begins_again_with_its_next_module() -> None:
    working = Working()
    host = a_host(working)
    for _ in range(2):
        assert (await host.handle_async(Work(input=EventInput()))).handled
        await host.shutdown_async()
        assert threads() == []
        assert not (await host.handle_async(Work(input=EventInput()))).handled
        host.register(working)
    host.shutdown()
