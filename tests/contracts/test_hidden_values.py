"""What a statement was given stays out of logs, spans and errors, whatever the database says about it."""

import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
from sqlalchemy import MetaData, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, mapped_column

from uno.context import Context, use
from uno.data import Database, Model
from uno.errors import UnoError
from uno.redact import clean
from uno.telemetry import Span, Tracer, span, use_tracer

Fresh = Callable[..., Awaitable[Database]]
INSERT = "INSERT INTO reader (email) VALUES (:value)"
VALUE = "ada-and-no-other@example.org"


class Tables(Model):
    __abstract__ = True
    metadata: ClassVar[MetaData] = MetaData(naming_convention=Model.metadata.naming_convention)


class Reader(Tables):
    __tablename__ = "reader"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)


def told(spans: list[Span]) -> str:
    return "\n".join(str(one.to_dict()) for one in spans)


async def failing(database: Database, *statements: str) -> tuple[list[Span], BaseException]:
    """The spans and the error of statements whose last one the database refuses."""
    spans: list[Span] = []
    tracer = Tracer(export_func=lambda trace: spans.extend(trace.spans))
    with use_tracer(tracer), use(Context()), pytest.raises((UnoError, DBAPIError)) as caught, span("work"):
        async with database.session() as session:
            for statement in statements:
                await session.execute(text(statement), {"value": VALUE})
    return spans, caught.value


@pytest.mark.parametrize(
    ("backend", "statements"),
    [
        ("sqlite", [INSERT, INSERT]),
        ("sqlite", ["INSERT INTO nowhere (email) VALUES (:value)"]),
        ("postgresql", [INSERT, INSERT]),
        ("postgresql", ["INSERT INTO reader (id, email) VALUES (NULL, :value)"]),
        ("postgresql", ["INSERT INTO nowhere (email) VALUES (:value)"]),
        ("postgresql", ["SELECT CAST(CAST(:value AS text) AS integer)"]),
        ("postgresql", ["SELECT CAST(:value AS integer)"]),
    ],
)
async def test_a_refused_value_is_in_no_log_line_and_no_span(
    fresh: Fresh, backend: str, statements: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    database = await fresh(backend, Tables.metadata)
    spans, error = await failing(database, *statements)
    assert [one.name for one in spans][-1] == "work"
    assert VALUE not in told(spans)
    if isinstance(error, UnoError):
        assert VALUE not in str(error)
    lines: Any = clean({"exception": "".join(traceback.format_exception(error))})
    assert VALUE not in lines["exception"]
    with caplog.at_level(logging.ERROR):
        logging.getLogger("shop").error("failed: %s", error)
    assert VALUE not in str(clean(caplog.messages))
