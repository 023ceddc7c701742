"""In development an application reports what blocks its event loop; elsewhere only where it is told to."""

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.flows.aio.conftest import Start

from uno.app import App
from uno.settings import Settings

SLOW = """
import time

from uno.api import asgi
from uno.app import App

app = App()
api = asgi(app)


@api.get("/slow")
async def slow() -> str:
    time.sleep(0.4)
    return "done"
"""


def blocks() -> None:
    time.sleep(0.5)


def is_watched() -> bool:
    return "uno.blocking" in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("env", "limit", "watched"),
    [
        ("development", None, True),
        ("test", None, False),
        ("production", None, False),
        ("development", 0, False),
        ("production", 0.2, True),
    ],
)
async def test_it_is_on_in_development_and_where_it_is_asked_for(env: Any, limit: float | None, watched: bool) -> None:
    async with App(settings=Settings(env=env, blocking_limit=limit)):
        assert is_watched() is watched
    assert not is_watched()


async def test_a_call_that_blocks_is_in_the_log_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with App(settings=Settings(env="development", blocking_limit=0.1)):
            blocks()
            await asyncio.sleep(0.1)
    [record] = [record for record in caplog.records if record.__dict__.get("signal") == "loop.blocked"]
    assert record.__dict__["place"].endswith(" in blocks")
    assert record.__dict__["seconds"] >= 0.1


async def test_a_served_application_tells_of_it(start: Start, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    told = {}
    for env in ("development", "production"):
        process = start("uno.cli", "run", "slow:api", "--port", "0", UNO_ENV=env, UNO_LOG_FORMAT="json", UNO_GRACE="0")
        url = (await process.wait_for(r"Serving on (\S+)\n"))[1]
        async with httpx2.AsyncClient() as client:
            assert (await client.get(f"{url}/slow")).json() == "done"
        process.tell()
        assert await process.exit_code(20) == 0
        told[env] = process.printed.count("a call blocked the event loop")
        assert told[env] == process.printed.count("in slow")
    assert told == {"development": 1, "production": 0}
