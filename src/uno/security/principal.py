"""The principal of the current request: a subject that was authenticated, and its permissions."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from uno.errors import Unauthenticated
from uno.security.tokens import TokenClaims


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `claims` is what their token says, where they came with one."""

    subject: str
    permissions: frozenset[str] = frozenset()
    claims: TokenClaims | None = None

    @classmethod
    def of(cls, claims: TokenClaims) -> "Principal":
        return cls(claims.sub, frozenset(claims.permissions), claims)

    def may(self, *permissions: str) -> bool:
        """Whether it has all of them."""
        return self.permissions.issuperset(permissions)

    def may_any(self, permissions: Iterable[str]) -> bool:
        """Whether it has at least one of them."""
        return not self.permissions.isdisjoint(permissions)


_current: ContextVar[Principal | None] = ContextVar("uno.principal", default=None)

current_principal = _current.get
enter = _current.set
leave = _current.reset


def require_principal() -> Principal:
    """The current principal; what a handler gets that asks for a `Principal`. Raises `Unauthenticated`."""
    found = _current.get()
    if found is None:
        raise Unauthenticated("Nobody is logged in.")
    return found


@contextmanager
def use_principal(principal: Principal | None) -> Iterator[None]:
    """Make `principal` the current one inside the block."""
    token = _current.set(principal)
    try:
        yield
    finally:
        _current.reset(token)
