"""Filters: conditions as data, the same in Python, in queries and over HTTP.

    Filter(price__gte=5, name__icontains="oil") | ~Filter(state="sold")

A condition is `field__operator=value`; without an operator it is `eq`. What fields there are, and what
they can be compared with, is known to `uno.data.fields`; here is only the form.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from uno.errors import FieldError, Invalid, Misconfigured

Kind = Literal["and", "or", "not"]
Part: TypeAlias = "Condition | Filter"

SEPARATOR: Final = "__"
_LONGEST_NAME = 200
# By operator how many values it takes: one, several, two, or whether or not.
ONE, SEVERAL, TWO, FLAG = "one", "several", "two", "flag"
OPERATORS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("eq", "ne", "lt", "lte", "gt", "gte", "has"), ONE),
    **dict.fromkeys(("contains", "icontains", "starts_with", "istarts_with", "ends_with", "iends_with"), ONE),
    **dict.fromkeys(("in", "not_in"), SEVERAL),
    "between": TWO,
    "is_null": FLAG,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """`key` is `field` or `field__operator`, as it was given; `raw` are values that came as text.

    `read` is for who reads the value again and again: for which class, of what, and what that is.
    """

    key: str
    value: Any
    raw: bool = False
    read: tuple[type, Any, Any, int] | None = field(default=None, init=False, repr=False, compare=False)

    def split(self) -> tuple[str, str]:
        """The field and the operator; a name that ends like no operator is all field."""
        name, separator, operator = self.key.rpartition(SEPARATOR)
        return (name, operator) if separator and name and operator in OPERATORS else (self.key, "eq")

    def truth(self) -> bool | None:
        """What it says of every object alike, which only an empty list does; None where it has to look at them."""
        operator = self.split()[1]
        is_empty = OPERATORS[operator] == SEVERAL and hasattr(self.value, "__len__") and not len(self.value)
        return operator == "not_in" if is_empty else None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a question from outside may cost.

    Conditions in all, groups inside each other, values of one list; objects of one relationship beside one object;
    values of all lists of a filter.
    """

    conditions: int = 50
    depth: int = 5
    values: int = 1_000
    included: int = 100
    all_values: int = 5_000


class Filter:
    """All of these conditions; `&`, `|` and `~` make others of it. An empty one fits everything."""

    __slots__ = ("kind", "parts")

    def __init__(self, **conditions: Any) -> None:
        self.kind: Kind = "and"
        self.parts: tuple[Part, ...] = tuple(Condition(key, _settled(value)) for key, value in conditions.items())

    @classmethod
    def group(cls, kind: Kind, parts: Iterable[Part]) -> "Filter":
        """ "and" and "or" of any number of parts, "not" of one."""
        made = cls()
        made.kind, made.parts = kind, tuple(parts)
        return made

    def __and__(self, other: "Filter") -> "Filter":
        return self._beside("and", other)

    def __or__(self, other: "Filter") -> "Filter":
        return self._beside("or", other)

    def _beside(self, kind: Kind, other: Any) -> "Filter":
        if not isinstance(other, Filter):
            raise Misconfigured(
                f"A Filter is put together with Filters, not with a {type(other).__name__}: a Specification has one, "
                "its filter(); an SQL expression stands beside it, as in find(Filter(…), Order.total > 5)."
            )
        return Filter.group(kind, (self, other))

    def __invert__(self) -> "Filter":
        return Filter.group("not", (self,))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and (self.kind, self.parts) == (other.kind, other.parts)

    def __hash__(self) -> int:
        return hash((self.kind, self.parts))

    def __repr__(self) -> str:
        return f"Filter({self.kind}: {', '.join(map(repr, self.parts))})"

    @classmethod
    def of(cls, said: Mapping[str, Any], limits: Limits | None = None) -> "Filter":
        """From plain data, as JSON has it: `{"price__gte": 5, "or": [{…}, {…}], "not": {…}}`.

        Raises `Invalid` that names what has another form or exceeds `limits`.
        """
        if not isinstance(said, Mapping):
            raise Invalid.field("filter", 'It has to be an object, as in {"price__gte": 5}.', "malformed")
        return _Reader(limits or Limits()).mapping(said, 1)

    @classmethod
    def of_json(cls, text: str, limits: Limits | None = None, *, name: str = "filter") -> "Filter":
        """The same from JSON; `name` is what an error calls the text."""
        try:
            said = json.loads(text, object_pairs_hook=_once)
        except (TypeError, ValueError, RecursionError):
            raise Invalid.field(name, 'It is not JSON, as in {"price__gte": 5}.', "malformed") from None
        if not isinstance(said, dict):
            raise Invalid.field(name, 'It has to be an object, as in {"price__gte": 5}.', "malformed")
        return cls.of(said, limits)

    @classmethod
    def of_query(cls, pairs: Iterable[tuple[str, str]], limits: Limits | None = None) -> "Filter":
        """From query parameters: `price__gte=5`, `state__in=new,sold`. Raises `Invalid` for one that comes twice."""
        given = list(pairs)
        _check_number(len(given), limits or Limits())
        _once(given)
        return cls.group("and", (Condition(key, _split(key, value), raw=True) for key, value in given))

    def fits(self, candidate: Any) -> bool:
        """Whether an object fits, as the database would decide it."""
        from uno.data.fits import fits

        return fits(candidate, self)

    def truth(self) -> bool | None:
        """What it says of every object alike, as an empty one does; None where it has to look at them."""
        inner = [one.truth() for one in self.parts]
        if self.kind == "or":
            return True if True in inner else None if None in inner else False
        found = False if False in inner else None if None in inner else True
        return found if found is None or self.kind == "and" else not found

    def walk(self) -> Iterable[Condition]:
        """Every condition in it."""
        waiting: list[Part] = [self]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Condition):
                yield part
            else:
                waiting += part.parts


