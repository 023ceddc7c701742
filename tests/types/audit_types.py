"""The types of the audit trail, as both type checkers have to see them. Never run."""

from datetime import datetime
from typing import Any, assert_type

from sqlalchemy import ColumnElement

from uno.audit import AuditLog, AuditTrail
from uno.data import Page


async def asking(trail: AuditTrail, entry: AuditLog, moment: datetime) -> None:
    assert_type(entry.record_id, str)
    assert_type(entry.actor, str | None)
    assert_type(AuditLog.record_id == 123, ColumnElement[bool])
    assert_type(AuditLog.timestamp >= moment, ColumnElement[bool])
    assert_type(await trail.query(AuditLog.record_id == 123, component=int, operation=["update"]), list[AuditLog])
    assert_type(await trail.page(actor="ada", after=None), Page[AuditLog])
    assert_type(await trail.as_of("Order", 1, moment), dict[str, Any] | None)
    await trail.query(acter="ada")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
