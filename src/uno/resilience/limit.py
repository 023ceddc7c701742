"""The rate limiter: a token bucket, for everything together or for each key.

A bucket holds `burst` tokens, starts full and is filled with `rate` tokens a second: in any t
seconds at most `burst + rate × t` are taken. Times are on `clock.monotonic()`.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from inspect import isawaitable
from types import CoroutineType
from typing import Any

from uno import clock
from uno.errors import Misconfigured, RateLimited, TimedOut
from uno.resilience.arguments import COROUTINE, not_a_function, require_counts, require_function, require_numbers
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

    def called(self) -> Line | None:
        """The line, if anybody waits; the first one knows then that it is its turn."""
        if self.line is not None and self.line.call_first() is None:
            self.line = None
        return self.line


class RateLimiter(Guard):
    """Lets through `rate` calls a second, and `burst` at once after a pause.

    The others get `RateLimitExceeded`, or with `block=True` wait, first come first served: until the
    deadline, which is `TimedOut`, or until it is clear that the tokens come after it, which is
    `RateLimitExceeded`. Who gives up takes nothing. With a `key` each key has a bucket of its own;
    of more than `max_keys` the one used longest ago is forgotten. Thread-safe, also where the
    handler of a signal raises.
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
        require_numbers("a RateLimiter", rate=rate, burst=burst)
        require_counts("a RateLimiter", max_keys=max_keys)
        if not 0 < rate < math.inf or burst < 1 or max_keys < 1:
            raise Misconfigured("The rate of a RateLimiter is above 0, its burst and max_keys are 1 or more.")
        self.rate = float(rate)
        self.burst = float(burst)
        self.block = block
        self.name = name or "unnamed"
        self.max_keys = max_keys
        # The bucket for all. A lock would cost more than all the rest of a call; it needs none, because
        # between reading and writing its tokens nothing is called and no loop goes round: only there does
        # CPython (with its GIL) change to another thread or run the handler of a signal. `at` is written
        # first: whatever comes before `tokens` is, nobody gets too many.
        self._own = _Bucket(self.burst, -math.inf)
        # For the lines and the keys. Reentrant: the handler of a signal may ask the limiter as well.
        self._lock = threading.RLock()
        self._keys: OrderedDict[Hashable, _Bucket] = OrderedDict()

    # ── taking tokens ──

    def try_acquire(self, tokens: float = 1.0, *, key: Hashable = None) -> float:
        """0 if `tokens` were taken; else nothing was, and these are the seconds until it could be."""
        if key is not None:
            return self._try_key(tokens, key)
        own = self._own
        now = clock.monotonic()
        there = own.tokens + (now - own.at) * self.rate
        if there > self.burst:
            there = self.burst
        if not 0 < tokens <= there or own.line is not None:
            return self._try_slowly(tokens)
        own.at = now
        own.tokens = there - tokens
        return 0.0

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
        with self._lock:
            for bucket in (self._own, *self._keys.values()):
                bucket.tokens = self.burst
            self._keys = OrderedDict((key, bucket) for key, bucket in self._keys.items() if bucket.called() is not None)

    # ── around a call ──

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives, for one token."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        # try_acquire() by hand, and clock.monotonic(): these lines run for every call.
        own = self._own
        now = clock.current.monotonic()
        there = own.tokens + (now - own.at) * self.rate
        if there > self.burst:
            there = self.burst
        if there >= 1.0 and own.line is None:
            own.at = now
            own.tokens = there - 1.0
        else:
            await self.acquire_async()
        found = f(*args, **kwargs)
        if type(found) is CoroutineType or isawaitable(found):
            found = await found
        return found

    def by(self, key: Callable[..., Hashable]) -> "Keyed":
        """This limiter with a bucket for each `key(*args)` of the call: `limiter.by(type).middleware`."""
        return Keyed(self, key)

    # ── when there are not enough ──

    def _try_slowly(self, tokens: float) -> float:
        with self._lock:
            return self._try(self._own, tokens)

    def _try_key(self, tokens: float, key: Hashable) -> float:
        with self._lock:
            return self._try(self._bucket_of(key, clock.monotonic()), tokens)

    def _try(self, bucket: _Bucket, tokens: float) -> float:
        """As `try_acquire`, behind those who wait already."""
        if not 0 < tokens <= self.burst:
            raise Misconfigured(f"The bucket of {self.name} holds {self.burst:g} tokens: nobody can take {tokens:g}.")
        if (line := bucket.called()) is not None:
            return (tokens + len(line)) / self.rate
        return self._take(bucket, tokens)

    def _take(self, bucket: _Bucket, tokens: float) -> float:
        """0 if they were taken, else the seconds until they are there."""
        # As in try_acquire(), nothing is called after this line.
        now = clock.monotonic()
        there = bucket.tokens + (now - bucket.at) * self.rate
        if there > self.burst:
            there = self.burst
        missing = tokens - there
        if missing > _ROUNDING:
            return missing / self.rate
        bucket.at = now
        bucket.tokens = 0.0 if missing > 0.0 else -missing
        return 0.0

    async def late(self, seconds: float, tokens: float = 1, key: Hashable = None) -> None:
        """Take `tokens` that `try_acquire` said are there in `seconds`: wait or raise, as this limiter does."""
        if self.block and _in_time(seconds):
            await self._wait(tokens, key)
            return
        raise self._refusal(seconds)

    def _refusal(self, seconds: float) -> RateLimitExceeded:
        emit("limiter.refused", limiter=self.name)
        text = f"The rate limiter {self.name} lets through {self.rate:g} a second; try again in {seconds:.3g} s."
        return RateLimitExceeded(text, retry_after=seconds, limiter=self.name)

    async def _wait(self, tokens: float, key: Hashable) -> None:
        """Stand in line; in front of it wait for the tokens."""
        turn, bucket = Turn(), self._own
        try:
            with self._lock:
                if key is not None:
                    bucket = self._bucket_of(key, clock.monotonic())
                in_front = self._join(bucket, turn)
            if not in_front and not await turn.wait():
                emit("limiter.refused", limiter=self.name)
                raise TimedOut(f"The turn to take from the rate limiter {self.name} did not come in time.")
            while seconds := self._take(bucket, tokens):
                # How much those in front wanted is known only now.
                if not _in_time(seconds):
                    raise self._refusal(seconds)
                await pause(max(seconds, 1e-6))
        finally:
            # First, and without a call: what has left is passed over, even if a signal ends all of the following.
            turn.left = True
            self._leave(bucket, turn)

    def _join(self, bucket: _Bucket, turn: Turn) -> bool:
        """Stand in line. Whether that is in front."""
        line = bucket.line = Line() if bucket.line is None else bucket.line
        line.join(turn)
        return line.call_first() is turn

    def _leave(self, bucket: _Bucket, turn: Turn) -> None:
        try:
            self._call_next(bucket, turn)
        except BaseException:  # raised by the handler of a signal: the next one must not wait for ever because of it
            self._call_next(bucket, turn)
            raise

    def _call_next(self, bucket: _Bucket, turn: Turn) -> None:
        with self._lock:
            if bucket.line is not None:
                bucket.line.leave(turn)
            bucket.called()

    # ── a bucket for each key; under the lock ──

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
            if bucket.called() is not None:
                self._keys.move_to_end(oldest)
            elif full or len(self._keys) >= self.max_keys:
                del self._keys[oldest]

    def __repr__(self) -> str:
        return f"RateLimiter({self.name!r}, rate={self.rate:g}, burst={self.burst:g}, keys={len(self._keys)})"


def _in_time(seconds: float) -> bool:
    left = remaining()
    return left is None or seconds <= left


class Keyed(Guard):
    """A limiter whose bucket is chosen by the arguments of the call."""

    def __init__(self, limiter: RateLimiter, key: Callable[..., Hashable]) -> None:
        require_function("by()", "The key", key)
        self.limiter = limiter
        self.key = key

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives, for one token of the bucket of `key(*args, **kwargs)`."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        key = self.key(*args, **kwargs)
        if seconds := self.limiter.try_acquire(key=key):
            await self.limiter.late(seconds, key=key)
        found = f(*args, **kwargs)
        if type(found) is CoroutineType or isawaitable(found):
            found = await found
        return found
