"""Concurrency that cannot leak: tasks, locks, timeouts, batches, caches, resources, one lifecycle.

manager.py          AsyncManager: starts, is told to stop, finishes, closes
running.py          run_application(): a program that runs until it is told to stop
stopping.py         SIGINT and SIGTERM
keeping.py          who keeps the background tasks
resources.py        ResourceRegistry: started in the order of dependencies, closed in the reverse one
order.py            that order
verbs.py            how a resource is started and closed, within its time
named.py            things of one name have one set of settings
pool.py             ConnectionPool
monitor.py          ResourceMonitor: how the resources are
resource_manager.py ResourceManager
"""

from uno.aio.manager import AsyncManager, get_async_manager
from uno.aio.monitor import ResourceHealth, ResourceMonitor, get_resource_monitor
from uno.aio.pool import ConnectionPool
from uno.aio.resource_manager import ResourceManager, get_resource_manager
from uno.aio.resources import ResourceRegistry, get_resource_registry, managed_connection_pool, managed_resource
from uno.aio.running import run_application

__all__ = [
    "AsyncManager",
    "ConnectionPool",
    "ResourceHealth",
    "ResourceManager",
    "ResourceMonitor",
    "ResourceRegistry",
    "get_async_manager",
    "get_resource_manager",
    "get_resource_monitor",
    "get_resource_registry",
    "managed_connection_pool",
    "managed_resource",
    "run_application",
]
