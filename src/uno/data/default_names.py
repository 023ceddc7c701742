"""What PostgreSQL calls a constraint that has no name."""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint

# By the kind of constraint; of a primary key the name has no columns, of a check it has the only one in it.
ENDINGS: Final[dict[type, str]] = {
    PrimaryKeyConstraint: "pkey",
    UniqueConstraint: "key",
    ForeignKeyConstraint: "fkey",
    CheckConstraint: "check",
}
# Bytes of a name.
LONGEST: Final = 63


def default_name(table: str, columns: Iterable[str], ending: str) -> str:
    """The table, the columns and the ending, cut to what a name may be long.

    As `makeObjectName` of PostgreSQL does it; another that would have the same name gets a number as well.
    """
    first, second = table.encode(), _together(columns)
    room = LONGEST - len(ending) - (2 if second else 1)
    while len(first) + len(second) > room:
        if len(first) > len(second):
            first = first[:-1]
        else:
            second = second[:-1]
    return "_".join(_whole(part) for part in (first, second, ending.encode()) if part)


def _together(columns: Iterable[str]) -> bytes:
    """The columns, up to the one with which they alone fill a name."""
    joined = b""
    for column in columns:
        joined += (b"_" if joined else b"") + column.encode()
        if len(joined) > LONGEST:
            break
    return joined


def _whole(part: bytes) -> str:
    """Without the first bytes of a letter that was cut."""
    return part.decode(errors="ignore")
