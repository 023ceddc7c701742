"""JSON Web Tokens: access tokens, and refresh tokens that can be used once."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Never

from uno import clock, ids
from uno.errors import Invalid, Misconfigured
from uno.security.claims import LONGEST, Rules, Use, is_name
from uno.security.keys import Keys
from uno.security.revocations import Ends, MemoryRevocations, Revocations
from uno.security.strict import Refused, parse
from uno.security.tokens import MAX_TOKEN_BYTES, AuthProvider, TokenClaims, TokenPair
from uno.security.written import written
from uno.settings import JWTSettings, read
from uno.telemetry import emit

# The `typ` of a header; RFC 9068 for the second.
_ACCESS_TYPES = frozenset({"", "jwt", "at+jwt"})
_TYPES: dict[Use, str] = {"access": "JWT", "refresh": "refresh+jwt"}
_OWN = ("sub", "exp", "iat", "permissions", "jti")
_NAME = f"a text of 1 to {LONGEST} characters that can be printed"
_LAST = datetime.max.replace(tzinfo=UTC)


class JWTAuthProvider(AuthProvider):
    """Tokens signed with the keys of `settings`, by default of `UNO_JWT_*`.

    Raises `Misconfigured` if there is no key, or a weak one. `revocations` is where revoked tokens
    are kept; the default is the memory of this process.
    """

    def __init__(
        self, settings: JWTSettings | None = None, *, revocations: Revocations | None = None, **others: Never
    ) -> None:
        if others:
            name = next(iter(others))
            raise Misconfigured(f"{name} is a setting, if anything: JWTAuthProvider(JWTSettings({name}=...)).")
        settings = settings or read(JWTSettings)
        if not isinstance(settings, JWTSettings):
            # Not what was given: it may be a secret.
            raise Misconfigured("JWTAuthProvider takes settings: JWTAuthProvider(JWTSettings(secret_key=...)).")
        self.leeway = settings.leeway
        self._keys = Keys(settings)
        self._rules = Rules(settings.audience, settings.issuer, settings.leeway, settings.permissions_claim)
        self._revocations = MemoryRevocations() if revocations is None else revocations
        self._lifetimes: dict[Use, timedelta] = {
            "access": timedelta(minutes=settings.access_token_expire_minutes),
            "refresh": timedelta(minutes=settings.refresh_token_expire_minutes),
        }
        # When sessions end that have a token which somebody made for longer than these.
        self._long_sessions = Ends()

    async def validate_token(self, token: str) -> TokenClaims | None:
        """What an access token says; None if it is not valid. The log says why, under `auth.token_refused`."""
        claims = self._read(token, "access")
        return None if claims is None or await self._is_revoked(claims) else claims

    async def create_token(self, claims: TokenClaims | Mapping[str, Any]) -> str:
        """An access token. A mapping has `sub` and, if wanted, `permissions`, `exp` and other claims."""
        return self._sign(self._claims(claims, "access"), "access")

    async def create_refresh_token(self, claims: TokenClaims | Mapping[str, Any]) -> str:
        """A token that gets one pair of new tokens and opens nothing. It begins a session, `sid`."""
        made = self._claims(claims, "refresh")
        if not isinstance(made.extra.setdefault("sid", ids.new_id()), str):
            raise Invalid.field("sid", "The session of a token is a text; leave it out for a new one.")
        return self._sign(made, "refresh")

    async def redeem(self, token: str) -> TokenClaims | None:
        """What a refresh token says, which cannot be used again; None if it is not valid.

        One that comes a second time was stolen, or its replacement was: its whole session ends
        (RFC 9700, section 4.14.2).
        """
        claims = self._read(token, "refresh")
        if claims is None:
            return None
        session, jti = claims.extra.get("sid"), claims.jti
        if not isinstance(session, str) or jti is None:
            emit("auth.token_refused", reason="it is a refresh token without a session")
            return None
        if await self._revocations.revoked((session,)):
            emit("auth.token_refused", reason="it is revoked")
            return None
        if not await self._revocations.revoke(jti, self._end(claims.exp)):
            await self._end_session(session, claims.exp)
            emit("auth.refresh_reused", subject=claims.sub)
            return None
        return claims

    async def refresh(self, token: str) -> TokenPair | None:
        """New tokens for a refresh token, with its permissions; None if it is not valid."""
        claims = await self.redeem(token)
        if claims is None:
            return None
        said = {**claims.extra, "sub": claims.sub, "permissions": claims.permissions}
        return TokenPair(
            await self.create_token(said),
            await self.create_refresh_token(said),
            int(self._lifetimes["access"].total_seconds()),
        )

    async def revoke(self, token: str) -> bool:
        """End an access token, or with a refresh token its session; False if there was nothing to end."""
        for use in ("access", "refresh"):
            claims = self._read(token, use, quiet=True)
            if claims is not None:
                session = claims.extra.get("sid") if use == "refresh" else None
                if isinstance(session, str):
                    return await self._end_session(session, claims.exp)
                return claims.jti is not None and await self._revocations.revoke(claims.jti, self._end(claims.exp))
        return False

    def _read(self, token: str, use: Use, *, quiet: bool = False) -> TokenClaims | None:
        try:
            if not isinstance(token, str):
                raise Refused("it is no text")
            kind, data = self._keys.verified(token)
            if kind not in _ACCESS_TYPES if use == "access" else kind != _TYPES[use]:
                raise Refused(f"it is not for {use}")
            return self._rules.read(parse(data), use)
        except Refused as refusal:
            if not quiet:
                emit("auth.token_refused", reason=str(refusal))
            return None

    async def _is_revoked(self, claims: TokenClaims) -> bool:
        session, jti = claims.extra.get("sid"), claims.jti
        found = [one for one in (jti, session) if isinstance(one, str)]
        if not found or not await self._revocations.revoked(tuple(found)):
            return False
        emit("auth.token_refused", reason="it is revoked")
        return True

    async def _end_session(self, session: str, expires: datetime) -> bool:
        # Nothing of the session that exists now lives longer, and nothing new is made.
        until = max(expires, self._usual_end(), self._long_sessions.of(session) or expires)
        return await self._revocations.revoke(session, self._end(until))

    def _usual_end(self) -> datetime:
        return clock.now() + max(self._lifetimes.values())

    def _end(self, expires: datetime) -> datetime:
        return expires + min(timedelta(seconds=self.leeway), _LAST - expires)

    def _remember(self, claims: TokenClaims) -> None:
        """Note the end of a session that will not be over when its usual tokens are."""
        session = claims.extra.get("sid")
        if isinstance(session, str) and claims.exp > self._usual_end():
            self._long_sessions.add(session, claims.exp)

    def _claims(self, given: TokenClaims | Mapping[str, Any], use: Use) -> TokenClaims:
        if isinstance(given, TokenClaims):
            return self._again(given, use)
        if not isinstance(given, Mapping):
            kind = type(given).__name__
            raise Misconfigured(
                f"A token is made of TokenClaims or a mapping such as {{'sub': 'ada'}}, not of a {kind}."
            )
        now = clock.now()
        extra = {name: value for name, value in given.items() if name not in _OWN}
        exp, iat = _moment(given, "exp", now + self._lifetimes[use]), _moment(given, "iat", now)
        permissions = _permissions(given.get("permissions"))
        return TokenClaims(given.get("sub", ""), exp, iat, permissions, extra, given.get("jti") or ids.new_id())

    def _again(self, given: TokenClaims, use: Use) -> TokenClaims:
        """The same claims for a new token; a refresh token has its own end and id."""
        is_access = use == "access"
        exp = given.exp if is_access else clock.now() + self._lifetimes[use]
        jti = given.jti if is_access and given.jti else ids.new_id()
        return TokenClaims(given.sub, exp, given.iat, given.permissions, dict(given.extra), jti)

    def _sign(self, claims: TokenClaims, use: Use) -> str:
        if not is_name(claims.sub):
            raise Invalid.field("sub", f"A token needs a subject: {_NAME}.")
        if not is_name(claims.jti):
            raise Invalid.field("jti", f"The id of a token is {_NAME}.")
        token = self._keys.sign(written(claims, use, self._rules), _TYPES[use])
        if len(token) > MAX_TOKEN_BYTES:
            raise Invalid(f"The token would have {len(token)} bytes; {MAX_TOKEN_BYTES} are accepted: put less into it.")
        self._remember(claims)
        return token


def _permissions(given: Any) -> list[str]:
    """From names, or a text with spaces between them. Raises `Invalid`."""
    if given is None:
        return []
    names = given.split() if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    if not all(isinstance(one, str) for one in names):
        raise Invalid.field("permissions", "The permissions of a token are a list of names.")
    return names


def _moment(given: Mapping[str, Any], name: str, default: datetime) -> datetime:
    """A datetime, or the seconds since 1970. Raises `Invalid`."""
    value = given.get(name, default)
    try:
        return value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        text = f"The {name} of a token is a datetime or a number of seconds since 1970, not {value!r}."
        raise Invalid.field(name, text) from None
