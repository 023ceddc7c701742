"""An answer for when there is none."""

import inspect
from collections.abc import Callable
from inspect import isawaitable
from types import CoroutineType
from typing import Any

from uno.errors import Misconfigured
from uno.redact import said
from uno.resilience.arguments import COROUTINE, exceptions_of, not_a_function, require_function
from uno.resilience.shapes import CallNext, Guard
from uno.result import Failure, Success
from uno.telemetry.logs import get_logger
from uno.telemetry.signals import emit

log = get_logger("uno.fallback")


class Fallback(Guard):
    """Gives `default_value`, or what `fallback_func` gives, in place of one of `exceptions`.

    `fallback_func` gets the arguments of the call, unless it takes none; it may be async. A
    `Failure` with such an error becomes a `Success`. `Misconfigured` is never hidden. Every caller
    gets the same `default_value` object: use a function where they may change it.
    """

    def __init__(
        self,
        default_value: Any = None,
        fallback_func: Callable[..., Any] | None = None,
        exceptions: type[Exception] | tuple[type[Exception], ...] = (Exception,),
        log_errors: bool = True,
        *,
        name: str | None = None,
    ) -> None:
        require_function("a Fallback", "fallback_func", fallback_func)
        self.default_value = default_value
        self.fallback_func = fallback_func
        self.exceptions = exceptions_of("a Fallback", "exceptions", exceptions)
        self.log_errors = log_errors
        self.name = name or "unnamed"
        self._with_arguments = fallback_func is not None and bool(inspect.signature(fallback_func).parameters)

    async def call(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """What `f(*args, **kwargs)` gives, or the fallback."""
        if type(f) is COROUTINE:
            raise not_a_function(f)
        try:
            found = f(*args, **kwargs)
            if type(found) is CoroutineType or isawaitable(found):
                found = await found
        except Misconfigured:
            raise
        except self.exceptions as error:  # this is what it is for; the log shows the error
            return await self._instead(error, args, kwargs)
        if type(found) is Failure and self._covers(found.error):
            return _as_result(await self._instead(found.error, args, kwargs))
        return found

    async def middleware(self, message: Any, call_next: CallNext) -> Any:
        """This around each message of a pipeline, whose outcome is a `Result`."""
        return _as_result(await self.call(call_next, message))

    def _covers(self, error: Exception) -> bool:
        return isinstance(error, self.exceptions) and not isinstance(error, Misconfigured)

    async def _instead(self, error: Exception, args: Any, kwargs: Any) -> Any:
        emit("fallback.used", fallback=self.name, error=type(error).__name__)
        if self.log_errors:
            log.warning("%s; the fallback is used", said(error, str), exc_info=error)
        if self.fallback_func is None:
            return self.default_value
        found = self.fallback_func(*args, **kwargs) if self._with_arguments else self.fallback_func()
        return await found if isawaitable(found) else found


def _as_result(found: Any) -> Any:
    return found if type(found) is Success or type(found) is Failure else Success(found)
