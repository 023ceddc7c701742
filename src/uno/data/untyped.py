"""SQLAlchemy's functions where nobody knows beforehand how many columns there are."""

from typing import Any, cast

from sqlalchemy import Select, select


def chosen(*columns: Any) -> Select[Any]:
    """`select`, which otherwise counts the types of a list it is given."""
    return cast("Select[Any]", select(*columns))
