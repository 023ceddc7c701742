"""What a class says of its values, checked before they are written.

A pydantic model, as a SQLModel table is, says it in its fields and validators; any other class in annotations with
limits, `Annotated[str, Field(min_length=2)]`. What is written is what pydantic makes of it: a number given as text is
a number. The limits of columns are not checked here but by the database. A class that says nothing has no check.
"""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from uno.data.changes import Values, differs
from uno.data.declared import Declared, parted, unheard, unwrapped
from uno.errors import FieldError, Invalid

if TYPE_CHECKING:
    from uno.data.plan import Attribute, MappedPlan

Validate = Callable[[Mapping[str, Any]], Mapping[str, Any]]
_CONFIG = ConfigDict(arbitrary_types_allowed=True, extra="ignore")


class Check:
    """Of one class. `names` are the attributes that are looked at."""

    def __init__(self, label: str, names: Collection[str], made: Collection[str], limits: Validate) -> None:
        self._label = label
        self.names = frozenset(names)
        # Those of which None means that somebody else makes them.
        self._made = frozenset(made)
        self._limits = limits
        self._whole: Validate | None = None
        self._unheard: frozenset[str] = frozenset()

    def with_validators(self, whole: Validate, unheard: Collection[str]) -> "Check":
        """Where there are some of the whole object; of `unheard` attributes they do not know all limits."""
        self._whole, self._unheard = whole, frozenset(unheard)
        return self

    def __call__(self, values: Mapping[str, Any], changed: Collection[str] | None = None) -> Values:
        """What of `values` has to be written otherwise. Raises `Invalid` that names the attributes.

        `values` may be a part of an object, of which those that are `changed` are looked at, by default all.
        """
        elsewhere = self._made
        given = {n: values[n] for n in self.names if n in values and (values[n] is not None or n not in elsewhere)}
        wanted = given if changed is None else {n: given[n] for n in given.keys() & changed}
        if not wanted:
            return {}
        made = self._made_of(wanted, given)
        # Most are the same objects.
        return {n: made[n] for n, value in wanted.items() if made[n] is not value and _differs(value, made[n])}

    def _made_of(self, wanted: Values, given: Values) -> Mapping[str, Any]:
        made = None if self._whole is None else self._validated(self._whole, wanted, given)
        rest = wanted if made is None else {name: made[name] for name in self._unheard if name in wanted}
        try:
            limited = self._limits(rest) if rest else {}
            return limited if made is None else {**made, **limited}
        except ValidationError as error:
            raise self._refusal(_errors(error, wanted)) from None

    def _validated(self, whole: Validate, wanted: Values, given: Values) -> Mapping[str, Any] | None:
        """None where others are not as they should be, or missing, and nobody asks about them."""
        try:
            return whole(given)
        except ValidationError as error:
            found = _errors(error, wanted)
            if found:
                raise self._refusal(found) from None
            return None

    def _refusal(self, errors: Collection[FieldError]) -> Invalid:
        text = "; ".join(f"{one.field}: {one.message}" for one in errors)
        return Invalid(f"{self._label}: {text}", errors)


def check_of(plan: "MappedPlan") -> Check | None:
    """The check of a class, None where it says nothing. Compiled here, so make it at start-up."""
    by_name = {one.name: one for one in plan.attributes if one.name in plan.state_names}
    said = {name: plan.declared[name] for name in by_name if name in plan.declared}
    if issubclass(plan.cls, BaseModel):
        types = {name: _typed(one, by_name[name]) for name, one in said.items()}
        made = [name for name, one in by_name.items() if one.generated or one.column.default is not None]
        lost = [name for name, field in plan.cls.model_fields.items() if unheard(field) is not None]
        return Check(plan.label, types, made, _by_type(plan.label, types)).with_validators(_by_model(plan.cls), lost)
    return check_of_types(plan.label, {name: _typed(one, by_name[name]) for name, one in said.items()})


def check_of_types(label: str, types: Mapping[str, Any]) -> Check | None:
    """The check of those types that have limits."""
    limited = {name: wanted for name, wanted in types.items() if parted(unwrapped(wanted))[1]}
    # Of None it is said elsewhere what it is.
    return Check(label, limited, limited, _by_type(label, limited)) if limited else None


def _typed(said: Declared, attribute: "Attribute") -> Any:
    return said.hint | None if attribute.column.nullable else said.hint


def _by_type(label: str, types: Mapping[str, Any]) -> Validate:
    """Each by itself."""
    make: Any = TypedDict
    shape = make(f"{label}Check", types, total=False)
    shape.__pydantic_config__ = _CONFIG
    validate: Validate = TypeAdapter(shape).validator.validate_python
    return validate


def _by_model(cls: Any) -> Validate:
    """With all validators of a pydantic model."""

    def whole(given: Mapping[str, Any]) -> Mapping[str, Any]:
        # Validating takes the place of all that an object holds, of what SQLAlchemy keeps there as well.
        blank: Any = cls.__new__(cls)
        cls.__pydantic_validator__.validate_python(given, self_instance=blank, by_name=True, by_alias=False)
        return vars(blank)  # type: ignore[no-any-return]

    return whole


def _errors(error: ValidationError, wanted: Collection[str]) -> list[FieldError]:
    """Those about one of them, or about all at once."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    about = [one for one in found if not one["loc"] or one["loc"][0] in wanted]
    return [FieldError(".".join(map(str, one["loc"])) or "body", one["msg"], one["type"]) for one in about]


def _differs(before: Any, after: Any) -> bool:
    return type(before) is not type(after) or differs(before, after)
