"""Messages: what is asked (`Command`, `Query`) and what happened (`DomainEvent`).

All are frozen pydantic models that refuse unknown fields. `Command[R]` and `Query[R]` say what
their handler gives back.
"""

import inspect
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, get_args, get_origin

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from uno import clock, ids
from uno.context import Context
from uno.errors import Misconfigured

R = TypeVar("R")


class Message(BaseModel):
    """The root of all messages.

    A message is stored under a stable name: `module.Class`, unless its class says
    `name: ClassVar[str] = "..."`. A *field* called name is an ordinary field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    __uno_name__: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in _own_fields(cls):
            _forget_names(cls.__mro__[1:])

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        given = None if "name" in cls.model_fields else cls.__dict__.get("name")
        cls.__uno_name__ = given or f"{cls.__module__}.{cls.__qualname__}"
        # Not on uno's own classes, so that a message may have a field called name.
        if given is None and cls.__module__ != __name__ and "name" not in cls.model_fields:
            setattr(cls, "name", _DefaultName(cls.__uno_name__))  # noqa: B010 - not declared, see the docstring


class _DefaultName(str):
    """A name that uno gave to a class, not its author."""


def _own_fields(cls: type) -> set[str]:
    """The fields that the body of a class declares, known before pydantic collects them."""
    return {name for name, annotation in inspect.get_annotations(cls).items() if "ClassVar" not in str(annotation)}


def _forget_names(parents: Iterable[type]) -> None:
    """pydantic takes an attribute of a parent for the default value of a field with its name."""
    for parent in parents:
        if isinstance(parent.__dict__.get("name"), _DefaultName):
            delattr(parent, "name")


def message_name(message: type[Message]) -> str:
    """The stable name under which messages of this class are stored."""
    return message.__uno_name__


if TYPE_CHECKING:

    class _Request(Message, Generic[R]):
        """Something that is asked of exactly one handler."""

else:

    class _Request(Message):
        # pydantic would build a class for every `Command[Order]`; only type checkers and
        # `result_type` want to know.
        @classmethod
        def __class_getitem__(cls, item: Any) -> Any:
            return types.GenericAlias(cls, item)


class Command(_Request[R]):
    """Asks for a change; its handler gives back an `R`."""


class Query(_Request[R]):
    """Asks for information and changes nothing; its handler gives back an `R`."""


def result_type(message: type[Message]) -> Any:
    """The `R` of `class M(Command[R])`, `None` where it says nothing; may be a forward reference."""
    bases = (base for cls in message.__mro__ for base in cls.__dict__.get("__orig_bases__", ()))
    for base in bases:
        args = get_args(base)
        if args and issubclass(get_origin(base), Message) and not isinstance(args[0], TypeVar):
            return args[0]
    return None


def _in_utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


_TAKEN = {
    "aggregate_id": "the property of that name; call the field after the aggregate, for instance order_id",
    "version": "the version of the event class; call the field after what it counts, for instance release",
}


class DomainEvent(Message):
    """A fact: something that happened, in the past tense."""

    version: ClassVar[int] = 1

    event_id: str = Field(default_factory=ids.new_id)
    occurred_at: Annotated[AwareDatetime, AfterValidator(_in_utc)] = Field(default_factory=clock.now)

    _aggregate_field: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _own_fields(cls) & _TAKEN.keys():
            raise Misconfigured(f"{cls.__qualname__}.{name} is a field and would hide {_TAKEN[name]}.")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        names = (f for f in cls.model_fields if f.endswith("_id") and f != "event_id")
        cls._aggregate_field = next(names, None)

    @property
    def aggregate_id(self) -> str | None:
        """The id of the aggregate this happened to: the first `…_id` field unless overridden."""
        value = None if self._aggregate_field is None else getattr(self, self._aggregate_field)
        return None if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event on its way to one durable subscriber, with the context it was recorded in."""

    event: DomainEvent
    subscriber: str
    context: Context = field(default_factory=Context)
    attempt: int = 1
