"""What requests to a resource have in their paths and queries, and what OpenAPI says of it."""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import Body, Header, Path, Query
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, WithJsonSchema, create_model
from starlette.types import Scope

from uno.api.conditions import TAGS_PATTERN
from uno.api.problems import field_errors, invalid
from uno.api.request import query_reader
from uno.app import Resource
from uno.app.resource_messages import id_type
from uno.app.resources import Action
from uno.audit import AuditLog
from uno.data.fields import OPERATORS
from uno.data.paging import Page
from uno.errors import FieldError

_IN_LISTS = {
    "limit": "How many, at most {most}.",
    "offset": "How many are left out before.",
    "after": "The cursor that a list gave as `next`.",
    "sort": "Names with commas between them, each with a minus for the reverse: `-created_at,name`.",
    "total": "Whether to count all that fit.",
    "filter": 'Conditions in groups, as JSON: `{{"or": [{{"price__gte": 5}}, {{"state": "new"}}]}}`.',
}
_LIMITS = {"minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_HEADERS = {
    "If-Match": "The `ETag` that it has to have still, or `*`.",
    "If-None-Match": "The `ETag` of what is known already: then the answer is 304.",
    "Prefer": "`return=minimal` leaves out the body.",
}
_FIELDS = "The names of what is shown, with commas between them."
_NUL = FieldError("id", "It has a NUL character.", "null_character")


def id_reader(
    resource: Resource, query: type[BaseModel] | None, *, ignores_query: bool = False
) -> Callable[[Scope], dict[str, Any]]:
    """Reads the id in a path, and what `query` has in the query; anything else there is refused.

    `ignores_query` leaves that to who reads the body.
    """
    key = create_model("Key", **{f"part{n}": (one.type, ...) for n, one in enumerate(resource.schemas.key)})  # type: ignore[call-overload]
    parts, validator = len(key.model_fields), key.__pydantic_validator__
    read_query = None if ignores_query else query_reader(query or create_model("Nothing"), ())
    # What is read of an empty query; where something has to be there, it is read each time.
    usual = {} if query is None or ignores_query else {n: f.default for n, f in query.model_fields.items()}
    needed = query is not None and any(f.is_required() for f in query.model_fields.values())

    def read(scope: Scope) -> dict[str, Any]:
        text = scope["path_params"]["id"]
        texts = [text] if parts == 1 else _split(text)
        if "\0" in text:
            raise invalid([_NUL])
        try:
            found = validator.validate_strings({f"part{n}": one for n, one in enumerate(texts)})
        except ValidationError as error:
            raise invalid([FieldError("id", one.message, one.code) for one in field_errors(error, "id")]) from None
        values = tuple(vars(found).values())
        asked = needed or scope["query_string"]
        rest = dict(vars(read_query(scope))) if read_query is not None and asked else usual
        return {"id": values[0] if parts == 1 else values, **rest}

    return read


def key_parts(resource: Resource, entity: Any) -> list[str]:
    """The parts of an id as texts."""
    return [str(getattr(entity, one.name)) for one in resource.schemas.key]


def key_text(parts: Sequence[str]) -> str:
    """The id as a path has it: the parts of a composite one with commas between them."""
    if len(parts) == 1:
        return parts[0]
    return ",".join(part.replace("\\", "\\\\").replace(",", "\\,") for part in parts)


def _split(text: str) -> list[str]:
    parts, letters = [""], iter(text)
    for letter in letters:
        if letter == "\\":
            parts[-1] += next(letters, "\\")
        elif letter == ",":
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def selection_form(resource: Resource) -> type[BaseModel] | None:
    """`fields=`, where there are fields to choose from."""
    if resource.serialise is not None:
        return None
    return create_model("Selection", fields=(str | None, Field(None, description=_FIELDS)))


def history_form(resource: Resource) -> type[BaseModel]:
    return create_model("History", limit=(Annotated[int, Field(ge=1, le=resource.max_limit)], resource.limit))


# ── OpenAPI ──


def action_parameters(action: Action) -> list[inspect.Parameter]:
    """The signature of a function that takes what an operation takes. Nothing in it is refused by FastAPI."""
    operation, resource = action.operation, action.resource
    found = [] if operation in ("list", "create", "bulk_create", "bulk_delete") else [_path(resource)]
    if operation == "list":
        found += _list_parameters(resource)
    if operation == "get" and resource.serialise is None:
        found.append(_query("fields", _names(resource), _FIELDS))
    if operation == "history":
        found.append(_query("limit", _limit(resource), f"How many, at most {resource.max_limit}."))
    return [*found, *_headers(action), *_body(action)]


def _path(resource: Resource) -> inspect.Parameter:
    single = len(resource.schemas.key) == 1
    schema = schema_of(id_type(resource)) if single else {"type": "string"}
    text = "Its id." if single else "The parts of its id, with commas between them."
    return _parameter("id", Annotated[Any, WithJsonSchema(schema), Path(description=text)])


