"""Concurrency that cannot leak: tasks, locks, timeouts, batches, caches, resources, one lifecycle."""

from uno.aio.contexts import AsyncContextGroup
from uno.aio.decorators import cancellable, concurrent_limited, rate_limited, retry, timeout_handler
from uno.aio.events import AsyncEvent
from uno.aio.locks import AsyncLock, LockLost
from uno.aio.semaphores import AsyncSemaphore
from uno.aio.timeouts import timeout

__all__ = [
    "AsyncContextGroup",
    "AsyncEvent",
    "AsyncLock",
    "AsyncSemaphore",
    "LockLost",
    "cancellable",
    "concurrent_limited",
    "rate_limited",
    "retry",
    "timeout",
    "timeout_handler",
]
