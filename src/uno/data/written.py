"""How dates and times are written where they come from outside: as ISO 8601 (RFC 3339), never as a number."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from types import NoneType
from typing import Any, Final, get_args

from pydantic import AwareDatetime, NaiveDatetime

# Pydantic checks the rest; without these it would take any number for seconds since 1970.
_DAY = r"\d{4}-\d\d-\d\d"
_FORMS: Final[Mapping[type, tuple[str, str]]] = {
    date: (rf"{_DAY}\Z", "It takes a date, as 2026-01-31."),
    datetime: (rf"{_DAY}[Tt _]\d\d:\d\d", "It takes a date and time, as 2026-01-31T09:30:00Z."),
    time: (r"\d\d:\d\d", "It takes a time, as 09:30:00."),
}
_SPECIAL: Final[Mapping[Any, type]] = {AwareDatetime: datetime, NaiveDatetime: datetime}


def written(wanted: Any, *, or_day: bool = False) -> Callable[[Any], str | None] | None:
    """What says why a text or a number is no value of this type; None for types that are no date or time.

    `or_day`: a day is the moment at its beginning.
    """
    kind = kind_of(wanted)
    if kind is None:
        return None
    text, sentence = _FORMS[kind]
    form = re.compile(rf"{text}|{_DAY}\Z" if or_day and kind is datetime else text, re.ASCII)

    def why(value: Any) -> str | None:
        if isinstance(value, str):
            return None if form.match(value) else sentence
        return sentence if isinstance(value, int | float | Decimal) else None

    return why


def kind_of(wanted: Any) -> type | None:
    """Which of the three a type is, below `Annotated` and None."""
    if hasattr(wanted, "__metadata__"):
        return kind_of(wanted.__origin__)
    choices = [one for one in get_args(wanted) if one is not NoneType]
    if len(choices) == 1 and NoneType in get_args(wanted):
        return kind_of(choices[0])
    found = _SPECIAL.get(wanted, wanted) if isinstance(wanted, type) else None
    return found if found in _FORMS else None