def _settled(value: Any) -> Any:
    """An iterator can be read only once, a filter as often as one likes."""
    return list(value) if hasattr(value, "__next__") else value


def cut(name: str) -> str:
    """A name from outside, as an error has it."""
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"


def _split(key: str, value: str) -> Any:
    """The values in one text: commas separate where several are wanted; `\\,` is a comma of a value."""
    operator = Condition(key, value).split()[1]
    if OPERATORS[operator] not in (SEVERAL, TWO):
        return value
    parts, rest = [""], iter(value)
    for letter in rest:
        if letter == "\\":
            parts[-1] += next(rest, "\\")
        elif letter == ",":
            parts.append("")
        else:
            parts[-1] += letter
    return parts if value else []


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Raises `Invalid` for a key that comes twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
        errors = [FieldError(cut(key), "It can be given only once.", "repeated") for key in twice]
        raise Invalid("; ".join(f"{one.field}: {one.message}" for one in errors), errors)
    return made


def _check_number(count: int, limits: Limits) -> None:
    if count > limits.conditions:
        text = f"The filter has more than {limits.conditions} conditions; ask for less at once."
        raise Invalid(text, (FieldError("filter", text, "too_many"),))


class _Reader:
    """Plain data to a filter, within limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._count = 0

    def mapping(self, said: Mapping[str, Any], depth: int) -> Filter:
        if depth > self._limits.depth:
            text = f"It has more than {self._limits.depth} groups inside each other."
            raise Invalid.field("filter", text, "too_deep")
        return Filter.group("and", [self._part(key, value, depth) for key, value in said.items()])

    def _part(self, key: str, value: Any, depth: int) -> Part:
        groups: dict[str, Callable[[Any, int], Filter]] = {"and": self._all, "or": self._any, "not": self._not}
        if key in groups:
            return groups[key](value, depth)
        if not isinstance(key, str):
            raise Invalid.field("filter", "Its keys are texts, names of fields.", "malformed")
        self._count += 1
        _check_number(self._count, self._limits)
        return Condition(key, value)

    def _all(self, value: Any, depth: int) -> Filter:
        return Filter.group("and", self._several("and", value, depth))

    def _any(self, value: Any, depth: int) -> Filter:
        return Filter.group("or", self._several("or", value, depth))

    def _not(self, value: Any, depth: int) -> Filter:
        if not isinstance(value, Mapping):
            raise Invalid.field("not", 'It takes one group: {"not": {"price__gte": 5}}.', "malformed")
        return Filter.group("not", (self.mapping(value, depth + 1),))

    def _several(self, kind: str, value: Any, depth: int) -> Sequence[Filter]:
        if not isinstance(value, list | tuple) or not value or not all(isinstance(one, Mapping) for one in value):
            text = f'It takes a list of groups: {{"{kind}": [{{"price__gte": 5}}, …]}}.'
            raise Invalid.field(kind, text, "malformed")
        return [self.mapping(one, depth + 1) for one in value]
