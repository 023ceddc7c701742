"""Nothing is loaded behind one's back: what was not loaded is an error that names the attribute.

SQLAlchemy's own says that a greenlet is missing, or that an instance is detached.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from sqlalchemy import event
from sqlalchemy.exc import MissingGreenlet, StatementError
from sqlalchemy.orm import Mapper, ORMExecuteState, Session, SessionTransaction, class_mapper
from sqlalchemy.orm.exc import DetachedInstanceError
from sqlalchemy.util.concurrency import in_greenlet

from uno.data.failures import ends_transaction
from uno.data.guards import Reads
from uno.data.lease import Transaction, raise_translated
from uno.data.sameness import compare_as_stored
from uno.errors import Misconfigured

_READS = "uno.reads"


class NotLoaded(Misconfigured):
    """An attribute was used that was not loaded."""


def not_loaded(cls: type, attribute: str, *, column: bool) -> NotLoaded:
    name = f"{cls.__qualname__}.{attribute}"
    fix = (
        f"undefer({name}) in a query of the session, or no deferred=True"
        if column
        else f'include=["{attribute}"] in get or find, selectinload({name}) in a query of the session, or '
        'relationship(lazy="selectin")'
    )
    return NotLoaded(f"{name} was not loaded, and cannot be loaded here; load it with its object: {fix}.")


class WatchedSession(Session):
    """SQLAlchemy's own, in which a lazy load that cannot be awaited is refused before it begins.

    After an error that broke its transaction it raises that, and does nothing.
    """

    # That of the unit of work.
    inside: Transaction | None = None

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        self.check()
        for cls in {*map(type, self.dirty)}:  # those that nothing of uno was asked to store
            compare_as_stored(class_mapper(cls))
        try:
            try:
                super().flush(objects)
            except Exception as error:  # whoever flushes sees it, translated
                raise_translated(error)
                raise
        except BaseException as error:
            self.note(error)
            raise

    def check(self) -> None:
        if self.inside is not None:
            self.inside.check()

    def note(self, error: BaseException) -> None:
        """See what is left of the transaction: after a flush that failed SQLAlchemy has rolled it back."""
        if self.inside is not None and (ends_transaction(error) or not self.is_active):
            self.inside.fail(error)


def count_in(session: Any, reads: Reads) -> None:
    """Count the lazy loads of this session."""
    session.info[_READS] = reads


@event.listens_for(WatchedSession, "do_orm_execute")
def _watch(state: ORMExecuteState) -> None:
    cast(WatchedSession, state.session).check()
    if not state.is_select or not (state.is_column_load or state.is_relationship_load):
        return
    owner = state.lazy_loaded_from
    if owner is None:  # of columns, or of what selectinload and its like load
        if not in_greenlet():
            mapper = state.bind_mapper
            raise NotLoaded(
                f"An attribute of {mapper.class_.__qualname__ if mapper else 'an object'} has expired, or was not "
                "loaded, and cannot be loaded here; await session.refresh(object) first."
            )
        return
    path: Any = state.loader_strategy_path
    attribute = path[-1].key
    if not in_greenlet():
        raise not_loaded(owner.class_, attribute, column=False)
    reads: Reads | None = state.session.info.get(_READS)
    if reads is not None:
        reads.one(owner.class_, attribute)


@event.listens_for(WatchedSession, "after_transaction_end")
def _ended(session: WatchedSession, transaction: SessionTransaction) -> None:
    """What broke the transaction was undone with a savepoint of the session: it cannot end well any more."""
    if transaction.nested and session.inside is not None:
        session.inside.broken = None


def name_what_is_not_loaded(mapper: Mapper[Any]) -> None:
    """The same for objects of this class that are in no session or in somebody else's."""
    for attribute in mapper.class_manager.attributes:
        impl: Any = attribute.impl
        load = getattr(impl, "callable_", None)
        if load is not None and not isinstance(load, _Load):
            impl.callable_ = _Load(load, mapper.class_, attribute.key, attribute.key in mapper.column_attrs)


def reachable(mapper: Mapper[Any]) -> Iterator[Mapper[Any]]:
    """That of a class, and those of all that it refers to."""
    seen, waiting = {mapper}, [mapper]
    while waiting:
        one = waiting.pop()
        yield one
        near = {other for relation in one.relationships for other in relation.mapper.self_and_descendants}
        near.update(one.self_and_descendants)
        waiting += near - seen
        seen |= near


class _Load:
    """What loads an attribute, and says what it was if it cannot."""

    __slots__ = ("_attribute", "_cls", "_column", "_load")

    def __init__(self, load: Callable[..., Any], cls: type, attribute: str, column: bool) -> None:
        self._load, self._cls, self._attribute, self._column = load, cls, attribute, column

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._load(*args, **kwargs)
        except (DetachedInstanceError, MissingGreenlet, NotLoaded) as error:
            raise self._named() from error
        except StatementError as error:
            if not isinstance(error.orig, MissingGreenlet):
                raise
            raise self._named() from error

    def _named(self) -> NotLoaded:
        return not_loaded(self._cls, self._attribute, column=self._column)
