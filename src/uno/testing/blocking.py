"""Tests that fail where a call blocks the event loop.

In a conftest.py: `from uno.testing.blocking import no_blocking_calls`; tests ask for it by name, or by
`@pytest.mark.usefixtures("no_blocking_calls")`. With another plugin for async tests than anyio's, or without pytest:
`async with failing_when_blocked():` in the test.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from uno.aio.blocking import BlockingGuard

__all__ = ["failing_when_blocked", "no_blocking_calls"]


@asynccontextmanager
async def failing_when_blocked(limit: float = 0.05) -> AsyncIterator[BlockingGuard]:
    """Raises `AssertionError` at the end of the block if a call in it kept the loop for more than `limit` seconds."""
    with BlockingGuard(limit) as guard:
        yield guard
        await guard.settled()
    if guard.found:
        calls = "\n".join(f"    {call}\n        {' → '.join(call.stack)}" for call in guard.found)
        raise AssertionError(f"The event loop was blocked for more than {limit * 1000:g} ms:\n{calls}")


@pytest.fixture
async def no_blocking_calls() -> AsyncIterator[BlockingGuard]:
    """The test fails if a call in it keeps the event loop for more than 50 ms."""
    async with failing_when_blocked() as guard:
        yield guard