def _query(name: str, schema: dict[str, Any], description: str, at: str | None = None) -> inspect.Parameter:
    told = Annotated[Any, WithJsonSchema(schema), Query(alias=name, description=description)]
    return _parameter(at or name, told, None)


def _names(resource: Resource) -> dict[str, Any]:
    one = f"({'|'.join(map(re.escape, resource.names))})"
    return {"type": "string", "pattern": f"^({one}(,{one})*)?$"}


def _limit(resource: Resource) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": resource.max_limit, "default": resource.limit}


def _list_parameters(resource: Resource) -> list[inspect.Parameter]:
    schemas = {
        "limit": _limit(resource),
        "offset": {"type": "integer", "minimum": 0},
        "total": {"type": "boolean"},
    }
    texts = {name: text.format(most=resource.max_limit) for name, text in _IN_LISTS.items()}
    said = [_query(name, schemas.get(name, {"type": "string"}), text) for name, text in texts.items()]
    chosen = [] if resource.serialise is not None else [_query("fields", _names(resource), _FIELDS)]
    return [*said, *chosen, *_conditions(resource)]


def _conditions(resource: Resource) -> list[inspect.Parameter]:
    """One for each field that is equal to something; the other operators are in its description."""
    text = f"Equal to this. Also `{{0}}__…` with {', '.join(sorted(OPERATORS['text'] | {'has'}))}, as its type has it."
    visible = [one for one in resource.schemas.visible if one.name in resource.filterable]
    # What is looked for may be longer than what is stored.
    types = {one.name: {k: v for k, v in schema_of(one.type).items() if k not in _LIMITS} for one in visible}
    scalar = {n: s for n, s in types.items() if s.get("type") not in ("object", "array", None) or "enum" in s}
    known = {name: schema for name, schema in scalar.items() if name not in _IN_LISTS and name != "fields"}
    return [_query(name, schema, text.format(name), f"where_{n}") for n, (name, schema) in enumerate(known.items())]


def _headers(action: Action) -> list[inspect.Parameter]:
    names = {"get": ["If-None-Match"], "create": ["Prefer"], "bulk_create": ["Prefer"], "delete": ["If-Match"]}
    names |= {one: ["If-Match", "Prefer"] for one in ("replace", "merge", "restore")}
    found = names.get(action.operation, [])
    told = {one: Annotated[Any, _schema(one), Header(alias=one, description=_HEADERS[one])] for one in found}
    return [_parameter(name.lower().replace("-", "_"), annotation, None) for name, annotation in told.items()]


def _schema(header: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **({} if header == "Prefer" else {"pattern": TAGS_PATTERN})})


def _body(action: Action) -> list[inspect.Parameter]:
    schemas, operation = action.resource.schemas, action.operation
    if operation in ("create", "replace", "merge"):
        return [_parameter("body", Annotated[getattr(schemas, operation), Body()])]
    message = action.resource.messages[operation]
    return [_parameter("body", Annotated[message, Body()])] if operation.startswith("bulk") else []


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def schema_of(annotation: Any) -> dict[str, Any]:
    """The JSON schema of a type by itself."""
    found = TypeAdapter(annotation).json_schema()
    definitions = found.pop("$defs", {})
    name = found.get("$ref", "").rpartition("/")[2]
    return dict(definitions[name]) if name else found


def action_result(action: Action) -> Any:
    """What the response is, for OpenAPI; None for nothing."""
    resource, operation = action.resource, action.operation
    name = resource.cls.__name__
    one = _shown(resource)
    if operation in ("delete", "bulk_delete"):
        return None
    if operation == "history":
        return create_model(f"{name}History", items=(list[AuditLog], ...))
    if operation == "bulk_create":
        return create_model(f"{name}Several", items=(list[one], ...))  # type: ignore[valid-type] # made at run time
    if operation == "list":
        items: Any = list[_selected(resource)]  # type: ignore[misc] # made at run time
        return create_model(f"{name}{Page.__name__}", items=(items, ...), next=(str | None, ...), total=(int, 0))
    return _selected(resource) if operation == "get" else one


def _shown(resource: Resource) -> Any:
    own: Any = resource.serialise
    if own is None:
        return resource.schemas.read
    return own if isinstance(own, type) and issubclass(own, BaseModel) else Any


def _selected(resource: Resource) -> Any:
    """All of it, or with `fields=` a part."""
    if resource.serialise is not None:
        return _shown(resource)
    return resource.schemas.read | resource.schemas.part


def action_responses(action: Action) -> dict[int | str, dict[str, Any]]:
    """The answers beside success that every operation of this kind may give."""
    tag = {"ETag": {"description": "What it is told apart by.", "schema": {"type": "string"}}}
    if action.operation == "get":
        return {304: {"description": "It is as the client knows it", "headers": tag}}
    if action.operation in ("replace", "merge", "delete", "restore"):
        found: dict[int | str, dict[str, Any]] = {412: {"description": "It is not as it was when it was read"}}
        return found | ({428: {"description": "If-Match is required"}} if action.resource.require_if_match else {})
    return {}
