"""The operations of a resource over HTTP: request to message, result to response."""

import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import quote

from starlette.types import Scope

from uno.api.action_forms import history_form, id_reader, key_text, selection_form
from uno.api.conditions import if_match, is_known, wants_nothing
from uno.api.events import Answer, Headers
from uno.api.idempotency import KEYED, once, takes_key
from uno.api.list_query import (
    UNGUARDED,
    Gates,
    as_malformed,
    links,
    list_reader,
    pass_gates,
    read_fields,
    read_include,
    read_page,
)
from uno.api.problems import CREATED, NO_CONTENT, NOT_MODIFIED, WITHOUT_BODY, Malformed, invalid, raise_as_bug
from uno.api.request import body_reader, parse
from uno.app import Endpoint, Resource
from uno.app.inclusions import Joined
from uno.app.representation import entry_shown, maker
from uno.app.resource_messages import Conditional, Creating
from uno.app.resources import Action
from uno.app.tags import tag_of
from uno.bus.idempotency import Reply
from uno.data.rendered import Row, Rows
from uno.data.violations import shown
from uno.errors import Conflict, FieldError, Invalid, PreconditionFailed, VersionConflict, again, id_text
from uno.result import Failure

Dispatch: TypeAlias = Callable[[Any], Awaitable[Any]]
Read: TypeAlias = Callable[[Scope, bytes], Any]
Respond: TypeAlias = Callable[[Any, Any, Scope], Reply]
_JSON = (b"content-type", b"application/json")
# What no path has to quote.
_PLAIN = re.compile(r"[\w./,-]*", re.ASCII)
_APPLIED = (b"preference-applied", b"return=minimal")


def answering_action(endpoint: Endpoint, action: Action, dispatch: Dispatch, gates: Gates = UNGUARDED) -> Answer:
    """Reads what is asked, has it done and says what came of it. `gates` are before what can be included."""
    read, respond = action_reader(action, endpoint.message, gates), _responder(endpoint, action)
    keyed, shows = takes_key(endpoint), issubclass(endpoint.message, Creating | Conditional)

    async def answer(scope: Scope, body: bytes) -> Reply:
        message = read(scope, body)
        try:
            if keyed and KEYED in scope:
                # With objects: the answer is stored with the effect, before the commit.
                return await _once(scope, body, message)
            if shows:
                message.answered_as_json()
            result = await dispatch(message)
        except BaseException as error:
            raise_as_bug(error)
            raise
        if result.__class__ is Failure:
            # Without its old traceback: an error may be a constant, and would grow with every request.
            raise _explained(result.error, action, message).with_traceback(None)
        return respond(result.value, message, scope)

    async def _once(scope: Scope, body: bytes, message: Any) -> Reply:
        try:
            return await once(scope, body, lambda value: respond(value, message, scope), lambda: dispatch(message))
        except (Conflict, Invalid) as error:
            raise _explained(error, action, message) from None

    return answer


def _explained(error: Exception, action: Action, message: Any) -> Exception:
    """The error in the words of the request."""
    if action.operation in ("list", "get", "history"):
        return as_malformed(error) if isinstance(error, Invalid) else error
    if isinstance(error, VersionConflict) and isinstance(message, Conditional) and message.expected is not None:
        return PreconditionFailed(str(error))
    if isinstance(error, Conflict | Invalid):
        better = shown(error, action.resource.plan, action.resource.names)
        return _in_list(better, error.row) if error.row is not None and action.operation == "bulk_create" else better
    return error


def _in_list(error: Conflict | Invalid, row: int) -> Exception:
    """With the place of the item, as in errors of the body: `items.3.price`."""
    place, plain = f"items.{row - 1}", str(again(error, row=None))
    found = tuple(replace(e, field=f"{place}.{e.field}") for e in error.errors)
    text = "; ".join(f"{e.field}: {e.message}" for e in found) or f"{place}: {plain}"
    return again(error, text, row=None, errors=found or (FieldError(place, plain, "refused"),))


# ── from a request to a message ──


def action_reader(action: Action, message: type[Any], gates: Gates = UNGUARDED) -> Read:
    """Reads the message of one operation."""
    resource, operation = action.resource, action.operation
    if operation == "list":
        read_list = list_reader(resource, message, gates)
        return lambda scope, _body: read_list(scope)
    if operation == "bulk_delete":
        return _present(body_reader(message, ()))
    if operation == "bulk_create":
        return _body_reader(resource, resource.schemas.create, message)
    if operation == "create":
        read_values = _body_reader(resource, resource.schemas.create)
        return lambda scope, body: message(values=read_values(scope, body))
    if operation == "get":
        return _get_reader(resource, message, gates)
    if operation == "history":
        return _history_reader(resource, message)
    return _change_reader(action, message)


