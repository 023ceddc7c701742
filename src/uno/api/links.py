"""Headers and links: what OpenAPI says of the answers of a resource besides their bodies."""

from collections.abc import Mapping
from typing import Any, Final

from uno.app.resources import Action

_ON_ONE: Final = ("get", "replace", "merge", "delete", "history")
_CONDITIONAL: Final = ("replace", "merge", "delete")
_PAGED: Final = ("list", "history")
_TAG: Final = "$response.header.ETag"
_HEADERS: Final = {
    "ETag": "What it is told apart by, for `If-Match`.",
    "Location": "Where it is.",
    "Link": "The pages beside this one (RFC 8288).",
}
_WITH_TAG: Final = ("create", "get", "replace", "merge", "restore")


def success_of(action: Action, ids: Mapping[type[Any], str]) -> dict[str, Any]:
    """Headers and links of the answer of success; `ids` are the operation ids of messages."""
    names = ["ETag"] if action.operation in _WITH_TAG else []
    names += {"create": ["Location"], "list": ["Link"], "history": ["Link"]}.get(action.operation, [])
    headers = {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}
    found = {"headers": headers, "links": links_of(action, ids)}
    return {name: value for name, value in found.items() if value}


def links_of(action: Action, ids: Mapping[type[Any], str]) -> dict[str, Any]:
    """To the operations on what the answer is about, by name."""
    resource = action.resource
    # A composite key is a text that nothing in the answer has.
    if len(resource.schemas.key) != 1 or resource.serialise is not None:
        return {}
    name = resource.schemas.key[0].name
    places = {"create": f"$response.body#/{name}", "list": f"$response.body#/items/0/{name}"}
    where = places.get(action.operation, "$request.path.id")
    found = {}
    for operation in _next(action.operation):
        message = resource.messages.get(operation)
        if message is not None and message in ids:
            tag = {"header.If-Match": _TAG} if action.operation in _WITH_TAG and operation in _CONDITIONAL else {}
            given = {} if operation == "list" else {"path.id": where, **tag}
            if operation == action.operation and operation in _PAGED:
                given["query.after"] = "$response.body#/next"
            found[message.__name__] = {"operationId": ids[message], "parameters": given}
    return found


def _next(operation: str) -> tuple[str, ...]:
    following = {"delete": ("restore",), "list": ("list", "get"), "history": ("history",)}
    following |= {"bulk_create": (), "bulk_delete": ()}
    return following.get(operation, _ON_ONE)
