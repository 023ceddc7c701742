"""The pydantic model that reads the input of a message, and the way from what was read to an event.

A message is its own form, and so is an input that is a pydantic model. For a dataclass one is made
that has the same fields and refuses others.
"""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from uno.errors import Invalid, Misconfigured
from uno.modules.event import input_type, is_event


def form(message: Any, path_fields: Sequence[str] = ()) -> type[BaseModel]:
    """What reads the fields of a message, or those of an event's input.

    A path field that the input does not have is a text besides. Raises `Misconfigured` for an input
    that cannot be read.
    """
    made: type[BaseModel] = _form_of(input_type(message)) if is_event(message) else message
    besides: dict[str, Any] = {name: (str, ...) for name in path_fields if name not in made.model_fields}
    if not besides:
        return made
    return create_model(made.__name__, __base__=made, __module__=made.__module__, **besides)


@cache
def _form_of(cls: Any) -> type[BaseModel]:
    if cls is None:
        return create_model("EventInput", __config__=ConfigDict(extra="forbid"))
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        return cls
    if not dataclasses.is_dataclass(cls):
        raise Misconfigured(f"{_name(cls)} is an event's input, but no dataclass and no pydantic model; make it one.")
    return as_model(cls, extra="forbid")


def as_model(cls: Any, **config: Any) -> type[BaseModel]:
    """A pydantic model with the fields of a dataclass; `config` is pydantic's."""
    try:
        hints = get_type_hints(cls, include_extras=True)
        fields: Any = {f.name: (hints[f.name], _default(f)) for f in dataclasses.fields(cls) if f.init}
        with warnings.catch_warnings():
            # A field called `schema` hides something that nobody calls here.
            warnings.filterwarnings("ignore", ".*shadows an attribute", UserWarning)
            return create_model(
                cls.__name__,
                __config__=ConfigDict(**config),  # type: ignore[typeddict-item] # the caller's
                __module__=cls.__module__,
                __doc__=_own_doc(cls),
                **fields,
            )
    except (NameError, TypeError) as error:
        raise Misconfigured(f"The fields of {_name(cls)} cannot be read: {error}.") from error


def _own_doc(cls: Any) -> str | None:
    """The docstring that a human wrote; `dataclass` makes one of the signature."""
    said: str | None = cls.__dict__.get("__doc__")
    return None if said is None or said.startswith(f"{cls.__name__}(") else said


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory)
    return ...


def _name(cls: Any) -> str:
    return getattr(cls, "__qualname__", None) or repr(cls)


def maker(event: Any, path_fields: Sequence[str] = ()) -> Callable[[BaseModel], Any]:
    """A function from a filled form to the event. What the input has no field for goes to `event.meta`."""
    source = input_type(event)
    if source is None:
        return lambda _: event()
    if isinstance(source, type) and issubclass(source, BaseModel):
        besides = tuple(name for name in path_fields if name not in source.model_fields)
        return _of_model(event, source, besides) if besides else lambda read: event(input=read)
    besides = tuple(name for name in path_fields if name not in {f.name for f in dataclasses.fields(source)})
    return _of_dataclass(event, source, besides)


def _of_model(event: Any, source: type[BaseModel], besides: Sequence[str]) -> Callable[[BaseModel], Any]:
    def make(read: BaseModel) -> Any:
        values = {name: getattr(read, name) for name in source.model_fields}
        given = source.model_construct(read.model_fields_set - set(besides), **values)
        return event(input=given, meta={name: getattr(read, name) for name in besides})

    return make


def _of_dataclass(event: Any, source: Any, besides: Sequence[str]) -> Callable[[BaseModel], Any]:
    def make(read: BaseModel) -> Any:
        values = vars(read)
        meta = {name: values[name] for name in besides}
        try:
            made = source(**{name: value for name, value in values.items() if name not in meta} if meta else values)
        except ValueError as error:  # its __post_init__ says what is wrong, as a validator of pydantic's does
            raise Invalid(str(error)) from None
        return event(input=made, meta=meta) if meta else event(input=made)

    return make
