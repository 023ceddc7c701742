"""The service provider of the running application."""

from collections.abc import Iterator
from contextlib import contextmanager

from uno.di.provider import ServiceProvider
from uno.errors import Misconfigured

# Of the process and not of a task: what a lifespan sets, requests and threads have to see.
_current: list[ServiceProvider] = []


def get_service_provider() -> ServiceProvider:
    """The current provider. Raises `Misconfigured` where none is set."""
    if not _current:
        raise Misconfigured(
            "There is no service provider: an application sets its own while it runs; "
            "elsewhere, write `with use_service_provider(ServiceProvider([...])):` around the call."
        )
    return _current[-1]


def set_service_provider(provider: ServiceProvider | None) -> None:
    """Make it the current one, in place of any other; None forgets it."""
    _current[:] = [] if provider is None else [provider]


@contextmanager
def use_service_provider(provider: ServiceProvider) -> Iterator[ServiceProvider]:
    """Make it the current one inside the block; the one before is current again afterwards."""
    _current.append(provider)
    try:
        yield provider
    finally:
        for at in range(len(_current) - 1, -1, -1):
            if _current[at] is provider:
                del _current[at]
                break
