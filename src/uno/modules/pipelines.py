"""From the modules that may handle an event type to one callable, composed once."""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from uno.bus.pipeline import Call, Middleware, compose
from uno.modules.behaviour import Account, Progress, Underway, gated, retried, tracked
from uno.modules.chain import AnyEvent, Candidate, Link, chain
from uno.modules.config import ModuleHostConfig
from uno.modules.errors import NeedsAwait
from uno.modules.metrics import Metrics
from uno.modules.module import Module
from uno.modules.runner import Runner, in_a_loop
from uno.modules.threads import Threads
from uno.sync import driver


class Pipelines:
    """Composes what a host calls, for one event type at a time."""

    def __init__(self, config: ModuleHostConfig, metrics: Metrics) -> None:
        self.progress: Progress = {}
        self.threads = Threads(config.max_workers)
        self._config = config
        self._metrics = metrics
        self._numbers = count()
        self._underway = Underway()
        self.runner = Runner()

    def around(self, only: Module | None) -> list[Middleware | None]:
        """What stands around the modules, outermost first; `only` is the one module that may be asked."""
        account = Account(self._config, self._metrics, only, self._underway.attempts)
        # Inside the gate, so that only what is let in is in progress and counts.
        inside = account.middleware if account.wanted else tracked
        return [gated(self._config, self._metrics, self._underway), inside(self.progress, self._numbers)]

    def repeating(self) -> Middleware | None:
        """What repeats the call of one module."""
        return retried(self._config, self._metrics, self._underway)

    def awaited(self, event: type[AnyEvent], candidates: Sequence[Candidate]) -> Call:
        """The pipeline for callers with an event loop."""
        return self._composed(event, candidates, self.threads)

    def driven(self, event: type[AnyEvent], candidates: Sequence[Candidate]) -> Callable[[AnyEvent], Any]:
        """The pipeline for callers without; to be run in a copied context."""
        limiter = self._config.rate_limiter
        shared = limiter is not None and not hasattr(limiter, "try_acquire")
        if shared or any(one.needs_loop for one in candidates):
            return self._looped(event, self._composed(event, candidates, self.threads))
        return driver(self._composed(event, candidates, None))

    def _looped(self, event: type[AnyEvent], call: Call) -> Callable[[AnyEvent], Any]:
        async def enter(given: AnyEvent) -> Any:
            return await call(given)

        def run(given: AnyEvent) -> Any:
            if in_a_loop():
                raise NeedsAwait(event)
            return self.runner.run(lambda: enter(given))

        return run

    def _composed(self, event: type[AnyEvent], candidates: Sequence[Candidate], threads: Threads | None) -> Call:
        links = [self._link(event, one, threads) for one in candidates]
        only = links[0].module if len(links) == 1 else None
        return compose(chain(links), event, [m for m in self.around(only) if m is not None], settled=True)

    def _link(self, event: type[AnyEvent], candidate: Candidate, threads: Threads | None) -> Link:
        call, repeat = candidate.call(threads), self.repeating()
        if repeat is not None:
            call = compose(call, event, (repeat,), settled=True)
        return candidate.link(call)

    def close(self, *, wait: bool) -> None:
        self.threads.close(wait=wait)
        self.runner.close()
