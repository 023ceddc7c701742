"""What a message asks for and gives back, by the names of its fields."""

import dataclasses
from typing import Any

from pydantic import BaseModel

from uno.modules.event import input_type, is_event, output_type


def field_names(message: Any) -> tuple[str, ...]:
    """The names of a message's fields; of an event, those of its input."""
    cls = input_type(message) if is_event(message) else message
    if isinstance(cls, type) and issubclass(cls, BaseModel):
        return tuple(cls.model_fields)
    return tuple(f.name for f in dataclasses.fields(cls) if f.init) if dataclasses.is_dataclass(cls) else ()


def gives_nothing(event: Any) -> bool:
    """Whether an event says nothing of its output, or that it has no fields."""
    output = output_type(event)
    return output is None or (dataclasses.is_dataclass(output) and not dataclasses.fields(output))
