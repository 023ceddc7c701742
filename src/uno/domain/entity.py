"""Things with an identity."""

from typing import Any, Generic, TypeVar

Id = TypeVar("Id")


class Entity(Generic[Id]):
    """Equal to another of its class with the same `id`, whatever else differs.

    Write your own `__init__` that calls `super().__init__(id=id)`, or make it a dataclass with an
    `id` field. An entity without an id equals only itself.
    """

    id: Id

    def __init__(self, *, id: Id) -> None:
        self.id = id

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # @dataclass writes an __eq__ over all fields unless the class has its own.
        if "__eq__" not in cls.__dict__:
            cls.__eq__ = cls.__eq__  # type: ignore[method-assign]
            cls.__hash__ = cls.__hash__  # type: ignore[method-assign]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        own = getattr(self, "id", None)
        return own is not None and own == getattr(other, "id", None)

    def __hash__(self) -> int:
        return hash((type(self), getattr(self, "id", None)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={getattr(self, 'id', None)!r})"
