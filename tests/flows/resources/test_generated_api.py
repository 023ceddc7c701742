"""Schemathesis finds nothing in an application that is nothing but five declared models."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.config import SchemathesisConfig
from sqlalchemy import CheckConstraint, ForeignKey, MetaData, Numeric, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from uno.api import asgi
from uno.app import App, Module, resource
from uno.data import Database, Model, SoftDeleteMixin, TimestampMixin, UUIDMixin, VersionMixin, schema


class Base(Model):
    __abstract__ = True
    metadata = MetaData(naming_convention=Model.metadata.naming_convention)


class Supplier(UUIDMixin, VersionMixin, TimestampMixin, SoftDeleteMixin, Base):
    __tablename__ = "generated_suppliers"
    name: Mapped[str] = mapped_column(String(80))
    since: Mapped[date | None]


class Category(Base):
    __tablename__ = "generated_categories"
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(String(40))
    hidden: Mapped[bool] = mapped_column(default=False)


class Product(UUIDMixin, VersionMixin, Base):
    __tablename__ = "generated_products"
    title: Mapped[str] = mapped_column(String(100))
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    stock: Mapped[int] = mapped_column(default=0)
    category_id: Mapped[int | None] = mapped_column(ForeignKey("generated_categories.id"))


class Acquisition(UUIDMixin, VersionMixin, TimestampMixin, Base):
    __tablename__ = "generated_purchases"
    product_id: Mapped[str | None] = mapped_column(String(36))
    count: Mapped[int]
    weight: Mapped[float | None]
    ordered: Mapped[datetime | None]
    __table_args__ = (CheckConstraint("count >= 0", name="count"),)


class Annotation(Base):
    __tablename__ = "generated_remarks"
    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(String(60))
    text: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    __table_args__ = (UniqueConstraint("subject", "text"),)


MODELS = (Supplier, Category, Product, Acquisition, Annotation)


def _accepting(operations: str, status: int) -> dict[str, Any]:
    accepted = [*_ACCEPTED, status]
    checks = {"positive_data_acceptance": {"expected-statuses": accepted}}
    return {"include-operation-id-regex": operations, "checks": checks}


_ACCEPTED = ["2xx", "3xx", 401, 403, 404, 409, 429, "5xx"]
CONFIG = SchemathesisConfig.from_dict(
    {
        # NUL is text to JSON Schema, but PostgreSQL has no place for it: another test looks at its refusal.
        "generation": {"allow-x00": False},
        # Cursors, orders and groups of conditions are texts to it, too, of which few are any.
        "operations": [
            _accepting("List.*", 400),
            # Nobody knows the tag of what is stored.
            _accepting("(Replace|Merge|Delete|Restore).*", 412),
        ],
    }
)
EXAMPLES = 12
QUIET = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), deadline=None, phases=[Phase.generate])


@pytest.fixture
async def shop_url(url: str, tmp_path: Path) -> str:
    """A database with the tables of these models, on either backend."""
    found = f"sqlite:///{tmp_path}/shop.db" if url == "sqlite://" else url
    async with Database(found) as database:
        await schema.create(database, [Base.metadata])
    return found


async def test_nothing_is_found(shop_url: str) -> None:
    await asyncio.to_thread(explore, shop_url)


@contextmanager
def served(api: Any) -> Iterator[str]:
    """Runs it in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def explore(shop_url: str) -> None:
    api = asgi(App(Module("shop", routes=[resource(one, access="open") for one in MODELS]), database=shop_url))
    statuses: Counter[int] = Counter()
    with served(api) as address, requests.Session() as session:
        document = schemathesis.openapi.from_dict(api.openapi(), config=CONFIG)

        def tried(case: Any) -> Any:
            if case.headers and "Idempotency-Key" in case.headers and case.meta.generation.mode.is_positive:
                case.headers["Idempotency-Key"] = str(uuid4())  # another request has another key
            response = case.call(base_url=address, session=session)
            statuses[response.status_code] += 1
            case.validate_response(response)
            return response

        class Links(document.as_state_machine()):  # type: ignore[misc]
            def call(self, case: Any, **given: Any) -> Any:
                response = case.call(base_url=address, session=session)
                statuses[response.status_code] += 1
                return response

        for found in document.get_all_operations():
            for mode in schemathesis.GenerationMode:

                @QUIET
                @given(case=found.ok().as_strategy(generation_mode=mode))
                def check(case: Any) -> None:
                    tried(case)

                check()
        Links.run(settings=settings(QUIET, max_examples=EXAMPLES, stateful_step_count=20))
    good = sum(count for status, count in statuses.items() if status < 300)
    print(f"{statuses.total()} cases, {good / statuses.total():.0%} of them 2xx: {dict(sorted(statuses.items()))}")
    assert not [status for status in statuses if status >= 500]
