"""A provider as it was read from its mark."""

import functools
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import dataclass, field, replace
from inspect import Parameter
from typing import Any, Literal, TypeAlias, get_args, get_origin

from uno.di.dependencies import (
    Dependency,
    base_arguments,
    dependencies_of,
    name_of,
    parameters_of,
    plain,
    result_of,
    substitute,
)
from uno.di.lifetime import Lifetime, Provide, Value, mark_of
from uno.errors import Misconfigured, Problem

Kind: TypeAlias = Literal["value", "call", "coroutine", "generator", "async generator"]

_YIELDS = (Iterator, Iterable, Generator, AsyncIterator, AsyncIterable, AsyncGenerator)


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """`source` makes what is asked for as `provides`, and `needs` these parameters for it."""

    provides: Any
    lifetime: Lifetime
    kind: Kind
    source: Any = field(repr=False)
    needs: Mapping[str, Dependency] = field(default_factory=dict)
    ambient: bool = False

    @property
    def name(self) -> str:
        return name_of(self.provides)

    @property
    def made_by(self) -> str:
        """Where it is written, for messages."""
        if self.kind == "value":
            return f"value(…, {self.name})"
        return "the framework" if self.ambient else f"{self.source.__module__}.{name_of(self.source)}"

    @property
    def open(self) -> bool:
        """Generic: `Repository[T]`, good for every `Repository[Order]`."""
        return bool(get_args(self.provides) and parameters_of(self.provides))

    @property
    def awaits(self) -> bool:
        return self.kind in ("coroutine", "async generator")

    @property
    def closes(self) -> bool:
        return self.kind in ("generator", "async generator")

    def filled(self, provides: Any, arguments: Mapping[Any, Any]) -> "Declaration":
        """The declaration for one `Repository[Order]`."""
        needs = {n: replace(need, type=substitute(need.type, arguments)) for n, need in self.needs.items()}
        return replace(self, provides=provides, needs=needs)


def read(objects: Iterable[object]) -> tuple[list[Declaration], list[Problem]]:
    """The declarations of marked objects, each once, and what is wrong with the others."""
    declarations: list[Declaration] = []
    problems: list[Problem] = []
    for found in {id(o): o for o in objects}.values():
        try:
            declarations.append(_read_one(found))
        except Misconfigured as error:
            problems.extend(error.problems)
    return declarations, problems


def given(provides: Any, instance: object) -> Declaration:
    """An instance that exists already."""
    return Declaration(plain(provides), "singleton", "value", instance)


def ambient(provides: Any, getter: Callable[[], object]) -> Declaration:
    """Something of the framework's that `getter` knows at any time."""
    return Declaration(plain(provides), "scoped", "call", getter, ambient=True)


def _read_one(found: Any) -> Declaration:
    if isinstance(found, Value):
        return given(found.provides, found.instance)
    mark = mark_of(found)
    if mark is None or not callable(found):
        raise _problem(
            "unmarked provider",
            name_of(found if callable(found) else type(found)),
            "It is listed as a provider, but says nothing about its lifetime: "
            "mark it with @singleton, @scoped or @transient, or pass an instance as value(…).",
        )
    kind = _kind(found)
    provides = _class_provides(found, mark) if inspect.isclass(found) else _function_provides(found, mark, kind)
    return Declaration(provides, mark.lifetime, kind, found, dependencies_of(found))


def _kind(source: Any) -> Kind:
    named = inspect.isclass(source) or inspect.isroutine(source) or isinstance(source, functools.partial)
    call = source if named else source.__call__
    if inspect.isasyncgenfunction(call):
        return "async generator"
    if inspect.isgeneratorfunction(call):
        return "generator"
    return "coroutine" if inspect.iscoroutinefunction(call) else "call"


def _class_provides(found: type, mark: Provide) -> Any:
    """`provides=` with the type parameters the class gives it; the class itself without."""
    wanted = found if mark.provides is None else plain(mark.provides)
    if not inspect.isclass(wanted) or get_args(wanted) or not parameters_of(wanted):
        return wanted
    arguments = base_arguments(found, wanted)
    if arguments is None and len(parameters_of(found)) == len(parameters_of(wanted)):
        arguments = parameters_of(found)
    return wanted[arguments] if arguments else wanted  # type: ignore[index]


def _function_provides(found: Any, mark: Provide, kind: Kind) -> Any:
    if mark.provides is not None:
        return plain(mark.provides)
    result = result_of(found)
    if kind in ("generator", "async generator"):
        arguments = get_args(result)
        result = plain(arguments[0]) if arguments and get_origin(result) in _YIELDS else Parameter.empty
    if result is Parameter.empty or result is type(None):
        raise _problem(
            "unannotated factory",
            name_of(found),
            "Nothing says what this factory makes: give it a return annotation "
            "(a generator: `Iterator[T]` or `AsyncIterator[T]`) or `provides=T`.",
        )
    return result


def _problem(kind: str, where: str, message: str) -> Misconfigured:
    problem = Problem(kind, where, message)
    return Misconfigured(str(problem), [problem])
