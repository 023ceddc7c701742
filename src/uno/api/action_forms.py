"""What requests to a resource have in their paths and queries, and what OpenAPI says of it."""

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import Body, Header, Path, Query
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError, WithJsonSchema, create_model
from starlette.types import Scope

from uno.api.conditions import TAGS_PATTERN
from uno.api.list_query import PARAMETERS, as_malformed
from uno.api.problems import field_errors, invalid
from uno.api.request import query_reader
from uno.app import Resource
from uno.app.inclusions import shown_schemas
from uno.app.resource_messages import id_type
from uno.app.resources import Action
from uno.audit import AuditLog
from uno.data import record_ids
from uno.data.document import DocumentPlan
from uno.data.document_filter import DocumentFields
from uno.data.fields import Fields, Searchable
from uno.data.paging import MOST_FIELDS, SORTABLE, Page
from uno.errors import FieldError, Invalid

_IN_LISTS = {
    "limit": "How many, at most {most}.",
    "offset": "How many are left out before.",
    "after": "The cursor that a list gave as `next`.",
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
_INCLUDE = "What it refers to and is shown with it, with commas between."
_SORT = "Names with commas between them, each with a minus for the reverse: `-created_at,name`."
_NUL = FieldError("id", "It has a NUL character.", "null_character")


def id_reader(
    resource: Resource, query: type[BaseModel] | None, *, ignores_query: bool = False
) -> Callable[[Scope], dict[str, Any]]:
    """Reads the id in a path, and what `query` has in the query; anything else there is refused.

    `ignores_query` leaves that to who reads the body.
    """
    types = [_from_text(one.type) for one in resource.schemas.key]
    key = create_model("Key", **{f"part{n}": (one, ...) for n, one in enumerate(types)})  # type: ignore[call-overload]
    parts, validator = len(key.model_fields), key.__pydantic_validator__
    read_query = None if ignores_query else query_reader(query or create_model("Nothing"), ())
    # What is read of an empty query; where something has to be there, it is read each time.
    usual = {} if query is None or ignores_query else {n: f.default for n, f in query.model_fields.items()}
    needed = query is not None and any(f.is_required() for f in query.model_fields.values())

    def read(scope: Scope) -> dict[str, Any]:
        text = scope["path_params"]["id"]
        texts = [text] if parts == 1 else record_ids.split(text)
        if "\0" in text:
            raise invalid([_NUL])
        if len(texts) != parts:
            count = {2: "two", 3: "three"}.get(parts, parts)
            between = "a comma" if parts == 2 else "commas"
            raise invalid([FieldError("id", f"It takes {count} parts with {between} between.", "value")])
        try:
            found = validator.validate_strings({f"part{n}": one for n, one in enumerate(texts)})
        except ValidationError as error:
            raise invalid([FieldError("id", one.message, one.code) for one in field_errors(error, "id")]) from None
        values = tuple(vars(found).values())
        if read_query is None or not (needed or scope["query_string"]):
            rest = usual
        else:
            try:
                rest = dict(vars(read_query(scope)))
            except Invalid as error:
                raise as_malformed(error) from None
        return {"id": values[0] if parts == 1 else values, **rest}

    return read


def _from_text(type_: Any) -> Any:
    read = record_ids.reader(type_)
    return type_ if read is None else Annotated[type_, BeforeValidator(read)]


def key_text(resource: Resource, entity: Any) -> str:
    """Its id as text, as the audit trail has it, too."""
    parts = tuple(getattr(entity, one.name) for one in resource.schemas.key)
    return record_ids.record_id(resource.plan, resource.plan.key(parts[0] if len(parts) == 1 else parts))


def selection_form(resource: Resource) -> type[BaseModel] | None:
    """`fields=`, where there are fields to choose from, and `include=`."""
    if resource.serialise is not None:
        return None
    return create_model("Selection", fields=(str | None, None), include=(str | None, None))


def history_form() -> type[BaseModel]:
    return create_model("History", limit=(str | None, None), after=(str | None, None))


# ── OpenAPI ──


def action_parameters(action: Action) -> list[inspect.Parameter]:
    """The signature of a function that takes what an operation takes. Nothing in it is refused by FastAPI."""
    operation, resource = action.operation, action.resource
    found = [] if operation in ("list", "create", "bulk_create", "bulk_delete") else [_path(resource)]
    if operation == "list":
        found += _list_parameters(resource)
    if operation == "history":
        found.append(_query("limit", _limit(resource), f"How many, at most {resource.max_limit}."))
        found.append(_query("after", {"type": "string"}, _IN_LISTS["after"]))
    return [*found, *_headers(action), *_body(action)]


def _path(resource: Resource) -> inspect.Parameter:
    single = len(resource.schemas.key) == 1
    schema = schema_of(id_type(resource)) if single else {"type": "string"}
    text = "Its id." if single else "The parts of its id, with commas between them."
    return _parameter("id", Annotated[Any, WithJsonSchema(schema), Path(description=text)])


def _query(name: str, schema: dict[str, Any], description: str, at: str | None = None) -> inspect.Parameter:
    told = Annotated[Any, WithJsonSchema(schema), Query(alias=name, description=description)]
    return _parameter(at or name, told, None)


def action_lists(action: Action) -> list[dict[str, Any]]:
    """Parameters of several names with commas between them. FastAPI has no words for those."""
    resource, found = action.resource, []
    if action.operation == "list":
        names = _sortable(resource)
        names += [f"-{one}" for one in names]
        found += [_several("sort", names, _SORT, uniqueItems=True, maxItems=MOST_FIELDS)]
    if action.operation in ("list", "get") and resource.serialise is None:
        found += [_several("fields", resource.names, _FIELDS)]
        found += [_several("include", resource.includable, _INCLUDE)] if resource.includable else []
    return found


def _several(name: str, names: Sequence[str], description: str, **limits: Any) -> dict[str, Any]:
    schema = {"type": "array", "items": {"type": "string", "enum": list(names)}, **limits}
    form = {"style": "form", "explode": False, "schema": schema}
    return {"name": name, "in": "query", "required": False, "description": description, **form}


def _sortable(resource: Resource) -> list[str]:
    found = {name: _searchable(resource).find(name) for name in resource.names if name in resource.sortable}
    return [name for name, one in found.items() if one is not None and one.kind in SORTABLE]


def _searchable(resource: Resource) -> Searchable:
    plan = resource.plan
    # What can be asked of a field is the same on every backend.
    return DocumentFields(plan, "postgresql") if isinstance(plan, DocumentPlan) else Fields(plan)


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
    return [*said, *_conditions(resource)]


def _conditions(resource: Resource) -> list[inspect.Parameter]:
    """One for each field that is equal to something; the other operators are in its description."""
    fields = _searchable(resource)
    found: list[inspect.Parameter] = []
    for one in resource.schemas.visible:
        field = fields.find(one.name) if one.name in resource.filterable and one.name not in PARAMETERS else None
        if field is not None and "eq" in field.operators:
            others = ", ".join(sorted(field.operators - {"eq"}))
            text = f"Equal to this. Also `{one.name}__…` with {others}."
            found.append(_query(one.name, _unlimited(schema_of(one.type)), text, f"where_{len(found)}"))
    return found


def _unlimited(schema: dict[str, Any]) -> dict[str, Any]:
    """What is looked for may be longer than what is stored."""
    kept = {name: value for name, value in schema.items() if name not in _LIMITS}
    return kept | ({"anyOf": [_unlimited(one) for one in kept["anyOf"]]} if "anyOf" in kept else {})


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
        return create_model(f"{name}History", items=(list[AuditLog], ...), next=(str | None, ...))
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
    schemas = resource.schemas
    return _extended(resource, schemas.read) | _extended(resource, schemas.part)


def _extended(resource: Resource, schema: type[BaseModel]) -> Any:
    """With what may be included."""
    if not resource.includable:
        return schema
    fields: dict[str, Any] = {}
    for one in resource.related(resource.includable):
        shown: Any = shown_schemas(resource, one.name).read
        fields[one.name] = (list[shown] if one.is_list else shown | None, Field(None, json_schema_extra=_optional))
    return create_model(f"{schema.__name__}Extended", __base__=schema, __module__=schema.__module__, **fields)


def _optional(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def action_responses(action: Action) -> dict[int | str, dict[str, Any]]:
    """The answers beside success that every operation of this kind may give."""
    tag = {"ETag": {"description": "What it is told apart by.", "schema": {"type": "string"}}}
    if action.operation == "get":
        return {304: {"description": "It is as the client knows it", "headers": tag}}
    if action.operation in ("replace", "merge", "delete", "restore"):
        found: dict[int | str, dict[str, Any]] = {412: {"description": "It is not as it was when it was read"}}
        return found | ({428: {"description": "If-Match is required"}} if action.resource.require_if_match else {})
    return {}
