"""When a value counts as another one, so that its row is written."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.mutable import MutableDict

from uno.data.changes import differs


class Driven(UUID):
    """As a driver has UUIDs of its own."""


class State(StrEnum):
    NEW = "new"


class Odd(Enum):
    NEW = "new"


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else [1]


NAN = float("nan")
# As deep as Python itself compares them in the depth that tests run in.
NESTED = nested(400), nested(400)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (UUID(int=1), Driven(int=1)),
        (Decimal("1.50"), Decimal("1.5")),
        (Decimal(2), 2),
        (2.0, 2),
        ("new", State.NEW),
        (NOON, NOON.astimezone(timezone(timedelta(hours=5)))),
        ({"a": [1, None]}, {"a": [1, None]}),
        ({"a": [1, True]}, {"a": [1.0, True]}),
        ([NAN, {"a": NAN}], [NAN, {"a": NAN}]),
        (NESTED[0], NESTED[1]),
    ],
)
def test_what_is_stored_alike_is_no_change(before: Any, after: Any) -> None:
    assert not differs(before, after)
    assert not differs(after, before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, 0),
        (1, True),
        (0.0, False),
        ("1", 1),
        ("new", Odd.NEW),
        ([1], (1,)),
        (NOON, NOON.replace(tzinfo=None)),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": True}),
        ({"a": [{"b": 0.0}]}, {"a": [{"b": False}]}),
        ((1, [0]), (1, [False])),
        (MutableDict({"a": 1}), {"a": True}),
    ],
)
def test_what_is_stored_otherwise_is_one(before: Any, after: Any) -> None:
    assert differs(before, after)
    assert differs(after, before)
