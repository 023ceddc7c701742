"""What the attributes of a stored class are to those outside: their types with the limits of their columns.

An attribute is `hidden`, or only read, where its column says so: `mapped_column(info={"hidden": True})` and
`info={"read_only": True}`; a dataclass says it in `field(metadata={"hidden": True})`. What the server sets
is read only by itself: a generated key, the version, `created_at` and `updated_at`,
`created_by` and `updated_by`, `deleted_at`, the tenant.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args, get_origin
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    JsonValue,
    NaiveDatetime,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticCustomError
from sqlalchemy import ARRAY, JSON, Column, types

from uno.data.declared import NOTHING, Declared, parted
from uno.data.decorators import below
from uno.data.document import DocumentPlan, document_plan
from uno.data.document_fields import defaults_of, id_type
from uno.data.narrow import LONGEST, SHORTEST
from uno.data.plan import MappedPlan, mapped_plan
from uno.data.postgres_numbers import fits
from uno.data.written import kind_of, written
from uno.errors import Misconfigured

Plan: TypeAlias = MappedPlan | DocumentPlan
TENANT: Final = frozenset({"tenant", "tenant_id"})
_STAMPS: Final = frozenset({"created_at", "updated_at", "created_by", "updated_by"})
# Types that say less than their column does.
_SCALARS: Final = (str, int, float, bool, Decimal, UUID, datetime, date, time, timedelta, bytes, Enum)
_PLAIN: Final = (*_SCALARS[:-1], list, dict)
_DATED: Final = ((types.DateTime, datetime), (types.Date, date), (types.Time, time))
_BITS: Final = ((types.SmallInteger, 15), (types.BigInteger, 63), (types.Integer, 31))


@dataclass(frozen=True, slots=True)
class Trait:
    """One attribute. `default` makes a new value where none is given; `generated` ones the database makes."""

    name: str
    type: Any
    nullable: bool = False
    default: Callable[[], Any] | None = None
    constant: Any = ...
    generated: bool = False
    key: bool = False
    hidden: bool = False
    read_only: bool = False

    @property
    def optional(self) -> bool:
        """Whether a new object may be made without it."""
        return self.nullable or self.generated or self.default is not None

    @property
    def scalar(self) -> bool:
        """Whether its type says that its values have no parts; else they may."""
        base = get_args(self.type)[0] if get_origin(self.type) is Annotated else self.type
        return isinstance(base, type) and issubclass(base, _SCALARS)

    @property
    def whole(self) -> Any:
        """Its type with None, where it can be that."""
        return self.type | None if self.nullable else self.type


def plan_of(cls: type) -> Plan:
    """The plan of a mapped class or of an aggregate that is a document. Raises `Misconfigured`."""
    found = mapped_plan(cls) or document_plan(cls)
    if found is None:
        raise Misconfigured(f"{cls.__qualname__} is neither mapped to a table nor an aggregate; it cannot be stored.")
    return found


def traits_of(
    plan: Plan, *, hidden: Iterable[str] = (), read_only: Iterable[str] = (), strange: Any = ...
) -> tuple[Trait, ...]:
    """All attributes of a plan; `hidden` and `read_only` name more than are marked.

    Raises `Misconfigured`, also where one can be seen of which there is no JSON, unless that is to be of the type
    `strange`.
    """
    found = _of_document(plan) if isinstance(plan, DocumentPlan) else _of_table(plan)
    unseen, fixed = set(hidden), set(read_only)
    absent = (unseen | fixed) - {one.name for one in found}
    if absent:
        raise Misconfigured(f"{plan.label} has no attribute {min(absent)!r} that could be hidden or read only.")
    marked = tuple(
        dataclasses.replace(one, hidden=one.hidden or one.name in unseen, read_only=one.read_only or one.name in fixed)
        for one in found
    )
    unknown = next((one.name for one in marked if one.type is ... and not one.hidden), None)
    if unknown is not None and strange is ...:
        fix = 'hide it with mapped_column(info={"hidden": True})'
        raise Misconfigured(f"{plan.label}.{unknown} is of a type of which there is no JSON; {fix}.")
    return tuple(dataclasses.replace(one, type=strange) if one.type is ... else one for one in marked)


# ── tables ──


def _of_table(plan: MappedPlan) -> list[Trait]:
    deferred = {p.key for p in plan.mapper.column_attrs if p.deferred}
    found = (_of_column(plan, a, plan.declared.get(a.name, NOTHING)) for a in plan.attributes)
    # What begins with an underscore is nobody else's business, and loading deferred columns takes a session.
    return [dataclasses.replace(t, hidden=t.hidden or t.name in deferred or t.name.startswith("_")) for t in found]


def _of_column(plan: MappedPlan, attribute: Any, said: Declared) -> Trait:
    column: Column[Any] = attribute.column
    default: Any = column.default
    constant = said.constant if default is None else default.arg if default.is_scalar else ...
    key = attribute.name in plan.key_names
    generated = attribute.generated or (default is not None and attribute.default is None)
    return Trait(
        attribute.name,
        _type_of(column.type, said.hint),
        nullable=bool(column.nullable) and not key,
        default=attribute.default or said.default,
        constant=constant,
        generated=generated,
        key=key,
        hidden=bool(column.info.get("hidden")) or said.hidden,
        read_only=bool(column.info.get("read_only")) or said.read_only or _is_the_servers(plan, attribute.name, column),
    )


def _is_the_servers(plan: MappedPlan, name: str, column: Column[Any]) -> bool:
    has_default = column.default is not None or column.server_default is not None
    if name in plan.key_names:
        return column.table.autoincrement_column is column or has_default or column.identity is not None
    discriminator = plan.mapper.polymorphic_on
    own = name in (plan.version_name, plan.deleted_name) or name in TENANT or column is discriminator
    return own or column.computed is not None or (name in _STAMPS and (has_default or column.onupdate is not None))


def _type_of(type_: Any, hint: Any) -> Any:
    """What the values of a column are for pydantic."""
    plain = _stored(type_)
    if isinstance(plain, types.Numeric) and (plain.scale or 0) < 0:
        return ...  # SQLAlchemy cannot read it from SQLite
    hint, extra = parted(hint)
    if hint is None or hint in _PLAIN:
        return _annotated(_of_sql(type_, plain), *extra)
    if not _is_known(hint):
        return ...  # which is no mistake where it is hidden
    limits = _limits(plain) if hint in (str, int, Decimal, float) else ()
    made = _annotated(hint, *limits, *extra)
    kind = next((kind for sql, kind in _DATED if isinstance(plain, sql)), None)
    return made if kind is None or isinstance(plain, types.Interval) else _dated(made, kind)


def _stored(type_: Any) -> Any:
    """The type below a decorator; an interval is one itself, and no date."""
    plain = below(type_)
    is_decorated = isinstance(plain, types.TypeDecorator) and not isinstance(plain, types.Interval)
    return plain.impl_instance if is_decorated else plain


def _annotated(base: Any, *metadata: Any) -> Any:
    return Annotated[(base, *metadata)] if metadata else base


def _is_known(hint: Any) -> bool:
    try:
        TypeAdapter(hint)
    except (PydanticUserError, NameError, TypeError):
        return False
    return True


def _of_sql(type_: Any, plain: Any) -> Any:
    if isinstance(plain, types.Enum):
        return plain.enum_class or Literal[tuple(plain.enums)]
    if isinstance(plain, JSON):
        return JsonValue
    if isinstance(plain, ARRAY):
        item = _of_sql(plain.item_type, plain.item_type)
        return list[item | None]  # type: ignore[valid-type] # made at run time
    if isinstance(plain, types.DateTime):
        zoned = Annotated[AwareDatetime, AfterValidator(_in_utc)]
        return _dated(zoned if plain.timezone else NaiveDatetime, datetime)
    if isinstance(plain, types.Interval):
        return _SECONDS
    if isinstance(plain, types.Time):
        return _dated(time if plain.timezone else _CLOCK, time)
    if isinstance(plain, types.Date):
        return _dated(date, date)
    return _annotated(_python_type(type_), *_limits(plain))


def _refused(code: Any, sentence: Any) -> PydanticCustomError:
    return PydanticCustomError(code, sentence)


def _dated(made: Any, wanted: Any) -> Any:
    """A type of dates or times, without numbers."""
    why = written(wanted)
    if why is None:
        return made
    plain: Any = kind_of(wanted)
    read: Callable[[Any], Any] = TypeAdapter(plain).validate_python

    def check(value: Any) -> Any:
        reason = why(value)
        if reason is not None:
            raise _refused("value", reason)
        if not isinstance(value, str):
            return value
        try:
            # Strict readers of JSON take no text for one once a function has seen it.
            return read(value)
        except ValidationError as error:
            [told] = error.errors(include_url=False, include_input=False, include_context=False)
            raise _refused(told["type"], told["msg"]) from None

    return Annotated[made, BeforeValidator(check)]


def _from_seconds(value: Any) -> Any:
    """The JSON form of a duration is a number, which strict readers of JSON take for no duration."""
    if isinstance(value, bool):
        raise PydanticCustomError("value", "It has to be a number of seconds.")
    if not isinstance(value, int | float):
        return value
    try:
        return timedelta(seconds=value)
    except OverflowError:
        raise PydanticCustomError("value", "It is beyond what can be stored.") from None


def _within(value: timedelta) -> timedelta:
    if not SHORTEST <= value <= LONGEST:
        raise PydanticCustomError("value", "It is beyond what can be stored.")
    return value


def _without_zone(value: time) -> time:
    if value.tzinfo is not None:
        raise PydanticCustomError("value", "It is stored without a time zone; leave it out.")
    return value


_CLOCK: Final = Annotated[
    time,
    AfterValidator(_without_zone),
    WithJsonSchema({"type": "string", "pattern": r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?$"}),
]
_SECONDS: Final = Annotated[
    timedelta, BeforeValidator(_from_seconds), AfterValidator(_within), WithJsonSchema({"type": "number"})
]


def _python_type(type_: Any) -> Any:
    try:
        found = below(type_).python_type
    except NotImplementedError:
        return Any
    return found if found in _PLAIN else Any


def _limits(plain: Any) -> tuple[Any, ...]:
    """What a column says of its values."""
    if isinstance(plain, types.String):
        return () if plain.length is None else (Field(max_length=plain.length),)
    bits = next((bits for kind, bits in _BITS if isinstance(plain, kind)), None)
    if bits is not None:
        return (Field(ge=-(2**bits), lt=2**bits),)
    if isinstance(plain, types.Float) or (isinstance(plain, types.Numeric) and not plain.asdecimal):
        return (Field(allow_inf_nan=False),)
    return _decimal(plain.precision, plain.scale or 0) if isinstance(plain, types.Numeric) else ()


def _decimal(precision: int | None, scale: int) -> tuple[Any, ...]:
    """As text or as a number; the schema says of both what they may be."""
    text = r"^-?[0-9]+(\.[0-9]+)?$"
    number: dict[str, Any] = {"type": "number"}
    limit = Field(allow_inf_nan=False)
    if precision is not None:
        before = f"{{1,{precision - scale}}}" if precision > scale else "{1}"
        text = rf"^-?[0-9]{before}(\.[0-9]{{1,{scale}}})?$" if scale else rf"^-?[0-9]{before}$"
        unit = Decimal(1).scaleb(-scale)
        most = Decimal(10) ** (precision - scale) - unit
        number |= {"minimum": float(-most), "maximum": float(most), "multipleOf": float(unit)}
        limit = Field(allow_inf_nan=False, max_digits=precision, decimal_places=scale)
    form = re.compile(text, re.ASCII)

    def plain(value: Any) -> Any:
        if isinstance(value, str) and not form.match(value):
            raise PydanticCustomError("value", "It has to be a number like 12.50, with no more digits than are stored.")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return value
        # Strict readers of JSON take nothing else for one.
        number = Decimal(str(value))
        if not fits(number):
            raise PydanticCustomError("too_large", "The number has too many digits.")
        return number

    schema = WithJsonSchema({"anyOf": [{"type": "string", "pattern": text}, number]})
    # The limit first: pydantic then checks it in its core, before it comes what is done before.
    return limit, BeforeValidator(plain), schema


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("value", "It is beyond what can be stored.") from None


# ── documents ──


def _of_document(plan: DocumentPlan) -> list[Trait]:
    defaults = defaults_of(plan.cls, plan.fields)
    marks = _marks(plan.cls)
    found = [
        Trait(
            name,
            _dated(wanted, wanted),
            default=defaults[name].make if name in defaults else None,
            hidden=bool(marks.get(name, {}).get("hidden")) or name.startswith("_"),
            read_only=bool(marks.get(name, {}).get("read_only")) or name == plan.deleted_name or name in TENANT,
        )
        for name, wanted in plan.fields.items()
    ]
    id = Trait("id", id_type(plan.cls), key=True, **_generated_id(plan.cls))
    return [id, *found, Trait("version", int, read_only=True)]


def _marks(cls: type) -> dict[str, Mapping[Any, Any]]:
    return {f.name: f.metadata for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}


def _generated_id(cls: type) -> dict[str, Any]:
    """An id that the class makes itself is the server's."""
    found = [f for f in dataclasses.fields(cls) if f.name == "id"] if dataclasses.is_dataclass(cls) else []
    missing = dataclasses.MISSING
    made = any(f.default is not missing or f.default_factory is not missing for f in found)
    return {"generated": True, "read_only": True} if made else {}
