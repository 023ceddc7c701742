"""Merge patches (RFC 7396) of values that have parts: those of a JSON column, of a model or dataclass in a document.

What a client says of one changes the members that it names; null takes one away, the others stay.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, PydanticInvalidForJsonSchema, ValidationError, WithJsonSchema, WrapValidator
from pydantic_core import to_json

from uno.errors import FieldError, Invalid

Schema = dict[str, Any]
_SEVERAL: Final = ("anyOf", "oneOf", "allOf")
# What says what a value is; without it anything is one.
_SAYING: Final = frozenset({"type", "$ref", "enum", "const", *_SEVERAL})
_REF: Final = "#/$defs/"


class Patch(dict[str, Any]):
    """The members of a value that are to be others, as JSON has them."""


class Parts:
    """Applies patches to the values of the attribute `name`; `whole` is a model whose one field `value` holds them."""

    def __init__(self, name: str, whole: type[BaseModel]) -> None:
        self._name = name
        self._whole: Any = whole

    def merged(self, stored: Any, patch: Patch) -> Any:
        """What `stored` becomes, which stays as it is. Raises `Invalid` where its type is another."""
        held = self._whole.model_construct(value=stored).model_dump(mode="json", by_alias=True, warnings=False)
        try:
            return self._whole.model_validate_json(to_json({"value": merged(held["value"], patch)})).value
        except ValidationError as error:
            raise self._invalid(error) from None

    def _invalid(self, error: ValidationError) -> Invalid:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        fields = [FieldError(".".join(map(str, (self._name, *e["loc"][1:]))), e["msg"], e["type"]) for e in found]
        return Invalid("; ".join(f"{one.field}: {one.message}" for one in fields), fields)


def merged(stored: Any, patch: Any) -> Any:
    """`stored` with a merge patch applied; neither is changed."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(stored) if isinstance(stored, dict) else {}
    for name, value in patch.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = merged(kept.get(name), value)
    return kept


def parts_of(name: str, whole: type[BaseModel]) -> Parts | None:
    """None where the values of an attribute have no parts."""
    return Parts(name, whole) if (schema := _schema(whole)) is not None and _has_parts(schema) else None


def patchable(type_: Any, whole: type[BaseModel]) -> Any:
    """The type of what a client may say of such a value: all of it, or of some members what they become."""

    def read(value: Any, validate: Any) -> Any:
        return Patch(value) if isinstance(value, dict) else validate(value)

    return Annotated[type_, WrapValidator(read), WithJsonSchema(_loose(_schema(whole) or {}))]


def _schema(whole: type[BaseModel]) -> Schema | None:
    try:
        found = whole.model_json_schema()
    except PydanticInvalidForJsonSchema:
        return None
    inlined: Schema = _inlined(found["properties"]["value"], found.get("$defs", {}), ())
    inlined.pop("title", None)
    return inlined


def _inlined(schema: Any, known: Mapping[str, Schema], within: tuple[str, ...]) -> Any:
    """Without references; inside itself a type is anything."""
    if isinstance(schema, list):
        return [_inlined(one, known, within) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(ref := schema.get("$ref"), str):
        name = ref.removeprefix(_REF)
        return {} if name in within else _inlined(known[name], known, (*within, name))
    return {name: _inlined(one, known, within) for name, one in schema.items() if name != "discriminator"}


def _has_parts(schema: Schema) -> bool:
    if _SAYING.isdisjoint(schema) or schema.get("type") == "object":
        return True
    return any(_has_parts(one) for name in _SEVERAL for one in schema.get(name, ()))


def _loose(schema: Schema) -> Schema:
    """Nothing has to be said, and null takes away what need not be there; lists are given whole."""
    needed = schema.get("required", ())
    found = {name: one for name, one in schema.items() if name != "required"}
    for name in _SEVERAL:
        if name in found:
            found[name] = [_loose(one) for one in found[name]]
    if "properties" in found:
        members = found["properties"].items()
        found["properties"] = {n: _loose(one) if n in needed else _or_null(_loose(one)) for n, one in members}
    if isinstance(found.get("additionalProperties"), dict):
        found["additionalProperties"] = _or_null(_loose(found["additionalProperties"]))
    return found


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}
