"""What a statement leaves in the session of its connection, where whoever has the connection next would find it.

The pool resets nothing, so that reading and writing cost no round trip more. A connection over which a statement went
that may change its session (`SET`, a lock, a temporary table) is therefore closed instead of given back.
"""

import re
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, event

# What a statement does: nothing that outlives its transaction; something in the order of savepoints; undo what
# was set since one of them; change the session, or nobody knows.
PLAIN, SAVES, UNDOES, LASTS = range(4)
# Under this key of a connection's `info`: it is not given back.
_CHANGED = "uno.changed"
# Statements that are remembered, none of them longer.
_MOST, _LONGEST = 1_000, 5_000
_COMMENT = r"--[^\n]*\n|/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/"
_FIRST = re.compile(rf"(?:[\s(]|{_COMMENT})*(set\s+)?(\w+\.?)", re.IGNORECASE)
# The first words of those that change no session, unless something in `_CHANGING` is in them.
_WORDS = """
select with values table insert update delete merge lock truncate copy explain show notify
create alter drop comment grant revoke refresh analyze vacuum reindex
"""
_KNOWN = {
    **dict.fromkeys(_WORDS.split(), PLAIN),
    **dict.fromkeys(["savepoint", "release"], SAVES),
    **dict.fromkeys(["rollback", "abort"], UNDOES),
}
# What follows SET where it ends with the transaction.
_LOCAL = frozenset(["local", "transaction", "constraints"])
_SIGNS = ("set_config", "advisory_lock", "temp", ";")
# Before a name by the numbers of its letters.
_NUMBERS = 'u&"'
# What says nothing: comments, texts in each form, and names that are none of PostgreSQL's.
_SILENT = re.compile(
    rf"""{_COMMENT}|(?<!\w)e'(?:[^'\\]|\\.|'')*'|'[^']*'|(?<![\w$])\$((?:[a-z_]\w*)?)\$.*?\$\1\$|("\w+")|"[^"]*\"""",
    re.IGNORECASE | re.DOTALL,
)
# Comments inside of comments and what has no end are not looked through.
_DARK = re.compile(r"/\*|'")
_CHANGING = re.compile(
    r'set_config"?\s*\((?![^()]*,\s*true\s*\))|\bpg_(try_)?advisory_lock|\bpg_temp\b|;\s*(\w|--|/\*)'
    r"|\b(create|replace|global|local|(?<!insert )(?<!merge )into)\s+temp(orary)?\b",
    re.IGNORECASE,
)


def effect(sql: str) -> int:
    """`PLAIN`, `SAVES`, `UNDOES` or `LASTS`, found out once for each text. What is called in it is not looked into."""
    return _remembered(sql) if len(sql) <= _LONGEST else _effect(sql)


def _effect(sql: str) -> int:
    lower = sql.lower()
    # Only few need the slow search, and long ones of many values hardly ever.
    if _NUMBERS in lower or (any(sign in lower for sign in _SIGNS) and _changes(_SILENT.sub(_said, sql))):
        return LASTS
    first = _FIRST.match(lower)
    if first is None:
        return LASTS
    if first[1]:
        return PLAIN if first[2] in _LOCAL else LASTS
    return _KNOWN.get(first[2], LASTS)


def _said(found: re.Match[str]) -> str:
    return found[2] or " "


def _changes(sql: str) -> bool:
    return bool(_DARK.search(sql) or _CHANGING.search(sql))


_remembered = lru_cache(_MOST)(_effect)


def close_changed(engine: Engine) -> None:
    """Close connections of this engine that were marked as changed, when they are given back."""
    event.listen(engine, "reset", _reset)


def changed(connection: Any) -> None:
    """Before the statement, for it may be cancelled: this one is not given back."""
    connection.info[_CHANGED] = True


def _reset(_connection: Any, record: Any, state: Any) -> None:
    # One that nobody gave back is closed anyway.
    if not state.terminate_only and _CHANGED in record.info:
        record.invalidate()
