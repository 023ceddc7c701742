"""The port through which the key of a message reaches the data layer, which gives it one effect.

Whoever lets a message in says its key, and how an answer is made of the result, so that the answer
is stored together with the effect. Keys are those of draft-ietf-httpapi-idempotency-key-header.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, TypeAlias

from uno.bus.pipeline import CallNext
from uno.context import left_behind
from uno.errors import Invalid

HEADER = "Idempotency-Key"
LONGEST_KEY = 255
_KEY = re.compile(rf"[ -~]{{1,{LONGEST_KEY}}}")
# RFC 9651, section 3.3.3: a string, in which only quotes and backslashes are escaped.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!#-~](?:[ -~]*[!-~])?")


# An answer as it goes out: status, headers, body.
Reply: TypeAlias = tuple[int, list[tuple[bytes, bytes]], bytes]
Render: TypeAlias = Callable[[Any], Reply]


class Keyed:
    """One request with a key. When it is over, `reply` is its answer, and `replayed` whether that is an earlier one."""

    __slots__ = ("fingerprint", "key", "render", "replayed", "reply")

    def __init__(self, key: str, fingerprint: bytes | None = None, render: Render | None = None) -> None:
        self.key = key
        self.fingerprint = fingerprint
        self.render = render
        self.reply: Reply | None = None
        self.replayed = False


current_key: ContextVar[Keyed | None] = left_behind(ContextVar("uno.idempotency_key", default=None), None)


@contextmanager
def idempotent(key: str, *, fingerprint: bytes | None = None, render: Render | None = None) -> Iterator[Keyed]:
    """The command dispatched inside has its effect once, however often this is repeated with the same key.

    A repetition gives back the first result, and `replayed` of what the block is given is true. A key
    has 1 to 255 printable ASCII characters, and belongs to the tenant and the actor of the context.
    An entrance that answers with something else than the result gives a `render`, which makes it
    before the commit, and the `fingerprint` of the request. Raises `Invalid`.
    """
    asked = Keyed(valid_key(key), fingerprint, render)
    token = current_key.set(asked)
    try:
        yield asked
    finally:
        current_key.reset(token)


def valid_key(key: str) -> str:
    """The key, if it is one; else `Invalid`."""
    if not _KEY.fullmatch(key):
        raise _not_a_key(f"It has to be 1 to {LONGEST_KEY} printable ASCII characters")
    return key


def parse_key(header: str) -> str:
    """The key that a header says: as it stands, or as a string of structured fields, in quotes. Raises `Invalid`."""
    quoted = _QUOTED.fullmatch(header)
    if quoted:
        return valid_key(re.sub(r"\\(.)", r"\1", quoted[1]))
    if header.startswith('"'):
        raise _not_a_key("It begins with a quote and is not a quoted string")
    if header and not _BARE.fullmatch(header):
        raise _not_a_key("Outside of quotes it has only printable ASCII characters, and no space at its ends")
    return valid_key(header)


def _not_a_key(why: str) -> Invalid:
    return Invalid.field(HEADER, f"{why}.", "idempotency_key")


def fingerprint(*parts: bytes) -> bytes:
    """SHA-256 of the parts, which cannot be mistaken for others that are the same in a row."""
    made = sha256()
    for part in parts:
        made.update(b"%d:" % len(part))
        made.update(part)
    return made.digest()


def refuse_keys(message: Any, call_next: CallNext) -> Awaitable[Any]:
    """Middleware for where nothing is stored: nobody is to believe that a key protects them."""
    if current_key.get() is not None:
        raise Invalid.field(HEADER, "There is no database to remember it in; leave it out.", "idempotency_key")
    return call_next(message)
