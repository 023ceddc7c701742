"""What a class is called in the audit trail: its name, or `__component__ = "bank.Order"` of its own.

A name stands for one class of a database: otherwise the history of one would show that of the other. Classes
that have none, by `__audit__ = False`, may be called alike.
"""

from sqlalchemy import Table

from uno.data.document import DocumentPlan
from uno.data.plan import MappedPlan
from uno.errors import Misconfigured

Plan = MappedPlan | DocumentPlan


class Classes:
    """The classes of one database, none of which may be taken for another."""

    def __init__(self) -> None:
        self._by_table: dict[Table, MappedPlan] = {}
        self._by_component: dict[str, Plan] = {}

    def add(self, plan: Plan) -> None:
        """Raises `Misconfigured` where it would be mistaken for one that is there."""
        other = self._by_component.get(plan.component, plan)
        if other.cls is not plan.cls and (other.marks.audited or plan.marks.audited):
            raise Misconfigured(
                f"{_full(other.cls)} and {_full(plan.cls)} are both called {plan.component!r} in the audit trail, so "
                "the history of one would show that of the other; give one a name of its own, for instance "
                f"`__component__ = {_suggested(plan.cls)!r}` in its class."
            )
        if isinstance(plan, MappedPlan):
            self._add_table(plan)
        self._by_component[plan.component] = plan

    def _add_table(self, plan: MappedPlan) -> None:
        """Each class would have its own object of one row, and the later write would undo the earlier."""
        other = self._by_table.setdefault(plan.table, plan)
        if other.mapper.base_mapper is not plan.mapper.base_mapper:
            raise Misconfigured(
                f"{other.cls.__qualname__} and {plan.cls.__qualname__} are both mapped to the table {plan.table}, so "
                "changes of one would be lost in the other; map one class, or let one inherit from the other."
            )


def _full(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _suggested(cls: type) -> str:
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"