def _get_reader(resource: Resource, message: type[Any], gates: Gates) -> Read:
    read_id = id_reader(resource, selection_form(resource))
    # Otherwise the tag is a hash, which Python makes of what it shows.
    versioned = resource.plan.version_name is not None

    def read(scope: Scope, _body: bytes) -> Any:
        given = read_id(scope)
        wrong: list[FieldError] = []
        names = read_fields(given["fields"], resource, wrong) if given.get("fields") else ()
        include = read_include(given.get("include") or "", resource, wrong)
        if wrong:
            raise invalid(wrong, malformed=True)
        pass_gates(scope, include, gates)
        made = message(id=given["id"], fields=names, include=include)
        # What is included has no part in a version: such an answer has no tag.
        if versioned or include:
            made.answered_as_json()
        return made

    return read


def _history_reader(resource: Resource, message: type[Any]) -> Read:
    read_id = id_reader(resource, history_form())

    def read(scope: Scope, _body: bytes) -> Any:
        given = read_id(scope)
        return message(id=given.pop("id"), **read_page(given, resource))

    return read


def _change_reader(action: Action, message: type[Any]) -> Read:
    """What changes one that is there, with its condition."""
    resource = action.resource
    schema = {"replace": "replace", "merge": "merge"}.get(action.operation)
    read_body = None if schema is None else _body_reader(resource, getattr(resource.schemas, schema))
    read_id = id_reader(resource, None, ignores_query=read_body is not None)
    # What is deleted cannot be read, so nobody has its tag.
    required = resource.require_if_match and action.operation != "restore"

    def read(scope: Scope, body: bytes) -> Any:
        given = read_id(scope)
        tags = if_match(scope["headers"], required=required)
        if read_body is not None:
            given["values"] = read_body(scope, body)
        made = message(**given)
        made.only_if(tags)
        return made

    return read


def _body_reader(resource: Resource, schema: Any, whole: Any = None) -> Callable[[Scope, bytes], Any]:
    """Reads a body, and says of what the server sets that it does. `whole` has a list `items` of what `schema` says."""
    read = body_reader(schema if whole is None else whole, ())
    given = frozenset(resource.schemas.create.model_fields)
    owned = set(resource.names) - set(schema.model_fields)
    never_null = {one.name for one in resource.schemas.visible if not one.nullable} - owned

    def better(error: FieldError, nulls: Collection[str]) -> FieldError:
        name = _name_in(error.field, whole is not None)
        if name in owned:
            return _owned(error, name in given)
        if name in never_null and error.field in nulls:
            return FieldError(error.field, "It cannot be null.", "null")
        return error

    def read_body(scope: Scope, body: bytes) -> Any:
        try:
            return read(scope, body)
        except Invalid as error:
            nulls = () if isinstance(error, Malformed) else _nulls(parse(body), whole is not None)
            told = [better(one, nulls) for one in error.errors]
            if told == list(error.errors):
                raise
            raise invalid(told, malformed=isinstance(error, Malformed)) from None

    return _present(read_body)


def _present(read: Read) -> Read:
    """`read`, where there is a body: nothing is no object without members."""

    def read_present(scope: Scope, body: bytes) -> Any:
        if not body:
            raise invalid([FieldError("body", "It is missing; send a JSON object.", "missing")])
        return read(scope, body)

    return read_present


def _nulls(given: Any, in_list: bool) -> set[str]:
    """The places of what is null."""
    values = given if isinstance(given, dict) else {}
    if not in_list:
        return {name for name, value in values.items() if value is None}
    items = values.get("items")
    found = enumerate(items if isinstance(items, list) else ())
    return {f"items.{place}.{name}" for place, one in found for name in _nulls(one, False)}


def _name_in(field: str, in_list: bool) -> str:
    """The attribute in `items.3.version`."""
    return re.sub(r"^items\.\d+\.", "", field) if in_list else field


def _owned(error: FieldError, is_given: bool) -> FieldError:
    """What a client gives only with something new stays as it is."""
    what = "It cannot be changed" if is_given else "The server sets it"
    return FieldError(error.field, f"{what}; leave it out.", "read_only")


# ── from a result to a response ──


