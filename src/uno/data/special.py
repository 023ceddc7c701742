"""Tables of which more has to be known than their columns, looked up once."""

from collections.abc import Iterable
from typing import Any, NamedTuple

# pg_trigger.tgtype: bit 1 is "for each row", bit 2 is "before". Views show what the tables behind them show.
SPECIAL = """
    WITH RECURSIVE secured (oid) AS (
        SELECT oid FROM pg_class WHERE relrowsecurity
        UNION
        SELECT r.ev_class FROM secured s
        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid
            AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite r ON r.oid = d.objid
    )
    SELECT c.relname, n.nspname, pg_table_is_visible(c.oid), s.oid IS NOT NULL OR t.before_rows, t.audit = 3,
        s.oid IS NOT NULL
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN secured s ON s.oid = c.oid
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE t.tgtype & 3 = 3) > 0,
            count(*) FILTER (WHERE t.tgname = ANY ('{uno_audit_insert,uno_audit_update,uno_audit_delete}')
                AND t.tgenabled IN ('O', 'A'))
        FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) t (before_rows, audit)
    WHERE c.relkind IN ('r', 'p', 'v') AND (s.oid IS NOT NULL OR t.before_rows OR t.audit = 3)
"""


class Special(NamedTuple):
    """Names of tables, with and without their schema.

    `restricted` are those whose BEFORE row triggers or policies must see earlier rows of the same commit, of
    `captured` triggers write down the changes, `secured` have row-level security, or show what has it.
    """

    restricted: frozenset[str] = frozenset()
    captured: frozenset[str] = frozenset()
    secured: frozenset[str] = frozenset()


def special(rows: Iterable[Any]) -> Special:
    """From what the database answers."""
    restricted: set[str] = set()
    captured: set[str] = set()
    secured: set[str] = set()
    for name, schema, visible, is_restricted, is_captured, is_secured in rows:
        both = (name, f"{schema}.{name}")
        restricted.update(both if is_restricted else ())
        captured.update((both if visible else both[1:]) if is_captured else ())
        secured.update(both if is_secured else ())
    return Special(frozenset(restricted), frozenset(captured), frozenset(secured))
