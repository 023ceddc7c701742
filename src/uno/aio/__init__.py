"""Concurrency that cannot leak: tasks, locks, timeouts, batches, caches, resources, one lifecycle.

Tasks      group, background (a named group of them), tasks (TaskManager), restart, ending; births, shown: what runs
Limits     timeouts, decorators, cancelling, shield, contexts
Locks      locks, semaphores, events over named (one thing per name and loop), holds, lines, database_lock
Batches    batch; cache over entries, flights, freshness and keys; shared_cache over redis_store
Resources  resources, resource_entry, order, verbs, same_settings, pool, monitor, resource_manager
Life       manager, stopping, running
Blocking   blocking (what blocks the loop), threads (where it may)
"""

from typing import TYPE_CHECKING

from uno.aio.background import BackgroundGroup
from uno.aio.batch import AsyncBatcher, BatcherFull, BatchMismatch
from uno.aio.blocking import BlockingCall, BlockingGuard
from uno.aio.cache import AsyncCache
from uno.aio.contexts import AsyncContextGroup
from uno.aio.decorators import cancellable, concurrent_limited, rate_limited, retry, timeout_handler
from uno.aio.ending import cancel_on_exit
from uno.aio.events import AsyncEvent
from uno.aio.group import GroupClosed, TaskGroup
from uno.aio.keys import cache_key
from uno.aio.locks import AsyncLock, LockLost
from uno.aio.manager import AsyncManager, get_async_manager
from uno.aio.monitor import ResourceHealth, ResourceMonitor, get_resource_monitor
from uno.aio.pool import ConnectionPool, ConnectionPoolClosed
from uno.aio.resource_manager import ResourceManager, get_resource_manager
from uno.aio.resources import (
    RegistryClosed,
    ResourceExists,
    ResourceRegistry,
    get_resource_registry,
    managed_connection_pool,
    managed_resource,
)
from uno.aio.restart import CrashLoop, RestartPolicy
from uno.aio.running import run_application
from uno.aio.semaphores import AsyncSemaphore
from uno.aio.shown import TaskInfo, list_tasks, task_count, task_tree
from uno.aio.tasks import GroupExists, TaskManager, as_task, get_task_manager, managed_background_task
from uno.aio.threads import PoolClosed, ThreadCall, ThreadPool, get_thread_pool, in_thread, list_thread_pools
from uno.aio.timeouts import timeout
from uno.extras import Extra, front_door

if TYPE_CHECKING:
    from uno.aio.shared_cache import SharedCache

__all__ = [
    "AsyncBatcher",
    "AsyncCache",
    "AsyncContextGroup",
    "AsyncEvent",
    "AsyncLock",
    "AsyncManager",
    "AsyncSemaphore",
    "BackgroundGroup",
    "BatchMismatch",
    "BatcherFull",
    "BlockingCall",
    "BlockingGuard",
    "ConnectionPool",
    "ConnectionPoolClosed",
    "CrashLoop",
    "GroupClosed",
    "GroupExists",
    "LockLost",
    "PoolClosed",
    "RegistryClosed",
    "ResourceExists",
    "ResourceHealth",
    "ResourceManager",
    "ResourceMonitor",
    "ResourceRegistry",
    "RestartPolicy",
    "SharedCache",
    "TaskGroup",
    "TaskInfo",
    "TaskManager",
    "ThreadCall",
    "ThreadPool",
    "as_task",
    "cache_key",
    "cancel_on_exit",
    "cancellable",
    "concurrent_limited",
    "get_async_manager",
    "get_resource_manager",
    "get_resource_monitor",
    "get_resource_registry",
    "get_task_manager",
    "get_thread_pool",
    "in_thread",
    "list_tasks",
    "list_thread_pools",
    "managed_background_task",
    "managed_connection_pool",
    "managed_resource",
    "rate_limited",
    "retry",
    "run_application",
    "task_count",
    "task_tree",
    "timeout",
    "timeout_handler",
]

_CACHE = Extra("cache", "A shared cache needs cashews", ("cashews", "redis"), "uno.aio.shared_cache")

if not TYPE_CHECKING:  # a checker that saw this would believe every name exists
    __all__, __getattr__, __dir__ = front_door(__name__, __all__, {"SharedCache": _CACHE})
