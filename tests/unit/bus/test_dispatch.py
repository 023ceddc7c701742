"""Dispatch: one handler, one result, whatever form the handler has."""

import asyncio
import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from uno import context
from uno.bus import Bus, CommandBus, QueryBus, command_handler, query_handler
from uno.context import Context, current
from uno.di import ServiceProvider, scoped, singleton, transient
from uno.errors import Conflict, Misconfigured, NotFound
from uno.messages import Command, Query
from uno.result import Failure, Result, Success


class Say(Command[str]):
    text: str = "hello"


class Ask(Query[str]):
    how: str = ""


class Outer(Command[str]):
    pass


def bus_of(*handlers: object, provider: ServiceProvider | None = None, **options: Any) -> Bus:
    return Bus(handlers, provider=provider, **options)


# ── results ──


@query_handler(Ask)
async def answer(message: Ask) -> Result[str]:
    match message.how:
        case "success":
            return Success("yes")
        case "failure":
            return Failure(NotFound("answer", 1))
        case "foreign failure":
            return Failure(ValueError("odd"))
        case "raise":
            raise Conflict("already answered")
        case "bug":
            raise ZeroDivisionError("by zero")
        case "misconfigured":
            raise Misconfigured("no oracle")
    return message.how or None  # type: ignore[return-value]


@pytest.mark.parametrize("how", ["plain", "success"])
async def test_a_value_and_a_success_both_become_a_success(how: str) -> None:
    result = await bus_of(answer).dispatch(Ask(how=how))
    assert result == Success("yes" if how == "success" else "plain")


async def test_nothing_is_a_success_too() -> None:
    assert await bus_of(answer).dispatch(Ask()) == Success(None)


@pytest.mark.parametrize(("how", "kind"), [("failure", NotFound), ("raise", Conflict), ("foreign failure", ValueError)])
@pytest.mark.parametrize("middlewares", [0, 2])
async def test_a_returned_failure_and_a_raised_error_of_the_tree_become_a_failure(
    how: str, kind: type[Exception], middlewares: int
) -> None:
    result = await bus_of(answer, middleware=[passing] * middlewares).dispatch(Ask(how=how))
    assert isinstance(result, Failure)
    assert isinstance(result.error, kind)


async def passing(message: Any, call_next: Callable[[Any], Any]) -> Any:
    return await call_next(message)


@pytest.mark.parametrize(("how", "kind"), [("bug", ZeroDivisionError), ("misconfigured", Misconfigured)])
@pytest.mark.parametrize("middlewares", [0, 2])
async def test_a_bug_is_raised_and_never_a_failure(how: str, kind: type[Exception], middlewares: int) -> None:
    with pytest.raises(kind):
        await bus_of(answer, middleware=[passing] * middlewares).dispatch(Ask(how=how))


async def test_a_message_that_nobody_handles_is_a_wrong_program() -> None:
    with pytest.raises(Misconfigured, match=r"^Nothing handles Say; give the bus its handler\.$"):
        await bus_of(answer).dispatch(Say())
    with pytest.raises(Misconfigured, match="Nothing handles Say"):
        await Bus().dispatch(Say())


async def test_a_handler_is_for_its_own_message_and_not_for_those_below() -> None:
    class Shout(Say):
        pass

    with pytest.raises(Misconfigured, match="Nothing handles Shout"):
        await bus_of(echo).dispatch(Shout())


# ── forms of handlers ──


@command_handler(Say)
async def echo(message: Say) -> str:
    return message.text


@singleton
class Register:
    def __init__(self) -> None:
        self.used = 0


@scoped
class Basket:
    def __init__(self, register: Register) -> None:
        self.register = register


@singleton
@command_handler(Say)
class SayIt:
    def __init__(self, register: Register) -> None:
        self.register = register

    async def handle(self, message: Say) -> str:
        self.register.used += 1
        return f"{id(self)}"


async def test_a_class_without_scoped_needs_is_made_once_when_the_bus_starts() -> None:
    provider = ServiceProvider([Register])
    bus = bus_of(SayIt, provider=provider)
    await bus.start()
    assert await bus.dispatch(Say()) == await bus.dispatch(Say())
    assert (await provider.get(Register)).used == 2


@dataclass
class Seen:
    baskets: list[Basket]
    handlers: list[object]


@singleton
@command_handler(Say)
class FillBasket:
    """Marked a singleton, yet it needs something scoped."""

    def __init__(self, basket: Basket, register: Register) -> None:
        self.basket = basket

    async def handle(self, message: Say, other: Basket, seen: Seen) -> str:
        assert other is self.basket
        seen.baskets.append(self.basket)
        seen.handlers.append(self)
        return "filled"


