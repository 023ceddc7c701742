"""The one error tree.

    UnoError
    ├─ Invalid            the input is wrong: `errors` names each field
    │  └─ KeyReused       the idempotency key was used for something else
    ├─ NotFound           there is no such thing: `kind`, `id`
    ├─ Conflict           it clashes with what is stored
    │  ├─ VersionConflict somebody else changed the row first: `kind`, `ids`
    │  ├─ KeyInUse        a request with the same idempotency key is being worked on: `retry_after`
    │  └─ PreconditionFailed  it is not, or no longer, what the request is about
    ├─ Unauthenticated    nobody is logged in
    ├─ Forbidden          somebody is, and may not
    ├─ RateLimited        too often: `retry_after`
    ├─ Unavailable        not now: `retry_after`
    │  └─ OutcomeUnknown  the connection was lost during the commit
    ├─ TimedOut           also a TimeoutError
    └─ Misconfigured      the program is wrong: `problems`

Leaves carry their data as attributes. HTTP statuses appear in `uno.api.problems` only.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeVar
from uuid import UUID


class UnoError(Exception):
    """Anything uno refuses to do, with a sentence for a human in `str(error)`."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong input: `field` is a dotted path, `code` a stable machine-readable name."""

    field: str
    message: str
    code: str = "invalid"


class _Refused(UnoError):
    """What came is not taken. `row` is which of many rows it was, counted from 1, where that is known."""

    row: int | None = None

    def __str__(self) -> str:
        return in_row(super().__str__(), self.row)


def in_row(sentence: str, row: int | None) -> str:
    """The sentence with the number of the row it is about."""
    end = "." if sentence.endswith(".") else ""
    return sentence if row is None else f"{sentence.removesuffix('.')} (row {row}){end}"


def id_text(id: object) -> str:
    """An id as text, as it is in a path: of a composite one the parts with commas between them.

    Members of enumerations are their values, durations seconds, bytes base64 (RFC 4648, section 5).
    """
    if not isinstance(id, tuple) or len(id) == 1:
        return _part_text(id[0] if isinstance(id, tuple) else id)
    return ",".join(_part_text(part).replace("\\", "\\\\").replace(",", "\\,") for part in id)


def _part_text(part: Any) -> str:
    make = _PARTS.get(part.__class__)
    if make is not None:
        return make(part)
    return _part_text(part.value) if isinstance(part, Enum) else str(part)


def _seconds(part: timedelta) -> str:
    text = format(Decimal(part // timedelta(microseconds=1)).scaleb(-6), "f")
    return text.rstrip("0").rstrip(".")


_PARTS: Final[Mapping[type, Callable[[Any], str]]] = {
    str: str,
    int: str,
    UUID: str,
    bool: lambda part: "true" if part else "false",
    Decimal: lambda part: format(part, "f"),
    timedelta: _seconds,
    bytes: lambda part: urlsafe_b64encode(part).decode(),
}


E = TypeVar("E", bound=UnoError)


def again(error: E, *text: str, **said: Any) -> E:
    """The same error with another text, or other attributes.

    Not the error itself, which may be a constant of the program; and a class of one's own has any signature.
    """
    made = error.__class__.__new__(error.__class__, *(text or error.args))
    made.args = text or error.args  # a TimedOut whose class has an __init__ gets them there
    made.__dict__.update(error.__dict__, **said)
    if "__notes__" in made.__dict__:
        made.__notes__ = [*error.__notes__]
    return made


class Invalid(_Refused):
    """The input is wrong; `errors` says where, `row` in which of many rows, counted from 1, where that is known."""

    def __init__(self, message: str = "The input is not valid.", errors: Iterable[FieldError] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)

    @classmethod
    def field(cls, field: str, message: str, code: str = "invalid") -> "Invalid":
        """An `Invalid` about one field."""
        return cls(f"{field}: {message}", [FieldError(field, message, code)])


class KeyReused(Invalid):
    """The idempotency key belongs to another request than this one."""


class NotFound(UnoError):
    """There is no `kind` with this `id`."""

    def __init__(self, kind: str, id: object) -> None:
        super().__init__(f"There is no {kind} with id {id_text(id)!r}.")
        self.kind = kind
        self.id = id


class Conflict(_Refused):
    """The request clashes with what is stored.

    `constraint` names the database constraint, if one refused it, `errors` the fields it is about, where that
    is known, `row` which of many rows it was, counted from 1. `repeatable` is true where the database rolled
    everything back by itself and running the message again may succeed.
    """

    errors: tuple[FieldError, ...] = ()

    def __init__(self, message: str, *, constraint: str | None = None, repeatable: bool = False) -> None:
        super().__init__(message)
        self.constraint = constraint
        self.repeatable = repeatable


class VersionConflict(Conflict):
    """Somebody else changed or deleted these rows since they were read."""

    def __init__(self, kind: str, ids: Iterable[object], *, repeatable: bool = False) -> None:
        self.kind = kind
        self.ids = tuple(ids)
        names = ", ".join(repr(id_text(i)) for i in self.ids)
        super().__init__(f"{kind} {names} was changed by somebody else since it was read.", repeatable=repeatable)


class KeyInUse(Conflict):
    """A request with the same idempotency key is being worked on; try again after `retry_after` seconds."""

    retry_after = 1.0


class PreconditionFailed(Conflict):
    """What is stored is not, or no longer, what the request is about."""


class Unauthenticated(UnoError):
    """Nobody is logged in."""


class Forbidden(UnoError):
    """The principal may not do this."""


class RateLimited(UnoError):
    """Too many requests; try again after `retry_after` seconds."""

    def __init__(self, message: str = "Too many requests.", *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(UnoError):
    """Something uno depends on does not answer; try again after `retry_after` seconds."""

    # A guess; an instance has its own where somebody said it.
    retry_after = 1.0

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        if retry_after is not None:
            self.retry_after = retry_after


class OutcomeUnknown(Unavailable):
    """The connection was lost during the commit: the change may or may not be stored."""


class TimedOut(UnoError, TimeoutError):
    """It took longer than it was allowed to."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the program, found while it is put together.

    `kind` is a short stable name ("missing provider"), `where` what it is about, `message` one
    sentence that ends with the fix, and `path` the drawn way to it, outermost first.
    """

    kind: str
    where: str
    message: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.kind}: {self.where}\n   {self.message}"
        return text if len(self.path) < 2 else f"{text}\n   {' → '.join(self.path)}"


class Misconfigured(UnoError):
    """The program is wrong: a bug, never turned into a `Failure`."""

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> "Misconfigured":
        """One error with all problems, sorted, each drawn with its path."""
        found = sorted(set(problems), key=lambda p: (p.kind, p.where, p.message))
        head = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        lines = [f"{n}. {problem}" for n, problem in enumerate(found, 1)]
        return cls("\n".join([f"The application cannot start: {head}.", *lines]), found)


def attribute(error: BaseException, name: str, otherwise: Any = None) -> Any:
    """What a stranger's error says of itself; `otherwise` where it cannot be read."""
    try:
        return getattr(error, name, otherwise)
    except Exception:  # whoever called sees the error itself; what it cannot say is not said
        return otherwise
