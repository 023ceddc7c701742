"""The host of modules: gives each event to the module that handles it."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from contextvars import copy_context
from typing import Any, Self, TypeVar

from uno import clock
from uno.bus.pipeline import Call
from uno.errors import Misconfigured, UnoError
from uno.modules.behaviour import label_of, log
from uno.modules.chain import AnyEvent, Candidate, Directory, blamed
from uno.modules.config import ModuleHostConfig, Unsaid
from uno.modules.errors import EventHandlingError, EventUnhandled, ModuleRegistrationError, NeedsAwait, refuse_others
from uno.modules.event import ExternalEvent
from uno.modules.metrics import Metrics
from uno.modules.module import Module, label
from uno.modules.pipelines import Pipelines
from uno.modules.published import Published, external, payload, trace_headers
from uno.modules.registration import ambiguities, await_hook, check, check_events, run_hook
from uno.result import Failure

E = TypeVar("E", bound=AnyEvent)
M = TypeVar("M", bound=Module)


def _checked(config: Any) -> ModuleHostConfig:
    if not isinstance(config, ModuleHostConfig):
        kind = config.__qualname__ if isinstance(config, type) else type(config).__qualname__
        how = "ModuleHost(ModuleHostConfig(max_workers=8))"
        raise Misconfigured(f"ModuleHost takes a ModuleHostConfig, not {kind}: {how}.")
    return config


class ModuleHost:
    """Hands events to modules, from any thread; without a configuration, that of `UNO_HOST_*`.

    Refusals of the rate limiter and the circuit breaker are always raised. The error of a handler
    is raised as `EventHandlingError`, unless the configuration says otherwise.
    """

    def __init__(self, config: ModuleHostConfig | None = None) -> None:
        self.config = ModuleHostConfig.from_env() if config is None else _checked(config)
        self._counts = Metrics()
        self._pipelines = Pipelines(self.config, self._counts)
        self._directory = Directory()
        self._changing = threading.RLock()
        self._started = clock.monotonic()
        if not isinstance(self.config.log_level, Unsaid):
            log.setLevel(self.config.log_level.upper())

    # ── modules ──

    @property
    def modules(self) -> list[Module]:
        """A copy, in the order of registration."""
        return list(self._directory.modules)

    @property
    def metrics(self) -> Metrics | None:
        """None unless `enable_metrics`."""
        return self._counts if self.config.enable_metrics else None

    @property
    def events_in_progress(self) -> list[AnyEvent]:
        """A copy."""
        return list(self._pipelines.progress.copy().values())

    @property
    def uptime_seconds(self) -> float:
        return clock.monotonic() - self._started

    def register(self, module: Module) -> Self:
        """Add a module and call its `on_load`; raises `ModuleRegistrationError`, and then nothing has changed."""
        self._reserve(module)
        try:
            run_hook(module.on_load, self._pipelines.runner)
        except BaseException as error:
            self._roll_back(module, error)
            raise
        try:
            self._add(module)
        except ModuleRegistrationError:
            self._unload(module)
            raise
        return self

    async def register_async(self, module: Module) -> Self:
        """The same where an event loop runs and `on_load` is a coroutine function."""
        self._reserve(module)
        try:
            await await_hook(module.on_load)
        except BaseException as error:
            self._roll_back(module, error)
            raise
        try:
            self._add(module)
        except ModuleRegistrationError:
            await self._unload_async(module)
            raise
        return self

    def _reserve(self, module: Module) -> None:
        # Not locked while a hook runs: it may register others, and wait for a thread that does.
        with self._changing:
            check(module, self._directory)
            module._host = self

    def _roll_back(self, module: Module, error: BaseException) -> None:
        """Raises what the caller is to see instead of `error`, if anything."""
        module._host = None
        if isinstance(error, Exception) and not isinstance(error, ModuleRegistrationError):
            text = f"{label(module)} could not be loaded: {type(error).__name__}: {error}"
            raise ModuleRegistrationError(text, module, error) from error

    def _add(self, module: Module) -> None:
        with self._changing:
            check_events(module, self._directory)  # again: others may have come while it was loaded
            ambiguous = list(ambiguities(module, self._directory))
            # Replaced and not changed: events that are on their way keep what they found.
            self._directory = Directory((*self._directory.modules, module))
            self._counts.modules_registered = len(self._directory.modules)
            self._pipelines.threads.open()  # a host that was shut down begins again
        log.info("Registered module %s", label(module))
        for sentence in ambiguous:
            log.warning("%s", sentence)

    def unregister(self, module: Module) -> Self:
        """Take a module out and call its `on_unload`, whose errors are logged. Others than its own are ignored."""
        if self._remove(module):
            self._unload(module)
            log.info("Unregistered module %s", label(module))
        return self

    async def unregister_async(self, module: Module) -> Self:
        """The same where an event loop runs and `on_unload` is a coroutine function."""
        if self._remove(module):
            await self._unload_async(module)
            log.info("Unregistered module %s", label(module))
        return self

    def _unload(self, module: Module) -> None:
        try:
            run_hook(module.on_unload, self._pipelines.runner)
        except Exception:  # the module is gone in any case; the log shows what it left behind
            log.exception("on_unload of module %s failed", label(module))
        finally:
            module._host = None

    async def _unload_async(self, module: Module) -> None:
        try:
            await await_hook(module.on_unload)
        except Exception:  # as in _unload
            log.exception("on_unload of module %s failed", label(module))
        finally:
            module._host = None

    def _remove(self, module: Module) -> bool:
        with self._changing:
            left = [one for one in self._directory.modules if one is not module]
            there = len(left) < len(self._directory.modules)
            if there:
                self._directory = Directory(left)
                self._counts.modules_registered = len(left)
            return there

    def get_module(self, kind: type[M]) -> M | None:
        """The first module of this class."""
        return next((one for one in self._directory.modules if isinstance(one, kind)), None)

    def get_module_by_name(self, name: str) -> Module | None:
        return next((one for one in self._directory.modules if name in (label(one), one.name)), None)

    def shutdown(self, wait: bool = True) -> None:
        """Unregister everything, last first, and end the threads; `wait` for what runs in them.

        A handler may call it: its thread, and the event loop of synchronous callers, end after it.
        """
        log.info("Shutting down the module host")
        with ExitStack() as stack:  # whatever happens: SystemExit in an on_unload comes out at the end
            stack.callback(self._close, wait)
            for module in self.modules:
                stack.callback(self.unregister, module)

    async def shutdown_async(self, wait: bool = True) -> None:
        """The same where an event loop runs."""
        log.info("Shutting down the module host")
        async with AsyncExitStack() as stack:  # as in shutdown, and so is cancellation
            stack.push_async_callback(self._close_async, wait)
            for module in self.modules:
                stack.push_async_callback(self.unregister_async, module)

    def _close(self, wait: bool) -> None:
        self._pipelines.close(wait=wait)

    async def _close_async(self, wait: bool) -> None:
        # In a thread: what runs in the others may need this event loop before it ends.
        try:
            await asyncio.to_thread(self._close, wait)
        except asyncio.CancelledError:
            self._close(wait=False)  # perhaps there was no thread yet to do it in
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown_async()

    # ── events ──

    def can_handle(self, event: AnyEvent) -> bool:
        """Whether some module says that it handles this event."""
        candidates = self._directory.candidates(event.__class__)
        return any(one.accepts is None or one.accepts(event) for one in candidates)

    def handle(self, event: E) -> E:
        """Have the event handled and give it back; unhandled, its `handled` is False.

        Synchronous handlers run here, without an event loop; asynchronous ones in a loop that the
        host keeps, which cannot be entered from inside another.
        """
        directory = self._directory
        run = directory.runs.get(event.__class__) or self._run_of(directory, event.__class__)
        try:
            found = copy_context().run(run, event)
        except Exception as error:  # for the caller, unless the configuration leaves it to the log
            self._raised(event, error)
            return event
        if found.__class__ is Failure:
            self._refused(event, found.error)
        return event

    async def handle_async(self, event: E) -> E:
        """The same, awaited. Synchronous handlers run in threads, at most `max_workers`, unless they are inline."""
        directory = self._directory
        call = directory.awaits.get(event.__class__) or self._await_of(directory, event.__class__)
        try:
            found = await call(event)
        except Exception as error:  # as in handle
            self._raised(event, error)
            return event
        if found.__class__ is Failure:
            self._refused(event, found.error)
        return event

    def _run_of(self, directory: Directory, event: type[AnyEvent]) -> Callable[[AnyEvent], Any]:
        refuse_others(event)
        run = directory.runs[event] = self._driven(event, directory.candidates(event))
        return run

    def _await_of(self, directory: Directory, event: type[AnyEvent]) -> Call:
        refuse_others(event)
        call = directory.awaits[event] = self._awaited(event, directory.candidates(event))
        return call

    def _driven(self, event: type[AnyEvent], candidates: list[Candidate]) -> Callable[[AnyEvent], Any]:
        return self._pipelines.driven(event, candidates)

    def _awaited(self, event: type[AnyEvent], candidates: list[Candidate]) -> Call:
        return self._pipelines.awaited(event, candidates)

    def _raised(self, event: AnyEvent, error: Exception) -> None:
        """What came out of a pipeline: errors of uno's tree are refusals, others are a handler's bug."""
        if isinstance(error, NeedsAwait) or (isinstance(error, UnoError) and not isinstance(error, Misconfigured)):
            raise error
        self._failed(event, error)

    def _refused(self, event: AnyEvent, error: Exception) -> None:
        if not isinstance(error, EventUnhandled):
            self._failed(event, error)

    def _failed(self, event: AnyEvent, error: Exception) -> None:
        candidates = self._directory.candidates(event.__class__)
        module = blamed(error, candidates[0].module if len(candidates) == 1 else None)
        if self.config.propagate_exceptions:
            raise EventHandlingError("The event could not be handled", event, module, error) from error
        name = "" if module is None else label(module)
        log.error("Event %s failed in module %s", label_of(event), name, exc_info=error)

    # ── named payloads ──

    async def publish(
        self,
        event_name: str,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: str | None = None,
    ) -> str:
        """Send a named payload to the modules that handle an `ExternalEvent` of that name; gives its message id.

        `data` is what JSON can hold. In an `App` with a database it is delivered by the worker once
        the unit of work has committed, with effects in the database exactly once; elsewhere here
        and now, at most once. Raises `Invalid`, refusals of the limiter and the breaker, and
        `Misconfigured` for a domain event.
        """
        published = payload(event_name, data, headers, stream, self._headers())
        await self._send(published)
        self._counts.events_published += 1
        return published.event_id

    def _headers(self) -> dict[str, str]:
        return trace_headers() if self.config.enable_tracing else {}

    async def _send(self, published: Published) -> None:
        event: ExternalEvent = external(published)
        try:
            await self.handle_async(event)
        except EventHandlingError:  # the receiver's, not the publisher's: counted and kept; the log shows it
            log.exception("The published event %s failed", label_of(event))
