"""SQL given as text: a literal of the program with bind parameters, never one with values written into it."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import iterate

from uno.data.given import Given
from uno.errors import Misconfigured

Parameters: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
# What values look like that an f-string has written into the text; a dollar quote is PostgreSQL's.
_QUOTE = re.compile(r"['\"`]|\$\w*\$")
# Beyond the first word: data-modifying members of WITH, locks, and functions that change something.
_WRITING = re.compile(
    r"\b(insert\s+into|update|delete\s+from|merge\s+into|into|for\s+(key\s+)?share)\b"
    r"|\b(nextval|setval|set_config)\s*\(",
    re.IGNORECASE,
)
_READING = re.compile(r"\s*(select|with|values|table)\b", re.IGNORECASE)
# Functions of which uno knows that they change nothing.
_KNOWN = """
abs array_agg avg cast ceil ceiling char_length coalesce concat count current_date current_timestamp date_part
date_trunc dense_rank extract first_value floor greatest json_agg json_array json_build_object json_extract json_object
jsonb_agg jsonb_build_object lag last_value lead least length lower ltrim max min mod now nullif position rank replace
round row_number row_to_json rtrim strftime string_agg substr substring sum to_char to_date total trim typeof unnest
upper
"""
_HARMLESS = frozenset(_KNOWN.split())


@lru_cache(maxsize=512)
def literal(sql: str) -> tuple[TextClause, frozenset[str]]:
    """The text as a statement, and the names of its parameters.

    Raises `Misconfigured` for text with quotes; the error does not repeat it, as it may hold what nobody should see.
    """
    if _QUOTE.search(sql):
        raise Misconfigured(
            "SQL given as text has no quotes: a value written into it is how injections happen. Name it and give it "
            'beside the text, execute("SELECT … WHERE id = :id", {"id": id}); where a literal or a quoted name is '
            "your own, say so with sqlalchemy.text(…)."
        )
    clause = text(sql)
    names = frozenset(clause.compile().params)
    return clause.bindparams(*(bindparam(name, type_=Given()) for name in names)), names


def statement(given: Any, parameters: Parameters = None) -> Any:
    """What SQLAlchemy runs: text checked with its parameters, anything else as it is."""
    if not isinstance(given, str):
        return given
    clause, names = literal(given)
    for row in [parameters or {}] if parameters is None or isinstance(parameters, Mapping) else parameters:
        _check(names, row)
    return clause


def _check(names: frozenset[str], row: Any) -> None:
    if not isinstance(row, Mapping):
        raise Misconfigured('The parameters of SQL given as text are a dict: {"id": id} for :id.')
    missing, unknown = names - row.keys(), row.keys() - names
    if missing:
        raise Misconfigured(f"The SQL has a parameter :{min(missing)} that was given no value.")
    if unknown:
        raise Misconfigured(f"The SQL has no parameter :{min(map(str, unknown))}.")


def writes(given: Any) -> bool:
    """Whether a statement certainly changes something, or locks it."""
    if isinstance(given, str | TextClause):
        sql = str(given)
        return not _READING.match(sql) or bool(_WRITING.search(sql))
    return bool(getattr(given, "is_dml", False) or getattr(given, "is_ddl", False) or _locks(given))


def _locks(given: Any) -> bool:
    return getattr(given, "_for_update_arg", None) is not None


def reads(given: Any) -> bool:
    """Whether a statement certainly changes nothing, so that it needs no transaction: not where text is in it."""
    is_select = bool(getattr(given, "is_select", False)) and not isinstance(given, TextClause)
    return is_select and all(map(_is_harmless, iterate(given)))


def _is_harmless(part: Any) -> bool:
    """Whether a part of a SELECT changes and locks nothing, and calls nothing that is not known."""
    if isinstance(part, FunctionElement):
        return part.name in _HARMLESS and not getattr(part, "packagenames", ())
    is_text = isinstance(part, TextClause) or (getattr(part, "is_literal", False) and part.name != "*")
    return not (is_text or getattr(part, "is_dml", False) or _locks(part))
