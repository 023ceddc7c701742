"""What SQLAlchemy calls unchanged, and whose word is taken for it."""

import pickle
from operator import eq
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, MetaData, PickleType, TypeDecorator, inspect
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.orm.attributes import set_committed_value

from uno.data import Model
from uno.data.sameness import compare_as_stored


class Keys(TypeDecorator[Any]):
    """Of which only the keys matter."""

    impl = JSON
    cache_ok = True

    def compare_values(self, x: Any, y: Any) -> bool:
        return bool(x.keys() == y.keys())


class Within(TypeDecorator[Any]):
    impl = Keys
    cache_ok = True


class Base(Model):
    __abstract__ = True
    metadata = MetaData()


class Many(Base):
    __tablename__ = "same_many"
    id: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[Any] = mapped_column(JSON)
    pickled: Mapped[Any] = mapped_column(PickleType)
    told: Mapped[Any] = mapped_column(PickleType(comparator=eq, pickler=pickle))
    keys: Mapped[Any] = mapped_column(Keys)
    within: Mapped[Any] = mapped_column(Within)
    flag: Mapped[bool] = mapped_column(Boolean)


compare_as_stored(inspect(Many))
compare_as_stored(inspect(Many))


@pytest.mark.parametrize(
    ("name", "before", "after", "changed"),
    [
        ("data", {"a": 1}, {"a": True}, True),
        ("data", {"a": 1}, {"a": 1.0}, False),
        ("pickled", [0], [False], True),
        ("flag", True, 1, True),
        ("told", [0], [False], False),
        ("keys", {"a": 1}, {"a": 2}, False),
        ("within", {"a": 1}, {"a": 2}, False),
    ],
)
def test_types_that_leave_it_to_the_values_compare_as_these_are_stored(
    name: str, before: Any, after: Any, changed: bool
) -> None:
    one = Many()
    set_committed_value(one, name, before)
    setattr(one, name, after)
    assert inspect(one).attrs[name].history.has_changes() is changed
