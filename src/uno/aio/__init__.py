"""Concurrency that cannot leak: tasks, locks, timeouts, batches, caches, resources, one lifecycle."""

from uno.aio.background import BackgroundGroup
from uno.aio.blocking import BlockingCall, BlockingGuard
from uno.aio.ending import cancel_on_exit
from uno.aio.group import GroupClosed, TaskGroup
from uno.aio.restart import CrashLoop, RestartPolicy
from uno.aio.shown import TaskInfo, list_tasks, task_tree
from uno.aio.tasks import GroupExists, TaskManager, as_task, get_task_manager, managed_background_task
from uno.aio.threads import PoolClosed, ThreadCall, ThreadPool, get_thread_pool, in_thread
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
    "BackgroundGroup",
    "BlockingCall",
    "BlockingGuard",
    "CrashLoop",
    "GroupClosed",
    "GroupExists",
    "LockLost",
    "PoolClosed",
    "RestartPolicy",
    "TaskGroup",
    "TaskInfo",
    "TaskManager",
    "ThreadCall",
    "ThreadPool",
    "as_task",
    "cancel_on_exit",
    "cancellable",
    "concurrent_limited",
    "get_task_manager",
    "get_thread_pool",
    "in_thread",
    "list_tasks",
    "managed_background_task",
    "rate_limited",
    "retry",
    "task_tree",
    "timeout",
    "timeout_handler",
]
