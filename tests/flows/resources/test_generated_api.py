"""Schemathesis finds nothing in an application that is nothing but five declared models."""

import asyncio
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from pydantic import Field
from schemathesis.config import SchemathesisConfig
from sqlalchemy import CheckConstraint, ForeignKey, MetaData, Numeric, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

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
    supplier_id: Mapped[UUID | None] = mapped_column(ForeignKey("generated_suppliers.id"))
    category: Mapped[Category | None] = relationship(viewonly=True)
    supplier: Mapped[Supplier | None] = relationship(viewonly=True)
    purchases: Mapped[list["Acquisition"]] = relationship(viewonly=True)


class Acquisition(UUIDMixin, VersionMixin, TimestampMixin, Base):
    __tablename__ = "generated_purchases"
    product_id: Mapped[UUID | None] = mapped_column(ForeignKey("generated_products.id"))
    count: Mapped[Annotated[int, Field(ge=0)]]
    weight: Mapped[float | None]
    ordered: Mapped[datetime | None]
    __table_args__ = (CheckConstraint("count >= 0", name="count"),)


class Annotation(Base):
    __tablename__ = "generated_remarks"
    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(String(60))
    text: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    product_id: Mapped[UUID | None] = mapped_column(ForeignKey("generated_products.id"))
    __table_args__ = (UniqueConstraint("subject", "text"),)


MODELS = (Supplier, Category, Product, Acquisition, Annotation)
INCLUDABLE = {Product: ["category", "supplier", "purchases"]}


def _accepting(operations: str, status: int, **checks: Any) -> dict[str, Any]:
    accepted = [*_ACCEPTED, status]
    checks = {"positive_data_acceptance": {"expected-statuses": accepted}} | checks
    return {"include-operation-id-regex": operations, "checks": checks}


_ACCEPTED = ["2xx", "3xx", 401, 403, 404, 409, 429, "5xx"]
CONFIG = SchemathesisConfig.from_dict(
    {
        # NUL is text to JSON Schema, but PostgreSQL has no place for it: another test looks at its refusal.
        "generation": {"allow-x00": False},
        # What the document links is followed; that a number called id may be that of anything is only guessed.
        "phases": {"stateful": {"inference": {"algorithms": []}}},
        "operations": [
            # Cursors and groups of conditions are texts to it, too, of which few are any.
            _accepting("^List", 400),
            # Nobody knows the tag of what is stored.
            _accepting("^(Replace|Merge|Delete)", 412),
            # What is deleted has a history still, and may come back.
            _accepting("History$", 400, use_after_free={"enabled": False}),
            _accepting("^Restore", 412, use_after_free={"enabled": False}),
        ],
    }
)
# Of each operation requests that fit its schema and such that do not; chains of them by links.
FITTING, UNFIT, CHAINS = 34, 9, 26
RANDOM = os.environ.get("UNO_TEST_SEEDS") == "random"
QUIET = settings(
    suppress_health_check=list(HealthCheck),
    deadline=None,
    phases=[Phase.generate],
    derandomize=not RANDOM,
    database=None,
)


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


class Explorer:
    """Sends generated requests, counts the answers and keeps in mind what was made."""

    def __init__(self, address: str, session: requests.Session) -> None:
        self._address, self._session = address, session
        self.statuses: Counter[int] = Counter()
        self._made: defaultdict[str, list[Any]] = defaultdict(list)

    def sent(self, case: Any, **_: Any) -> Any:
        if case.meta.generation.mode.is_positive:
            self._likely(case)
        response = case.call(base_url=self._address, session=self._session)
        self.statuses[response.status_code] += 1
        if response.status_code == 201 and response.content:
            self._made[case.path].append(response.json()["id"])
        return response

    def _likely(self, case: Any) -> None:
        """Make it one that has a chance."""
        if case.headers and "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = str(uuid4())  # another request has another key
        if case.meta.phase.name == "stateful":  # where links say what fits
            return
        made = self._made[case.path.partition("/{")[0]]
        # Every third is one that nobody knows.
        if made and case.path_parameters and self.statuses.total() % 3:
            case.path_parameters["id"] = made[self.statuses.total() % len(made)]
            if case.headers and self.statuses.total() % 2:
                case.headers.pop("If-Match", None)


def explore(shop_url: str) -> None:
    routes = [resource(one, access="open", includable=INCLUDABLE.get(one, ())) for one in MODELS]
    api = asgi(App(Module("shop", routes=routes), database=shop_url))
    with served(api) as address, requests.Session() as session:
        document = schemathesis.openapi.from_dict(api.openapi(), config=CONFIG)
        explorer = Explorer(address, session)
        for found in document.get_all_operations():
            for mode in schemathesis.GenerationMode:

                @settings(QUIET, max_examples=FITTING if mode.is_positive else UNFIT)
                @given(case=found.ok().as_strategy(generation_mode=mode))
                def check(case: Any) -> None:
                    case.validate_response(explorer.sent(case))

                check()
        alone = explorer.statuses.total()

        class Links(document.as_state_machine()):  # type: ignore[misc]
            call = staticmethod(explorer.sent)

        Links.run(settings=settings(QUIET, max_examples=CHAINS, stateful_step_count=20))
    statuses = explorer.statuses
    good = sum(count for status, count in statuses.items() if status < 300) / statuses.total()
    print(f"{alone} cases and {statuses.total() - alone} by links, {good:.0%} 2xx: {dict(sorted(statuses.items()))}")
    assert not [status for status in statuses if status >= 500]
    assert statuses.total() >= 2_000
    assert good >= 0.3
