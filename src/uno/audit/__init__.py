"""The audit trail: one row for every change, in the transaction of the change."""

from uno.audit.book import AuditBook
from uno.audit.entry import AuditLog
from uno.audit.past import Unknown
from uno.audit.trail import AuditTrail
from uno.data.capture import by_trigger

__all__ = ["AuditBook", "AuditLog", "AuditTrail", "Unknown", "by_trigger"]
