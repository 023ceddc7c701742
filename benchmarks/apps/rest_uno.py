"""uno: a model, and a resource of it."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Numeric
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.apps.serving import POOL_SIZE, database_url, run
from uno import clock
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


if __name__ == "__main__":
    run(asgi(make_app(database_url())))
