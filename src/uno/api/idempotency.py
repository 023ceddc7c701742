"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): one effect, and the same answer each time."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import Scope

from uno.api.auth import local_path
from uno.api.problems import Malformed
from uno.app.endpoints import Endpoint
from uno.bus.idempotency import HEADER, LONGEST_KEY, Render, Reply, fingerprint, idempotent, parse_key
from uno.errors import FieldError, Invalid
from uno.messages import Query
from uno.result import Failure

NAME = HEADER.lower().encode()
# Where in a scope the entrance notes that a request has a key: who has none is not asked again.
KEYED = "uno.keyed"
REPLAYED = (b"idempotency-replayed", b"true")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "What this request is called: sent again with the same key, it has no second effect, "
    "and the answer is that of the first time.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_KEY,
        "pattern": "^[!#-~]([ -~]*[!-~])?$",
        "examples": ["7f2a0b3c-8c1e-4b52-9d55-3f1f6a8f5f21"],
    },
}


def takes_key(endpoint: Endpoint) -> bool:
    """Whether a request may have an effect, which can be had once."""
    return endpoint.method not in _SAFE and not issubclass(endpoint.message, Query)


async def once(scope: Scope, body: bytes, render: Render, work: Callable[[], Awaitable[Any]]) -> Reply:
    """The answer to a request with a key. Raises the error of a `Failure`, and `Malformed` for a wrong key."""
    with idempotent(_key(scope), fingerprint=_fingerprint(scope, body), render=render) as asked:
        result = await work()
    if result.__class__ is Failure:
        # Without its old traceback: an error may be a constant, and would grow with every request.
        raise result.error.with_traceback(None)
    if asked.reply is None:  # middleware of the application's own has answered, and nothing has happened
        return render(getattr(result, "value", result))
    status, headers, answer = asked.reply
    return status, [*headers, REPLAYED] if asked.replayed else headers, answer


def _key(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == NAME]
    if len(given) != 1:
        raise Malformed(
            f"{HEADER}: It can be given only once.", [FieldError(HEADER, "It can be given only once.", "repeated")]
        )
    try:
        return parse_key(given[0].decode("latin-1").strip(" \t"))
    except Invalid as error:
        raise Malformed(str(error), error.errors) from None


def _fingerprint(scope: Scope, body: bytes) -> bytes:
    """Of method, path, query and the body as JSON: spaces and the order of keys do not make it another request."""
    return fingerprint(scope["method"].encode(), local_path(scope).encode(), scope["query_string"], _canonical(body))


def _canonical(body: bytes) -> bytes:
    if not body:
        return b"{}"
    try:
        # A number stays as it was written: it may have more digits than a float. No text begins with NUL.
        return json.dumps(json.loads(body, parse_float=lambda digits: f"\0{digits}"), sort_keys=True).encode()
    except RecursionError:
        return body
