"""The worker: claims deliveries and runs their subscribers through the pipeline of all messages."""

import asyncio
import json
import os
import random
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from uno import clock, context, ids
from uno.bus import Bus
from uno.context import Context
from uno.data import Database
from uno.errors import Conflict, RateLimited, TimedOut, Unavailable, UnoError, VersionConflict
from uno.messages import DomainEvent, Envelope
from uno.queue.fence import Fence, current_fence
from uno.queue.hint import listen
from uno.queue.statements import Deliveries, Delivery, Names, done
from uno.queue.tables import deliveries
from uno.resilience.faults import told_to_wait
from uno.result import Failure
from uno.settings import WorkerSettings
from uno.telemetry import trace
from uno.telemetry.catalogue import TAKEN
from uno.telemetry.logs import get_logger
from uno.telemetry.watch import opened

log = get_logger("uno.worker")
# Of an error, in characters.
LONGEST = 4000
# Seconds before the next look at a delivery that is due but that another worker is just taking.
SHORTEST = 0.02


class Worker:
    """Delivers events to durable subscribers, `settings.concurrency` at a time."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        settings: WorkerSettings | None = None,
        *,
        hints: list[Callable[[], None]] | None = None,
    ) -> None:
        # Who commits in this process calls these.
        self._hints = [] if hints is None else hints
        self.name = f"{socket.gethostname()}:{os.getpid()}:{ids.span_id()[:6]}"
        self._database = database
        self._bus = bus
        self._settings = settings or WorkerSettings()
        self._deliveries = Deliveries(database)
        self._events: Mapping[str, type[DomainEvent]] = bus.durable_events()
        self._names = Names.of(bus)
        self._running: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._stopping = False
        self._grace = 0.0
        self._over = asyncio.Event()
        self._over.set()

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until `stop`, or until cancelled; then what is running is given back."""
        listening = None
        if self._database.backend == "postgresql":
            listening = asyncio.create_task(listen(self._database, self.wake), name="uno.listen")
        self._over.clear()
        self._hints.append(self.wake)
        try:
            while not self._stopping:
                await self._round()
            if self._running:
                await asyncio.wait(self._running, timeout=self._grace)
        finally:
            if listening is not None:
                await _cancel(listening)
            for task in list(self._running):
                await _cancel(task)
            self._hints.remove(self.wake)
            self._over.set()

    def finish(self, grace: float = 10.0) -> None:
        """Take nothing new from now on; what is running has `grace` seconds to finish, then it is given back."""
        if not self._stopping:
            self._grace, self._stopping = grace, True
            self.wake()

    async def stop(self, grace: float = 10.0) -> None:
        """`finish`, and wait for the end of `run`."""
        self.finish(grace)
        await self._over.wait()

    async def drain(self) -> None:
        """Deliver everything that is due, then return; for tests and scripts."""
        while await self._take() or self._running:
            if self._running:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def _round(self) -> None:
        """Take what there is, or wait for a hint, a free place or the next poll."""
        self._woken.clear()
        try:
            taken = await self._take()
        except Exception as error:  # a worker that gave up would leave everything undelivered; logs show it
            _complain("the queue cannot be read, trying again", error)
            taken = 0
        if not taken or len(self._running) >= self._settings.concurrency:
            with suppress(TimeoutError):
                async with clock.timeout(await self._pause()):
                    await self._woken.wait()

    async def _pause(self) -> float:
        """Seconds until the next look: the poll, or the next retry if that is sooner."""
        poll = self._settings.poll_interval
        if len(self._running) >= self._settings.concurrency:
            return poll
        try:
            due = await self._deliveries.next_due(self._names)
        except Exception:  # the next round meets the same error and logs it
            return poll
        return poll if due is None else min(poll, max(due, SHORTEST))

    async def _take(self) -> int:
        free = self._settings.concurrency - len(self._running)
        if free <= 0 or not self._names.pairs:
            return 0
        await self._reclaim()
        claimed = await self._deliveries.claim(self.name, self._names, free, self._settings.lease)
        for delivery in claimed:
            task = asyncio.create_task(self._work(delivery), name=f"uno.delivery.{delivery.id}")
            self._running.add(task)
            task.add_done_callback(self._finished)
        return len(claimed)

    _last_reclaim = float("-inf")

    async def _reclaim(self) -> None:
        now = clock.monotonic()
        if now - self._last_reclaim >= self._settings.poll_interval:
            self._last_reclaim = now
            lost = await self._deliveries.reclaim(self._settings.max_lost_leases, self._settings.max_attempts)
            if lost:
                log.warning("%d deliveries of lost workers are taken up again", lost)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self.wake()
        if not task.cancelled() and task.exception() is not None:
            log.error("a delivery could not be settled; its lease will run out", exc_info=task.exception())

    async def _work(self, delivery: Delivery) -> None:
        """One attempt, with its lease renewed beside it."""
        attempt = asyncio.create_task(self._attempt(delivery))
        renewing = asyncio.create_task(self._renew(delivery, attempt))
        try:
            await asyncio.wait([attempt])
            if not attempt.cancelled():
                attempt.result()
            elif not renewing.done():
                await self._failed(delivery, RuntimeError("the subscriber cancelled itself"))
        except asyncio.CancelledError:
            await _cancel(attempt)
            await asyncio.shield(self._deliveries.release(delivery))
            raise
        finally:
            await _cancel(renewing)

    async def _renew(self, delivery: Delivery, attempt: asyncio.Task[None]) -> None:
        while True:
            await clock.sleep(self._settings.renewal)
            try:
                ours = await self._deliveries.renew(delivery, self._settings.lease)
            except Exception as error:  # the lease may yet be renewed in time; logs show it
                _complain(f"the lease of {delivery.id} could not be renewed", error)
                continue
            if not ours:
                log.warning("the lease of %s was lost", delivery.id)
                attempt.cancel()
                return

    async def _attempt(self, delivery: Delivery) -> None:
        fence = Fence(done(delivery))
        token = current_fence.set(fence)
        try:
            error = await self._deliver(delivery)
        finally:
            # A task the subscriber left behind is no part of the delivery.
            fence.passed = True
            current_fence.reset(token)
        if error is not None and not _lost(error):
            await self._failed(delivery, error)

    async def _deliver(self, delivery: Delivery) -> Exception | None:
        """The error of the attempt, if any."""
        try:
            event = self._events[delivery.event].model_validate(json.loads(delivery.payload))
            result = await self._traced(delivery, event)
        except Exception as error:  # a subscriber's bug is a failed attempt: logged, and kept with the delivery
            with context.use(_where(delivery, error)):
                log.exception("subscriber failed", extra=_labels(delivery))
            return error
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # SystemExit: one event must not end the worker, and then the next one
            log.exception("subscriber asked the process to exit", extra=_labels(delivery))
            return RuntimeError(f"the subscriber asked the process to exit: {_described(error)}")
        return result.error if result.__class__ is Failure else None

    async def _traced(self, delivery: Delivery, event: DomainEvent) -> Any:
        """The result of the subscriber; where spans are exported, in a span of the attempt."""
        around = Context.from_json(json.loads(delivery.context))
        tracer = trace.detail
        if tracer is None:
            return await self._bus.deliver(Envelope(event, delivery.subscriber, around, delivery.attempt))
        labels = {"messaging.system": "uno", "uno.subscriber": delivery.subscriber, "uno.attempt": delivery.attempt}
        with (
            context.use(around),
            opened(tracer, TAKEN.name(event=delivery.event), kind=TAKEN.kind, attributes=labels) as span,
        ):
            envelope = Envelope(event, delivery.subscriber, context.current(), delivery.attempt)
            result = await self._bus.deliver(envelope)
            span.status = "failure" if result.__class__ is Failure else span.status
            return result

    async def _failed(self, delivery: Delivery, error: Exception) -> None:
        failures = delivery.failures + 1
        retry = _may_retry(error) and failures < self._settings.max_attempts
        pause = max(self._delay(failures), self._told(error)) if retry else None
        text = _described(error)
        if not await self._deliveries.failed(delivery, text, retry_in=pause):
            return
        with context.use(_where(delivery, error)):
            if retry:
                log.warning("delivery failed, again in %.1f s: %s", pause, text, extra=_labels(delivery))
            else:
                log.error("delivery is dead: %s", text, extra=_labels(delivery))

    def _told(self, error: Exception) -> float:
        """The seconds after which, says the error itself, it makes sense to try again."""
        return min(self._settings.max_delay, told_to_wait(error))

    def _delay(self, failures: int) -> float:
        """Exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter")."""
        ceiling = min(self._settings.max_delay, self._settings.base_delay * 2 ** (failures - 1))
        return random.uniform(0, ceiling)  # noqa: S311 - spreads load, is no secret


