"""Every error as a problem document (RFC 9457). The only place that knows HTTP statuses.

`type` is a stable URN: `urn:uno:problem:not-found`. An unexpected exception tells the client
nothing but its correlation id; the log has the traceback.
"""

import asyncio
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from uno import context
from uno.aio.verbs import NotStarted
from uno.context import Context
from uno.errors import (
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    KeyInUse,
    KeyReused,
    Misconfigured,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    RateLimited,
    TimedOut,
    Unauthenticated,
    Unavailable,
    UnoError,
    VersionConflict,
    attribute,
    in_row,
)
from uno.modules.errors import EventHandlingError, EventUnhandled
from uno.redact import one_line
from uno.resilience.groups import refusal
from uno.telemetry.logs import get_logger
from uno.telemetry.propagation import current_trace_id

log = get_logger("uno.api")

MEDIA_TYPE = "application/problem+json"
# Where in a scope the caller stands, once authenticated.
PRINCIPAL = "uno.principal"
UNAUTHENTICATED, FORBIDDEN = 401, 403
OK, CREATED, NO_CONTENT, RESET_CONTENT, NOT_MODIFIED, NOT_IMPLEMENTED, UNAVAILABLE = 200, 201, 204, 205, 304, 501, 503
WITHOUT_BODY = frozenset({NO_CONTENT, RESET_CONTENT, NOT_MODIFIED})


class Malformed(Invalid):
    """The request cannot be read at all: not JSON, or parameters nobody knows."""


class PreconditionRequired(UnoError):
    """Nothing is changed here by who does not say what it was when it was read (RFC 6585)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One type of problem."""

    status: int
    slug: str
    title: str

    @property
    def type(self) -> str:
        # RFC 9457: a problem that says no more than its status.
        return f"urn:uno:problem:{self.slug}" if self.slug else "about:blank"


KINDS: dict[type[Exception], Kind] = {
    Malformed: Kind(400, "malformed", "The request cannot be read"),
    Unauthenticated: Kind(UNAUTHENTICATED, "unauthenticated", "Nobody is logged in"),
    Forbidden: Kind(FORBIDDEN, "forbidden", "Not allowed"),
    NotFound: Kind(404, "not-found", "Not found"),
    Conflict: Kind(409, "conflict", "Conflict"),
    KeyInUse: Kind(409, "idempotency-key-in-use", "The request is being worked on"),
    KeyReused: Kind(422, "idempotency-key-reused", "The key belongs to another request"),
    VersionConflict: Kind(409, "version-conflict", "Changed by somebody else"),
    PreconditionFailed: Kind(412, "precondition-failed", "Not as it was when it was read"),
    PreconditionRequired: Kind(428, "precondition-required", "If-Match is required"),
    Invalid: Kind(422, "invalid", "The input is not valid"),
    UnoError: Kind(422, "refused", "Refused"),
    EventUnhandled: Kind(NOT_IMPLEMENTED, "not-implemented", "Nothing here does this"),
    RateLimited: Kind(429, "rate-limited", "Too many requests"),
    Unavailable: Kind(UNAVAILABLE, "unavailable", "Not available now"),
    OutcomeUnknown: Kind(UNAVAILABLE, "outcome-unknown", "The outcome is not known"),
    TimedOut: Kind(504, "timed-out", "It took too long"),
}
INTERNAL = Kind(500, "internal", "Internal error")
# A status alone says less.
_NARROWER = (KeyInUse, KeyReused, VersionConflict, UnoError, OutcomeUnknown)
_OF_HTTP = (
    INTERNAL,
    Kind(405, "method-not-allowed", "Method not allowed"),
    Kind(413, "content-too-large", "The body is too large"),
    Kind(415, "unsupported-media-type", "The body is not JSON"),
    *(kind for error, kind in KINDS.items() if error not in _NARROWER),
)
_BY_STATUS = {kind.status: kind for kind in _OF_HTTP}
# How many errors are in the text, how many in the list, and how many are described to choose from.
NAMED, LISTED, _DESCRIBED = 5, 100, 10_000
_LONGEST_NAME = 200
_ERRORS = range(400, 600)
_LONGEST_WAIT = 24 * 60 * 60
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_SENTENCES = {404: "There is nothing at {path}.", 405: "{path} does not answer {method}."}


def too_large(limit: int) -> HTTPException:
    """The body has more than `limit` bytes. The connection is closed."""
    return HTTPException(413, f"The body is larger than {limit} bytes.", {"Connection": "close"})


def ambiguous_length() -> HTTPException:
    """Two headers that say how long the body is. Nobody knows where the next request begins."""
    return HTTPException(
        KINDS[Malformed].status, "The request has both Content-Length and Transfer-Encoding.", {"Connection": "close"}
    )


def not_json(content_type: str, *, merges: bool = False) -> HTTPException:
    got = f"not {content_type}" if content_type else "and a Content-Type header has to say so"
    merge = "application/merge-patch+json"
    taken = f"application/json or {merge}" if merges else "application/json"
    headers = {"Accept": "application/json", **({"Accept-Patch": f"application/json, {merge}"} if merges else {})}
    return HTTPException(415, f"The body has to be {taken}, {got}.", headers)


