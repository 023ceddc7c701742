"""What the claims of a token have to be (RFC 7519, section 4.1)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from uno import clock
from uno.security.strict import Refused
from uno.security.tokens import TokenClaims

Use: TypeAlias = Literal["access", "refresh"]

# The end of the year 9999, beyond which there is no datetime.
_LAST = 253_402_300_799
LONGEST = 255
# How issuers say that a token is not for access: ours in `token_use`, others elsewhere.
USE = "token_use"
_OTHER_USES = ("typ", "type", "token_type")
_NOT_ACCESS = frozenset({"refresh", "offline", "id", "logout", "reset", "verify"})


@dataclass(frozen=True, slots=True)
class Rules:
    """What is expected of every token; `leeway` is in seconds."""

    audience: str | None
    issuer: str | None
    leeway: float
    permissions_claim: str

    def read(self, found: dict[str, Any], use: Use, *, sometime: bool = False) -> TokenClaims:
        """The claims of a token whose signature is right; `found` is used up. Raises `Refused`.

        `sometime`: whether it is valid now, or will be once its `nbf` has come.
        """
        _check_use(found, use)
        exp, iat = self._times(found, clock.now().timestamp(), sometime)
        self._check_origin(found)
        return TokenClaims(
            _name(found.pop("sub", None), "sub"),
            datetime.fromtimestamp(exp, UTC),
            datetime.fromtimestamp(iat, UTC),
            permissions_of(found.pop(self.permissions_claim, None)),
            found,
            None if (jti := found.pop("jti", None)) is None else _name(jti, "jti"),
        )

    def _times(self, found: dict[str, Any], now: float, sometime: bool) -> tuple[float, float]:
        exp = _time(found.pop("exp", None), "exp")
        iat = _time(found.pop("iat", now), "iat")
        if now >= exp + self.leeway:
            raise Refused("it has expired", "exp")
        if iat > now + self.leeway:
            raise Refused("it was issued in the future", "iat")
        nbf = _time(found["nbf"], "nbf") if "nbf" in found else 0
        if nbf > now + self.leeway and not sometime:
            raise Refused("it is not valid yet", "nbf")
        if nbf >= exp and sometime:
            raise Refused("it is not valid before it has expired", "nbf")
        return exp, iat

    def _check_origin(self, found: Mapping[str, Any]) -> None:
        if self.issuer is not None and found.get("iss") != self.issuer:
            raise Refused("it is from another issuer", "iss")
        meant_for = found.get("aud")
        # RFC 7519, section 4.1.3: who is not named must refuse it, also where nobody told us our name.
        if self.audience is None:
            if meant_for is not None:
                raise Refused("it names an audience, and UNO_JWT_AUDIENCE is not set", "aud")
        elif self.audience != meant_for and not (isinstance(meant_for, list) and self.audience in meant_for):
            raise Refused("it is for another audience", "aud")


def _check_use(found: dict[str, Any], use: Use) -> None:
    said = found.pop(USE, None)
    if use == "refresh" and said != "refresh":
        raise Refused("it is not a refresh token")
    if use == "access" and (said not in (None, "access") or other_use(found)):
        raise Refused("it is not an access token", other_use(found))


def other_use(found: Mapping[str, Any]) -> str:
    """The claim that says it is a token for something else than access; empty where none does."""
    return next((name for name in _OTHER_USES if _is_other(found.get(name))), "")


def _is_other(said: Any) -> bool:
    return isinstance(said, str) and said.lower() in _NOT_ACCESS


def _time(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST or math.isnan(value):
        raise Refused(f"its {name} is missing or not a time", name)
    return value


def _name(value: Any, name: str) -> str:
    if not is_name(value):
        raise Refused(f"its {name} is missing or not a name", name)
    return value  # type: ignore[no-any-return] # it is a text


def is_name(value: Any) -> bool:
    """Whether a token may have it as its subject, or as its id."""
    # Control characters and lone surrogates have no place in logs, and no database takes them.
    return isinstance(value, str) and 0 < len(value) <= LONGEST and value.isprintable()


def permissions_of(value: Any) -> list[str]:
    """From a list, or a text with spaces as `scope` is (RFC 8693). Raises `Refused`."""
    if value is None:
        return []
    if isinstance(value, str):
        return value.split()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Refused("its permissions are not a list of names")
    return value
