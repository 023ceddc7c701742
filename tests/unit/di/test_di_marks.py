"""@singleton, @scoped, @transient and value() only mark."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol, TypeVar

import pytest

from uno.di import MARK, Provide, ServiceProvider, scoped, singleton, transient, value
from uno.errors import Misconfigured

F = TypeVar("F", bound=Callable[..., Any])


class Payments(Protocol):
    def pay(self) -> str: ...


def other_mark(target: F) -> F:
    target.__uno_handler__ = "handles"
    return target


def test_a_bare_mark_gives_back_the_class_itself() -> None:
    class Plain: ...

    assert singleton(Plain) is Plain
    assert vars(Plain)[MARK] == Provide("singleton", None)


def test_a_called_mark_says_what_is_provided() -> None:
    @scoped(provides=Payments)
    class Card: ...

    assert vars(Card)[MARK] == Provide("scoped", Payments)


def test_a_called_mark_needs_no_argument() -> None:
    @transient()
    def make() -> str:
        return "made"

    assert make() == "made"
    assert vars(make)[MARK] == Provide("transient", None)


def test_marks_stack_with_others_in_any_order() -> None:
    @singleton
    @other_mark
    class Above: ...

    @other_mark
    @singleton
    class Below: ...

    for marked in (Above, Below):
        assert vars(marked)[MARK] == Provide("singleton")
        assert vars(marked)["__uno_handler__"] == "handles"


def test_two_lifetimes_on_one_object_are_refused() -> None:
    class Twice: ...

    singleton(Twice)
    with pytest.raises(Misconfigured, match=r"Twice is marked @singleton and @scoped: keep one of them\."):
        scoped(Twice)


async def test_a_subclass_does_not_inherit_the_mark() -> None:
    @singleton
    class Parent: ...

    class Child(Parent): ...

    assert [p.kind for p in ServiceProvider([Child]).problems()] == ["unmarked provider"]


def test_marking_registers_nothing_anywhere() -> None:
    @singleton
    class Somebody: ...

    assert not ServiceProvider([]).provides(Somebody)


async def test_every_kind_of_factory_provides_what_its_annotation_says() -> None:
    @singleton
    def plain() -> int:
        return 1

    @singleton
    async def awaited() -> str:
        return "two"

    @singleton
    def yielded() -> Iterator[float]:
        yield 3.0

    @singleton
    async def awaited_and_yielded() -> AsyncIterator[bytes]:
        yield b"four"

    async with ServiceProvider([plain, awaited, yielded, awaited_and_yielded]) as provider:
        assert (await provider.get(int), await provider.get(str)) == (1, "two")
        assert (await provider.get(float), await provider.get(bytes)) == (3.0, b"four")


async def test_a_factory_that_is_a_partial_or_an_object_is_called() -> None:
    def times(factor: int, *, base: float) -> str:
        return str(factor * base)

    class Maker:
        def __call__(self, base: float) -> bytes:
            return str(base).encode()

    doubled, maker = functools.partial(times, 2), Maker()
    singleton(doubled)
    singleton(provides=bytes)(maker)
    provider = ServiceProvider([doubled, maker, value(1.5)])
    assert await provider.get(str) == "3.0"
    assert await provider.get(bytes) == b"1.5"


async def test_provides_replaces_the_annotation() -> None:
    class Card:
        def pay(self) -> str:
            return "paid"

    @singleton(provides=Payments)
    def make():  # type: ignore[no-untyped-def]
        return Card()

    provider = ServiceProvider([make])
    assert (await provider.get(Payments)).pay() == "paid"
    assert not provider.provides(Card)


async def test_a_value_is_the_instance_itself() -> None:
    text, number = object(), 7
    provider = ServiceProvider([value(text), value(number, provides=float)])
    assert await provider.get(object) is text
    assert provider.get_sync(float) == 7


def test_a_value_does_not_show_its_instance() -> None:
    assert "hunter2" not in repr(value("hunter2"))


def test_a_factory_without_a_return_annotation_is_a_problem() -> None:
    @singleton
    def make():  # type: ignore[no-untyped-def]
        return 1

    [problem] = ServiceProvider([make]).problems()
    assert problem.kind == "unannotated factory"
    assert problem.message.endswith("or `provides=T`.")


def test_something_unmarked_in_the_list_is_a_problem() -> None:
    class Plain: ...

    found = ServiceProvider([Plain, Plain()]).problems()
    assert [(p.kind, p.where) for p in found] == [("unmarked provider", "Plain")] * 2
    assert all(p.message.endswith("or pass an instance as value(…).") for p in found)
