"""Schemas from one declaration: what can be read of an object, and what a new or changed one takes.

    order = schemas_of(Order)
    order.create.model_validate({"number": "A-1"})

They are pydantic models whose fields are listed one by one, with the limits of the columns; other keys are
refused. What is hidden is in none of them, what the server sets is in `read` only.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Annotated, Any, Final, Literal, get_args, get_origin
from weakref import WeakKeyDictionary

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

from uno.data import record_ids
from uno.data.parts import Parts, parts_of, patchable
from uno.data.plan import MappedPlan
from uno.data.traits import Plan, Trait, plan_of, traits_of
from uno.errors import Misconfigured, id_text

_CONFIG = ConfigDict(
    extra="forbid",
    from_attributes=True,
    protected_namespaces=(),
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_timedelta="float",
)
# Segments that are no names (RFC 3986, section 5.2.4), and what is no segment to a router.
_NAMELESS: Final = ("", ".", "..")
_READ: Final[WeakKeyDictionary[type, dict[tuple[str, ...], type[BaseModel]]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Schemas:
    """The schemas of one class.

    `read` has everything that is not hidden. `create` takes what can be given to a new object, `replace` the
    same without the key; what is left out has its default. `merge` takes any of them, and leaves the others; a
    mapping that it takes for a value with parts is a `Patch` of it, which `parts` applies.
    """

    plan: Plan
    traits: tuple[Trait, ...]

    @cached_property
    def visible(self) -> tuple[Trait, ...]:
        return tuple(one for one in self.traits if not one.hidden)

    @cached_property
    def writable(self) -> tuple[Trait, ...]:
        """What can be changed."""
        return tuple(one for one in self.visible if not one.read_only and not one.key)

    @cached_property
    def key(self) -> tuple[Trait, ...]:
        """The parts of the key, in its order."""
        by_name = {one.name: one for one in self.traits}
        return tuple(by_name[name] for name in self.plan.sort_names)

    @cached_property
    def read(self) -> type[BaseModel]:
        # One for all that show the same of a class: in a document they are one schema.
        known = _READ.setdefault(self.plan.cls, {})
        names = tuple(one.name for one in self.visible)
        if names not in known:
            known[names] = self._model("", {one.name: (one.whole, ...) for one in self.visible})
        return known[names]

    @cached_property
    def create(self) -> type[BaseModel]:
        given = [one for one in self.visible if not one.read_only]
        self._refuse_unmakeable()
        nameless = _NAMELESS if len(self.key) == 1 else ()
        given = [_in_a_path(one, nameless, self._form(one.name)) if one.key else one for one in given]
        return self._model("Create", {one.name: _given(one, one.optional) for one in given})

    @cached_property
    def replace(self) -> type[BaseModel]:
        # What only the database can make again has to be said.
        known = {one.name: one.nullable or one.default is not None for one in self.writable}
        return self._model("Replace", {one.name: _given(one, known[one.name]) for one in self.writable})

    @cached_property
    def merge(self) -> type[BaseModel]:
        return self._model("Merge", {one.name: (self._patched(one), _absent()) for one in self.writable})

    @cached_property
    def parts(self) -> dict[str, Parts]:
        """What applies to values that have parts what `merge` took of them."""
        found = ((one.name, parts_of(one.name, self._holding(one))) for one in self.writable if not one.scalar)
        return {name: parts for name, parts in found if parts is not None}

    def _patched(self, one: Trait) -> Any:
        return patchable(one.whole, self._holding(one)) if one.name in self.parts else one.whole

    def _holding(self, one: Trait) -> type[BaseModel]:
        return self._model("Value", {"value": (one.whole, ...)})

    @cached_property
    def part(self) -> type[BaseModel]:
        """Some of what can be read."""
        return self._model("Part", {one.name: (one.whole, _absent()) for one in self.visible})

    def complete(self, given: BaseModel) -> dict[str, Any]:
        """The values of a `replace`: of all that can be changed, with defaults for what is left out."""
        said = given.model_fields_set
        return {t.name: getattr(given, t.name) if t.name in said else _default(t) for t in self.writable}

    def _form(self, key: str) -> record_ids.Form | None:
        """What makes of a part of the key what is stored of it."""
        if not isinstance(self.plan, MappedPlan):
            return None
        return next(record_ids.form(self.plan.label, a.column.type) for a in self.plan.attributes if a.name == key)

    def _model(self, suffix: str, fields: Mapping[str, Any]) -> type[BaseModel]:
        name = f"{self.plan.label}{suffix}"
        try:
            with warnings.catch_warnings():
                # A column called `schema` hides something that nobody calls here.
                warnings.filterwarnings("ignore", ".*shadows an attribute", UserWarning)
                return create_model(name, __config__=_CONFIG, __module__=self.plan.cls.__module__, **fields)
        except (NameError, TypeError, ValueError) as error:
            raise Misconfigured(
                f"There can be no schema of {name}: {error}; hide the column, or map it otherwise."
            ) from error

    def _refuse_unmakeable(self) -> None:
        unseen = (t for t in self.traits if t.hidden and not t.optional and t.name != self.plan.version_name)
        lost = next(unseen, None)
        if lost is not None:
            fix = "give it a default, or leave out what creates"
            raise Misconfigured(f"{self.plan.label}.{lost.name} is hidden, and nothing can be new without it; {fix}.")


def schemas_of(cls: type, *, hidden: Iterable[str] = (), read_only: Iterable[str] = ()) -> Schemas:
    """The schemas of a `Model`, of any mapped class, or of an aggregate that is stored as a document.

    `hidden` and `read_only` name attributes beside those that are marked. Raises `Misconfigured`.
    """
    plan = plan_of(cls)
    return Schemas(plan, traits_of(plan, hidden=hidden, read_only=read_only))


def _given(trait: Trait, optional: bool) -> tuple[Any, Any]:
    if not optional:
        return trait.whole, ...
    if trait.constant is not ...:
        return trait.whole, trait.constant
    return trait.whole, None if trait.nullable and trait.default is None else _absent()


def _in_a_path(key: Trait, nameless: tuple[str, ...], form: record_ids.Form | None) -> Trait:
    """A key, or a part of one, in one segment of a path; servers give those of `a%2Fb` as two."""
    base = get_args(key.type)[0] if get_origin(key.type) is Annotated else key.type
    if not (isinstance(base, type) and issubclass(base, str | Enum)) and get_origin(base) is not Literal:
        return key

    def fits(part: Any) -> Any:
        text = id_text(part if form is None else form(part))
        if "/" in text or text in nameless:
            raise PydanticCustomError("value", "It cannot be in a path.")
        return part

    if base is not str:
        return replace(key, type=Annotated[key.type, AfterValidator(fits)])
    slash: dict[str, Any] = {"pattern": "/"}
    told = Field(json_schema_extra={"not": {"anyOf": [slash, {"enum": list(nameless)}]} if nameless else slash})
    return replace(key, type=Annotated[key.type, AfterValidator(fits), told])


def _absent() -> Any:
    """A field that may be left out, which is another thing than null."""
    return Field(default=None, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


def _default(trait: Trait) -> Any:
    return None if trait.default is None else trait.default()
