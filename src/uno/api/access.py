"""What the caller may: `access` of uno's endpoints, decorators and dependencies for FastAPI's."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar, get_type_hints, overload

from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from uno.api.auth import REFUSAL, is_bearer
from uno.api.problems import FORBIDDEN, PRINCIPAL, UNAUTHENTICATED, challenge_of
from uno.app import Endpoint
from uno.errors import Forbidden, Misconfigured, Unauthenticated, UnoError
from uno.security import Policies, TokenClaims, needed
from uno.telemetry import emit

# Raises for who is not let in.
Gate: TypeAlias = Callable[[Scope], None]
F = TypeVar("F", bound=Callable[..., Any])
_POLICY_VIOLATION = 1008
_UNSEEN = (
    "A request with a token came to an endpoint that asks who it is, and nothing has looked at the token: "
    "add AuthMiddleware or give App(auth=...), and leave the path out of exclude_paths."
)


class MissingPermission(Forbidden):
    """The principal has not what it needs."""

    challenge = 'Bearer error="insufficient_scope"'

    def __init__(self, permissions: Iterable[str], *, any_of: bool = False) -> None:
        self.permissions = tuple(sorted(permissions))
        word = "one of the permissions" if any_of else "the permissions"
        names = ", ".join(self.permissions)
        super().__init__(
            f"This needs the permission {names}." if len(self.permissions) == 1 else f"This needs {word} {names}."
        )


# ── uno's endpoints ──


def guarded(app: ASGIApp, endpoint: Endpoint, policies: Policies) -> ASGIApp:
    """`app` for those only whom the endpoint's `access` lets in, and who have one of its `permissions`."""
    check = gate(endpoint, policies)
    if check is None:
        return app

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        check(scope)
        await app(scope, receive, send)

    return guard


def gate(endpoint: Endpoint, policies: Policies) -> Gate | None:
    """What raises for those whom the endpoint does not let in; None where it is open."""
    wanted, one_of = needed(endpoint.access, policies), frozenset(endpoint.permissions)
    if wanted is None and not one_of:
        return None
    all_of = wanted or frozenset()

    def check(scope: Scope) -> None:
        principal = scope.get(PRINCIPAL)
        if principal is None:
            raise _nobody(scope)
        if not all_of <= principal.permissions:
            raise _denied(all_of)
        if one_of and one_of.isdisjoint(principal.permissions):
            raise _denied(one_of, any_of=True)

    return check


def _nobody(scope: Mapping[str, Any]) -> UnoError:
    """Why nobody is known: the token was refused, cannot be checked now, or is not there."""
    refusal: UnoError | None = scope.get(REFUSAL)
    return refusal or Unauthenticated("This needs a token: Authorization: Bearer <token>.")


def _denied(permissions: frozenset[str], *, any_of: bool = False) -> MissingPermission:
    emit("auth.forbidden", needed=sorted(permissions))
    return MissingPermission(permissions, any_of=any_of)


# ── FastAPI's ──


class Guard(Protocol):
    """Around an endpoint: `@guard`. As a dependency: `Depends(guard)`, which gives the `TokenClaims`."""

    @overload
    def __call__(self, request: HTTPConnection) -> TokenClaims: ...

    @overload
    def __call__(self, request: F) -> F: ...


def get_current_user(request: HTTPConnection) -> TokenClaims | None:
    """What the token of the request says; None if nobody is logged in. Also a dependency."""
    found: TokenClaims | None = getattr(request.state, "user", None)
    return found


def require_permissions(permissions: Iterable[str], require_all: bool = False) -> Guard:
    """Lets in who has one of `permissions`, or with `require_all` all of them.

        @api.get("/reports")
        @require_permissions(["reports:read"])
        async def reports(): ...

    Nobody logged in is 401, a missing permission 403.
    """
    wanted = frozenset(_names(permissions))
    if not wanted:
        raise Misconfigured("require_permissions without a permission lets everybody in; use require_auth.")
    return _guard(wanted, require_all=require_all, usage='@require_permissions(["reports:read"])')


def _names(permissions: Any) -> Iterable[str]:
    # Of a text each letter would be a permission.
    if isinstance(permissions, str | bytes):
        raise Misconfigured(f"require_permissions takes a list: [{permissions!r}].")
    if not isinstance(permissions, Iterable):
        given = getattr(permissions, "__qualname__", None) or repr(permissions)
        raise Misconfigured(f'require_permissions takes a list, as in @require_permissions(["a:read"]), not {given}.')
    names = list(permissions)
    for name in names:
        if not isinstance(name, str) or not name:
            raise Misconfigured(f"require_permissions was given {name!r}; name each permission by a text.")
    return names


