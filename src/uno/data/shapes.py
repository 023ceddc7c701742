"""Statements that differ in values only are compiled once: their conditions are of one shape."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.sql.cache_key import CacheConst
from sqlalchemy.sql.visitors import anon_map

from uno.data.recent import Recent
from uno.data.statement import Prepared


@dataclass(frozen=True, slots=True)
class Shape:
    """`key` is the same for parts of one shape, `binds` have the values of these."""

    key: Any
    binds: Sequence[Any]


def shape_of(parts: Sequence[ColumnElement[Any]]) -> Shape | None:
    """None where the text depends on the values, as that of IN on how many there are, or a value is missing."""
    # One for all of them: a parameter that stands in two of them is one of the statement.
    known: Any = anon_map()
    binds: list[Any] = []
    key = tuple([part._gen_cache_key(known, binds) for part in parts])
    if CacheConst.NO_CACHE in known or CacheConst.PARAMS in known:
        return None
    if any(bind.expanding or bind.literal_execute or bind.required for bind in binds):
        return None
    return Shape(key, binds)


class Shapes:
    """The statements of the shapes that were asked for last."""

    def __init__(self, most: int) -> None:
        self._known: Recent[Any, tuple[Prepared, list[str] | None]] = Recent(most)

    def prepared(self, also: Any, shape: Shape, make: Callable[[], Prepared]) -> tuple[Prepared, dict[str, Any]] | None:
        """The statement of conditions, and of what else decides on its text; and its values.

        None where a value is not a parameter of the statement itself, as those of loader criteria are.
        """
        key = also, shape.key
        found = self._known.get(key)
        if found is None:
            made = make()
            names = [made.names.get(bind.key, "") for bind in shape.binds]
            found = self._known.keep(key, (made, names if all(names) else None))
        prepared, known = found
        if known is None:
            return None
        return prepared, {name: bind.effective_value for name, bind in zip(known, shape.binds, strict=True)}