async def test_what_is_scoped_is_fresh_for_each_message_and_one_within_it() -> None:
    seen = Seen([], [])
    bus = bus_of(FillBasket, provider=ServiceProvider([Register, Basket, given(seen)]))
    for _ in range(2):
        assert await bus.dispatch(Say()) == Success("filled")
    assert len(set(map(id, seen.baskets))) == len(set(map(id, seen.handlers))) == 2
    assert len({id(basket.register) for basket in seen.baskets}) == 1


async def test_a_singleton_handler_that_is_made_for_each_message_is_noted_at_start_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="uno.bus"):
        await bus_of(FillBasket, provider=ServiceProvider([Register, Basket, given(Seen([], []))])).start()
    assert [r.getMessage() for r in caplog.records] == [
        "FillBasket is a singleton, but needs something scoped: it is made for each message"
    ]


class Ticket:
    """A new one wherever it is asked for."""


async def test_a_transient_is_made_for_each_message() -> None:
    tickets: list[Ticket] = []

    @command_handler(Say)
    async def say(message: Say, ticket: Ticket) -> str:
        tickets.append(ticket)
        return "said"

    bus = bus_of(say, provider=ServiceProvider([transient(Ticket)]))
    for _ in range(2):
        await bus.dispatch(Say())
    assert tickets[0] is not tickets[1]


def given(instance: object) -> Any:
    from uno.di import value

    return value(instance)


async def test_a_function_gets_what_it_asks_for_beside_the_message() -> None:
    @command_handler(Say)
    async def fill(message: Say, register: Register, basket: Basket, note: str = "none", times: int = 2) -> str:
        assert basket.register is register
        return f"{message.text} {note} {times}"

    bus = bus_of(fill, provider=ServiceProvider([Register, Basket]))
    assert await bus.dispatch(Say()) == Success("hello none 2")


async def test_what_is_scoped_is_closed_when_the_message_is_done_however_it_ends() -> None:
    ends: list[str] = []

    class Session:
        pass

    @scoped(provides=Session)
    async def session() -> AsyncIterator[Session]:
        try:
            yield Session()
            ends.append("well")
        except BaseException as error:
            ends.append(type(error).__name__)
            raise
        finally:
            ends.append("closed")

    @query_handler(Ask)
    async def use(message: Ask, held: Session) -> str:
        return str(await answer(message))

    bus = bus_of(use, provider=ServiceProvider([session]))
    await bus.dispatch(Ask(how="fine"))
    assert (await bus.dispatch(Ask(how="raise"))).is_failure
    with pytest.raises(ZeroDivisionError):
        await bus.dispatch(Ask(how="bug"))
    assert ends == ["well", "closed", "Conflict", "closed", "ZeroDivisionError", "closed"]


async def test_a_handler_may_ask_for_the_context() -> None:
    @query_handler(Ask)
    async def who(message: Ask, ambient: Context) -> str:
        return ambient.correlation_id

    @command_handler(Say)
    class Who:
        def __init__(self, ambient: Context) -> None:
            self.ambient = ambient

        async def handle(self, message: Say, again: Context) -> str:
            assert again is self.ambient
            return self.ambient.correlation_id

    bus = bus_of(who, Who, provider=ServiceProvider([], ambient={Context: current}))
    for correlation_id in ("a", "b"):
        with context.use(Context(correlation_id)):
            assert await bus.dispatch(Ask()) == Success(correlation_id)
            assert await bus.dispatch(Say()) == Success(correlation_id)


async def test_one_function_may_handle_two_messages() -> None:
    @command_handler(Say)
    @query_handler(Ask)
    async def both(message: Any) -> str:
        return type(message).__name__

    bus = bus_of(both)
    assert await bus.dispatch(Say()) == Success("Say")
    assert await bus.dispatch(Ask()) == Success("Ask")


async def test_a_decorator_around_a_handler_is_not_bypassed() -> None:
    def loudly(handler: Any) -> Any:
        @functools.wraps(handler)
        async def wrapper(*args: Any, **given: Any) -> str:
            return str(await handler(*args, **given)).upper()

        return wrapper

    @command_handler(Say)
    async def quiet(message: Say) -> str:
        return message.text

    assert await bus_of(loudly(quiet)).dispatch(Say()) == Success("HELLO")


async def test_marking_leaves_functions_and_classes_as_they_are() -> None:
    assert await echo(Say(text="direct")) == "direct"
    assert await SayIt(Register()).handle(Say())


