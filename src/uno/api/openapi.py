"""What OpenAPI says of uno's endpoints: FastAPI's own generator over routes described as it likes them."""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Annotated, Any

from fastapi import Body, Path, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from uno.api.action_forms import action_lists, action_parameters, action_responses
from uno.api.forms import form
from uno.api.idempotency import PARAMETER
from uno.api.links import success_of
from uno.api.problems import FORBIDDEN, KINDS, MEDIA_TYPE, NOT_IMPLEMENTED, UNAUTHENTICATED, WITHOUT_BODY
from uno.api.request import WITHOUT_BODY as BODILESS, wire_name
from uno.api.shapes import adapter, wire_type
from uno.app.endpoints import Endpoint
from uno.errors import KeyInUse, KeyReused
from uno.messages import Command
from uno.modules.event import is_event

_REF = "#/components/schemas/"
_BEARER = "bearer"
_KEYED: dict[int | str, dict[str, Any]] = {
    KINDS[KeyInUse].status: {
        "description": "It clashes with what is stored, or a request with its Idempotency-Key is being worked on"
    },
    KINDS[KeyReused].status: {
        "description": "The input is not valid, or its Idempotency-Key was used for another request"
    },
}
_FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")


class ProblemField(BaseModel):
    """One wrong input."""

    field: str = Field(description="The path of the field, with dots.", examples=["email"])
    message: str = Field(examples=["Field required"])
    code: str = Field(description="A stable name of the error.", examples=["missing"])


