"""The limiter that processes share over Redis, against a server that speaks Redis' protocol."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from fakeredis import TcpFakeServer
from limits.aio.storage.redis.bridge import RedisBridge
from redis import Redis

from uno.errors import Misconfigured, Unavailable
from uno.resilience import RateLimiter, RateLimitExceeded, SharedRateLimiter

# Seconds of a window that hardly ever ends during a test.
HOUR = 3600
# Seconds that an answer may take on a busy machine.
PATIENCE = 20.0


@pytest.fixture
def url() -> Iterator[str]:
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    # It hangs up after "no such script", which Redis does not: the scripts are there before anybody asks.
    with Redis(port=server.server_address[1]) as client:
        for script in (RedisBridge.SCRIPT_ACQUIRE_SLIDING_WINDOW, RedisBridge.SCRIPT_SLIDING_WINDOW):
            client.script_load(script)
    yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    server.shutdown()
    server.server_close()
    thread.join()


async def allowed(limiter: SharedRateLimiter, times: int, **options: Any) -> int:
    outcomes = await asyncio.gather(*(limiter.acquire_async(**options) for _ in range(times)), return_exceptions=True)
    assert all(o is True or (isinstance(o, RateLimitExceeded) and o.retry_after > 0) for o in outcomes)
    return outcomes.count(True)


async def test_two_processes_have_one_limit_together(url: str) -> None:
    async with (
        SharedRateLimiter(url, 5, HOUR, timeout=PATIENCE) as one,
        SharedRateLimiter(url, 5, HOUR, timeout=PATIENCE) as two,
    ):
        assert await allowed(one, 4) + await allowed(two, 4) == 5
        assert await allowed(one, 4, key="ada") + await allowed(two, 4, key="ada") == 5
    async with SharedRateLimiter(url, 5, HOUR, name="other", timeout=PATIENCE) as other:
        assert await allowed(other, 7) == 5


async def test_who_may_wait_waits(url: str) -> None:
    async with SharedRateLimiter(url, 2, 1, block=True, timeout=PATIENCE) as limiter:
        assert await allowed(limiter, 3) == 3


async def test_it_guards_calls_of_both_kinds(url: str) -> None:
    async with SharedRateLimiter(url, 2, HOUR, timeout=PATIENCE) as limiter:
        assert await limiter(asyncio.sleep)(0, "slept") == "slept"
        assert await asyncio.to_thread(limiter(lambda: "ran")) == "ran"
        with pytest.raises(RateLimitExceeded):
            await limiter.call(asyncio.sleep, 0)
        with pytest.raises(RateLimitExceeded):
            await asyncio.to_thread(limiter.acquire)
        with pytest.raises(Misconfigured, match="acquire_async"):
            limiter.acquire()


async def test_without_redis_it_is_unavailable_or_another_limiter_decides() -> None:
    url = "redis://:secret@127.0.0.1:1/0"
    async with SharedRateLimiter(url, 5, timeout=0.2) as limiter:
        with pytest.raises(Unavailable, match="does not reach Redis") as raised:
            await limiter.acquire_async()
        assert "secret" not in repr(raised.value)
    async with SharedRateLimiter(url, 5, otherwise=RateLimiter(rate=1, burst=1), timeout=0.2) as limiter:
        assert await allowed(limiter, 3) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of connections that were left open
def test_the_clients_of_event_loops_that_are_closed_are_forgotten(url: str) -> None:
    limiter, loops = SharedRateLimiter(url, 100, HOUR, timeout=PATIENCE), []

    async def use(*, close: bool) -> None:
        await limiter.acquire_async()
        loops.append(weakref.ref(asyncio.get_running_loop()))
        if close:
            await limiter.aclose()

    for close in (False, False, True):
        asyncio.run(use(close=close))
    gc.collect()
    assert [loop() for loop in loops] == [None, None, None]


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 1, "seconds": 0}, {"limit": 1, "seconds": 1.5}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        SharedRateLimiter("redis://127.0.0.1:1", **wrong)
