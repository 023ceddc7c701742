"""The data layer: one database, one unit of work, repositories over both."""

from uno.data.changes import Book, Change, Changes
from uno.data.database import Database
from uno.data.middleware import repeated, transactional
from uno.data.model import Model, TimestampMixin, ULIDMixin, UUIDMixin, UtcDateTime, VersionMixin
from uno.data.repository import Filter, Repository
from uno.data.unit_of_work import UnitOfWork
from uno.settings import DatabaseSettings

__all__ = [
    "Book",
    "Change",
    "Changes",
    "Database",
    "DatabaseSettings",
    "Filter",
    "Model",
    "Repository",
    "TimestampMixin",
    "ULIDMixin",
    "UUIDMixin",
    "UnitOfWork",
    "UtcDateTime",
    "VersionMixin",
    "repeated",
    "transactional",
]
