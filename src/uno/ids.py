"""Identifiers that sort by the time they were made, where tests can set them.

`new_id()` is a ULID as 26 characters, `uuid7()` a UUID version 7 (RFC 9562), `trace_id()` and
`span_id()` are 32 and 16 hexadecimal digits as in W3C Trace Context. Unique, not secret: for
tokens use `secrets`.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID, SafeUUID

from ulid import ULID

from uno import clock


class Randomness(Protocol):
    """Where the random bits come from."""

    def getrandbits(self, k: int, /) -> int: ...


_system = random.Random()
_bits: Randomness = _system
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Bits of a place among the identifiers of one microsecond.
_PLACES: Final = 14
_new, _set = object.__new__, object.__setattr__
# A forked child would otherwise make its parent's identifiers again.
os.register_at_fork(after_in_child=_system.seed)


def new_id() -> str:
    """A new ULID (github.com/ulid/spec): 48 bits of milliseconds and 80 random bits, as text."""
    return str(ULID.from_int(clock.milliseconds() << 80 | _bits.getrandbits(80)))


def _made(number: int) -> UUID:
    """`UUID(int=number)` without asking what it was given; that takes longer than all the rest."""
    made = _new(UUID)
    _set(made, "int", number)
    _set(made, "is_safe", SafeUUID.unknown)
    return made


def uuid7() -> UUID:
    """A new UUID version 7 (RFC 9562, section 5.7)."""
    high = clock.milliseconds() << 16 | 0x7000 | _bits.getrandbits(12)
    return _made(high << 64 | 1 << 63 | _bits.getrandbits(62))


def uuid4() -> UUID:
    """A new UUID version 4 (RFC 9562, section 5.4): random, and in no order."""
    high = _bits.getrandbits(48) << 16 | 0x4000 | _bits.getrandbits(12)
    return _made(high << 64 | 1 << 63 | _bits.getrandbits(62))


def ulid() -> UUID:
    """A new ULID in the form of a UUID, for columns of that type."""
    return _made(clock.milliseconds() << 80 | _bits.getrandbits(80))


def uuid7_at(moment: datetime, place: int = 0) -> UUID:
    """A UUID version 7 of this moment, to the microsecond; those of one moment sort by `place`.

    The bits behind the milliseconds are a fraction of one (RFC 9562, section 6.2, method 3). A microsecond has
    16,384 places; beyond them they go on in the next one.
    """
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1) + (place >> _PLACES)
    milliseconds, rest = divmod(microseconds, 1000)
    high = milliseconds << 16 | 0x7000 | rest * 4096 // 1000
    low = place & (1 << _PLACES) - 1
    return _made(high << 64 | 1 << 63 | low << 48 | _bits.getrandbits(48))


def trace_id() -> str:
    """16 random bytes as hexadecimal digits; never all zero."""
    return (_bits.getrandbits(128) or 1).to_bytes(16, "big").hex()


def span_id() -> str:
    """8 random bytes as hexadecimal digits; never all zero."""
    return (_bits.getrandbits(64) or 1).to_bytes(8, "big").hex()


def fraction() -> float:
    """A random number from 0 up to, but not including, 1."""
    return _bits.getrandbits(53) / (1 << 53)


@contextmanager
def use(bits: Randomness) -> Iterator[Randomness]:
    """Take the random bits from `bits` inside the block, for instance `random.Random(7)`."""
    global _bits
    before, _bits = _bits, bits
    try:
        yield bits
    finally:
        _bits = before