def _where(delivery: Delivery, error: BaseException) -> Context:
    """The context in which the subscriber failed, or that of the delivery."""
    try:
        return context.noted(error) or Context.from_json(json.loads(delivery.context))
    except Exception:  # damaged: the failed attempt says so
        return Context(delivery.correlation_id)


def _described(error: BaseException) -> str:
    """The error as text that every database can store."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # an error that cannot even be written down must not keep its delivery from being settled
        text = f"{type(error).__name__}, whose text cannot be read"
    return text[:LONGEST].replace("\x00", "\ufffd").encode("utf-8", "backslashreplace").decode()


def _may_retry(error: Exception) -> bool:
    """Passing errors and bugs are tried again; other errors of the tree would only come again."""
    if isinstance(error, Conflict):
        return error.repeatable
    return isinstance(error, Unavailable | TimedOut | RateLimited) or not isinstance(error, UnoError)


def _lost(error: Exception) -> bool:
    """Whether the commit was refused because the delivery is somebody else's now."""
    return isinstance(error, VersionConflict) and error.kind == deliveries.name


def _complain(what: str, error: Exception) -> None:
    """In one line where the database is merely away, with a traceback otherwise."""
    if isinstance(error, Unavailable | TimedOut):
        log.warning("%s: %s", what, error)
    else:
        log.exception(what)


def _labels(delivery: Delivery) -> dict[str, str]:
    return {
        "subscriber": delivery.subscriber,
        "event_name": delivery.event,
        "delivery": str(delivery.id),
        "attempt": str(delivery.attempt),
        "correlation_id": delivery.correlation_id,
    }


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):  # what it raised was seen by its done callback or is over
        await task
