"""The rate limiter: a token bucket, for everything together or for each key.

A bucket holds `burst` tokens, starts full and is filled with `rate` tokens a second: in any t
seconds at most `burst + rate × t` are taken. Times are on `clock.monotonic()`.
"""

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from inspect import isawaitable
from types import CoroutineType
from typing import Any

from uno import clock
from uno.errors import Misconfigured, RateLimited
from uno.resilience.deadline import remaining
from uno.resilience.shapes import Guard, finish, pause
from uno.resilience.turns import Line, Turn
from uno.telemetry.signals import emit

KEYS = 50_000
# Tokens by which floating-point sums may fall short.
_ROUNDING = 1e-6


class RateLimitExceeded(RateLimited):
    """Too often; after `retry_after` seconds there is a token again."""

    def __init__(
        self, message: str = "Too many requests.", *, retry_after: float = 1.0, limiter: str | None = None
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limiter = limiter


class _Bucket:
    """`tokens` there were at the moment `at`; the line of those who wait for more."""

    __slots__ = ("at", "line", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at
        self.line: Line | None = None


class RateLimiter(Guard):
    """Lets through `rate` calls a second, and `burst` at once after a pause.

    The others get `RateLimitExceeded`, or with `block=True` wait, first come first served; who is
    cancelled while waiting takes nothing. With a `key` each key has a bucket of its own; of more
    than `max_keys` the one used longest ago is forgotten. Thread-safe.
    """

    def __init__(
        self,
        rate: float = 100.0,
        burst: float = 10,
        block: bool = False,
        *,
        name: str | None = None,
        max_keys: int = KEYS,
    ) -> None:
        if not 0 < rate < math.inf or burst < 1 or max_keys < 1:
            raise Misconfigured("The rate of a RateLimiter is above 0, its burst and max_keys are 1 or more.")
        self.rate = float(rate)
        self.burst = float(burst)
        self.block = block
        self.name = name or "unnamed"
        self.max_keys = max_keys
        # The bucket for all, and who takes it out is alone with everything here. A threading.Lock costs
        # more than all the rest of a call; `pop` and `append` are as atomic.
        self._alone = deque([_Bucket(self.burst, -math.inf)])
        self._keys: OrderedDict[Hashable, _Bucket] = OrderedDict()

    # ── taking tokens ──

    def try_acquire(self, tokens: float = 1, *, key: Hashable = None) -> float:
        """0 if `tokens` were taken; else nothing was, and these are the seconds until it could be."""
        now = clock.monotonic()
        try:
            own = self._alone.pop()
        except IndexError:
            own = self._soon()
        try:
            bucket = own if key is None else self._bucket_of(key, now)
            there = bucket.tokens + (now - bucket.at) * self.rate
            if there > self.burst:
                there = self.burst
            if not 0 < tokens <= there or bucket.line is not None:
                return self._short_of(bucket, there, now, tokens)
            bucket.tokens = there - tokens
            bucket.at = now
            return 0.0
        finally:
            self._alone.append(own)

    def acquire(self, tokens: float = 1, *, key: Hashable = None) -> bool:
        """Take `tokens`. Raises `RateLimitExceeded`, or with `block=True` blocks the thread until they are there."""
        if seconds := self.try_acquire(tokens, key=key):
            finish(self.late(seconds, tokens, key))
        return True

    async def acquire_async(self, tokens: float = 1, *, key: Hashable = None) -> bool:
        """Take `tokens`. Raises `RateLimitExceeded`, or with `block=True` waits until they are there."""
        if seconds := self.try_acquire(tokens, key=key):
            await self.late(seconds, tokens, key)
        return True

    def reset(self) -> None:
        """Fill all buckets."""
        with self._everything() as own:
            for bucket in (own, *self._keys.values()):
                bucket.tokens = self.burst
            self._keys = OrderedDict((key, bucket) for key, bucket in self._keys.items() if bucket.line is not None)

    # ── around a call ──

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives, for one token."""
        # try_acquire() by hand: these lines run for every call.
        now = clock.monotonic()
        try:
            own = self._alone.pop()
        except IndexError:
            own = self._soon()
        try:
            there = own.tokens + (now - own.at) * self.rate
            if there > self.burst:
                there = self.burst
            taken = there >= 1 and own.line is None
            if taken:
                own.tokens = there - 1
                own.at = now
        finally:
            self._alone.append(own)
        if not taken:
            await self.acquire_async()
        found = f(*args, **kwargs)
        if type(found) is CoroutineType or isawaitable(found):
            found = await found
        return found

    def by(self, key: Callable[..., Hashable]) -> "Keyed":
        """This limiter with a bucket for each `key(*args)` of the call: `limiter.by(type).middleware`."""
        return Keyed(self, key)

    # ── when there are not enough ──

    def _short_of(self, bucket: _Bucket, there: float, now: float, tokens: float) -> float:
        """Seconds until `tokens` can be taken behind those who wait already."""
        if not 0 < tokens <= self.burst:
            raise Misconfigured(f"The bucket of {self.name} holds {self.burst:g} tokens: nobody can take {tokens:g}.")
        if bucket.line is not None:
            return (tokens + len(bucket.line)) / self.rate
        if there < tokens - _ROUNDING:
            return (tokens - there) / self.rate
        bucket.tokens, bucket.at = max(0.0, there - tokens), now
        return 0.0

    async def late(self, seconds: float, tokens: float = 1, key: Hashable = None) -> None:
        """Take `tokens` that `try_acquire` said are there in `seconds`: wait or raise, as this limiter does."""
        left = remaining()
        if self.block and (left is None or seconds <= left):
            await self._wait(tokens, key)
            return
        emit("limiter.refused", limiter=self.name)
        text = f"The rate limiter {self.name} lets through {self.rate:g} a second; try again in {seconds:.3g} s."
        raise RateLimitExceeded(text, retry_after=seconds, limiter=self.name)

    async def _wait(self, tokens: float, key: Hashable) -> None:
        """Stand in line; in front of it wait for the tokens."""
        with self._everything() as own:
            bucket = own if key is None else self._bucket_of(key, clock.monotonic())
            line = bucket.line = bucket.line or Line()
            turn = line.join()
            in_front = line.first is turn
        try:
            if not in_front:
                await turn.wait()
            while seconds := self._take_in_front(bucket, tokens):
                await pause(seconds)
        finally:
            self._go(bucket, line, turn)

    def _take_in_front(self, bucket: _Bucket, tokens: float) -> float:
        now = clock.monotonic()
        with self._everything():
            there = min(self.burst, bucket.tokens + (now - bucket.at) * self.rate)
            if there < tokens - _ROUNDING:
                return max((tokens - there) / self.rate, 1e-6)
            bucket.tokens, bucket.at = max(0.0, there - tokens), now
            return 0.0

    def _go(self, bucket: _Bucket, line: Line, turn: Turn) -> None:
        with self._everything():
            was_first = line.first is turn
            line.leave(turn)
            if was_first:
                line.call_first()
            if not line:
                bucket.line = None

    @contextmanager
    def _everything(self) -> Iterator[_Bucket]:
        own = self._soon()
        try:
            yield own
        finally:
            self._alone.append(own)

    def _soon(self) -> _Bucket:
        """The bucket for all, once the other thread has put it back, which it does without waiting for anything."""
        while True:
            try:
                return self._alone.pop()
            except IndexError:
                time.sleep(0)

    # ── a bucket for each key; whoever calls these is alone ──

    def _bucket_of(self, key: Hashable, now: float) -> _Bucket:
        bucket = self._keys.get(key)
        if bucket is None:
            self._make_room(now)
            bucket = self._keys[key] = _Bucket(self.burst, now)
        else:
            self._keys.move_to_end(key)
        return bucket

    def _make_room(self, now: float) -> None:
        """Forget up to two keys whose bucket is full again, and one more if there are too many."""
        for _ in range(2):
            oldest = next(iter(self._keys), None)
            if oldest is None:
                return
            bucket = self._keys[oldest]
            full = bucket.tokens + (now - bucket.at) * self.rate >= self.burst
            if bucket.line is not None:
                self._keys.move_to_end(oldest)
            elif full or len(self._keys) >= self.max_keys:
                del self._keys[oldest]

    def __repr__(self) -> str:
        return f"RateLimiter({self.name!r}, rate={self.rate:g}, burst={self.burst:g}, keys={len(self._keys)})"


class Keyed(Guard):
    """A limiter whose bucket is chosen by the arguments of the call."""

    def __init__(self, limiter: RateLimiter, key: Callable[..., Hashable]) -> None:
        self.limiter = limiter
        self.key = key

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives, for one token of the bucket of `key(*args, **kwargs)`."""
        key = self.key(*args, **kwargs)
        if seconds := self.limiter.try_acquire(key=key):
            await self.limiter.late(seconds, key=key)
        found = f(*args, **kwargs)
        if type(found) is CoroutineType or isawaitable(found):
            found = await found
        return found
