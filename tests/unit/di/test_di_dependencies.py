"""dependencies_of: what a callable needs, by name."""

from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Generic, Optional, Protocol, TypeVar

import pydantic
import pytest

from uno.di import Dependency, ServiceProvider, dependencies_of, singleton, value
from uno.errors import Misconfigured

T = TypeVar("T")


class Engine: ...


class Wheel: ...


def test_parameters_are_read_by_annotation_and_default() -> None:
    def build(engine: Engine, wheel: "Wheel", *rest: int, spare: Wheel | None = None, **more: str) -> None: ...

    assert dependencies_of(build) == {
        "engine": Dependency(Engine),
        "wheel": Dependency(Wheel),
        "spare": Dependency(Wheel, required=False),
    }


def test_annotated_and_optional_are_seen_through() -> None:
    def build(a: Annotated[Engine, "front"], b: Optional[Wheel], c: Annotated[Wheel | None, 1] = None) -> None: ...  # noqa: UP045

    assert [d.type for d in dependencies_of(build).values()] == [Engine, Wheel, Wheel]
    assert [d.required for d in dependencies_of(build).values()] == [True, True, False]


def test_an_unannotated_parameter_is_there_and_says_so() -> None:
    def build(engine) -> None: ...  # type: ignore[no-untyped-def]

    [found] = dependencies_of(build).values()
    assert found == Dependency(Parameter.empty)
    assert not found.annotated


def test_a_method_includes_its_unannotated_self_unless_it_is_bound() -> None:
    class Handler:
        def handle(self, engine: Engine) -> None: ...

    assert list(dependencies_of(Handler.handle)) == ["self", "engine"]
    assert list(dependencies_of(Handler().handle)) == ["engine"]


@dataclass
class Car:
    engine: "Engine"
    wheels: int = 4


class Truck(pydantic.BaseModel):
    name: str
    axles: int = 2


class Inherited(Car): ...


class Service(Protocol):
    def serve(self) -> None: ...


class Explicit(Service):
    def serve(self) -> None: ...


class Bare: ...


class Store(Generic[T]):
    def __init__(self, kind: type[T], others: list[T], engine: Engine) -> None: ...


class Named(Store[T], Generic[T]): ...


class WheelStore(Named[Wheel]): ...


@pytest.mark.parametrize(
    ("target", "types"),
    [
        (Car, {"engine": Engine, "wheels": int}),
        (Truck, {"name": str, "axles": int}),
        (Inherited, {"engine": Engine, "wheels": int}),
        (Explicit, {}),
        (Bare, {}),
        (WheelStore, {"kind": type[Wheel], "others": list[Wheel], "engine": Engine}),
    ],
)
def test_every_kind_of_class_is_read(target: type, types: dict[str, object]) -> None:
    assert {name: d.type for name, d in dependencies_of(target).items()} == types


def test_an_annotation_unknown_at_run_time_is_named() -> None:
    def build(ghost: "Ghost") -> int: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(Misconfigured, match="names `Ghost`, which is not there at run time: import it at the top"):
        dependencies_of(build)
    singleton(build)
    assert [p.kind for p in ServiceProvider([build]).problems()] == ["unresolvable annotation"]


async def test_a_default_is_kept_where_nothing_is_provided_and_replaced_where_something_is() -> None:
    @singleton
    class Shop:
        def __init__(self, engine: Engine | None = None, wheel: Wheel | None = None, size: int = 3, tag="x") -> None:  # type: ignore[no-untyped-def]
            self.got = (engine, wheel, size, tag)

    engine = Engine()
    assert (await ServiceProvider([Shop]).get(Shop)).got == (None, None, 3, "x")
    provider = ServiceProvider([Shop, value(engine), value(5)])
    assert provider.problems() == []
    assert (await provider.get(Shop)).got == (engine, None, 5, "x")


async def test_positional_only_and_keyword_only_parameters_are_both_filled() -> None:
    @singleton
    def make(engine: Engine, /, wheel: Wheel, *, size: int) -> tuple:  # type: ignore[type-arg]
        return engine, wheel, size

    engine, wheel = Engine(), Wheel()
    provider = ServiceProvider([make, value(engine), value(wheel), value(1)])
    assert await provider.get(tuple) == (engine, wheel, 1)
