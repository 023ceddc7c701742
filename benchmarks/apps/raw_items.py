"""The ceiling: Starlette and asyncpg's pool, JSON built by PostgreSQL, everything written by hand."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.apps.rows import beside, item, text, wire
from benchmarks.apps.serving import POOL_SIZE, database_url, run
from uno.audit.tables import audit
from uno.queue.tables import deliveries

GET = "SELECT row_to_json(i)::text FROM bench_item i WHERE i.id = $1"
ITEM = ("id", "name", "quantity", "price", "active", "created_at")
AUDIT = tuple(c.name for c in audit.columns)
DELIVERY = tuple(c.name for c in deliveries.columns)
JSON = {"before", "after", "payload", "context"}


def insert(table: str, names: tuple[str, ...], first: int = 1) -> str:
    values = ", ".join(f"${first + n}{'::jsonb' if name in JSON else ''}" for n, name in enumerate(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"


INSERTS = (insert("bench_item", ITEM), insert("uno_audit", AUDIT), insert("uno_delivery", DELIVERY))
ONE = (
    f"WITH i AS ({INSERTS[0]}), a AS ({insert('uno_audit', AUDIT, len(ITEM) + 1)}), "
    f"o AS ({insert('uno_delivery', DELIVERY, len(ITEM) + len(AUDIT) + 1)}) SELECT true"
)


async def no_reset(_connection: Any) -> None:
    pass


class Pools:
    """The same pool twice: asyncpg's default, which resets a connection at every release, and one that does not."""

    default: asyncpg.Pool
    bare: asyncpg.Pool


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    size = {"min_size": 1, "max_size": POOL_SIZE}
    default = asyncpg.create_pool(database_url(), **size)
    bare = asyncpg.create_pool(database_url(), reset=no_reset, **size)
    async with default as Pools.default, bare as Pools.bare:
        yield


def _json(body: str, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


async def get_item(request: Request) -> Response:
    found = await Pools.bare.fetchval(GET, UUID(request.path_params["item_id"]))
    return _json(found)


async def get_item_reset(request: Request) -> Response:
    found = await Pools.default.fetchval(GET, UUID(request.path_params["item_id"]))
    return _json(found)


async def _rows(request: Request) -> tuple[dict[str, Any], list[Any], list[Any], list[Any]]:
    body = json.loads(await request.body())
    values = item(body | {"price": Decimal(body["price"])})
    audited, delivered = beside(values)
    return values, [values[n] for n in ITEM], _arguments(audited, AUDIT), _arguments(delivered, DELIVERY)


def _arguments(row: dict[str, Any], names: tuple[str, ...]) -> list[Any]:
    return [text(row[n]) if n in JSON and row[n] is not None else row[n] for n in names]


async def create_item(request: Request) -> Response:
    values, mine, audited, delivered = await _rows(request)
    await Pools.bare.fetch(ONE, *mine, *audited, *delivered)
    return _json(text(wire(values)), 201)


async def create_item_in_three(request: Request) -> Response:
    values, *rows = await _rows(request)
    async with Pools.bare.acquire() as connection, connection.transaction():
        for sql, arguments in zip(INSERTS, rows, strict=True):
            await connection.execute(sql, *arguments)
    return _json(text(wire(values)), 201)


routes = [
    Route("/items/{item_id}", get_item),
    Route("/items", create_item, methods=["POST"]),
    Route("/reset/items/{item_id}", get_item_reset),
    Route("/three/items", create_item_in_three, methods=["POST"]),
]

if __name__ == "__main__":
    run(Starlette(routes=routes, lifespan=lifespan))
