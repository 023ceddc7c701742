"""ModuleHost: registration, routing, and modules that come and go."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.unit.modules.greetings import Asked, Greet, Greeter, GreetInput, GreetOutput, Later, Wave, a_host, greet

from uno.modules import (
    Event,
    Module,
    ModuleHost,
    ModuleHostConfig,
    ModuleRegistrationError,
    handles,
    module,
)
from uno.result import Failure, Success

DEADLINE = 20.0

# ── registration ──


def test_registering_can_be_chained_and_sets_the_host() -> None:
    one, two = Asked(), Asked()
    host = ModuleHost(ModuleHostConfig())
    assert host.register(one).register(two) is host
    assert (one.host, two.host, host.modules) == (host, host, [one, two])
    host.modules.clear()
    assert len(host.modules) == 2


def test_unregistering_clears_the_host_and_ignores_strangers() -> None:
    one = Greeter()
    host = a_host(one)
    assert host.unregister(one).unregister(one).unregister(Asked()) is host
    assert one.host is None
    assert host.modules == []
    assert not host.handle(greet()).handled


def test_on_load_runs_with_the_host_set() -> None:
    seen = []

    class Loading(Module):
        def on_load(self) -> None:
            seen.append(self.host)

    host = a_host(Loading())
    assert seen == [host]


def test_a_failed_on_load_is_rolled_back() -> None:
    class Broken(Greeter):
        def on_load(self) -> None:
            raise ValueError("no disk")

    broken, host = Broken(), a_host()
    with pytest.raises(ModuleRegistrationError, match="no disk") as caught:
        host.register(broken)
    assert isinstance(caught.value.__cause__, ValueError)
    assert (broken.host, host.modules, host.can_handle(greet())) == (None, [], False)


def test_an_asynchronous_on_load_is_run_where_there_is_no_loop() -> None:
    class Loading(Module):
        loaded = 0

        async def on_load(self) -> None:
            await asyncio.sleep(0)
            self.loaded += 1

        async def on_unload(self) -> None:
            await asyncio.sleep(0)
            self.loaded -= 1

    loading = Loading()
    host = a_host(loading)
    assert loading.loaded == 1
    host.shutdown()
    assert loading.loaded == 0


async def test_an_asynchronous_on_load_in_a_loop_has_to_be_awaited() -> None:
    class Loading(Module):
        loaded = False

        async def on_load(self) -> None:
            await asyncio.sleep(0)
            self.loaded = True

    loading, host = Loading(), a_host()
    with pytest.raises(ModuleRegistrationError, match=r"await host\.register_async"):
        host.register(loading)
    await host.register_async(loading)
    assert loading.loaded
    assert host.modules == [loading]
    await host.shutdown_async()
    assert host.modules == []


def test_errors_of_on_unload_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Module):
        def on_unload(self) -> None:
            raise ValueError("stuck")

    broken = Broken()
    a_host(broken).unregister(broken)
    assert broken.host is None
    assert "stuck" in caplog.text


def test_the_log_tells_what_was_registered_dispatched_and_shut_down(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        host = a_host(Greeter(), log_level="DEBUG")
        host.handle(greet())
        host.shutdown()
    told = {(record.levelname, record.getMessage()) for record in caplog.records if record.name == "uno.modules"}
    assert ("INFO", "Registered module Greeter") in told
    assert ("DEBUG", "Dispatching event test.greet") in told
    assert ("INFO", "Unregistered module Greeter") in told
    assert any(level == "INFO" and "Shutting down" in text for level, text in told)


def test_two_modules_that_declare_one_event_are_an_error() -> None:
    host = a_host(Greeter())
    with pytest.raises(ModuleRegistrationError, match="Greeter and later both declare Greet; let one of them"):
        host.register(Later())
    assert len(host.modules) == 1


def test_one_instance_is_registered_once() -> None:
    one = Greeter()
    host = a_host(one)
    with pytest.raises(ModuleRegistrationError, match="Greeter is registered already"):
        host.register(one)


def test_what_only_an_application_injects_is_refused() -> None:
    class Needy(Module):
        @handles(Greet)
        def greet(self, input: GreetInput, clock: float) -> GreetOutput: ...

    with pytest.raises(ModuleRegistrationError, match=r"Needy\.greet asks for clock, which only an App injects"):
        a_host(Needy())


def test_a_module_that_can_handle_needs_a_handle() -> None:
    class Half(Module):
        def can_handle(self, event: Event[Any, Any]) -> bool:
            return True

    class Listed(Module):
        events = [Greet]

    with pytest.raises(ModuleRegistrationError, match="half says what it can handle, but has no handle"):
        a_host(Half())
    with pytest.raises(ModuleRegistrationError, match="nothing handles it"):
        a_host(Listed())


def test_modules_are_found_by_class_and_by_name() -> None:
    one = Greeter()
    host = a_host(one)
    assert host.get_module(Greeter) is one
    assert host.get_module(Module) is one
    assert host.get_module(Later) is None
    assert host.get_module_by_name("Greeter") is one
    assert host.get_module_by_name("nobody") is None


# ── routing ──


def test_a_declared_event_is_answered_and_given_back() -> None:
    event = greet("Bob")
    assert a_host(Greeter()).handle(event) is event
    assert (event.handled, event.output) == (True, GreetOutput("Hello, Bob!"))


def test_a_subclass_of_a_declared_event_is_handled_too() -> None:
    class Louder(Greet):
        pass

    host = a_host(Greeter())
    assert host.can_handle(Louder())
    assert host.handle(Louder(input=GreetInput("Cy"))).output == GreetOutput("Hello, Cy!")


def test_modules_that_have_to_be_asked_are_asked_in_their_order_until_one_handles() -> None:
    shy, first, second = Asked("shy", handled=False), Asked("first"), Asked("second")
    event = a_host(shy, first, second).handle(greet())
    assert event.output == GreetOutput("first")
    assert (shy.calls, first.calls, second.calls) == (1, 1, 0)


def test_the_module_that_declares_an_event_goes_first_and_its_guard_may_pass_it_on() -> None:
    class Picky(Greeter):
        def can_handle(self, event: Event[Any, Any]) -> bool:
            return bool(event.input.name == "Ann")

    host = a_host(Asked("asked"), Picky())
    assert host.handle(greet("Ann")).output == GreetOutput("Hello, Ann!")
    assert host.handle(greet("Bob")).output == GreetOutput("asked")


def test_a_listed_event_goes_to_handle() -> None:
    class Listed(Module):
        events = [Greet]

        def handle(self, event: Event[Any, Any]) -> None:
            event.output = GreetOutput("listed")
            event.handled = event.input.name == "Ann"

    host = a_host(Listed())
    assert host.handle(greet("Ann")).handled
    assert not host.handle(greet("Bob")).handled


def test_nobody_handles_what_nobody_knows() -> None:
    event = a_host(Greeter()).handle(Wave(input=GreetInput()))
    assert (event.handled, event.output) == (False, None)


def test_a_method_may_give_a_result() -> None:
    class Careful(Module):
        @handles(Greet)
        def greet(self, input: GreetInput) -> Success[GreetOutput] | Failure:
            return Success(GreetOutput("ok")) if input.name else Failure(ValueError("no name"))

    host = a_host(Careful(), propagate_exceptions=False)
    assert host.handle(greet()).output == GreetOutput("ok")
    assert not host.handle(greet("")).handled


def test_modules_may_come_and_go_while_events_are_handled() -> None:
    host, stop = a_host(Greeter(), propagate_exceptions=True), threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            other = Asked()
            host.register(other).unregister(other)

    with ThreadPoolExecutor(4) as pool:
        moving = pool.submit(come_and_go)
        done = [pool.submit(lambda: [host.handle(greet()).handled for _ in range(200)]) for _ in range(3)]
        assert all(all(one.result(DEADLINE)) for one in done)
        stop.set()
        moving.result(DEADLINE)
    assert host.events_in_progress == []


def test_the_name_of_a_module_stays_on_its_line(caplog: pytest.LogCaptureFixture) -> None:
    @module(name="shop\r\nERROR paid in full\x1b[2J\u202e")
    class Shop(Module):
        pass

    caplog.set_level(logging.INFO, "uno.modules")
    with ModuleHost() as host:
        host.register(Shop())
    told = [one.getMessage() for one in caplog.records]
    assert r"Registered module shop\r\nERROR paid in full\x1b[2J\u202e" in told
    assert all(text.isprintable() for text in told)
