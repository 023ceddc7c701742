"""JSON forms read back: the Python values that `uno.data.wire` wrote down."""

from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ARRAY, JSON, Column, types

from uno.data.database import Plan
from uno.data.decorators import below
from uno.data.plan import MappedPlan
from uno.errors import Invalid

Decoder = Callable[[Any], Any]
_READERS: Final[Mapping[Any, Decoder]] = {
    bytes: partial(b64decode, validate=True),
    timedelta: lambda seconds: timedelta(seconds=seconds),
}


def decoded(plan: Plan, state: dict[str, Any]) -> dict[str, Any]:
    """JSON values as the class has them; redacted ones, and what the class does not know (any more), stay."""
    shown = plan.marks.forms.keys() - plan.marks.redacted
    read = _reader(plan)
    return {name: read(name, value) if name in shown else value for name, value in state.items()}


def _reader(plan: Plan) -> Callable[[str, Any], Any]:
    if isinstance(plan, MappedPlan):
        decoders = {a.name: decoder(a.column) for a in plan.attributes}
        return lambda name, value: decoders[name](value)
    return lambda name, value: _loaded(plan, name, value)


def _loaded(plan: Any, name: str, value: Any) -> Any:
    try:
        return plan.load(name, value)
    except Invalid:  # of an older class
        return value


def decoder(column: Column[Any]) -> Decoder:
    """How values of this column are read; what it cannot have written stays as it is."""
    read = _decoder(column.type)

    def of(value: Any) -> Any:
        try:
            return None if value is None else read(value)
        except (ValidationError, ValueError, TypeError):  # of an older table
            return value

    return of


def _decoder(type_: Any) -> Decoder:
    plain = below(type_)
    if isinstance(plain, JSON) or (isinstance(plain, types.TypeDecorator) and not isinstance(plain, types.Interval)):
        return _same
    if isinstance(plain, ARRAY):
        item = _decoder(plain.item_type)
        return lambda values: [None if one is None else item(one) for one in values]
    try:
        wanted = plain.python_type
    except NotImplementedError:
        return _same
    return _READERS.get(wanted) or TypeAdapter(wanted).validate_python


def _same(value: Any) -> Any:
    return value
