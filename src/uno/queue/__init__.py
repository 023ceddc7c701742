"""The outbox and the worker that delivers it: nothing lost, no effect twice."""

from uno.queue.dead import DeadLetter, DeadLetters
from uno.queue.outbox import DeliveryBook
from uno.queue.worker import Worker

__all__ = ["DeadLetter", "DeadLetters", "DeliveryBook", "Worker"]
