"""Who asks: the token of a request, checked once, before anything of its body is read.

`AuthMiddleware` lets nobody in without a valid token. An application with `App(auth=...)` needs
none: `Identification` finds out who asks, and each endpoint's `access` decides.
"""

import re
from collections.abc import Iterable
from fnmatch import translate
from posixpath import normpath
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from uno import context
from uno.api.problems import PRINCIPAL, problem_response
from uno.context import Context
from uno.errors import Misconfigured, Unauthenticated, UnoError
from uno.security import AuthProvider, Principal, TokenClaims, principal as ambient
from uno.security.tokens import MAX_TOKEN_BYTES
from uno.telemetry import emit

# Where what is known about the caller stands in a scope.
REFUSAL, _PROVIDER = "uno.refusal", "uno.auth"
# What asks whether the process lives has no token.
HEALTH_PATHS = ("/health", "/health/live", "/health/ready")
# RFC 6750, section 2.1.
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]{1,%d}=*)" % MAX_TOKEN_BYTES, re.IGNORECASE)
_POLICY_VIOLATION = 1008


class InvalidToken(Unauthenticated):
    """There is a token, and it is not accepted."""

    challenge = 'Bearer error="invalid_token"'


class AuthMiddleware:
    """ASGI middleware: a request or a WebSocket without a valid bearer token is refused with 401.

    `exclude_paths` are patterns of `fnmatch` (`*` matches slashes, too) for paths that need no token;
    without them these are `/health`, `/health/live` and `/health/ready`. A path that is not written
    plainly, with `..`, `.` or `//` in it, is never excluded.
    """

    def __init__(self, app: ASGIApp, provider: AuthProvider, exclude_paths: Iterable[str] | None = None) -> None:
        self.app = app
        self.provider = _provider(provider)
        patterns = HEALTH_PATHS if exclude_paths is None else _patterns(exclude_paths)
        self._excluded = re.compile("|".join(translate(pattern) for pattern in patterns) or "(?!)")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._is_excluded(local_path(scope)):
            await self.app(scope, receive, send)
            return
        try:
            principal = await identify(scope, self.provider)
        except Misconfigured:
            raise
        except UnoError as error:
            await _refuse(error, scope, receive, send)
            return
        await _let_in(self.app, principal, self.provider, scope, receive, send)

    def _is_excluded(self, path: str) -> bool:
        # What stands behind may look at such a path in its own way.
        is_plain = "\\" not in path and "//" not in path and normpath(path) == (path.rstrip("/") or "/")
        return is_plain and self._excluded.match(path) is not None


def _provider(given: Any) -> AuthProvider:
    kind = getattr(given, "__qualname__", None) or type(given).__qualname__
    if isinstance(given, type):
        raise Misconfigured(f"provider of AuthMiddleware is the class {kind}; make a provider of it: {kind}(...).")
    if not callable(getattr(given, "validate_token", None)):
        text = "it takes an AuthProvider, for instance JWTAuthProvider()"
        raise Misconfigured(f"provider of AuthMiddleware is a {kind}, without validate_token; {text}.")
    provider: AuthProvider = given
    return provider


def _patterns(given: Iterable[Any]) -> tuple[str, ...]:
    # Each letter of a text would be a pattern, and one of them a star.
    if isinstance(given, str | bytes):
        raise Misconfigured(f"exclude_paths of AuthMiddleware is a list: [{given!r}].")
    patterns = tuple(given)
    wrong = [one for one in patterns if not isinstance(one, str) or not one]
    if wrong:
        raise Misconfigured(f"exclude_paths of AuthMiddleware has {wrong[0]!r}; each is a pattern for paths.")
    return patterns


class Identification:
    """ASGI middleware: whoever has a valid token is known inside; everybody gets in."""

    def __init__(self, app: ASGIApp, provider: AuthProvider) -> None:
        self.app = app
        self.provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            principal = await identify(scope, self.provider)
        except Misconfigured:
            raise
        except UnoError as error:
            # It matters only to endpoints that are not open.
            scope[REFUSAL] = error
            await _as_nobody(self.app, scope, receive, send)
            return
        await _let_in(self.app, principal, self.provider, scope, receive, send)


def local_path(scope: Scope) -> str:
    """The path below where the application is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


async def identify(scope: Scope, provider: AuthProvider) -> Principal:
    """Who asks. Raises `Unauthenticated`, or what `provider` raises where it cannot tell."""
    if scope.get(_PROVIDER) is provider:
        known: Principal = scope[PRINCIPAL]
        return known
    claims = await provider.validate_token(_token(scope))
    if claims is None or _is_over(claims, provider):
        raise InvalidToken("The token is not valid, or not any more.")
    return Principal.of(claims)


def _is_over(claims: TokenClaims, provider: AuthProvider) -> bool:
    return claims.is_expired and not provider.leeway


def _token(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        raise Unauthenticated("This needs a token: Authorization: Bearer <token>.")
    match = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
    if match is None:
        emit("auth.header_refused", reason="there are several" if len(given) > 1 else "it is no bearer token")
        raise InvalidToken("The Authorization header has to be one, of the form: Bearer <token>.")
    return match[1].decode("ascii")


def is_bearer(header: bytes) -> bool:
    """Whether an `Authorization` header is for those who check bearer tokens."""
    return header[:7].lower() == b"bearer "


async def _let_in(
    app: ASGIApp, principal: Principal, provider: AuthProvider, scope: Scope, receive: Receive, send: Send
) -> None:
    scope[PRINCIPAL], scope[_PROVIDER] = principal, provider
    # A copy: a server may give every request the same.
    scope["state"] = {**scope.get("state", {}), "user": principal.claims}
    entered, known = context.enter(_acting(principal.subject)), ambient.enter(principal)
    try:
        await app(scope, receive, send)
    finally:
        ambient.leave(known)
        context.leave(entered)


async def _as_nobody(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Whoever an application around this one knows is not known to its own provider, and nobody here."""
    if PRINCIPAL not in scope:
        await app(scope, receive, send)
        return
    inner = {name: value for name, value in scope.items() if name not in (PRINCIPAL, _PROVIDER)}
    inner["state"] = {name: value for name, value in scope.get("state", {}).items() if name != "user"}
    known = ambient.enter(None)
    try:
        await app(inner, receive, send)
    finally:
        ambient.leave(known)


def _acting(subject: str) -> Context:
    """The context of the request, with its actor."""
    c = context.get() or Context()
    return Context(
        c.correlation_id, c.message_id, c.causation_id, subject, "principal", c.tenant, c.traceparent, c.deadline
    )


async def _refuse(error: UnoError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await problem_response(error, scope)(scope, receive, send)
        return
    await receive()  # what asks for the connection
    await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
