"""How the key of a record is written as one text in SQL, as `uno.errors.id_text` does, and how it is read.

The parts of a composite key have commas between them; a comma or backslash in a part has a backslash before it.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Date, Integer, Text, Uuid, cast, func, literal_column

# The texts of these have neither comma nor backslash.
_PLAIN = (Integer, Uuid, Date)
# However the server reads backslashes in literals.
_BACKSLASH = literal_column("chr(92)", Text)
_COMMA = literal_column("','", Text)


def id_text_in_sql(parts: Sequence[ColumnElement[Any]]) -> ColumnElement[str]:
    """`uno.errors.id_text` by PostgreSQL; NULL where a part is."""
    if len(parts) == 1:
        return cast(parts[0], Text)
    first, *others = map(_escaped, parts)
    for part in others:
        first = first.concat(_COMMA).concat(part)
    return first


def split(text: str) -> list[str]:
    """The parts of a composite key."""
    parts, letters = [""], iter(text)
    for letter in letters:
        if letter == "\\":
            parts[-1] += next(letters, "\\")
        elif letter == ",":
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _escaped(part: ColumnElement[Any]) -> ColumnElement[str]:
    text = cast(part, Text)
    if isinstance(part.type, _PLAIN):
        return text
    doubled = func.replace(text, _BACKSLASH, _BACKSLASH.concat(_BACKSLASH), type_=Text())
    return func.replace(doubled, _COMMA, _BACKSLASH.concat(_COMMA), type_=Text())
