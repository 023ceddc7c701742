"""Dates and times from outside are ISO 8601: a number is not taken for seconds since 1970."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import DateTime, Time
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from uno.data.document import DocumentPlan
from uno.data.document_filter import DocumentFields
from uno.data.fields import Fields, Unreadable
from uno.data.plan import MappedPlan
from uno.data.schemas import schemas_of
from uno.domain import AggregateRoot


class Base(DeclarativeBase):
    pass


class Diary(Base):
    __tablename__ = "written_diaries"
    id: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[date | None]
    at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    local: Mapped[datetime | None] = mapped_column(DateTime(timezone=False))
    clock: Mapped[time | None] = mapped_column(Time)


@dataclass
class Note(AggregateRoot[str]):
    id: str
    day: date | None = None
    at: datetime | None = None
    clock: time | None = None


GOOD: dict[str, dict[str, Any]] = {
    "day": {"2026-01-31": date(2026, 1, 31)},
    "at": {"2026-01-31T09:30:00Z": datetime(2026, 1, 31, 9, 30, tzinfo=UTC)},
    "local": {"2026-01-31T09:30:00": datetime(2026, 1, 31, 9, 30, tzinfo=None)},  # noqa: DTZ001
    "clock": {"09:30:00.5": time(9, 30, 0, 500_000), "09:30": time(9, 30)},
}
SENTENCES = {
    "day": "It takes a date, as 2026-01-31.",
    "at": "It takes a date and time, as 2026-01-31T09:30:00Z.",
    "local": "It takes a date and time, as 2026-01-31T09:30:00Z.",
    "clock": "It takes a time, as 09:30:00.",
}
WRONG: list[Any] = ["86400", "-86400", "0", "1985", "1.5", "1e3", "", "soon", "٢٠٢٦-٠١-٣١", 0, 86400, -1.5, True]
PLACES = [(cls, name) for cls in (Diary, Note) for name in GOOD if cls is Diary or name != "local"]


def read_in_filter(cls: Any, name: str, value: Any) -> Any:
    plan = schemas_of(cls).plan
    if isinstance(plan, DocumentPlan):
        found = DocumentFields(plan, "sqlite").find(name)
    else:
        assert isinstance(plan, MappedPlan)
        found = Fields(plan).find(name)
    assert found is not None
    return found.read(value)


@pytest.mark.parametrize("schema", ["create", "replace", "merge"])
@pytest.mark.parametrize(("cls", "name"), PLACES)
def test_a_body_takes_what_is_written_as_iso_8601_only(cls: Any, name: str, schema: str) -> None:
    model = getattr(schemas_of(cls), schema)
    whole = {"id": "n"} if cls is Note and schema == "create" else {}
    for text, value in GOOD[name].items():
        assert getattr(model.model_validate({**whole, name: text}), name) == value
        assert getattr(model.model_validate_json(json.dumps({**whole, name: text}), strict=True), name) == value
        assert getattr(model.model_validate({**whole, name: value}), name) == value
    assert getattr(model.model_validate({**whole, name: None}), name) is None
    for wrong in WRONG:
        with pytest.raises(ValidationError) as refused:
            model.model_validate({**whole, name: wrong})
        [error] = refused.value.errors()
        with pytest.raises(ValidationError, match=SENTENCES[name]):
            model.model_validate_json(json.dumps({**whole, name: wrong}), strict=True)
        assert (error["loc"], error["msg"], error["type"]) == ((name,), SENTENCES[name], "value"), wrong


@pytest.mark.parametrize(("cls", "name"), PLACES)
def test_a_filter_takes_what_is_written_as_iso_8601_only(cls: Any, name: str) -> None:
    for text, value in GOOD[name].items():
        assert read_in_filter(cls, name, text) == value
        assert read_in_filter(cls, name, value) == value
    for wrong in WRONG:
        with pytest.raises(Unreadable) as refused:
            read_in_filter(cls, name, wrong)
        assert str(refused.value) == SENTENCES[name], wrong


@pytest.mark.parametrize("cls", [Diary, Note])
def test_a_day_is_no_moment(cls: Any) -> None:
    for read in (
        lambda value: schemas_of(cls).merge.model_validate({"day": value}),
        lambda value: read_in_filter(cls, "day", value),
    ):
        with pytest.raises((ValidationError, Unreadable), match="It takes a date, as 2026-01-31"):
            read("1985-01-01T00:00:00")
