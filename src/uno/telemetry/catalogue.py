"""Everything noteworthy that uno tells, by name: the one list that code and docs share."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Signal:
    """`text` is the sentence of its log line; `fields` are the names it is emitted with."""

    level: Level
    text: str
    fields: tuple[str, ...] = ()


SIGNALS: dict[str, Signal] = {}
