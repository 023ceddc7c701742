"""What a repository is asked with, looked at before it becomes a query: one sentence for each usual mistake."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, get_args

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    FromClause,
    FunctionElement,
    Select,
    TableValuedAlias,
    True_,
    UnaryExpression,
    func,
    select,
)
from sqlalchemy.sql.operators import is_true

from uno.data.database import Database
from uno.data.decorators import is_foreign
from uno.data.document import DocumentPlan
from uno.data.fields import Field
from uno.data.filters import Filter
from uno.data.plan import MappedPlan
from uno.data.tables import documents
from uno.errors import Invalid, Misconfigured

# Rows that a query may ask for, or skip.
LARGEST = 2**63
_SHOWN = 64
# Those of some methods and not of others.
_ARGUMENTS = frozenset({"sort", "order_by", "limit", "offset", "include", "after", "total", "batch", "everything"})


def entity_class(wanted: Any) -> Any:
    """`wanted`, if it can be a class of entities; which are mapped is known later."""
    if not isinstance(wanted, type) or wanted.__module__ == "builtins":
        raise Misconfigured(
            f"Repository takes a class of entities, as Repository(Order), not {_shown(wanted)}, which is neither "
            "mapped to a table nor an aggregate."
        )
    return wanted


def declared(cls: type) -> Any:
    """The class that `class Orders(Repository[Order])` names."""
    for base in cls.__mro__:
        for generic in base.__dict__.get("__orig_bases__", ()):
            args = get_args(generic)
            if args and isinstance(args[0], type):
                return args[0]
    return None


def database_of(given: Any) -> Database:
    if not isinstance(given, Database):
        raise Misconfigured(
            f"UnitOfWork takes a Database, as UnitOfWork(Database(url)), not {_shown(given, secret=True)}."
        )
    return given


def not_here(*, is_open: bool) -> Misconfigured:
    if not is_open:
        return Misconfigured(
            "This unit of work is not open, so nothing would be written; do it inside `async with UnitOfWork(database) "
            "as uow`."
        )
    return Misconfigured(
        "Two tasks or threads share one unit of work; dispatch a message in each task after leaving it, "
        "and use asyncio.timeout() rather than asyncio.wait_for(), which runs another task on Python 3.11."
    )


def check_entity(entity: Any, cls: type) -> None:
    if not isinstance(entity, cls):
        own = cls.__name__
        raise Misconfigured(f"Repository({own}) stores objects of {own}, not {_shown(entity)}; write {own}(…).")


def check_count(name: str, number: Any, least: int = 0) -> None:
    """The same on every backend: SQLite takes -1 for no limit."""
    if not isinstance(number, int) or isinstance(number, bool):
        raise Invalid.field(name, f"It takes a whole number, not {_shown(number)}.", "type")
    if not least <= number < LARGEST:
        raise Invalid.field(name, f"It has to be between {least} and {LARGEST - 1}.", "value")


def check_stretch(limit: Any, offset: Any) -> None:
    if limit is not None:
        check_count("limit", limit)
    check_count("offset", offset)


def unknown(plan: MappedPlan | DocumentPlan, name: str) -> Invalid:
    """A condition on nothing that the class has; it may have been meant as an argument."""
    more = ", and this method takes no such argument" if name in _ARGUMENTS else ""
    return Invalid.field(name, f"{plan.label} has no such attribute{more}.", "unknown")


def number(found: Select[Any]) -> Select[Any]:
    """How many rows there are."""
    return select(func.count()).select_from(found.subquery())


def presence(found: Select[Any]) -> Select[Any]:
    """Whether there are any."""
    return select(found.exists())


def named(argument: str, given: Any) -> Sequence[str]:
    """Names, of which one may be given by itself."""
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    for name in names:
        if not isinstance(name, str):
            raise Misconfigured(f'{argument} takes names of attributes, as {argument}="name", not {_shown(name)}.')
    return names


def filter_of(given: Any) -> Filter:
    """A filter, or that of a rule."""
    if isinstance(given, Filter):
        return given
    rule: Any = None if isinstance(given, type) else getattr(given, "filter", None)
    if isinstance(rule, Filter):
        raise Misconfigured(f"{type(given).__name__}.filter is a Filter, and has to be a method that gives one.")
    if not callable(rule):
        fix = (
            "Filter.of(…) makes a Filter of a mapping"
            if isinstance(given, Mapping)
            else "write name=value, as in find(id=5)"
        )
        raise Misconfigured(
            f"A condition is a Filter, a Specification or an SQL expression, not {_shown(given)}; {fix}."
        )
    found: Any = rule()
    if not isinstance(found, Filter):
        raise Misconfigured(f"{type(given).__name__}.filter() has to give a Filter, not {_shown(found)}.")
    return found


def chooses(given: Any) -> bool:
    """Whether a condition is one: an empty filter, or the rule that has it, fits every row."""
    if isinstance(given, ColumnElement):
        return not _is_true(given)
    return filter_of(given).truth() is not True


def _is_true(condition: Any) -> bool:
    """Whether it says so by itself, as `and_(true(), *[])` does."""
    if isinstance(condition, UnaryExpression) and condition.operator is is_true:
        return _is_true(condition.element)
    if isinstance(condition, BindParameter):
        return condition.effective_value is True
    return isinstance(condition, True_)


def is_read(plan: MappedPlan | DocumentPlan, field: Field | None, value: Any) -> bool:
    """Whether a filter has what `value` is equal to, and reads it."""
    # Documents read every value; their ids are compared as text.
    if isinstance(plan, DocumentPlan) or field is None or "eq" not in field.operators:
        return False
    if isinstance(value, ClauseElement):
        return False
    return not is_foreign(field.column.type)


def check_tables(plan: MappedPlan | DocumentPlan, condition: ColumnElement[bool]) -> None:
    """Each row of another table would be combined with each of this one."""
    own = plan.tables if isinstance(plan, MappedPlan) else {documents}
    if not own.issuperset(condition._from_objects):
        _refuse_others(plan, own, condition._from_objects)


def _refuse_others(plan: MappedPlan | DocumentPlan, own: Collection[Any], asked: Iterable[FromClause]) -> None:
    # What a function makes of a column of this table, like `json_each`, is asked for on purpose.
    others = [one for one in asked if one not in own and not isinstance(one, TableValuedAlias | FunctionElement)]
    if others:
        names = ", ".join(dict.fromkeys(str(getattr(one, "name", one)) for one in others))
        raise Misconfigured(
            f"The condition for {plan.label} is about {names}, which the query does not read; "
            "ask in a subquery, as with exists() or has() of a relationship."
        )


def _shown(given: Any, *, secret: bool = False) -> str:
    if given is None or isinstance(given, bool):
        return str(given)
    if isinstance(given, type):
        return f"the class {given.__name__}"
    kind = type(given).__name__
    return f"{kind} {str(given)[:_SHOWN]!r}" if not secret and isinstance(given, str | int | float) else f"a {kind}"
