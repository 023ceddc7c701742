"""Hooks are registered by class, in an order, and wrong ones are refused where they are declared."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from uno.data import hooks
from uno.errors import Misconfigured


class Animal:
    pass


class Named:
    pass


class Dog(Named, Animal):
    pass


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    for hook in [hook for found in hooks.registered.values() for hook in found]:
        if hooks.of(Dog) or hooks.of(Animal):
            hooks.remove(hook.function)


def functions(cls: type, moment: hooks.Moment = "before_insert") -> list[Any]:
    return [hook.function for hook in hooks.of(cls).get(moment, ())]


def test_a_class_without_hooks_has_none_and_the_function_stays_itself() -> None:
    def look(_dog: Dog) -> None: ...

    assert not hooks.of(Dog)
    assert hooks.before_insert(Dog)(look) is look
    assert hooks.of(Dog)
    assert not hooks.of(Animal)
    hooks.remove(look)
    assert not hooks.of(Dog)
    assert Dog not in hooks.registered


@pytest.mark.parametrize("what", ["insert", "update", "delete", "restore"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_each_moment_has_its_decorator(when: str, what: str) -> None:
    moment: Any = f"{when}_{what}"
    look = getattr(hooks, moment)(Dog)(lambda dog: None)
    assert functions(Dog, moment) == [look]
    assert list(hooks.of(Dog)) == [moment]


def test_hooks_are_inherited_and_ordered_by_order_then_bases_then_registration() -> None:
    def make(name: str) -> Any:
        def look(_animal: Any) -> None: ...

        look.__name__ = name
        return look

    names = ("own", "first", "base", "mixin", "last", "own too")
    own, first, base, mixin, last, own_too = map(make, names)
    hooks.before_insert(Dog)(own)
    hooks.before_insert(Dog, order=-5)(first)
    assert functions(Dog) == [first, own]
    hooks.before_insert(Animal)(base)
    hooks.before_insert(Named)(mixin)
    hooks.before_insert(Animal, order=5)(last)
    hooks.before_insert(Dog)(own_too)
    assert functions(Dog) == [first, base, mixin, own, own_too, last]
    assert functions(Animal) == [base, last]


def test_one_function_may_have_several_moments_and_classes_and_leaves_all_of_them() -> None:
    @hooks.after_update(Dog)
    @hooks.before_insert(Dog)
    @hooks.before_insert(Animal)
    def look(_animal: Animal) -> None: ...

    assert functions(Dog) == [look, look]
    hooks.remove(look)
    assert not hooks.of(Dog)
    assert not hooks.of(Animal)
    with pytest.raises(Misconfigured, match=r"look is no hook\."):
        hooks.remove(look)


def test_what_is_async_is_known_when_it_is_registered() -> None:
    async def look(_dog: Dog, more: int = 0) -> None: ...

    class Looking:
        async def __call__(self, _dog: Dog) -> None: ...

        async def look(self, _dog: Dog) -> None: ...

    for function in (look, partial(look, more=1), Looking(), Looking().look):
        hooks.before_insert(Dog)(function)
    hooks.before_insert(Dog)(lambda dog: None)
    assert [hook.waits for hook in hooks.of(Dog)["before_insert"]] == [True, True, True, True, False]


def _nothing() -> None: ...


def _two(_dog: Dog, _more: int) -> None: ...


def _keyword(_dog: Dog, *, more: int) -> None: ...


def _yields(_dog: Dog) -> Iterator[None]:
    yield


async def _yields_too(_dog: Dog) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_nothing, "The hook _nothing has to take one argument: the Dog"),
        (_two, "The hook _two has to take one argument: the Dog"),
        (_keyword, "The hook _keyword has to take one argument: the Dog"),
        (_yields, "The hook _yields has a yield, so it would never run"),
        (_yields_too, "The hook _yields_too has a yield, so it would never run"),
        (Animal, r"hooks.before_insert\(Dog\) takes a function, not Animal"),
        (5, r"hooks.before_insert\(Dog\) takes a function, not 5"),
    ],
)
def test_what_cannot_be_a_hook_is_refused(function: Any, said: str) -> None:
    with pytest.raises(Misconfigured, match=f"^{said}"):
        hooks.before_insert(Dog)(function)
    assert not hooks.of(Dog)


def test_a_decorator_without_a_class_and_a_hook_twice_are_refused() -> None:
    def look(_dog: Dog) -> None: ...

    with pytest.raises(Misconfigured, match=r"write @hooks.after_delete\(Order\), not .*look"):
        hooks.after_delete(look)  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="The order of a hook is an int, not 'first'"):
        hooks.after_delete(Dog, order="first")  # type: ignore[arg-type]
    hooks.after_delete(Dog)(look)
    with pytest.raises(Misconfigured, match="look is registered twice: after_delete of Dog"):
        hooks.after_delete(Dog)(look)
