"""uno: a model, and a resource of it."""

import os
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Numeric
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.apps.serving import POOL_SIZE, database_url, run
from uno import clock, context
from uno.api import asgi
from uno.app import App, Module, resource
from uno.data import Database, Model, UUIDMixin, VersionMixin
from uno.settings import DatabaseSettings, Settings


class Item(UUIDMixin, VersionMixin, Model):
    __tablename__ = "rest_item"

    name: Mapped[str]
    quantity: Mapped[int]
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)


module = Module("bench", routes=[resource(Item)])


def make_app(url: str) -> App:
    database = Database(url, settings=DatabaseSettings(pool_size=POOL_SIZE, max_overflow=0))
    return App(module, database=database, settings=Settings())


class Tenancy:
    """Everybody is of the tenant that BENCH_TENANT names."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with context.use(context.current().replace(tenant=os.environ["BENCH_TENANT"])):
            await self.app(scope, receive, send)


if __name__ == "__main__":
    web = asgi(make_app(database_url()))
    if "BENCH_TENANT" in os.environ:
        web.add_middleware(Tenancy)
    run(web)
