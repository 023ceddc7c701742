"""Arguments of an `App` that could not work are refused before the first message."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column

from uno.app import App, Module, Route
from uno.bus import command_handler, event_handler, per_message
from uno.data import Model, Repository
from uno.di import transient
from uno.domain import AggregateRoot
from uno.errors import Misconfigured
from uno.messages import Command, DomainEvent
from uno.modules import ModuleHost, ModuleHostConfig
from uno.resilience import CircuitBreaker, Fallback, RateLimiter, RetryPolicy, Timeout
from uno.result import Failure


class Do(Command[str]):
    pass


@command_handler(Do)
async def do(command: Do) -> str:
    return "done"


async def generator(app: App) -> AsyncIterator[None]:
    yield


async def coroutine(app: App) -> None:
    pass


def wrong(value: object) -> Any:
    """What a type checker would refuse."""
    return cast(Any, value)


def with_middleware(*given: object) -> Callable[[], App]:
    return lambda: App(Module("m", handlers=[do]), middleware=wrong(given))


def of_a_handler(given: object) -> App:
    @command_handler(Do, middleware=[wrong(given)])
    async def handler(command: Do) -> str:
        return "done"

    return App(Module("m", handlers=[handler]))


class Own:
    async def __call__(self, message: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        return await call_next(message)

    async def method(self, message: Any, call_next: Callable[[Any], Awaitable[Any]], *, more: int = 1) -> Any:
        return await call_next(message)

    async def lonely(self, message: Any) -> Any:
        return message


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "a generator": (lambda: App(lifespan=wrong(generator)), "wrong lifespan: generator\n.*@asynccontextmanager above"),
    "a coroutine": (lambda: App(lifespan=wrong(coroutine)), "let it `yield`, and write @asynccontextmanager above"),
    "no function": (lambda: App(lifespan=wrong("x")), "lifespan is a function of the application"),
    "a dict": (lambda: App(host=wrong({"max_workers": 2})), "host takes a ModuleHostConfig, not dict: "),
    "a host": (lambda: App(host=wrong(ModuleHost())), "host takes a ModuleHostConfig, not ModuleHost: "),
    "a class": (lambda: App(host=wrong(ModuleHostConfig)), "host takes a ModuleHostConfig, not ModuleHostConfig: "),
    "one middleware": (lambda: App(middleware=wrong(Own().method)), r"write middleware=\[Own.method\]"),
    "a breaker": (with_middleware(CircuitBreaker("x")), "CircuitBreaker is no middleware.*put `.middleware` behind it"),
    "a retry": (with_middleware(RetryPolicy()), "RetryPolicy is no middleware.*put `.middleware` behind it"),
    "a limit": (with_middleware(RateLimiter(rate=1)), "RateLimiter is no middleware.*put `.middleware` behind it"),
    "a fallback": (with_middleware(Fallback(lambda: 1)), "Fallback is no middleware.*put `.middleware` behind it"),
    "of a handler": (lambda: of_a_handler(Timeout(1)), "wrong middleware: handler\n.*put `.middleware`"),
    "middleware class": (with_middleware(Own), r"Own is a class; make one of it: Own\(\.\.\.\)"),
    "without the next": (
        with_middleware(Own().lonely),
        r"Own.lonely is no middleware; it has the form `async def midd",
    ),
    "a text": (with_middleware("x"), "str is no middleware; it has the form"),
    "a factory": (with_middleware(per_message(wrong(5))), "per_message takes a function of the class of a message"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_could_not_work_is_refused_with_the_cure(name: str) -> None:
    make, sentence = MISTAKES[name]
    with pytest.raises(Misconfigured, match=sentence):
        make()


def test_all_wrong_middleware_is_told_at_once() -> None:
    with pytest.raises(Misconfigured) as raised:
        with_middleware(CircuitBreaker("x"), Own)()
    assert [problem.kind for problem in raised.value.problems] == ["wrong middleware"] * 2


async def test_what_a_factory_makes_is_looked_at_before_the_first_message() -> None:
    app = with_middleware(per_message(lambda message: wrong(CircuitBreaker(message.__name__))))()
    with pytest.raises(Misconfigured, match="made this for Do: CircuitBreaker is no middleware.*put `.middleware`"):
        async with app:
            pass


@pytest.mark.parametrize(
    "given",
    [
        Own(),
        Own().method,
        partial(Own().method, more=2),
        CircuitBreaker("x").middleware,
        per_message(lambda message: Own()),
        per_message(lambda message: None),
    ],
)
async def test_all_that_can_be_called_with_a_message_and_the_next_is_middleware(given: Any) -> None:
    async with with_middleware(given)() as app:
        assert (await app.bus.dispatch(Do())).unwrap() == "done"
    async with of_a_handler(given) as app:
        assert (await app.bus.dispatch(Do())).unwrap() == "done"


async def test_a_lifespan_in_its_right_form_is_taken() -> None:
    async with App(lifespan=asynccontextmanager(generator)):
        pass


# ── not started ──


class Note(AggregateRoot[str]):
    def __init__(self, id: str) -> None:
        super().__init__(id=id)


class Keep(Command[None]):
    note: str = "first"


class Kept(DomainEvent):
    pass


@command_handler(Keep)
async def keep(command: Keep, notes: Repository[Note]) -> None:
    await notes.add(Note(id=command.note))


@event_handler(Kept, durable=True)
async def kept(event: Kept) -> None:
    pass


def storing(url: str) -> App:
    return App(Module("m", handlers=[keep, kept], models=[Note]), database=url)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///{folder}/x.db", "embedded:{folder}"])
async def test_an_application_with_a_database_says_that_it_has_not_started(url: str, tmp_path: Path) -> None:
    app = storing(url.format(folder=tmp_path))
    with pytest.raises(Misconfigured, match="has not started.*`async with app:`"):
        await app.bus.dispatch(Keep())
    with pytest.raises(Misconfigured, match="has not started"):
        await app.bus.publish(Kept())


async def test_once_started_it_takes_messages() -> None:
    async with storing("sqlite://") as app:
        assert (await app.bus.dispatch(Keep())).is_success
        await app.bus.publish(Kept())


async def test_an_application_without_a_database_needs_no_start() -> None:
    assert (await App(Module("m", handlers=[do])).bus.dispatch(Do())).unwrap() == "done"


async def test_an_application_is_started_once_at_a_time() -> None:
    app = storing("sqlite://")
    for _ in range(2):
        async with app:
            with pytest.raises(Misconfigured, match="runs already"):
                await app.__aenter__()
            assert (await app.bus.dispatch(Keep())).is_success


async def test_a_failure_may_hold_anything() -> None:
    @command_handler(Do)
    async def refuse(command: Do) -> Any:
        return Failure("no")  # type: ignore[arg-type]

    result: Any = await App(Module("m", handlers=[refuse])).bus.dispatch(Do())
    assert result == Failure("no")  # type: ignore[arg-type]


class Unlisted(Model):
    __tablename__ = "wrong_unlisted"
    metadata = MetaData()
    id: Mapped[int] = mapped_column(primary_key=True)


class ManyUnlisted(Repository[Unlisted]):
    pass


@pytest.mark.parametrize("asked", [Repository[Unlisted], ManyUnlisted])
def test_a_table_that_no_module_lists_is_told(asked: Any) -> None:
    async def handle(command: Do, things: Any) -> str:
        return "done"

    handle.__annotations__["things"] = asked
    with pytest.raises(Misconfigured, match="asks for Unlisted, whose table no module lists; add it to the models"):
        App(Module("m", handlers=[command_handler(Do)(handle)]), database="sqlite://")
    providers = [transient(ManyUnlisted)] if asked is ManyUnlisted else []
    listed = Module("m", handlers=[command_handler(Do)(handle)], models=[Unlisted], providers=providers)
    assert App(listed, database="sqlite://").modules == (listed,)


@pytest.mark.parametrize("status", [99, 1000, True, "200", 404])
def test_a_status_that_says_no_success_is_told(status: Any) -> None:
    with pytest.raises(Misconfigured, match="that of a success is a number from 200 to 299"):
        App(Module("m", handlers=[do], routes=[Route(Do, status=status, access="open")]))
