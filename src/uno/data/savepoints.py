"""Savepoints: a part of a unit of work that is undone alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from uno.data.failures import translate
from uno.data.session_path import Mark
from uno.data.tracked import Snapshot

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork


@asynccontextmanager
async def savepoint(uow: "UnitOfWork") -> AsyncIterator[None]:
    """What `uow.savepoint()` is."""
    await uow.flush()
    transaction, session = await uow.transaction(), uow.any_session
    nested: Any = await (transaction.connection if session is None else session.session).begin_nested()
    if session is not None:
        # Otherwise it begins with the first statement of the session, which is not the only one to write.
        await session.session.connection()
    snapshot, recorded, doomed = uow.tracked.snapshot(), len(uow.recorded), uow.doomed
    mark = None if session is None else session.mark()
    kept = False
    try:
        yield
        transaction.check()  # what a write inside raised, and somebody has caught
        if uow.doomed is doomed:
            await uow.flush()
            if uow.any_session is not session and uow.any_session is not None:
                await uow.any_session.session.commit()
            await nested.commit()
            kept = True
    finally:
        if not kept:
            lost = await _undo(uow, nested, mark)
            del uow.recorded[recorded:]
            uow.doomed, transaction.broken = doomed, lost
            if lost is None:
                await _return_to(uow, snapshot, mark)


async def _undo(uow: "UnitOfWork", nested: Any, mark: Mark | None) -> BaseException | None:
    """Roll the savepoint back; the error where that fails, as for a lost connection: then all is rolled back.

    It is not raised here, where another error may be on its way.
    """
    try:
        if uow.any_session is not None:
            await uow.any_session.leave(mark)
        await nested.rollback()
    except Exception as error:  # whoever goes on in this unit of work sees it, translated
        return translate(error) or error
    return None


async def _return_to(uow: "UnitOfWork", snapshot: Snapshot, mark: Mark | None) -> None:
    """Know again what was known at the beginning of the savepoint; what was read since stays known."""
    session = uow.any_session
    uow.rounds.forget()
    if session is not None:
        await session.return_to(mark or Mark(), snapshot.events)
    read = uow.tracked.restore(snapshot)
    if session is not None and mark is None:  # opened since
        for entry in uow.tracked.release_mapped():
            session.adopt(entry)
    if session is not None or uow.tracked.wrote_since(snapshot):
        again = [entry for entry in read if uow.tracked.of(entry.entity) is entry]
        await uow.tracked.read_again(again, await uow.transaction())
