"""From a result to a response: JSON by a serialiser that is compiled once, `Location` after a creation."""

import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ForwardRef, TypeAlias, get_type_hints
from urllib.parse import quote
from uuid import UUID

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json
from starlette.types import Scope, Send

from uno.api.problems import CREATED, WITHOUT_BODY
from uno.api.shapes import adapter, plain
from uno.app import Endpoint
from uno.messages import Message, result_type

Encode: TypeAlias = Callable[[Any], bytes]
Locate: TypeAlias = Callable[[Any, Message, Scope], str | None]
Respond: TypeAlias = Callable[[Any, Any, Scope, Send], Awaitable[None]]

_JSON = (b"content-type", b"application/json")


def result_of(message: type[Message]) -> Any:
    """The `R` of a message with its forward references resolved; `Any` where that cannot be done."""
    found = result_type(message)
    if isinstance(found, str):
        found = ForwardRef(found)
    if not isinstance(found, ForwardRef):
        return found
    names = {**vars(sys.modules[message.__module__]), message.__name__: message}
    try:
        return get_type_hints(type("Holder", (), {"__annotations__": {"result": found}}), names)["result"]
    except NameError:
        return Any


class Encoders:
    """One serialiser per result type."""

    def __init__(self) -> None:
        self._adapters: dict[Any, TypeAdapter[Any] | None] = {}

    def adapter(self, annotation: Any) -> TypeAdapter[Any] | None:
        if annotation not in self._adapters:
            self._adapters[annotation] = adapter(annotation)
        return self._adapters[annotation]

    def encode(self, annotation: Any) -> Encode:
        """A function from a value of this type to JSON."""
        if annotation is None or annotation is Any:
            return _anything
        if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
            return _model(annotation)
        found = self.adapter(annotation)
        if found is None:
            return _anything
        serializer = found.serializer
        return lambda value: serializer.to_json(value, by_alias=True, warnings=False, fallback=plain)


def _model(cls: type[BaseModel]) -> Encode:
    def encode(value: Any) -> bytes:
        if value.__class__ is cls:
            # Looked up each time: pydantic may finish a class after it was first seen.
            encoded: bytes = cls.__pydantic_serializer__.to_json(value, by_alias=True, warnings=False, fallback=plain)
            return encoded
        return _anything(value)

    return encode


def _anything(value: Any) -> bytes:
    return to_json(value, by_alias=True, inf_nan_mode="null", fallback=plain)


# ── Location ──


def locator(endpoint: Endpoint, endpoints: Iterable[Endpoint]) -> Locate | None:
    """Where what `endpoint` creates can be got, if anything gets it."""
    if endpoint.status != CREATED:
        return None
    below = endpoint.path.rstrip("/") + "/"
    for one in endpoints:
        tail = one.path[len(below) :]
        is_item = one.path.startswith(below) and tail.startswith("{") and tail.endswith("}") and "/" not in tail
        if one.method == "GET" and is_item:
            return _located(endpoint.path.rstrip("/"), endpoint.path_fields, one.path_fields[-1])
    return None


def _located(collection: str, fields: tuple[str, ...], id_field: str) -> Locate:
    quoted = quote(collection, safe="/%{}")

    def locate(value: Any, message: Message, scope: Scope) -> str | None:
        found = _id_of(value, id_field)
        if found is None:
            return None
        root, path = scope.get("root_path"), quoted
        for field in fields:
            path = path.replace(f"{{{field}}}", quote(str(getattr(message, field)), safe=""))
        return f"{quote(root, safe='/%') if root else ''}{path}/{quote(str(found), safe='')}"

    return locate


def _id_of(value: Any, id_field: str) -> Any:
    if isinstance(value, dict):
        return value.get(id_field, value.get("id"))
    found = getattr(value, id_field, None)
    if found is None:
        found = getattr(value, "id", None)
    return value if found is None and isinstance(value, str | int | UUID) else found


# ── the response ──


def responder(status: int, encode: Encode, locate: Locate | None) -> Respond:
    """Sends the success of one endpoint."""
    if status in WITHOUT_BODY:
        return _empty(status)

    async def respond(value: Any, message: Any, scope: Scope, send: Send) -> None:
        body = encode(value)
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        if locate is not None and (location := locate(value, message, scope)):
            headers.append((b"location", location.encode("ascii")))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return respond


def _empty(status: int) -> Respond:
    async def respond(_value: Any, _message: Any, _scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return respond
