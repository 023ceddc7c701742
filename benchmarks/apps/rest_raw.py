"""Starlette over asyncpg's pool, JSON built by PostgreSQL, everything written by hand in one statement each."""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from benchmarks.apps.raw_items import no_reset
from benchmarks.apps.rest_rows import expected
from benchmarks.apps.serving import POOL_SIZE, database_url, run
from uno import ids
from uno.ids import uuid7

SHOWN = "id, name, quantity, price::text AS price, active, created_at, version"
IMAGE = "id, name, quantity, price::text AS price, active, created_at"
LIST, FILTERED = (
    f"""
    SELECT '[' || array_to_string(a[1:$1], ',') || ']', cardinality(a), a[$1]
    FROM (SELECT ARRAY(SELECT row_to_json(r)::text
                       FROM (SELECT {SHOWN} FROM rest_item {where} ORDER BY id LIMIT $2) r) AS a
          OFFSET 0) x
    """
    for where in ("", "WHERE quantity >= $3")
)
GET = f"SELECT row_to_json(r)::text, version FROM (SELECT {SHOWN} FROM rest_item WHERE id = $1) r"
AUDIT = """
    INSERT INTO uno_audit (id, kind, component, record_id, operation, actor_source, timestamp, before, after,
                           correlation_id, message_id, traceparent)
"""
CREATE = f"""
    WITH i AS (INSERT INTO rest_item (id, name, quantity, price, active, created_at, version)
               VALUES ($1, $2, $3, $4, true, $5, 1) RETURNING {SHOWN}),
         a AS ({AUDIT} SELECT $6, 'change', 'Item', id::text, 'create', 'system', $5, NULL,
               (SELECT to_jsonb(r) FROM (SELECT id, name, quantity, price, active, created_at) r), $7, $7, $8 FROM i)
    SELECT row_to_json(i)::text FROM i
"""
UPDATE = f"""
    WITH u AS (UPDATE rest_item i SET quantity = $3, version = i.version + 1 FROM rest_item o
               WHERE i.id = $1 AND i.version = $2 AND o.id = i.id
               RETURNING i.id, i.name, i.quantity, i.price::text AS price, i.active, i.created_at, i.version,
                         o.quantity AS was),
         a AS ({AUDIT} SELECT $4, 'change', 'Item', id::text, 'update', 'system', $5,
               jsonb_build_object('quantity', was), jsonb_build_object('quantity', quantity), $6, $6, $7 FROM u)
    SELECT row_to_json(r)::text, version
    FROM (SELECT id, name, quantity, price, active, created_at, version FROM u) r
"""


# For whom PostgreSQL is to answer, where it tells tenants apart.
TENANT = os.environ.get("BENCH_TENANT")
OPEN = f"BEGIN; SELECT set_config('uno.tenant', '{TENANT}', true)"


class Pools:
    """The same pool twice: one that does not reset a connection at its release, and asyncpg's default."""

    bare: asyncpg.Pool
    default: asyncpg.Pool


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    # As uno sets them.
    settings = {"timezone": "UTC", "jit": "off", "statement_timeout": "30000"}
    size: dict[str, Any] = {"min_size": 1, "max_size": POOL_SIZE, "server_settings": settings}
    bare = asyncpg.create_pool(database_url(), reset=no_reset, **size)
    default = asyncpg.create_pool(database_url(), **size)
    async with bare as Pools.bare, default as Pools.default:
        yield


def _answer(body: str, status: int = 200, version: int | None = None) -> Response:
    headers = None if version is None else {"etag": f'"{version}"'}
    return Response(body, status, headers, media_type="application/json")


def _trace() -> tuple[str, str]:
    correlation = ids.trace_id()
    return correlation, f"00-{correlation}-{ids.span_id()}-01"


async def _row(pool: asyncpg.Pool, sql: str, *arguments: Any) -> Any:
    if TENANT is None:
        return await pool.fetchrow(sql, *arguments)
    async with pool.acquire() as connection:
        await connection.execute(OPEN)
        row = await connection.fetchrow(sql, *arguments)
        await connection.execute("COMMIT")
        return row


def _routes(pool: Callable[[], asyncpg.Pool]) -> list[Route]:
    async def list_items(request: Request) -> Response:
        limit = int(request.query_params["limit"])
        least = request.query_params.get("quantity__gte")
        asked = (LIST,) if least is None else (FILTERED, int(least))
        text, count, last = await _row(pool(), asked[0], limit, limit + 1, *asked[1:])
        key = json.dumps([["id"], [json.loads(last)["id"]]]) if count > limit else None
        following = json.dumps(key and urlsafe_b64encode(key.encode()).decode())
        return _answer(f'{{"items":{text},"next":{following}}}')

    async def get_item(request: Request) -> Response:
        text, version = await _row(pool(), GET, UUID(request.path_params["item_id"]))
        return _answer(text, version=version)

    async def create_item(request: Request) -> Response:
        body = json.loads(await request.body())
        values = body["name"], body["quantity"], Decimal(body["price"])
        text = await pool().fetchval(CREATE, uuid7(), *values, datetime.now(UTC), uuid7(), *_trace())
        return _answer(text, 201, 1)

    async def update_item(request: Request) -> Response:
        body, version = json.loads(await request.body()), expected(request.headers["if-match"])
        key = UUID(request.path_params["item_id"])
        found = await pool().fetchrow(UPDATE, key, version, body["quantity"], uuid7(), datetime.now(UTC), *_trace())
        return Response(status_code=412) if found is None else _answer(found[0], version=found[1])

    handlers: list[tuple[str, Callable[[Request], Awaitable[Response]], str]] = [
        ("/items", list_items, "GET"),
        ("/items", create_item, "POST"),
        ("/items/{item_id}", get_item, "GET"),
        ("/items/{item_id}", update_item, "PATCH"),
    ]
    return [Route(path, handler, methods=[method]) for path, handler, method in handlers]


routes = [*_routes(lambda: Pools.bare), Mount("/reset", routes=_routes(lambda: Pools.default))]

if __name__ == "__main__":
    run(Starlette(routes=routes, lifespan=lifespan))
