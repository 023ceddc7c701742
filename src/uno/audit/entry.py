"""One entry of the audit trail."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, dataclass_transform, overload
from uuid import UUID

from uno.audit.tables import audit

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

T = TypeVar("T")

if TYPE_CHECKING:

    class Attribute(Generic[T]):
        """A value of an entry; of the class, a column to make conditions of."""

        @overload
        def __get__(self, entry: None, owner: type) -> "ColumnElement[T]": ...
        @overload
        def __get__(self, entry: object, owner: type) -> T: ...
        def __get__(self, entry: Any, owner: type) -> Any: ...
        def __set__(self, entry: object, value: T) -> None: ...

else:

    class Attribute:
        """The annotations of the dataclass are the plain types, for those who read them."""

        def __class_getitem__(cls, kind: Any) -> Any:
            return kind


class _Column:
    """What the class has under the name of an attribute; an entry has its own value in its place."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, entry: object, owner: type) -> Any:
        return audit.c[self._name]


@dataclass_transform(frozen_default=True)
def _entry(cls: type[T]) -> type[T]:
    made: Any = dataclass(frozen=True)(cls)
    for field in fields(made):
        setattr(made, field.name, _Column(field.name))
    return made  # type: ignore[no-any-return]


@_entry
class AuditLog:
    """One change: who did what to which record, and what it was before and after.

    `before` and `after` hold JSON values; on an update only the fields that changed. The attributes of
    the class make conditions: `AuditLog.record_id == 123`, `AuditLog.timestamp >= moment`.
    """

    id: Attribute[UUID]
    kind: Attribute[str]
    component: Attribute[str]
    record_id: Attribute[str]
    operation: Attribute[str]
    actor: Attribute[str | None]
    actor_source: Attribute[str]
    tenant: Attribute[str | None]
    timestamp: Attribute[datetime]
    before: Attribute[dict[str, Any] | None]
    after: Attribute[dict[str, Any] | None]
    correlation_id: Attribute[str]
    message_id: Attribute[str]
    traceparent: Attribute[str | None]

    @property
    def correlation(self) -> str:
        """The correlation id of the request that caused the change."""
        return self.correlation_id
