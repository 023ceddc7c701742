"""Dependency injection: constructors say what they need, by annotation.

    lifetime.py      @singleton, @scoped, @transient, value(): marks, nothing is registered
    discovery.py     discover(package): every marked object, in a stable order
    dependencies.py  dependencies_of(callable): what it needs, by name
    declaration.py   a provider as it was read from its mark
    graph.py         who needs whom, open generics included
    validation.py    missing, cyclic, captive, duplicate, unannotated: all at once, with paths
    container.py     the same declarations for dishka, which resolves them
    lock.py          taking turns where something is awaited while it is made
    provider.py      ServiceProvider: get, get_sync, scope, override, problems
    scope.py         Scope: what lives for one message
    current.py       get_service_provider()

    @singleton(provides=Payments)
    class CardPayments:
        def __init__(self, settings: Settings) -> None: ...

    async with ServiceProvider([CardPayments, value(Settings())]) as provider:
        payments = await provider.get(Payments)

A singleton is made once and closed with the provider, a scoped service once per scope, a transient
one per resolution. A generator's `yield` is where the service is used: what follows it runs when its
scope is closed, in reverse order; an exception that ends the scope is raised at the `yield`.
"""

from uno.di.current import get_service_provider, set_service_provider, use_service_provider
from uno.di.dependencies import Dependency, dependencies_of
from uno.di.discovery import discover
from uno.di.lifetime import MARK, Lifetime, Provide, Value, scoped, singleton, transient, value
from uno.di.provider import ServiceProvider
from uno.di.scope import Scope

__all__ = [
    "MARK",
    "Dependency",
    "Lifetime",
    "Provide",
    "Scope",
    "ServiceProvider",
    "Value",
    "dependencies_of",
    "discover",
    "get_service_provider",
    "scoped",
    "set_service_provider",
    "singleton",
    "transient",
    "use_service_provider",
    "value",
]
