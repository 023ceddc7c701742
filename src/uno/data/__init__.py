"""The data layer: one database, one unit of work, repositories over both.

Its names are loaded when first used: `uno.data.embedded` alone needs neither ORM nor driver.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uno.data import hooks
    from uno.data.blocking import Blocking
    from uno.data.changes import Book, Change, Changes
    from uno.data.database import Database
    from uno.data.facades import BlockingRepository, BlockingUnit
    from uno.data.filters import Filter
    from uno.data.idempotency import Once
    from uno.data.middleware import repeated, transactional
    from uno.data.model import (
        ActorMixin,
        Model,
        SoftDeleteMixin,
        TimestampMixin,
        ULIDMixin,
        UtcDateTime,
        UUIDMixin,
        VersionMixin,
    )
    from uno.data.orm import Session
    from uno.data.paging import Page
    from uno.data.repository import Repository
    from uno.data.schemas import Schemas, schemas_of
    from uno.data.scopes import SessionOperationGroup, session, transaction
    from uno.data.unit_of_work import UnitOfWork
    from uno.settings import DatabaseSettings

_HOMES = {
    "ActorMixin": "uno.data.model",
    "Blocking": "uno.data.blocking",
    "BlockingRepository": "uno.data.facades",
    "BlockingUnit": "uno.data.facades",
    "Book": "uno.data.changes",
    "Change": "uno.data.changes",
    "Changes": "uno.data.changes",
    "Database": "uno.data.database",
    "DatabaseSettings": "uno.settings",
    "Filter": "uno.data.filters",
    "Model": "uno.data.model",
    "Once": "uno.data.idempotency",
    "Page": "uno.data.paging",
    "Repository": "uno.data.repository",
    "Schemas": "uno.data.schemas",
    "Session": "uno.data.orm",
    "SessionOperationGroup": "uno.data.scopes",
    "SoftDeleteMixin": "uno.data.model",
    "TimestampMixin": "uno.data.model",
    "ULIDMixin": "uno.data.model",
    "UUIDMixin": "uno.data.model",
    "UnitOfWork": "uno.data.unit_of_work",
    "UtcDateTime": "uno.data.model",
    "VersionMixin": "uno.data.model",
    "hooks": "uno.data.hooks",
    "repeated": "uno.data.middleware",
    "schemas_of": "uno.data.schemas",
    "session": "uno.data.scopes",
    "transaction": "uno.data.scopes",
    "transactional": "uno.data.middleware",
}

__all__ = [
    "ActorMixin",
    "Blocking",
    "BlockingRepository",
    "BlockingUnit",
    "Book",
    "Change",
    "Changes",
    "Database",
    "DatabaseSettings",
    "Filter",
    "Model",
    "Once",
    "Page",
    "Repository",
    "Schemas",
    "Session",
    "SessionOperationGroup",
    "SoftDeleteMixin",
    "TimestampMixin",
    "ULIDMixin",
    "UUIDMixin",
    "UnitOfWork",
    "UtcDateTime",
    "VersionMixin",
    "hooks",
    "repeated",
    "schemas_of",
    "session",
    "transaction",
    "transactional",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOMES[name])
    # A whole module is a name, too.
    found = globals()[name] = home if _HOMES[name] == f"{__name__}.{name}" else getattr(home, name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
