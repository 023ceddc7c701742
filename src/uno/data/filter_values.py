"""What the values of a condition are, read as the type of its field."""

from collections.abc import Mapping
from typing import Any

from uno.data.fields import TEXT, Field, TooMany, Unreadable, from_text
from uno.data.filters import FLAG, ONE, OPERATORS, SEVERAL, TWO, Condition, Limits, cut


class Unfit(Unreadable):
    """The field is not compared in this way."""

    code = "operator"

    def __init__(self, field: Field, operator: str) -> None:
        known = ", ".join(sorted(field.operators))
        super().__init__(f"{cut(field.name)} cannot be compared with {cut(operator)}; it takes {known}.")


class Values:
    """Those of one filter, within its limits; what is wrong with one, or its operator, is `Unreadable`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Values in lists so far.
        self._listed = 0

    def of(self, field: Field, operator: str, condition: Condition) -> Any:
        if operator not in field.operators:
            raise Unfit(field, operator)
        given, takes = condition.value, OPERATORS[operator]
        if takes == FLAG:
            return _flag(given)
        if takes == ONE:
            if given is None and operator in ("eq", "ne"):
                return None
            return _one(field, operator, given, condition.raw)
        return [
            None if one is None and takes == SEVERAL else _one(field, operator, one, condition.raw)
            for one in self._list(given, takes)
        ]

    def _list(self, given: Any, takes: str) -> list[Any]:
        if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__iter__"):
            raise Unreadable("It takes several values.")
        values = list(given)
        if takes == TWO and len(values) != 2:
            raise Unreadable("It takes two values, the lowest and the highest.")
        if len(values) > self._limits.values:
            raise TooMany(f"It takes at most {self._limits.values} values.")
        self._listed += len(values)
        if self._listed > self._limits.all_values:
            raise TooMany(f"All lists of a filter take at most {self._limits.all_values} values together.")
        return values


def _one(field: Field, operator: str, given: Any, raw: bool) -> Any:
    if given is None:
        raise Unreadable("It takes a value.")
    if operator in TEXT and not isinstance(given, str):
        raise Unreadable("It takes a text.")
    if operator in TEXT and field.kind == "json":
        return _as_text(given)
    return field.read(from_text(given) if raw and field.kind == "json" else given)


def _as_text(given: str) -> str:
    if "\0" in given:
        raise Unreadable("It has a NUL character.")
    return given.encode("utf-8", "replace").decode()


def _flag(given: Any) -> bool:
    known = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
    try:
        return known[given]
    except (KeyError, TypeError):
        raise Unreadable("It takes true or false.") from None
