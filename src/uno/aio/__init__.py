"""Concurrency that cannot leak: tasks, locks, timeouts, batches, caches, resources, one lifecycle."""

__all__: list[str] = []