def allow(methods: Iterable[str]) -> dict[str, str]:
    """The header that lists the methods of a path."""
    return {"Allow": ", ".join(sorted({*methods, "OPTIONS"}))}


def not_allowed(methods: Iterable[str]) -> HTTPException:
    return HTTPException(405, headers=allow(methods))


def failed() -> HTTPException:
    """A handler failed, and its error is in the log already."""
    return HTTPException(INTERNAL.status, "Something went wrong. The log says what.")


def field_errors(error: ValidationError, root: str) -> list[FieldError]:
    """What pydantic found; `root` names an error that is about no field."""
    count = error.error_count()
    if count > _DESCRIBED:  # pydantic describes all or none
        return [FieldError(root, f"It has {count} errors, too many to list.", "too_many_errors")]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [_field_error(one["loc"], one["msg"], one["type"], root) for one in found]


def _field_error(location: Sequence[int | str], message: str, code: str, root: str) -> FieldError:
    field = cut(".".join(map(str, location)) or root)
    return (
        FieldError(field, "There is no such field.", "unknown")
        if code == "extra_forbidden"
        else FieldError(field, message, code)
    )


def cut(name: str) -> str:
    """A name that a client has chosen, for errors."""
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"


def invalid(errors: Sequence[FieldError], *, malformed: bool = False) -> Invalid:
    """An error with all wrong fields in its list and the first few in its text."""
    text = "; ".join(f"{e.field}: {e.message}" for e in errors[:NAMED])
    if len(errors) > NAMED:
        text += f"; and {len(errors) - NAMED} more"
    return (Malformed if malformed else Invalid)(text, errors[:LISTED])


def kind_of(error: Exception) -> Kind:
    """The nearest kind up the tree, or that of the status the error itself names."""
    said = attribute(error, "status_code")
    if isinstance(said, int) and said in _ERRORS:
        return _kind_of_status(said)
    return next((KINDS[cls] for cls in type(error).__mro__ if cls in KINDS), INTERNAL)


def _kind_of_status(status: int) -> Kind:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return Kind(status, "", _PHRASES.get(status, "Error"))


def document(
    kind: Kind, detail: str, scope: Scope, errors: Sequence[FieldError] = (), /, **extra: Any
) -> dict[str, Any]:
    """The members of a problem document; `extra` takes the place of none that every one has."""
    made: dict[str, Any] = {
        **extra,
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": quote(scope.get("path", "")),
    }
    if errors:
        made["errors"] = [{"field": e.field, "message": e.message, "code": e.code} for e in errors]
    return made | _traces()


def _traces() -> dict[str, str]:
    current = context.get()
    if current is None:
        return {}
    trace_id = current_trace_id(current)
    return {"correlation_id": current.correlation_id, **({"trace_id": trace_id} if trace_id else {})}


