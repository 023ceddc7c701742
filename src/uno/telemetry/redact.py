"""What may be written down: text without secrets, and without characters that would forge a line."""

import re
from collections.abc import Mapping
from typing import Any

_SECRET = re.compile(r"passw|secret|token|api_?key|authorization|cookie|credential|private", re.IGNORECASE)
# Greedy: a password may itself contain @ or / where its author forgot to encode it.
_URL_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^\s\"'<>]+(@)")
_ASSIGNED = re.compile(r"((?:passw(?:or)?d|pwd|secret|token|api_?key)=)[^\s&;,\"']+", re.IGNORECASE)
# Everything that ends a line, moves a cursor or turns the direction of writing on some terminal or viewer.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def redact(text: str) -> str:
    """`text` without the passwords of URLs and of `password=…`."""
    return _ASSIGNED.sub(r"\1***", _URL_PASSWORD.sub(r"\1***\2", text))


def clean(value: Any) -> Any:
    """`value` without secrets, however deep; what has no JSON form as its redacted `repr`."""
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(k): "***" if _SECRET.search(str(k)) else clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item) for item in value]
    return redact(repr(value))


def one_line(text: str) -> str:
    """`text` with its control characters written as escapes: it stays on its line."""
    return _CONTROL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def flat(value: Any) -> Any:
    """What `clean` gave, each text in it on one line."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {one_line(k): flat(v) for k, v in value.items()}
    return [flat(item) for item in value] if isinstance(value, list) else value