async def test_a_handler_below_a_handler_class_does_not_inherit_its_message() -> None:
    class More(SayIt):
        pass

    with pytest.raises(Misconfigured, match="unmarked handler: More"):
        await bus_of(More, provider=ServiceProvider([Register])).start()


# ── nested ──


@pytest.mark.parametrize("how", ["plain", "failure", "raise"])
async def test_a_handler_dispatches_through_the_bus_it_asks_for(how: str) -> None:
    @command_handler(Outer)
    class Nest:
        def __init__(self, queries: QueryBus) -> None:
            self.queries = queries

        async def handle(self, message: Outer, commands: CommandBus) -> str:
            said = (await commands.dispatch(Say())).unwrap()
            return said + (await self.queries.dispatch(Ask(how=how))).unwrap_or("?")

    result = await bus_of(Nest, echo, answer).dispatch(Outer())
    assert result == Success("helloplain" if how == "plain" else "hello?")


async def test_an_unwrapped_inner_failure_is_the_outer_failure() -> None:
    @command_handler(Outer)
    async def nest(message: Outer, bus: Bus) -> str:
        return (await bus.dispatch(Ask(how="failure"))).unwrap()

    result = await bus_of(nest, answer).dispatch(Outer())
    assert isinstance(result.error, NotFound)


async def test_a_bug_inside_a_nested_message_is_a_bug_of_the_outer_one() -> None:
    @command_handler(Outer)
    async def nest(message: Outer, bus: Bus) -> Result[str]:
        return await bus.dispatch(Ask(how="bug"))

    with pytest.raises(ZeroDivisionError):
        await bus_of(nest, answer).dispatch(Outer())


# ── concurrency ──


async def test_many_first_messages_at_once_start_the_bus_once() -> None:
    made: list[object] = []

    class Slow:
        pass

    @singleton(provides=Slow)
    async def slow() -> Slow:
        await asyncio.sleep(0)
        made.append(Slow())
        return made[-1]  # type: ignore[return-value]

    class Mine:
        def __init__(self, held: Slow) -> None:
            made.append("handler")

        async def handle(self, message: Say) -> str:
            return "ok"

    bus = bus_of(command_handler(Say)(Mine), provider=ServiceProvider([slow]))
    assert await asyncio.gather(*(bus.dispatch(Say()) for _ in range(20))) == [Success("ok")] * 20
    assert len(made) == 2


async def test_who_gives_up_waiting_for_the_start_does_not_stop_the_others() -> None:
    go = asyncio.Event()

    class Slow:
        pass

    @singleton(provides=Slow)
    async def slow() -> Slow:
        await go.wait()
        return Slow()

    @command_handler(Say)
    async def wait(message: Say, held: Slow) -> str:
        return "ok"

    bus = bus_of(wait, provider=ServiceProvider([slow]))
    first, second = (asyncio.create_task(bus.dispatch(Say())) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    go.set()
    assert await second == Success("ok")


def test_a_bus_works_in_one_event_loop_after_another() -> None:
    bus = bus_of(echo)
    for _ in range(2):
        assert asyncio.run(dispatched(bus)) == Success("hello")


async def dispatched(bus: Bus) -> Result[str]:
    return await bus.dispatch(Say())


async def test_a_bus_that_is_started_twice_has_each_handler_once() -> None:
    bus = bus_of(echo)
    await bus.start()
    await bus.start()
    assert await bus.dispatch(Say()) == Success("hello")


@pytest.mark.parametrize("middlewares", [0, 2])
async def test_a_cancelled_message_is_cancelled(middlewares: int) -> None:
    @command_handler(Say)
    async def hang(message: Say) -> str:
        started.set()
        await asyncio.Event().wait()
        return "never"

    started = asyncio.Event()
    task = asyncio.create_task(bus_of(hang, middleware=[passing] * middlewares).dispatch(Say()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# ── alone ──

TEN_LINES = """\
import asyncio
from uno.bus import Bus, command_handler
from uno.messages import Command
class Greet(Command[str]):
    whom: str
@command_handler(Greet)
async def greet(message: Greet) -> str:
    return f"Hello, {message.whom}!"
bus = Bus([greet])
print(asyncio.run(bus.dispatch(Greet(whom="Ada"))))
"""


def test_a_bus_alone_takes_ten_lines_without_database_or_app() -> None:
    assert len(TEN_LINES.splitlines()) == 10
    foreign = "{'uno.app', 'uno.data', 'fastapi', 'sqlalchemy'}"
    program = f"{TEN_LINES}\nimport sys; print(sorted({foreign} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["Success('Hello, Ada!')", "[]"]
