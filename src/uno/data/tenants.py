"""Row-level security: PostgreSQL is told the tenant of the context before anything is read or written for it.

Tables that have it are looked up once, with the other special ones. What uses them is in a transaction with the
setting `uno.tenant`, which ends with it: no connection carries a tenant to whoever has it next.
One whose session was changed by SQL of somebody's own is not given to anybody else.
"""

import re
from collections.abc import Collection
from typing import Any

from sqlalchemy import Engine, Table, event, text

from uno import context
from uno.data.recent import Recent
from uno.data.remains import LASTS, PLAIN, UNDOES, changed, close_changed, effect
from uno.errors import Misconfigured

# The execution option of connections that are to be told, None for one of uno's that is not.
OPTION = "uno_tenants"
# Under this key of a connection's `info`: in which transaction it was told what.
_TOLD = "uno.tenant"
_TELL = text("SELECT set_config('uno.tenant', :tenant, true)")
# As digits, so that nothing in it can end the literal.
_OPEN = "BEGIN; SELECT set_config('uno.tenant', convert_from(decode('{}', 'hex'), 'UTF8'), true)"
# Statements of which it is remembered whether they use such a table.
_MOST = 1_000


class Tenants:
    """Which tables and views of one database have row-level security.

    `possible` is false where it is known that none has, `known` whether somebody has looked.
    """

    __slots__ = ("_mentions", "_name", "_names", "known", "possible")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nobody has looked yet."""
        self.know(())
        self.known, self.possible = False, True

    def know(self, names: Collection[str]) -> None:
        """It is these, with and without their schema."""
        self.known, self.possible = True, bool(names)
        self._names = frozenset(names)
        plain = sorted(re.escape(name) for name in names)
        self._name = re.compile(rf"(?<!\w)(?:{'|'.join(plain)})(?!\w)", re.IGNORECASE)
        self._mentions: Recent[str, bool] = Recent(_MOST)

    def has(self, *tables: Table) -> bool:
        return self.possible and any(table.fullname in self._names for table in tables)

    def in_text(self, sql: str) -> bool:
        """Whether a statement names one of them, which is found out once for each text."""
        if not self.possible:
            return False
        found = self._mentions.get(sql)
        return self._mentions.keep(sql, self._name.search(sql) is not None) if found is None else found

    def one(self, before: str | None) -> str | None:
        """The tenant of the context, in a unit of work of the tenant `before`; raises `Misconfigured` for another."""
        now = current()
        if before is None or before == now or not self.known:
            return now if before is None else before
        raise Misconfigured(
            "A unit of work is of one tenant, and this one is used with another than before; enter the context "
            "before the unit of work, and dispatch messages of other tenants outside of it."
        )


def current() -> str | None:
    """The tenant of the context."""
    found = context.get()
    return None if found is None else found.tenant


def opening(tenant: str) -> str:
    """What opens a transaction of this tenant, in one round trip."""
    return _OPEN.format(tenant.encode().hex())


def tell_tenants(engine: Engine) -> None:
    """Tell the tenant on connections of this engine that have the option, sessions too; others are left alone."""
    if engine.dialect.name == "postgresql" and not event.contains(engine, "before_cursor_execute", _before):
        event.listen(engine, "before_cursor_execute", _before)
        close_changed(engine)


def _before(connection: Any, _cursor: Any, sql: str, _parameters: Any, _execution: Any, _many: bool) -> None:
    options = connection.get_execution_options()
    if OPTION not in options:
        return
    does = effect(sql)
    if does == LASTS:
        changed(connection)
    tenants: Tenants | None = options[OPTION]
    if tenants is None or not tenants.possible:
        return
    if does in (PLAIN, LASTS):
        _tell(connection, tenants, options, sql)
    if does in (UNDOES, LASTS):
        # What was told since the savepoint is undone with it, or was set to something else: it may be anything now.
        connection.info[_TOLD] = connection.get_transaction(), None


def _tell(connection: Any, tenants: Tenants, options: Any, sql: str) -> None:
    wanted, transaction = current() or "", connection.get_transaction()
    told_in, told = connection.info.get(_TOLD, (None, ""))
    if wanted == (told if told_in is transaction else ""):
        return
    if options.get("isolation_level") == "AUTOCOMMIT":
        if not tenants.in_text(sql):
            return
        # It has not begun yet: SQLAlchemy's transaction becomes a real one, which it rolls back at the end.
        connection.connection.dbapi_connection.isolation_level = "read_committed"
    connection.info[_TOLD] = transaction, wanted
    connection.execute(_TELL, {"tenant": wanted})
