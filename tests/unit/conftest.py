"""Nothing of uno that a test here calls keeps the event loop for 50 ms: otherwise it fails, with the line.

That must not depend on the machine or on the order of the tests. So the limit grows where the machine is slower than
the one it was set on; waiting for a processor and collecting garbage do not count (the guard sees to it), nor does
what a test does itself, as waiting for a thread; and a test in which something is imported for the first time is not
judged. A test that puts a large application together in its loop says `@pytest.mark.may_block`. Tests in tests/flows
start processes and servers from within their loops, and have the guard only where they ask for it.
"""

import inspect
import sys
import time
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.unit.steered import Skipping, Steered

import uno
from uno import clock
from uno.aio import BlockingCall
from uno.testing.blocking import failing_when_blocked

LIMIT = 0.05
_PACKAGE = Path(uno.__file__).resolve().parent
# Seconds of a processor that `_work` took where the limit was set.
_THERE = 0.003


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "may_block: this test may keep the event loop from everything else")


def _work() -> float:
    begun = time.thread_time()
    sum(number * number for number in range(100_000))
    return time.thread_time() - begun


@cache
def limit() -> float:
    """In seconds, on this machine."""
    return LIMIT * max(1.0, min(_work() for _ in range(3)) / _THERE)


def _is_unos(call: BlockingCall) -> bool:
    return any(Path(place.partition(":")[0]).resolve().is_relative_to(_PACKAGE) for place in call.stack)


@pytest.fixture
async def judged() -> AsyncIterator[None]:
    known = len(sys.modules)
    async with failing_when_blocked(limit()) as guard:
        yield
        await guard.settled()
        judged = [] if len(sys.modules) != known else [call for call in guard.found if _is_unos(call)]
        guard.found.clear()
        guard.found.extend(judged)


@pytest.fixture(autouse=True)
def _unblocked(request: pytest.FixtureRequest) -> None:
    marked = request.node.get_closest_marker("may_block")
    if marked is None and inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("judged")


@pytest.fixture
def steered() -> Iterator[Steered]:
    """The time stands still until the test moves it."""
    with clock.use(Steered()) as used:
        assert isinstance(used, Steered)
        yield used


@pytest.fixture
def skipping() -> Iterator[Skipping]:
    """Nothing waits: sleeping moves the time."""
    with clock.use(Skipping()) as used:
        assert isinstance(used, Skipping)
        yield used