class ProblemDocument(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str = Field(description="A stable name of the kind of error.", examples=["urn:uno:problem:not-found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no User with id '42'."])
    instance: str = Field(description="The path of the request.", examples=["/users/42"])
    errors: list[ProblemField] = []
    correlation_id: str = Field("", description="What the log calls this request.")
    trace_id: str = Field("", description="The W3C trace it belongs to.")


# ── one endpoint as FastAPI would have it ──


def described(
    endpoint: Endpoint, result: Any, operation_id: str, *, keyed: bool = False, ids: Mapping[type[Any], str] = {}
) -> APIRoute:
    """A route for FastAPI's generator. It is never called. `keyed`: it takes an `Idempotency-Key`.

    `ids` are the operation ids of all messages.
    """

    async def answer() -> None: ...

    answer.__name__ = endpoint.name
    answer.__signature__ = inspect.Signature(parameters(endpoint))  # type: ignore[attr-defined]
    told = options(endpoint, result, operation_id)
    extra: dict[str, Any] = told["openapi_extra"]
    if _is_guarded(endpoint):
        extra["security"] = [{_BEARER: []}]
    if keyed:
        extra["parameters"] = [*extra.get("parameters", ()), PARAMETER]
        told["responses"] |= _KEYED
    action = endpoint.action
    if action is not None:
        told["responses"][endpoint.status] = success_of(action, ids)
    return APIRoute(endpoint.path, answer, **told)


def options(endpoint: Endpoint, result: Any, operation_id: str | None) -> dict[str, Any]:
    """What FastAPI wants to know of a route beside its path and its parameters."""
    has_body = endpoint.status not in WITHOUT_BODY
    action = endpoint.action
    lists = [] if action is None else action_lists(action)
    return {
        "methods": [endpoint.method],
        "status_code": endpoint.status,
        "response_model": _response_model(result) if has_body else None,
        "responses": _responses(endpoint),
        "tags": list(endpoint.tags),
        "summary": endpoint.summary or _summary(endpoint.name),
        "description": endpoint.description or _description(endpoint.message),
        "deprecated": endpoint.deprecated or None,
        "response_model_exclude_none": endpoint.exclude_none,
        "operation_id": operation_id,
        "openapi_extra": {"parameters": lists} if lists else {},
        "name": endpoint.name,
    }


def _description(message: type[Any]) -> str:
    # Not the docstring that is inherited from Command.
    return inspect.cleandoc(message.__dict__.get("__doc__") or "")


def _summary(name: str) -> str:
    """`CreateUser` as `Create user`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).capitalize()


def _response_model(result: Any) -> Any:
    if result is None:
        return type(None)
    return wire_type(result) if adapter(result) else Any


def parameters(endpoint: Endpoint, fields: type[BaseModel] | None = None) -> list[inspect.Parameter]:
    """The signature of a function that takes what the endpoint takes; `fields` instead of what uno would read."""
    action = endpoint.action
    if action is not None:
        return action_parameters(action)
    fields = fields or form(endpoint.message, endpoint.path_fields)
    return [*_path(endpoint, fields), *_rest(endpoint, fields)]


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _path(endpoint: Endpoint, message: type[BaseModel]) -> list[inspect.Parameter]:
    fields = message.model_fields
    return [
        _parameter(
            name,
            Annotated[(fields[name].annotation, *fields[name].metadata, Path(description=fields[name].description))],
        )
        for name in endpoint.path_fields
        if name in fields
    ]


def _rest(endpoint: Endpoint, message: type[BaseModel]) -> list[inspect.Parameter]:
    """The fields that are not in the path: a query, or a body."""
    fields = {name: field for name, field in message.model_fields.items() if name not in endpoint.path_fields}
    if not fields:
        return []
    if endpoint.method in BODILESS:
        # Not one model for all: FastAPI remembers 128 of those, and fails in an application with more.
        return [_query(name, field) for name, field in fields.items()]
    body = message if not endpoint.path_fields else _part(message, "Body", fields)
    optional = not any(field.is_required() for field in fields.values())
    return [_parameter("body", Annotated[body, Body()], None if optional else inspect.Parameter.empty)]


def _query(name: str, field: FieldInfo) -> inspect.Parameter:
    factory: Any = field.default_factory
    told = Query(
        alias=wire_name(name, field),
        default_factory=factory,
        title=field.title,
        description=field.description,
        examples=field.examples,
        deprecated=field.deprecated,
        json_schema_extra=field.json_schema_extra,
    )
    default = inspect.Parameter.empty if field.is_required() or factory else field.default
    return _parameter(name, Annotated[(field.annotation, *field.metadata, told)], default)


def _part(message: type[BaseModel], name: str, fields: dict[str, FieldInfo]) -> type[BaseModel]:
    given: dict[str, Any] = {name: (field.annotation, copy(field)) for name, field in fields.items()}
    return create_model(
        f"{message.__name__}{name}", __config__=message.model_config, __module__=message.__module__, **given
    )


def _is_guarded(endpoint: Endpoint) -> bool:
    return endpoint.access != "open" or bool(endpoint.permissions)


def _responses(endpoint: Endpoint) -> dict[int | str, dict[str, Any]]:
    """The errors an endpoint can give, without their schema: `amend` adds it."""
    found = {400: "The request cannot be read", 422: "The input is not valid"}
    if _is_guarded(endpoint):
        found |= {UNAUTHENTICATED: "There is no valid token", FORBIDDEN: "It is not allowed"}
    if endpoint.path_fields:
        found[404] = "There is no such thing"
    if issubclass(endpoint.message, Command):
        found[409] = "It clashes with what is stored"
    if is_event(endpoint.message):
        found[NOT_IMPLEMENTED] = "No module handles it"
    if endpoint.method not in BODILESS:
        found |= {413: "The body is too large", 415: "The body is not JSON"}
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": text} for status, text in sorted(found.items())
    }
    action = endpoint.action
    responses |= {} if action is None else action_responses(action)
    return responses | {"default": {"description": "Any other error"}}


def with_schemas(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a route in an application whose document nobody will `amend`."""
    made = ProblemDocument.model_json_schema()
    made["properties"]["errors"]["items"] = made.pop("$defs")["ProblemField"]
    content = {MEDIA_TYPE: {"schema": made}}
    responses = {status: {**told, "content": content} for status, told in options["responses"].items()}
    return options | {"responses": responses}


# ── the whole document ──


def amend(document: dict[str, Any]) -> None:
    """Say that errors are problem documents, in place."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    name = "UnoProblem" if "Problem" in schemas else "Problem"
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{_REF}{name}"}}}
    for path in document.get("paths", {}).values():
        for operation in path.values():
            if {_BEARER: []} in operation.get("security", ()):
                schemes = document["components"].setdefault("securitySchemes", {})
                schemes[_BEARER] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            for status, response in operation.get("responses", {}).items():
                if _is_error(status) and _is_undescribed(response):
                    response["content"] = content
    for fastapi in _FASTAPI_ERRORS:
        schemas.pop(fastapi, None)
    schemas |= _problem_schemas(name)


def _is_error(status: str) -> bool:
    return status == "default" or status[:1] in "45"


def _is_undescribed(response: dict[str, Any]) -> bool:
    """Whether it says nothing, or only that FastAPI has an error format of its own."""
    refs: Sequence[Any] = [media.get("schema", {}).get("$ref") for media in response.get("content", {}).values()]
    return not refs or refs == [f"{_REF}{_FASTAPI_ERRORS[0]}"]


def _problem_schemas(name: str) -> dict[str, Any]:
    text = json.dumps(ProblemDocument.model_json_schema())
    made = json.loads(text.replace("#/$defs/ProblemField", f"{_REF}{name}Field"))
    return {f"{name}Field": made.pop("$defs")["ProblemField"], name: made}
