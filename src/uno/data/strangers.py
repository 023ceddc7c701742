"""Objects that a unit of work is given but does not know: of an earlier one, of a stream, of `insert_many`.

It works on the object that it has for the same row; what becomes of that is then so in the given one too.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm.attributes import set_committed_value

from uno.data.changes import Values
from uno.data.database import Plan
from uno.data.plan import MappedPlan
from uno.errors import VersionConflict


@dataclass(slots=True, eq=False)
class _Pair:
    """Two objects of one row; `told` is what the given one was told last of the other."""

    plan: Plan
    given: Any
    known: Any
    told: Values

    def tell(self) -> None:
        """What else was set in the given object stays; nothing of this is a change of it to SQLAlchemy."""
        plan, state = self.plan, self.plan.state(self.known)
        put = set_committed_value if isinstance(plan, MappedPlan) else setattr
        for name in plan.changed(self.told, state):
            put(self.given, name, getattr(self.known, name))
        version = plan.version(self.known)
        if plan.version_name is not None and version is not None:
            put(self.given, plan.version_name, version)
        self.told = state


class Strangers:
    """Those of one unit of work."""

    def __init__(self) -> None:
        self._met: dict[int, _Pair] = {}

    def of(self, given: Any) -> Any:
        """The object that stands for it, None where it is not met yet."""
        pair = self._met.get(id(given))
        return None if pair is None else pair.known

    def meet(self, plan: Plan, given: Any, known: Any, stored: Values) -> None:
        """`known` stands for it from now on, of which `stored` is in the database.

        Raises `VersionConflict` where that is another version.
        """
        versions = {plan.version(given), plan.version(known)} - {None}
        if len(versions) > 1:
            raise VersionConflict(plan.label, [plan.id_of(plan.key_of(known))], repeatable=True)
        self._met[id(given)] = _Pair(plan, given, known, stored)

    def tell(self, given: Any) -> None:
        """What has changed since of the object that stands for it is so in the given one, if that is not the same."""
        pair = self._met.get(id(given))
        if pair is not None:
            pair.tell()

    def tell_all(self) -> None:
        for pair in self._met.values():
            pair.tell()

    def settle(self) -> None:
        """Tell them what is committed, and forget them."""
        self.tell_all()
        self._met.clear()