def _guard(wanted: frozenset[str], *, require_all: bool, usage: str) -> Guard:
    def check(request: HTTPConnection) -> TokenClaims:
        claims = get_current_user(request)
        if claims is None:
            scope = getattr(request, "scope", {})
            if _is_unseen(scope):
                raise Misconfigured(_UNSEEN)
            raise _refused(_nobody(scope), request)
        has = wanted.issubset(claims.permissions) if require_all else not wanted.isdisjoint(claims.permissions)
        if wanted and not has:
            raise _refused(_denied(wanted, any_of=not require_all), request)
        return claims

    def guard(request: Any = None) -> Any:
        if inspect.isroutine(request) or isinstance(request, functools.partial):
            endpoint: Any = request
            return _around(endpoint, check)
        if not hasattr(request, "state"):
            raise Misconfigured(f"{usage} stands above the function of an endpoint; {_given(request)}.")
        return check(request)

    # FastAPI asks what to call it with.
    guard.__signature__ = inspect.signature(check)  # type: ignore[attr-defined]
    return guard


def _given(request: Any) -> str:
    if request is None:
        return "it was called without one: leave the last brackets out"
    return f"it was given {getattr(request, '__qualname__', None) or type(request).__qualname__}"


def _is_unseen(scope: Mapping[str, Any]) -> bool:
    """Whether there is a token that nothing has looked at: whoever does says who it is, or why it is refused."""
    if REFUSAL in scope or "user" in scope.get("state", {}):
        return False
    return any(name == b"authorization" and is_bearer(value) for name, value in scope.get("headers", ()))


def _refused(error: UnoError, request: HTTPConnection) -> Exception:
    """An error that FastAPI alone knows, too."""
    if getattr(request, "scope", {}).get("type") == "websocket":
        return WebSocketException(_POLICY_VIOLATION)
    if not isinstance(error, Unauthenticated | Forbidden):
        return error
    status = FORBIDDEN if isinstance(error, Forbidden) else UNAUTHENTICATED
    return HTTPException(status, str(error), challenge_of(error))


def _around(endpoint: Any, check: Callable[[Any], Any]) -> Any:
    """`endpoint` behind `check`, in a signature that asks for the request."""
    signature = inspect.signature(endpoint)
    name = _request_of(endpoint, signature)
    is_own = name in signature.parameters
    position = list(signature.parameters).index(name) if is_own else -1

    def admit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        check(args[position] if is_own and name not in kwargs else kwargs[name] if is_own else kwargs.pop(name))

    wrapper = _asynchronous(endpoint, admit) if inspect.iscoroutinefunction(endpoint) else _synchronous(endpoint, admit)
    if not is_own:
        _ask_for(wrapper, name, signature)
    return wrapper


def _asynchronous(endpoint: Any, admit: Callable[[tuple[Any, ...], dict[str, Any]], None]) -> Any:
    @functools.wraps(endpoint)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        admit(args, kwargs)
        return await endpoint(*args, **kwargs)

    return wrapper


def _synchronous(endpoint: Any, admit: Callable[[tuple[Any, ...], dict[str, Any]], None]) -> Any:
    @functools.wraps(endpoint)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        admit(args, kwargs)
        return endpoint(*args, **kwargs)

    return wrapper


def _request_of(endpoint: Any, signature: inspect.Signature) -> str:
    """The parameter that is the request: the endpoint's own, or a name that is free."""
    hints = _hints(endpoint)
    for name, parameter in signature.parameters.items():
        if _is_request(hints.get(name)) or _is_request(parameter.annotation):
            return name
    free = "request"
    while free in signature.parameters:
        free = f"http_{free}"
    return free


def _hints(endpoint: Any) -> Mapping[str, Any]:
    try:
        return get_type_hints(endpoint)
    except (NameError, TypeError):
        return {}


def _is_request(annotation: Any) -> bool:
    return annotation == "Request" or (inspect.isclass(annotation) and issubclass(annotation, HTTPConnection))


def _ask_for(wrapper: Any, name: str, signature: inspect.Signature) -> None:
    added = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Request)
    parameters = [*signature.parameters.values(), added]
    # What takes everything stays the last.
    parameters.sort(key=lambda parameter: parameter.kind)
    wrapper.__signature__ = signature.replace(parameters=parameters)
    wrapper.__annotations__ = {**getattr(wrapper, "__annotations__", {}), name: Request}


require_auth: Guard = _guard(frozenset(), require_all=False, usage="@require_auth")
