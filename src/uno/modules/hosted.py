"""The host of the modules of an application: its pipelines are those of the bus."""

import asyncio
from collections.abc import Callable, Sequence
from functools import cached_property, wraps
from types import CoroutineType
from typing import Any

from uno.bus import Bus, Handles, Middleware, event_handler, per_message
from uno.bus.pipeline import Call, compose
from uno.bus.registry import mark_with
from uno.errors import Misconfigured, Problem
from uno.modules.behaviour import label_of, log
from uno.modules.chain import AnyEvent, Candidate, Directory, asked, chain, declared, told
from uno.modules.config import ModuleHostConfig
from uno.modules.errors import EventUnhandled, NeedsAwait
from uno.modules.event import ExternalEvent, input_type, is_event, output_type
from uno.modules.host import ModuleHost
from uno.modules.module import Module, label
from uno.modules.published import Published, external, trace_headers
from uno.modules.registration import await_hook, disagreements, unhandled
from uno.modules.runner import in_a_loop
from uno.result import Failure
from uno.sync import is_async

# Under which published payloads wait in the delivery table.
RECEIVER = "uno.modules"


class Hosted(ModuleHost):
    """`app.host`. Its modules are those of the `App`; events go through the same pipeline as all messages."""

    def __init__(self, modules: Sequence[Module], config: ModuleHostConfig) -> None:
        super().__init__(config)
        self._directory = Directory(modules)
        self._counts.modules_registered = len(modules)
        self._compiled: dict[Candidate, Call] = {}
        self._bus = Bus()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._durable = False

    # ── what the bus is made of ──

    def handlers(self) -> list[Any]:
        """A marked function for each event that a module declares."""
        return [self._handler(event, one) for module in self.modules for event, one in declared(module)]

    def receiver(self) -> Any:
        """The durable subscriber that brings published payloads to the modules."""
        self._durable = True

        @event_handler(Published, durable=True, name=RECEIVER)
        async def deliver_published(published: Published) -> Any:
            return await self._deliver(external(published))

        return deliver_published

    @property
    def receives(self) -> bool:
        """Whether some module may handle a published payload."""
        return bool(self._directory.candidates(ExternalEvent))

    def around(self) -> list[Middleware]:
        """What stands around every event, outermost first."""
        return [self._for_events(at) for at in range(len(self._pipelines.around(None)))]

    def repeating(self) -> Middleware:
        """What repeats an event."""
        repeat = self._pipelines.repeating()
        return per_message(lambda message: repeat if is_event(message) else None)

    def _for_events(self, at: int) -> Middleware:
        return per_message(
            lambda message: self._pipelines.around(self._only(message))[at] if is_event(message) else None
        )

    def _only(self, event: type[Any]) -> Module | None:
        candidates = self._directory.candidates(event)
        return candidates[0].module if len(candidates) == 1 else None

    def _handler(self, event: type[AnyEvent], candidate: Candidate) -> Any:
        target, threads = candidate.target, self._pipelines.threads
        if is_async(target):

            @wraps(target)
            async def handle(*given: Any, **injected: Any) -> Any:
                return await target(*given, **injected)

        elif candidate.inline:

            @wraps(target)
            async def handle(*given: Any, **injected: Any) -> Any:
                found = target(*given, **injected)
                return await found if found.__class__ is CoroutineType else found

        else:

            @wraps(target)
            async def handle(*given: Any, **injected: Any) -> Any:
                return await threads.run(target, *given, **injected)

        def around(compiled: Call) -> Call:
            self._compiled[candidate] = told(compiled) if candidate.handled is None else asked(compiled)
            return self._chain(event)

        # A method marked for the event is given its input, `handle` the event itself.
        takes = None if candidate.handled is None else input_type(event)
        options: Any = {"owner": candidate.module.name, "promised": _output(event), "takes": takes}
        return mark_with(handle, Handles(handle, "request", event, around=around, **options))

    def _chain(self, event: type[AnyEvent]) -> Call:
        threads = self._pipelines.threads
        found = self._directory.candidates(event)
        return chain([one.link(self._compiled.get(one) or one.call(threads)) for one in found])

    def knows(self, message: type) -> bool:
        """Whether some module may handle this type of events."""
        return is_event(message) and bool(self._directory.candidates(message))

    def otherwise(self, message: type) -> Call | None:
        """A handler for an event that no module declares, or only a base of it."""
        return self._chain(message) if self.knows(message) else None

    def problems(self) -> list[Problem]:
        """Events that a module says it handles, and does not, or not as they promise."""
        missing = [Problem("missing handler", label(m), text) for m in self.modules for text in unhandled(m)]
        wrong = [Problem("wrong handler", label(m), text) for m in self.modules for text in disagreements(m)]
        return [*missing, *wrong]

    # ── its life is that of the application ──

    def connect(self, bus: Bus) -> None:
        self._bus = bus

    def start(self) -> None:
        """The application runs, in this event loop, with the pipelines that its bus has made just now."""
        self._directory = Directory(self._directory.modules)
        vars(self).pop("_receiving", None)
        self._pipelines.threads.open()
        self._loop = asyncio.get_running_loop()

    async def load(self, module: Module) -> None:
        module._host = self
        try:
            await await_hook(module.on_load)
        except BaseException:
            module._host = None
            raise
        # No news: an application has the modules it was given.
        log.debug("Registered module %s", label(module))

    async def unload(self, module: Module) -> None:
        await self._unload_async(module)
        log.debug("Unregistered module %s", label(module))

    def stop(self) -> None:
        self._loop = None
        self._close(wait=False)

    def register(self, module: Module) -> "Hosted":
        raise Misconfigured(f"An application is wired before it starts: give {label(module)} to App(...).")

    def unregister(self, module: Module) -> "Hosted":
        raise Misconfigured(f"An application keeps its modules: leave {label(module)} out of App(...).")

    async def register_async(self, module: Module) -> "Hosted":
        return self.register(module)

    async def unregister_async(self, module: Module) -> "Hosted":
        return self.unregister(module)

    def shutdown(self, wait: bool = True) -> None:
        """Its threads end; the modules are the application's."""
        self._close(wait)

    async def shutdown_async(self, wait: bool = True) -> None:
        await self._close_async(wait)

    # ── events ──

    def _awaited(self, event: type[AnyEvent], candidates: list[Candidate]) -> Call:
        if not self._bus.started:
            raise NeedsAwait(event, "belongs to an application that does not run: `async with app:`, then")
        return self._bus.call_for(event) or super()._awaited(event, candidates)

    def _driven(self, event: type[AnyEvent], candidates: list[Candidate]) -> Callable[[AnyEvent], Any]:
        """Another thread may hand in an event; it runs in the event loop of the application."""

        async def enter(given: AnyEvent) -> Any:
            directory = self._directory
            return await (directory.awaits.get(event) or self._await_of(directory, event))(given)

        def run(given: AnyEvent) -> Any:
            if in_a_loop() or self._loop is None:
                raise NeedsAwait(event, "is handled in the event loop of its application")
            entered = asyncio.run_coroutine_threadsafe(enter(given), self._loop)
            try:
                return entered.result()
            except BaseException:
                entered.cancel()
                raise

        return run

    # ── named payloads ──

    def _headers(self) -> dict[str, str]:
        return trace_headers()

    async def _send(self, published: Published) -> None:
        if self._durable:
            await self._bus.publish(published)
        else:
            await super()._send(published)

    async def _deliver(self, event: ExternalEvent) -> Any:
        """In the transaction of the delivery, which is that of the worker's own pipeline."""
        found = await self._receiving(event)
        if found.__class__ is not Failure:
            return None
        if isinstance(found.error, EventUnhandled):
            log.warning("No module handles the published event %s", label_of(event))
            return None
        return found

    @cached_property
    def _receiving(self) -> Call:
        around = [m for m in self._pipelines.around(self._only(ExternalEvent)) if m is not None]
        return compose(self._chain(ExternalEvent), ExternalEvent, around, settled=True)


def _output(event: type[AnyEvent]) -> Any:
    """What the answer is, if there is one."""
    found = output_type(event)
    return found | None if isinstance(found, type) else None
