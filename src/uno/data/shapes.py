"""Statements that differ in values only are compiled once: their conditions are of one shape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement

from uno.data.recent import Recent
from uno.data.statement import Prepared


@dataclass(frozen=True, slots=True)
class Shape:
    """`key` is the same for conditions of one shape, `binds` have the values of these."""

    key: Any
    binds: Sequence[Any]


def shape_of(conditions: Sequence[ColumnElement[bool]]) -> Shape | None:
    """None where the text depends on the values, as that of IN on how many there are."""
    keys, binds = [], list[Any]()
    for condition in conditions:
        made: Any = condition._generate_cache_key()
        if made is None:
            return None
        keys.append(made.key)
        binds += made.bindparams
    if any(bind.expanding or bind.literal_execute for bind in binds):
        return None
    return Shape(tuple(keys), binds)


class Shapes:
    """The statements of the shapes that were asked for last."""

    def __init__(self, most: int) -> None:
        self._known: Recent[Any, tuple[Prepared, list[str]]] = Recent(most)

    def prepared(self, also: Any, shape: Shape, make: Callable[[], Prepared]) -> tuple[Prepared, dict[str, Any]]:
        """The statement of conditions, and of what else decides on its text; and its values."""
        key = also, shape.key
        found = self._known.get(key)
        if found is None:
            made = make()
            found = self._known.keep(key, (made, [made.names[bind.key] for bind in shape.binds]))
        prepared, names = found
        return prepared, {name: bind.effective_value for name, bind in zip(names, shape.binds, strict=True)}
