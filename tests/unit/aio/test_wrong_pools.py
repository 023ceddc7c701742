"""What a pool is told wrongly is named before it does anything."""

import asyncio
from typing import Any

import pytest

from uno.aio import ConnectionPool
from uno.errors import Misconfigured


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"factory": 3}, "factory of the pool 'p' is a function that opens a connection, not 3"),
        ({"close_func": "close"}, "close_func of the pool 'p' is a function"),
        ({"max_size": 1.5}, "max_size of the pool 'p' is a whole number"),
        ({"max_size": 0}, "max_size of the pool 'p' is 1 or more"),
        ({"min_size": 11}, "min_size between 0 and that"),
        ({"ttl": 0}, "ttl above 0"),
        ({"validation_interval": -1}, "validation_interval and retry_backoff are 0 or more"),
        ({"retry_backoff": -1}, "retry_backoff are 0 or more"),
        ({"retry_backoff": float("nan")}, "retry_backoff of the pool 'p' is a number"),
        ({"ttl": "1"}, "ttl of the pool 'p' is a number"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(Misconfigured, match=text):
        ConnectionPool("p", **{"factory": object, **settings})


@pytest.mark.parametrize("seconds", [float("nan"), "1", True, -1])
async def test_nobody_waits_for_what_is_no_number_of_seconds(seconds: Any) -> None:
    pool = ConnectionPool("p", object)
    with pytest.raises(Misconfigured, match=r"timeout of acquire\(\) is"):
        await pool.acquire(seconds)
    await pool.close()


@pytest.mark.parametrize("seconds", [float("nan"), "1", None])
async def test_closing_takes_a_number_of_seconds(seconds: Any) -> None:
    pool = ConnectionPool("p", object)
    held = await pool.acquire()
    with pytest.raises(Misconfigured, match=r"timeout of close\(\) is a number"):
        await asyncio.wait_for(pool.close(seconds), 30)
    assert not pool.is_closed
    await pool.release(held)
    await pool.close()
