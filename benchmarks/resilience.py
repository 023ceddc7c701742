"""What limiter, retry and breaker cost around an async function that succeeds."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from benchmarks.measure import Line, Section, in_turns, main, ratio, repeated
from uno.errors import RateLimited, Unavailable
from uno.resilience import CircuitBreaker, RateLimiter, RetryPolicy

TIMES = 50_000
# Never reached: only the success path is measured.
RATE, BURST = 1e9, 1_000_000_000

Asked = Callable[[int], Awaitable[int]]


async def answer(number: int) -> int:
    return number


def closure(f: Asked) -> Asked:
    """A decorator that does nothing."""

    async def call(*args: Any, **kwargs: Any) -> int:
        return await f(*args, **kwargs)

    return call


def fused(f: Asked, *, threshold: int = 5, recovery: float = 30.0, retries: int = 3) -> Asked:
    """Limiter, breaker and retry in one function, as one would write them by hand for one event loop."""
    tokens, at = float(BURST), time.monotonic()
    failures, opened = 0, 0.0

    async def call(*args: Any, **kwargs: Any) -> int:
        nonlocal tokens, at, failures, opened
        now = time.monotonic()
        tokens = min(BURST, tokens + (now - at) * RATE)
        at = now
        if tokens < 1:
            raise RateLimited(retry_after=(1 - tokens) / RATE)
        tokens -= 1
        for attempt in range(retries + 1):
            if failures >= threshold and now - opened < recovery:
                raise Unavailable("open", retry_after=opened + recovery - now)
            try:
                found = await f(*args, **kwargs)
            except Exception:
                failures += 1
                opened = time.monotonic()
                if attempt == retries:
                    raise
                await asyncio.sleep(0.1 * 2**attempt)
            else:
                failures = 0
                return found
        raise AssertionError("unreachable")

    return call


def composed(f: Asked) -> Asked:
    limiter, retry, breaker = RateLimiter(RATE, BURST), RetryPolicy(), CircuitBreaker("bench")
    return limiter(retry(breaker(f)))


def asked(f: Asked) -> Callable[[int], Awaitable[None]]:
    async def loop(times: int) -> None:
        for number in range(times):
            await f(number)

    return loop


async def measure(rounds: int) -> Section:
    variants = {
        "bare": answer,
        "closure": closure(answer),
        "fused": fused(answer),
        "all": composed(answer),
        "limiter": RateLimiter(RATE, BURST)(answer),
        "retry": RetryPolicy()(answer),
        "breaker": CircuitBreaker("bench")(answer),
    }
    figures = await in_turns(rounds, {name: repeated(TIMES, asked(f)) for name, f in variants.items()})
    note = {name: f"{median(found):.2f} µs" for name, found in figures.items()}
    alone = [
        Line(f"{name} alone, × the bare closure", ratio(figures, name, "closure"), limit=3.0, note=note[name])
        for name in ("limiter", "retry", "breaker")
    ]
    return Section(
        "resilience: CPU time of one call that succeeds",
        [
            Line("an async function", median(figures["bare"]), "µs"),
            Line("in a bare closure", median(figures["closure"]), "µs"),
            *alone,
            Line("limiter, breaker, retry fused by hand", median(figures["fused"]), "µs"),
            Line("limiter, retry and breaker, × fused", ratio(figures, "all", "fused"), limit=2.0, note=note["all"]),
        ],
    )


if __name__ == "__main__":
    main(measure, rounds=15)
