"""Never run: mypy and pyright agree on what these types are."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar, assert_type

from uno.di import Dependency, ServiceProvider, dependencies_of, discover, scoped, singleton, transient, value
from uno.errors import Problem

T = TypeVar("T")


class Payments(Protocol):
    def pay(self) -> int: ...


class Ledger(ABC):
    @abstractmethod
    def write(self) -> None: ...


@singleton
class Bare:
    def __init__(self, size: int) -> None:
        self.size = size


@singleton(provides=Payments)
class Card:
    def pay(self) -> int:
        return 1


@scoped()
class Repository(Generic[T]):
    def __init__(self, kind: type[T]) -> None:
        self.kind = kind


@transient
async def connect(bare: Bare) -> bytes:
    return b""


@scoped(provides=Payments)
async def opened() -> AsyncIterator[Card]:
    yield Card()


@transient
def yielded() -> Iterator[int]:
    yield 1


assert_type(Bare(1), Bare)
assert_type(Bare(1).size, int)
assert_type(Card().pay(), int)
assert_type(Repository(int), Repository[int])
assert_type(opened(), AsyncIterator[Card])
assert_type(yielded(), Iterator[int])


async def resolving(provider: ServiceProvider) -> None:
    assert_type(await connect(Bare(1)), bytes)
    assert_type(await provider.get(Bare), Bare)
    assert_type(await provider.get(Payments), Payments)
    assert_type(await provider.get(Ledger), Ledger)
    assert_type(await provider.get(Repository[int]), Repository[int])
    assert_type(provider.get_sync(Payments), Payments)
    async with provider.scope() as scope:
        assert_type(await scope.get(Repository[str]), Repository[str])
        assert_type(await scope.get(Payments), Payments)
    async with provider as entered:
        assert_type(entered, ServiceProvider)
    with provider.override(Payments, Card()):
        pass


def asking() -> None:
    provider = ServiceProvider(
        [*discover("package"), Bare, connect, value(Card(), provides=Payments)],
        overrides={Bare: Bare(2)},
        ambient={Card: Card},
    )
    assert_type(provider.problems(), list[Problem])
    assert_type(provider.problems_for("Handler", [Bare, Payments], "singleton"), list[Problem])
    assert_type(provider.problems_for("Handler", dependencies_of(Bare)), list[Problem])
    assert_type(dependencies_of(connect), dict[str, Dependency])
    assert_type(provider.ambient_getter(Card), Callable[[], Any] | None)
    assert_type(provider.needs_scope(Repository[int]), bool)


singleton(3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType,reportCallIssue]
