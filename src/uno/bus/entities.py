"""Handlers that ask for the entities their message names: which field names which, worked out at start-up.

What an entity is, and where it comes from, is known above: `Entities` is the port for it.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter, itemgetter
from types import NoneType
from typing import Any, Protocol, TypeAlias, get_args, is_typeddict

from uno.bus.annotations import hints_of
from uno.di import Dependency
from uno.errors import Invalid, Problem, VersionConflict

Get: TypeAlias = Callable[[Any], Any]
# What is handed over beside the message, by parameter.
Load: TypeAlias = Callable[[Any], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Named:
    """The parameter `name` gets the `entity` whose id is in the `field` of the message.

    `expected` gets the version it has to have, if the message can say one; None is handed over
    for what is missing where it is `optional`.
    """

    name: str
    entity: type[Any]
    field: str
    id: Get
    expected: Get | None = None
    optional: bool = False

    def id_in(self, message: Any) -> Any:
        """The id that a message gives; None where it gives none and need not. Raises `Invalid`."""
        id = self.id(message)
        if id is None and not self.optional:
            raise Invalid.field(self.field, f"Say which {self.entity.__name__}.", "missing")
        return id

    def check_version(self, message: Any, version: int | None, id: Any) -> None:
        """Raises `VersionConflict` where the message is about another version than this one."""
        expected = None if self.expected is None else self.expected(message)
        if expected is not None and version is not None and expected != version:
            raise VersionConflict(self.entity.__name__, [id])


class Entities(Protocol):
    """Knows which classes are stored, and loads them."""

    def knows(self, kind: Any) -> bool:
        """Whether a handler may ask for one of this class."""
        ...

    def loader(self, wanted: Sequence[Named], *, changing: bool) -> Load:
        """What loads them for a message; `changing` where the handler may change them."""
        ...


def named(wanted: Mapping[str, Dependency], message: Any, handler: Any) -> list[Named]:
    """The parameters that a field of `message` names; the others keep their default."""
    known = fields_of(message) if wanted else frozenset()
    found = {name: _field(name, need.type, wanted, known) for name, need in wanted.items()}
    get: Any = itemgetter if is_typeddict(message) else attrgetter
    return [_named(name, wanted[name].type, field, known, get, handler) for name, field in found.items() if field]


def unnamed(wanted: Mapping[str, Dependency], message: Any, where: str) -> Iterator[Problem]:
    """The parameters that no field of `message` says anything of."""
    known = fields_of(message) if wanted else frozenset()
    for name, need in wanted.items():
        if need.required and not _field(name, need.type, wanted, known):
            yield Problem("unnamed aggregate", where, _unnamed(name, need.type, wanted, message))


def _named(name: str, entity: type, field: str, known: frozenset[str], get: Any, handler: Any) -> Named:
    version = f"{field.removesuffix('id')}version"
    expected = get(version) if field != "id" and version in known else None
    return Named(name, entity, field, get(field), expected, _may_be_none(handler, name))


def _field(name: str, entity: type, wanted: Mapping[str, Dependency], known: frozenset[str]) -> str | None:
    return next((field for field in fields_for(name, entity, wanted) if field in known), None)


def fields_for(name: str, entity: type, wanted: Mapping[str, Dependency]) -> list[str]:
    """What may name it: the parameter, the class if it is asked for once, plain `id` where there is no other."""
    fields = [f"{name}_id"]
    if [need.type for need in wanted.values()].count(entity) == 1:
        fields.append(f"{_snake_case(entity.__name__)}_id")
    if len(wanted) == 1:
        fields.append("id")
    return list(dict.fromkeys(fields))


def _unnamed(name: str, entity: type, wanted: Mapping[str, Dependency], message: Any) -> str:
    fields = " or ".join(fields_for(name, entity, wanted))
    cls, said = entity.__qualname__, getattr(message, "__qualname__", message)
    return (
        f"It asks for `{name}: {cls}`, and {said} does not say which: give {said} a field {fields}, "
        f"or ask for Repository[{cls}]."
    )


def fields_of(message: Any) -> frozenset[str]:
    """What an instance of a message class can be asked for: its fields and properties."""
    found: set[str] = set()
    for cls in getattr(message, "__mro__", ()):
        found |= inspect.get_annotations(cls).keys()
        found |= {name for name, value in vars(cls).items() if isinstance(value, property)}
    return frozenset(found)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _may_be_none(handler: Any, name: str) -> bool:
    while isinstance(handler, partial):
        handler = handler.func
    return NoneType in get_args(hints_of(handler).get(name))


def loading(function: Callable[..., Awaitable[Any]], load: Load) -> Callable[..., Awaitable[Any]]:
    """`function`, which is given what `load` loads for the message."""

    async def call(message: Any, **beside: Any) -> Any:
        return await function(message, **beside, **await load(message))

    return call


def loading_class(cls: Callable[..., Any], load: Load) -> Callable[..., Any]:
    """The same for the method `handle` of what `cls` makes."""

    def make(**parts: Any) -> _Loading:
        return _Loading(loading(cls(**parts).handle, load))

    return make


@dataclass(slots=True)
class _Loading:
    handle: Callable[..., Awaitable[Any]]
