"""One process, one event loop, the same uvicorn for every server."""

import os
from typing import Any

import uvicorn

POOL_SIZE = 10


def database_url() -> str:
    return os.environ["BENCH_DATABASE_URL"]


def sqlalchemy_url() -> str:
    return database_url().replace("postgresql://", "postgresql+asyncpg://")


def run(app: Any) -> None:
    """Serve on the port that BENCH_PORT names, until SIGTERM."""
    port = int(os.environ["BENCH_PORT"])
    uvicorn.run(app, port=port, loop="uvloop", log_level="warning", access_log=False, server_header=False)
