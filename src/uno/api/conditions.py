"""Conditional requests and preferences: ETag, If-Match, If-None-Match (RFC 9110, section 13), Prefer (RFC 7240)."""

import re
from collections.abc import Iterable
from typing import TypeAlias

from uno.api.problems import Malformed, PreconditionRequired
from uno.errors import FieldError

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
# The one that stands for any.
ANY = ("*",)
_TAG = re.compile(r'(?P<weak>W/)?(?P<tag>"[\x21\x23-\x7e\x80-\xff]*")')
_MOST_TAGS = 100
# The same for OpenAPI, without the letters that few clients can send.
_PLAIN = r'(W/)?"[!#-+\--~]*"'
TAGS_PATTERN = rf"^(\*|{_PLAIN}( *, *{_PLAIN})*)$"
_MINIMAL = re.compile(r'return\s*=\s*"?minimal"?', re.IGNORECASE)


def if_match(headers: Headers, *, required: bool) -> tuple[str, ...] | None:
    """The tags of `If-Match`, of which weak ones never fit; `ANY` for a star, None without the header.

    Raises `PreconditionRequired` where it is `required`, `Malformed` where it cannot be read.
    """
    found = _tags(headers, "If-Match")
    if found is None and required:
        raise PreconditionRequired("This needs If-Match with the ETag that came with what you have read.")
    return None if found is None else tuple(tag for weak, tag in found if not weak)


def is_known(headers: Headers, tag: str) -> bool:
    """Whether `If-None-Match` says that the client has what has this tag."""
    found = _tags(headers, "If-None-Match")
    return found is not None and any(one in ("*", tag) for _, one in found)


def wants_nothing(headers: Headers) -> bool:
    """Whether the client prefers an answer without a body: `Prefer: return=minimal`."""
    said = _value(headers, b"prefer")
    return said is not None and any(_MINIMAL.fullmatch(one.strip()) for one in re.split("[,;]", said))


def _tags(headers: Headers, name: str) -> list[tuple[bool, str]] | None:
    """Whether each is weak, and the tag in its quotes."""
    said = _value(headers, name.lower().encode())
    if said is None:
        return None
    said = said.strip()
    if said == "*":
        return [(False, "*")]
    found = [_TAG.fullmatch(one.strip()) for one in said.split(",", _MOST_TAGS)]
    if not all(found):
        message = 'It takes tags in quotes, as ETag has them: "3", or a star.'
        raise Malformed(f"{name}: {message}", (FieldError(name, message, "malformed"),))
    return [(one["weak"] is not None, one["tag"]) for one in found if one is not None]


def _value(headers: Headers, name: bytes) -> str | None:
    """All headers of a name are one list."""
    found = [value.decode("latin-1") for key, value in headers if key == name]
    return ", ".join(found) if found else None
