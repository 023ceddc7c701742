"""A rate limiter that several processes share, over Redis, through `limits` (the extra `resilience`).

It is `limits`' sliding window counter: one script run in Redis, by the clock of Redis, two small
keys for each key that is limited. Of the previous window it knows the sum only, and takes it for
evenly spread.
"""

import asyncio
import time
from collections.abc import Callable
from inspect import isawaitable
from types import TracebackType
from typing import Any

from limits import RateLimitItemPerSecond, aio, storage, strategies
from limits.errors import StorageError

from uno.errors import Misconfigured, Unavailable
from uno.resilience.arguments import COROUTINE, not_a_function, require_counts, require_numbers
from uno.resilience.deadline import remaining
from uno.resilience.limit import RateLimiter, RateLimitExceeded
from uno.resilience.shapes import Guard, finish, pause
from uno.telemetry.signals import emit


class SharedRateLimiter(Guard):
    """Lets through `limit` calls in `seconds` (whole), of all processes with the same `name` together.

    The others get `RateLimitExceeded`, or with `block=True` wait, in no order. While Redis does not
    answer within `timeout` seconds, `otherwise` decides; without it that is `Unavailable`. Close
    it with `await limiter.aclose()` or `async with`.
    """

    def __init__(
        self,
        url: str,
        limit: int,
        seconds: int = 1,
        block: bool = False,
        *,
        name: str = "uno",
        otherwise: RateLimiter | None = None,
        timeout: float = 1.0,
    ) -> None:
        require_counts("a SharedRateLimiter", limit=limit, seconds=seconds)
        require_numbers("a SharedRateLimiter", timeout=timeout)
        # Not shown: there may be a password in it.
        if str(url).partition("://")[0] not in (storage.RedisStorage.STORAGE_SCHEME or ()):
            raise Misconfigured("The url of a SharedRateLimiter is that of a Redis, as in redis://cache:6379/0.")
        if limit < 1 or seconds < 1:
            raise Misconfigured("The limit of a SharedRateLimiter is 1 or more, its seconds are whole and 1 or more.")
        self.limit = limit
        self.seconds = int(seconds)
        self.block = block
        self.name = name
        self.otherwise = otherwise
        self._item = RateLimitItemPerSecond(limit, self.seconds, namespace=name)
        self._url = url
        self._options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        # A connection belongs to the event loop it was opened in, and holds it: no weak reference would end.
        # Threads without a loop share one client.
        self._asynchronous: dict[asyncio.AbstractEventLoop, Any] = {}
        self._synchronous: Any = None

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives, for one token."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        await self.acquire_async()
        found = f(*args, **kwargs)
        return await found if isawaitable(found) else found

    def acquire(self, tokens: int = 1, *, key: object = None) -> bool:
        """Take `tokens`, blocking the thread. Raises `RateLimitExceeded` or `Unavailable`."""
        if asyncio._get_running_loop() is not None:
            raise Misconfigured("acquire() would stop the running event loop: await acquire_async().")
        return finish(self.acquire_async(tokens, key=key))

    async def acquire_async(self, tokens: int = 1, *, key: object = None) -> bool:
        """Take `tokens`. Raises `RateLimitExceeded` or `Unavailable`."""
        if not 0 < tokens <= self.limit:
            raise Misconfigured(f"The limiter {self.name} lets through {self.limit} tokens: nobody can take {tokens}.")
        try:
            while (wait := await self._take(tokens, "" if key is None else str(key))) > 0:
                await self._wait_or_refuse(wait)
        except StorageError as error:
            return await self._without_redis(error, tokens, key)
        return True

    async def aclose(self) -> None:
        """Close the connections of this event loop, and those of threads without one.

        Those of a loop that was closed before are given to the garbage collector.
        """
        self._forget_closed()
        found = self._asynchronous.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found.storage.bridge.get_connection().aclose()
        if self._synchronous is not None:
            self._synchronous.storage.storage.close()
            self._synchronous = None

    async def __aenter__(self) -> "SharedRateLimiter":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _take(self, tokens: int, key: str) -> float:
        """0 if they were taken, else the seconds after which to ask again."""
        window = self._window()
        taken = window.hit(self._item, key, cost=tokens)
        if await taken if isawaitable(taken) else taken:
            return 0.0
        stats = window.get_window_stats(self._item, key)
        reset = (await stats if isawaitable(stats) else stats).reset_time
        return float(min(max(reset - time.time(), 0.001), 2 * self.seconds))

    async def _wait_or_refuse(self, seconds: float) -> None:
        left = remaining()
        if self.block and (left is None or seconds <= left):
            await pause(seconds)
            return
        emit("limiter.refused", limiter=self.name)
        text = f"The rate limiter {self.name} lets through {self.limit} in {self.seconds} s; try again later."
        raise RateLimitExceeded(text, retry_after=seconds, limiter=self.name)

    async def _without_redis(self, error: StorageError, tokens: int, key: Any) -> bool:
        emit("limiter.unreachable", limiter=self.name, error=type(error.storage_error).__name__)
        if self.otherwise is None:
            raise Unavailable(f"The rate limiter {self.name} does not reach Redis.") from error
        return await self.otherwise.acquire_async(tokens, key=key)

    def _window(self) -> Any:
        loop = asyncio._get_running_loop()
        if loop is None:
            if self._synchronous is None:
                store = storage.RedisStorage(self._url, wrap_exceptions=True, **self._options)
                self._synchronous = strategies.SlidingWindowCounterRateLimiter(store)
            return self._synchronous
        found = self._asynchronous.get(loop)
        if found is None:
            self._forget_closed()
            shared = aio.storage.RedisStorage(
                f"async+{self._url}", wrap_exceptions=True, implementation="redispy", **self._options
            )
            found = self._asynchronous[loop] = aio.strategies.SlidingWindowCounterRateLimiter(shared)
        return found

    def _forget_closed(self) -> None:
        for loop in list(self._asynchronous):
            if loop.is_closed():
                self._asynchronous.pop(loop, None)
