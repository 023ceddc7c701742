"""The building blocks of a domain model; plain Python, no database in sight."""

from uno.domain.aggregate import AggregateRoot
from uno.domain.entity import Entity
from uno.domain.specification import Specification, specification
from uno.domain.value import ValueObject

__all__ = ["AggregateRoot", "Entity", "Specification", "ValueObject", "specification"]