def _response(made: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(made, ensure_ascii=False, default=str).encode("utf-8", "replace")
    return Response(body, made["status"], headers, MEDIA_TYPE)


def challenge_of(error: UnoError) -> dict[str, str]:
    """The header that says how to log in (RFC 6750, section 3)."""
    said = attribute(error, "challenge", "Bearer" if isinstance(error, Unauthenticated) else None)
    return {} if said is None else {"WWW-Authenticate": one_line(str(said))}


def _headers_of(error: UnoError) -> dict[str, str]:
    if isinstance(error, Unauthenticated | Forbidden):
        return challenge_of(error)
    if isinstance(error, RateLimited | Unavailable | KeyInUse):
        return {"Retry-After": str(_whole_seconds(attribute(error, "retry_after")))}
    return {}


def _whole_seconds(said: Any) -> int:
    """At least one, at most a day: what is no number, or will not come, is asked for again."""
    known = isinstance(said, int | float) and said > 0
    return max(1, math.ceil(min(said, _LONGEST_WAIT))) if known else 1


def problem_response(error: Exception, scope: Scope) -> Response:
    """The response to an error of uno's tree or of Starlette's; the log has those that are the server's."""
    if isinstance(error, HTTPException):
        _note(error.status_code, error.detail, scope)
        return _http_response(error, scope)
    _note(kind_of(error).status, error, scope)
    errors: Sequence[FieldError] = error.errors if isinstance(error, Invalid | Conflict) else ()
    if isinstance(error, Invalid | Conflict) and error.row is not None:
        errors = [replace(one, message=in_row(one.message, error.row)) for one in errors]
    more = attribute(error, "extensions")
    made = document(kind_of(error), _told(error), scope, errors, **(more if isinstance(more, Mapping) else {}))
    return _response(made, _headers_of(error) if isinstance(error, UnoError) else None)


def _told(error: Exception) -> str:
    # Its text is that of whatever was raised while something started.
    return "Something that this needs could not start." if isinstance(error, NotStarted) else str(error)


def _note(status: int, reason: object, scope: Scope) -> None:
    """One line for what is no bug and still not the client's; a bug has one with its traceback."""
    if status <= INTERNAL.status:
        return
    with context.use(_where(reason, scope)) as where:
        fields = {
            "method": scope.get("method"),
            "path": getattr(scope.get("route"), "path", None) or scope.get("path"),
            "status": status,
            "correlation_id": where.correlation_id,
        }
        log.warning("answered %d: %s", status, reason, exc_info=_whole(reason), extra=fields)


def _whole(reason: object) -> Exception | None:
    """What is more than the answer says: of a group only one is in there, and of what could not start nothing."""
    if not isinstance(reason, Exception):
        return None
    is_more = isinstance(reason, NotStarted) or isinstance(reason.__cause__, ExceptionGroup)
    return reason if is_more else None


def _where(reason: object, scope: Scope) -> Context:
    """The context in which it went wrong, which has been left by now; outside of uno's entrance a new one."""
    noted = context.noted(reason) if isinstance(reason, BaseException) else None
    found = noted or context.current()
    principal = scope.get(PRINCIPAL)
    return found if principal is None else found.replace(actor=principal.subject, actor_source="principal")


def _http_response(error: HTTPException, scope: Scope) -> Response:
    if error.status_code in WITHOUT_BODY or error.status_code < OK:
        return Response(status_code=error.status_code, headers=error.headers)
    kind = _kind_of_status(error.status_code)
    if not isinstance(error.detail, str):
        return _response(document(kind, kind.title, scope, data=error.detail), error.headers)
    return _response(document(kind, _sentence(error, scope), scope), error.headers)


def _sentence(error: HTTPException, scope: Scope) -> str:
    """Its own detail; Starlette's 404 and 405 only repeat the title."""
    sentence = _SENTENCES.get(error.status_code)
    if sentence is None or error.detail != _PHRASES[error.status_code]:
        return error.detail
    return sentence.format(method=scope.get("method", ""), path=scope.get("path", ""))


async def _on_error(request: Request, error: Exception) -> Response:
    return problem_response(error, request.scope)


async def _on_validation(request: Request, error: Any) -> Response:
    """FastAPI's own validation, for routes that are not uno's."""
    found = [_field_error(e["loc"][1:], e["msg"], e["type"], str(e["loc"][0])) for e in error.errors()]
    if any(e.code == "json_invalid" for e in found):
        return problem_response(Malformed("The body is not valid JSON."), request.scope)
    return problem_response(invalid(found), request.scope)


def cause_of(error: Exception) -> Exception:
    """What went wrong inside the handler of an event, or in tasks of a group; any other error is its own cause."""
    while isinstance(error, EventHandlingError) and isinstance(error.original_error, Exception):
        error = error.original_error
    return refusal(error) or error


async def _on_event(request: Request, error: Exception) -> Response:
    """The error of a handler as if it had been raised here: an error of uno's tree, or a bug."""
    return await answer(request, cause_of(error))


async def _on_group(request: Request, error: Exception) -> Response:
    """The gravest of a group of errors of the tree; any other group is a bug, for the handler of bugs."""
    found = refusal(error)
    if found is None:
        raise error
    return problem_response(found, request.scope)


async def answer(request: Request, error: Exception) -> Response:
    """The problem document for any error; a bug is logged and tells nothing."""
    error = cause_of(error)
    if isinstance(error, RequestValidationError):
        return await _on_validation(request, error)
    if isinstance(error, UnoError | HTTPException) and not isinstance(error, Misconfigured | EventHandlingError):
        return problem_response(error, request.scope)
    return await _on_bug(request, error)


class Ended(RuntimeError):
    """A handler raised what would end the server, or its request."""


def raise_as_bug(error: BaseException) -> None:
    """Raise `Ended` for an exit, and for a cancellation that nobody asked for: the server goes on."""
    task = asyncio.current_task()
    asked = isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling())
    if asked or isinstance(error, Exception | KeyboardInterrupt | GeneratorExit):
        return
    if isinstance(error, BaseExceptionGroup) and error.subgroup(KeyboardInterrupt):
        return
    raise Ended(f"A handler raised {type(error).__name__}.") from error


async def _reraise(_request: Request, error: Exception) -> Response:
    raise error


async def _on_bug(request: Request, error: Exception) -> Response:
    scope = request.scope
    with context.use(_where(error, scope)) as where:
        # Also for those who write their logs without uno.
        fields = {"method": scope["method"], "path": scope["path"], "correlation_id": where.correlation_id}
        log.error("unhandled error", exc_info=error, extra=fields)
        made = document(INTERNAL, "Something went wrong. The log says what, under this correlation id.", scope)
    vars(error)["__uno_logged__"] = True  # the server would log it again
    return _response(made)


def register_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem document; `asgi` has done so already."""
    app.add_exception_handler(UnoError, _on_error)
    app.add_exception_handler(HTTPException, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(EventHandlingError, _on_event)
    app.add_exception_handler(ExceptionGroup, _on_group)
    # A bug: it passes on to the handler of bugs.
    app.add_exception_handler(Misconfigured, _reraise)
    app.add_exception_handler(Exception, _on_bug)
