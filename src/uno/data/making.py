"""New objects from values by attribute, whatever the `__init__` of their class takes."""

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy.orm import RelationshipDirection

from uno.data.document import DocumentPlan
from uno.data.plan import MappedPlan
from uno.errors import Invalid, Misconfigured

Plan: TypeAlias = MappedPlan | DocumentPlan
Make: TypeAlias = Callable[[Mapping[str, Any]], Any]
_MANY = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


def made(plan: Plan, values: Mapping[str, Any]) -> Any:
    """A new object with these values, which are what its class says. Raises `Invalid`."""
    entity = maker(plan)(values)
    if plan.check is not None or plan.holds is not None:
        plan.checked(entity, plan.state(entity), values)
    return entity


def changed(plan: Plan, entity: Any, values: Mapping[str, Any]) -> None:
    """Set `values` of an object, all or none. Raises `Invalid`."""
    known = settable(plan)
    for name in values:
        if name not in known:
            raise Invalid.field(name, f"{plan.label} has no such attribute.", "unknown")
        if isinstance(plan, MappedPlan) and name == plan.version_name:
            raise Misconfigured(f"{plan.label}.{name} is not changed by update(): versions count.")
    _check_related(plan, values)
    values = {**values, **plan.made({**vars(entity), **values}, values)}
    for name, value in values.items():
        setattr(entity, name, value)


@lru_cache(1024)
def maker(plan: Plan) -> Make:
    """What makes an object of a class; raises `Invalid` for an attribute that it does not have, or has to be given."""
    cls = plan.cls
    taken = inspect.signature(cls).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in taken.values())
    asked = [name for name, one in taken.items() if one.default is one.empty and one.kind not in _MANY]
    known, absent = settable(plan).union(taken), _absent(plan)

    def make(values: Mapping[str, Any]) -> Any:
        for name in values:
            if name not in known:
                raise Invalid.field(name, f"{cls.__name__} has no such attribute.", "unknown")
        _check_related(plan, values)
        if takes_any:
            return cls(**values)
        given = {name: value for name, value in values.items() if name in taken}
        for name in asked:
            if name not in given:
                given[name] = _missing(name, absent)
        made = cls(**given)
        for name, value in values.items():
            if name not in taken:
                setattr(made, name, value)
        return made

    return make


def settable(plan: Plan) -> frozenset[str]:
    """What can be set of an object: what is stored, what it refers to, its properties that can be."""
    own = ("id", *plan.fields) if isinstance(plan, DocumentPlan) else plan.mapper.all_orm_descriptors.keys()
    members = inspect.getmembers_static(plan.cls, lambda one: isinstance(one, property) and one.fset is not None)
    return frozenset(own).union(name for name, _ in members)


def _check_related(plan: Plan, values: Mapping[str, Any]) -> None:
    """What is set of a relationship that is only read would not be stored."""
    if not isinstance(plan, MappedPlan):
        return
    for name in values.keys() & plan.mapper.relationships.keys():
        relation = plan.mapper.relationships[name]
        if relation.viewonly:
            own = relation.direction is RelationshipDirection.MANYTOONE
            columns = relation.local_columns if own else ()
            keys = " and ".join(sorted(plan.mapper.get_property_by_column(one).key for one in columns))
            fix = f"set {keys}" if own else f"change the {relation.mapper.class_.__name__} itself"
            raise Invalid.field(name, f"It is only read, the relationship has viewonly=True; {fix}.", "read_only")


def _missing(name: str, absent: Mapping[str, Callable[[], Any]]) -> Any:
    if name not in absent:
        raise Invalid.field(name, "It takes a value.", "missing")
    return absent[name]()


def _absent(plan: Plan) -> dict[str, Callable[[], Any]]:
    """What `__init__` is given for what nobody said, where that need not be said."""
    if isinstance(plan, DocumentPlan):
        return {name: default.make for name, default in plan.defaults.items()}
    made = {a.name: a.default for a in plan.attributes if a.default is not None}
    open = [a.name for a in plan.attributes if a.generated or a.column.nullable or a.name == plan.version_name]
    return {**dict.fromkeys(open, _none), **made}


def _none() -> None:
    return None