def _responder(endpoint: Endpoint, action: Action) -> Respond:
    operation, resource = action.operation, action.resource
    if operation == "list":
        return _list_responder(resource)
    if operation == "history":
        return _history_responder
    if operation == "bulk_create":
        return _bulk_responder(resource)
    if endpoint.status in WITHOUT_BODY:
        return lambda _value, _message, _scope: (endpoint.status, [], b"")
    return _one_responder(endpoint, action)


def _list_responder(resource: Resource) -> Respond:
    show_all = maker(resource)

    def respond(page: Any, query: Any, scope: Scope) -> Reply:
        found = links(scope, query, page)
        headers = [(b"link", found.encode("latin-1"))] if found else []
        if page.__class__ is Rows:
            return _with_text(200, _listed(page), headers)
        show = maker(resource, query.fields) if query.fields else show_all
        body = {"items": [_item(show, one) for one in page.items], "next": page.next}
        if page.total is not None:
            body["total"] = page.total
        return _with_body(200, body, headers)

    return respond


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Where a page of a history begins; nobody counts there."""

    after: str | None
    limit: int
    offset: int = 0


def _history_responder(page: Any, query: Any, scope: Scope) -> Reply:
    found = links(scope, _Stretch(query.after, query.limit), page)
    headers = [(b"link", found.encode("latin-1"))] if found else []
    return _with_body(200, {"items": [entry_shown(one) for one in page.items], "next": page.next}, headers)


def _item(show: Callable[[Any], Any], one: Any) -> Any:
    return {**show(one.entity), **one.beside} if one.__class__ is Joined else show(one)


def _listed(rows: Rows) -> str:
    counted = "" if rows.total is None else f',"total":{rows.total}'
    return f'{{"items":{rows.text},"next":{json.dumps(rows.next)}{counted}}}'


def _bulk_responder(resource: Resource) -> Respond:
    show = maker(resource)

    def respond(entities: Iterable[Any], _message: Any, scope: Scope) -> Reply:
        if wants_nothing(scope["headers"]):
            return CREATED, [_APPLIED, (b"content-length", b"0")], b""
        return _with_body(CREATED, {"items": [show(one) for one in entities]}, [])

    return respond


def _one_responder(endpoint: Endpoint, action: Action) -> Respond:
    """With the tag of what is shown. Not modified, where that is known; nothing, where nobody wants it."""
    resource, reads, creates = action.resource, action.operation == "get", action.operation == "create"
    show_all = maker(resource)

    def respond(entity: Any, message: Any, scope: Scope) -> Reply:
        as_json = entity.__class__ is Row
        if reads and message.include:
            # What is included changes by itself, so there is no tag to compare; but what cannot be read is refused.
            is_known(scope["headers"], "")
            show = maker(resource, message.fields) if message.fields else show_all
            return _with_text(200, entity.text, []) if as_json else _with_body(200, _item(show, entity), [])
        tag = f'"{entity.version}"' if as_json else tag_of(resource, entity)
        headers = [(b"etag", tag.encode("latin-1"))]
        if creates:
            text = id_text(tuple(entity.key)) if as_json else key_text(resource, entity)
            headers.append((b"location", _location(text, scope)))
        if reads and is_known(scope["headers"], tag):
            return NOT_MODIFIED, headers, b""
        if not reads and wants_nothing(scope["headers"]):
            status = CREATED if creates else NO_CONTENT
            length = [(b"content-length", b"0")] if creates else []
            return status, [*headers, *length, _APPLIED], b""
        if as_json:
            return _with_text(endpoint.status, entity.text, headers)
        show = maker(resource, message.fields) if reads and message.fields else show_all
        return _with_body(endpoint.status, show(entity), headers)

    return respond


def _with_body(status: int, value: Any, headers: Headers) -> Reply:
    return _with_text(status, json.dumps(value, ensure_ascii=False, separators=(",", ":")), headers)


def _with_text(status: int, text: str, headers: Headers) -> Reply:
    body = text.encode()
    return status, [_JSON, (b"content-length", b"%d" % len(body)), *headers], body


def _location(text: str, scope: Scope) -> bytes:
    path, root = scope["path"].rstrip("/"), scope.get("root_path", "")
    here = path if path.startswith(root) else root + path
    if not _PLAIN.fullmatch(here) or not _PLAIN.fullmatch(text):
        here, text = quote(here), quote(text, safe=",")
    return f"{here}/{text}".encode("ascii")
