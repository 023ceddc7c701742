"""What `database.blocking` gives: repositories, units of work and sessions whose calls are run to their end.

Here are names and types only; how they are run is in `uno.data.blocking`.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from sqlalchemy import Result

from uno.data.orm import Session
from uno.data.repository import Repository
from uno.data.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from uno.data.blocking import Blocking

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Facade:
    """What uno or SQLAlchemy have asynchronously; a name that is not here is that of `asynchronous`, run to its end."""

    def __init__(self, blocking: "Blocking", asynchronous: Any) -> None:
        self._blocking = blocking
        self.asynchronous: Any = asynchronous

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self.asynchronous, name)
        if isinstance(found, type) or not callable(found):
            return found
        return self._blocking.dressed(found, f"await {type(self.asynchronous).__name__}.{name}(…)")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.asynchronous!r})"


class BlockingRepository(Facade, Generic[T]):
    """A `Repository` inside `with database.blocking.transaction()`, or of any other unit of work of this thread."""

    def __init__(self, blocking: "Blocking", asynchronous: Repository[T]) -> None:
        super().__init__(blocking, asynchronous)
        self.entity = asynchronous.entity
        self.get = self._call(asynchronous.get)
        self.get_by_id = self._call(asynchronous.get_by_id)
        self.get_many = self._call(asynchronous.get_many)
        self.get_for_update = self._call(asynchronous.get_for_update)
        self.find_one = self._call(asynchronous.find_one)
        self.find = self._call(asynchronous.find)
        self.page = self._call(asynchronous.page)
        self.get_all = self._call(asynchronous.get_all)
        self.count = self._call(asynchronous.count)
        self.exists = self._call(asynchronous.exists)
        self.add = self._call(asynchronous.add)
        self.save = self._call(asynchronous.save)
        self.delete = self._call(asynchronous.delete)
        self.soft_delete = self._call(asynchronous.soft_delete)
        self.restore = self._call(asynchronous.restore)
        self.create = self._call(asynchronous.create)
        self.update = self._call(asynchronous.update)
        self.insert_many = self._call(asynchronous.insert_many)
        self.update_many = self._call(asynchronous.update_many)
        self.delete_many = self._call(asynchronous.delete_many)
        self.soft_delete_many = self._call(asynchronous.soft_delete_many)
        self.stream = blocking.stream(asynchronous.stream, "async for … in repository.stream(…)", blocking.inside)

    def _call(self, call: Callable[P, Awaitable[R]]) -> Callable[P, R]:
        return self._blocking.call(call, f"await repository.{call.__name__}(…)", self._blocking.inside)


class BlockingUnit(Facade):
    """A `UnitOfWork` that is open."""

    def __init__(self, blocking: "Blocking", asynchronous: UnitOfWork) -> None:
        super().__init__(blocking, asynchronous)
        self.execute = blocking.call(asynchronous.execute, "await uow.execute(…)")
        self.flush = blocking.call(asynchronous.flush, "await uow.flush()")
        self.record = asynchronous.record
        self.require = asynchronous.require

    def repository(self, of: type[T] | Repository[T]) -> BlockingRepository[T]:
        """The repository of a class, or one of your own class."""
        return self._blocking.repository(of)

    def session(self) -> "BlockingSession":
        """SQLAlchemy's session on this transaction."""
        found = self._blocking.wait(self.asynchronous.session, "await uow.session()")
        return BlockingSession(self._blocking, found)

    def savepoint(self) -> AbstractContextManager[None]:
        """Changes inside the block are undone by an exception."""
        return self._blocking.block(lambda _: self.asynchronous.savepoint(), "async with uow.savepoint()")


class BlockingSession(Facade):
    """SQLAlchemy's session: what waits for the database is run to its end, `add` and its like are as they are."""

    def __init__(self, blocking: "Blocking", asynchronous: Session) -> None:
        super().__init__(blocking, asynchronous)
        self.execute: Callable[..., Result[Any]] = blocking.call(asynchronous.execute, "await session.execute(…)")
        self.scalar = blocking.call(asynchronous.scalar, "await session.scalar(…)")
        self.scalars = blocking.call(asynchronous.scalars, "await session.scalars(…)")
        self.flush = blocking.call(asynchronous.flush, "await session.flush()")


class BlockingGroup(Facade):
    """A `SessionOperationGroup` that is open; its operations are plain functions, run in this thread."""

    def create_session(self) -> BlockingSession:
        """The session of the group's transaction."""
        return BlockingSession(
            self._blocking, self._blocking.wait(self.asynchronous.create_session, "await group.create_session()")
        )

    def run_operation(self, session: BlockingSession, operation: Callable[[BlockingSession], R]) -> R:
        """What `operation(session)` gives; if it raises, what it wrote is undone and the group can go on."""
        [found] = self.run_in_transaction(session, [operation])
        return found

    def run_in_transaction(
        self, session: BlockingSession, operations: Iterable[Callable[[BlockingSession], R]]
    ) -> list[R]:
        """What the operations give, one after another; if one raises, what all of them wrote is undone."""
        together: Any = self.asynchronous.together
        with self._blocking.block(lambda _: together(session.asynchronous), "await group.run_in_transaction(…)"):
            return [operation(session) for operation in operations]
