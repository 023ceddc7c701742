"""Concurrency that cannot leak: tasks, locks, timeouts, batches, caches, resources, one lifecycle."""

from uno.aio.group import GroupClosed, TaskGroup
from uno.aio.shown import TaskInfo, list_tasks, task_tree

__all__ = ["GroupClosed", "TaskGroup", "TaskInfo", "list_tasks", "task_tree"]
