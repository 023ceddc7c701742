"""What a token says, and the port of whoever makes and checks tokens."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from uno import clock
from uno.errors import Misconfigured

# A longer one is refused before anything of it is read.
MAX_TOKEN_BYTES = 8192


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """Who the token is about, until when, and what they may do; `exp` and `iat` are aware, in UTC.

    `extra` has the other claims. `jti` is the token's own id, by which it is revoked.
    """

    sub: str
    exp: datetime
    iat: datetime
    permissions: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    jti: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if getattr(self.exp, "tzinfo", None) is None or getattr(self.iat, "tzinfo", None) is None:
            raise Misconfigured("TokenClaims.exp and .iat need a time zone: use datetime.now(UTC).")
        # Of a text each letter would be a permission.
        if isinstance(self.permissions, str | bytes):
            raise Misconfigured(f"TokenClaims.permissions is a list: [{self.permissions!r}].")
        if not all(isinstance(one, str) for one in self.permissions):
            raise Misconfigured("TokenClaims.permissions is a list of names; each is a text.")

    @property
    def is_expired(self) -> bool:
        """Whether `exp` has been reached."""
        return clock.now() >= self.exp


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token and the refresh token that will get the next one; `expires_in` is in seconds."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    token_type: str = "Bearer"  # noqa: S105 - its kind


class AuthProvider(ABC):
    """Makes and checks tokens. `leeway` is how many seconds after `exp` claims still count."""

    leeway: float = 0.0

    @abstractmethod
    async def validate_token(self, token: str) -> TokenClaims | None:
        """What the token says, or None if it is not valid, for whatever reason."""

    @abstractmethod
    async def create_token(self, claims: TokenClaims | Mapping[str, Any]) -> str:
        """A token that says this."""
