"""Concurrency that cannot leak: tasks, locks, timeouts, batches, caches, resources, one lifecycle."""

from uno.aio.background import BackgroundGroup
from uno.aio.blocking import BlockingCall, BlockingGuard
from uno.aio.ending import cancel_on_exit
from uno.aio.group import GroupClosed, TaskGroup
from uno.aio.restart import CrashLoop, RestartPolicy
from uno.aio.shown import TaskInfo, list_tasks, task_tree
from uno.aio.tasks import GroupExists, TaskManager, as_task, get_task_manager, managed_background_task
from uno.aio.threads import PoolClosed, ThreadCall, ThreadPool, get_thread_pool, in_thread

__all__ = [
    "BackgroundGroup",
    "BlockingCall",
    "BlockingGuard",
    "CrashLoop",
    "GroupClosed",
    "GroupExists",
    "PoolClosed",
    "RestartPolicy",
    "TaskGroup",
    "TaskInfo",
    "TaskManager",
    "ThreadCall",
    "ThreadPool",
    "as_task",
    "cancel_on_exit",
    "get_task_manager",
    "get_thread_pool",
    "in_thread",
    "list_tasks",
    "managed_background_task",
    "task_tree",
]
