"""From a result to a response: JSON by a serialiser that is compiled once, `Location` after a creation."""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin
from urllib.parse import quote
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, SchemaSerializer, to_json
from starlette.types import Scope, Send

from uno.api.problems import CREATED, WITHOUT_BODY
from uno.api.shapes import Adapter, adapter, is_plain, plain, revealed
from uno.api.stored import stored
from uno.app import Endpoint
from uno.bus.idempotency import Reply
from uno.bus.promise import WrongResult
from uno.messages import Message

Encode: TypeAlias = Callable[[Any], bytes]
Locate: TypeAlias = Callable[[Any, Message, Scope], str | None]
Answer: TypeAlias = Callable[[Any, Any, Scope], Reply]
Respond: TypeAlias = Callable[[Any, Any, Scope, Send], Awaitable[None]]

# What pydantic says of a value of another type; the first that it names.
_WARNED = re.compile(
    r"Pydantic serializer warnings:\s*(?:PydanticSerializationUnexpectedValue\()?"
    r"(?:Expected `(?P<wanted>[^`]*)`[^\[]*(?:\[field_name='(?P<field>\w+)')?)?"
)
_JSON = (b"content-type", b"application/json")


class Encoders:
    """One serialiser per result type."""

    def __init__(self) -> None:
        self._adapters: dict[Any, Adapter | None] = {}

    def adapter(self, annotation: Any) -> Adapter | None:
        if annotation not in self._adapters:
            self._adapters[annotation] = adapter(annotation)
        return self._adapters[annotation]

    def encode(self, annotation: Any, *, exclude_none: bool = False) -> Encode:
        """A function from a value of this type to JSON."""
        if annotation is None or annotation is Any:
            return _anything
        found = self.adapter(annotation)
        if found is None:
            return _anything
        is_model = inspect.isclass(annotation) and issubclass(annotation, BaseModel)
        if is_model and not exclude_none and not stored(annotation):
            return _model(annotation, None if found.as_declared else found.serializer)
        serializer, warnings = found.serializer, _warnings(annotation, found.core_schema)
        return lambda value: serializer.to_json(
            value, by_alias=True, exclude_none=exclude_none, warnings=warnings, fallback=plain
        )


def _warnings(annotation: Any, core_schema: Any) -> Any:
    """How pydantic takes a value of another type."""
    # `checked` looks at the class of objects itself: "error" costs more than a microsecond each time.
    # An `Iterable` pydantic takes from a generator only.
    by_class = _objects(annotation) is not object or _objects(_item(annotation)) is not object
    return False if by_class or "'type': 'generator'" in repr(core_schema) else "error"


def checked(encode: Encode, message: type[Any], promised: Any) -> Encode:
    """`encode` for results of `message`: it raises `WrongResult` instead of writing what OpenAPI does not promise."""
    # Pydantic writes `null` for None whatever the type, and takes any object for a model.
    wanted, items = _objects(promised), _objects(_item(promised))
    container: Any = get_origin(promised)
    nullable = _may_be_none(promised)

    def encoded(value: Any) -> bytes:
        if value.__class__ is not wanted and ((value is None and not nullable) or not isinstance(value, wanted)):
            raise WrongResult(message, promised, value)
        if items is not object:
            if value is None or not isinstance(value, container):
                raise WrongResult(message, promised, value)
            for cls in set(map(type, value)):
                if cls is not items and not issubclass(cls, items):
                    raise WrongResult(message, promised, value, f" (there is a {cls.__qualname__} in it)")
        try:
            return encode(value)
        except PydanticSerializationError as error:
            found = _WARNED.match(str(error))
            if found is None:
                raise
            # Not `from error`: its text has the value in it, which may be a secret.
            raise WrongResult(message, promised, value, _detail(found)) from None

    return encoded


def _objects(annotation: Any) -> Any:
    """The classes of what it may be, for isinstance(); `object` where it is not only models and plain classes."""
    if get_origin(annotation) in (Union, UnionType):
        found = [_objects(one) for one in get_args(annotation)]
        return object if object in found else tuple(found)
    cls: Any = annotation
    known = cls is NoneType or (inspect.isclass(cls) and _is_object(cls))
    return cls if known else object


def _is_object(cls: Any) -> bool:
    return issubclass(cls, BaseModel) or stored(cls) is not None or is_plain(cls)


def _item(annotation: Any) -> Any:
    """The `X` of a list of `X`."""
    arguments = get_args(annotation)
    if get_origin(annotation) in (list, Sequence) or arguments[1:] == (...,):
        return arguments[0]
    return object


def _detail(found: re.Match[str]) -> str:
    where = f" in {found['field']}" if found["field"] else ""
    return f" (expected {found['wanted']}{where})" if found["wanted"] else ""


def _may_be_none(annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _may_be_none(arguments[0])
    if origin in (Union, UnionType):
        return any(_may_be_none(one) for one in arguments)
    cls: Any = origin or annotation
    return not inspect.isclass(cls) or cls is Any or cls is object or cls is NoneType


def _model(cls: Any, own: SchemaSerializer | None) -> Encode:
    serializer = own or cls.__pydantic_serializer__

    def encode(value: Any) -> bytes:
        if value.__class__ is cls:
            return serializer.to_json(value, by_alias=True, warnings=False, fallback=plain)
        return _anything(value)

    return encode


def _anything(value: Any) -> bytes:
    return to_json(revealed(value), by_alias=True, inf_nan_mode="null", fallback=plain)


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
        found = id_of(value, id_field)
        if found is None:
            return None
        root, path = scope.get("root_path"), quoted
        for field in fields:
            path = path.replace(f"{{{field}}}", quote(str(getattr(message, field)), safe=""))
        return f"{quote(root, safe='/%') if root else ''}{path}/{quote(str(found), safe='')}"

    return locate


def id_of(value: Any, id_field: str) -> Any:
    """The id of what was created, called as in the path or plainly `id`; a bare id is its own."""
    if isinstance(value, dict):
        return value.get(id_field, value.get("id"))
    found = getattr(value, id_field, None)
    if found is None:
        found = getattr(value, "id", None)
    return value if found is None and isinstance(value, str | int | UUID) else found


# ── the response ──


def replier(status: int, encode: Encode, locate: Locate | None) -> Answer:
    """Makes the answer of one endpoint of its result."""

    def reply(value: Any, message: Any, scope: Scope) -> Reply:
        if status in WITHOUT_BODY:
            return status, [], b""
        body = encode(value)
        headers = [_JSON, (b"content-length", b"%d" % len(body))]
        if locate is not None and (location := locate(value, message, scope)):
            headers.append((b"location", location.encode("ascii")))
        return status, headers, body

    return reply


def responder(reply: Answer) -> Respond:
    """Sends the success of one endpoint."""

    def respond(value: Any, message: Any, scope: Scope, send: Send) -> Awaitable[None]:
        return send_reply(reply(value, message, scope), scope, send)

    return respond


async def send_reply(reply: Reply, scope: Scope, send: Send) -> None:
    status, headers, body = reply
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
