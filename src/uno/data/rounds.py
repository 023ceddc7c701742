"""Running hooks: before hooks of what is pending, after hooks of what was written, until nothing is left.

All of it in the task of the handler; the commit, which has a task of its own, finds nothing left to run.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, Literal, cast

from uno.data import hooks
from uno.data.changes import Values, kind_of
from uno.data.hooks import Hook, Moment
from uno.data.tracked import Entry
from uno.data.writing import write_tracked
from uno.errors import Misconfigured
from uno.result import Failure

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork

# What is stored of an entity and what will be.
Images = tuple[Values | None, Values | None]
# Knows the images of an entity, None where nothing is to be written.
Look = Callable[[Any], Images | None]
Wanted = Callable[[Entry], bool]
# Whose before hooks have run since the last write: by id, at which moment.
Marks = dict[int, tuple[Any, Moment]]

ROUNDS = 100
# Hooks whose writes run hooks that write …: each takes some frames of Python's stack.
DEPTH = 20
_ENDINGS = {"create": "insert", "update": "update", "delete": "delete", "soft_delete": "delete", "restore": "restore"}


class Rounds:
    """The hooks of one unit of work. It is `preparing` while before hooks run: then nothing is written."""

    def __init__(self, uow: "UnitOfWork") -> None:
        self._uow = uow
        self.preparing = False
        self._written: list[tuple[Any, Sequence[Hook]]] = []
        self._ran = 0
        self._count = 0
        self._depth = 0
        self._latest: type = object
        # What a hook or the database did not take, where it can be told.
        self.refused: Any = None

    def writable(self) -> None:
        self._uow.writable()

    async def flush(self, wanted: Wanted = lambda _: True, *, told: bool = False) -> None:
        """Write what is pending, then what its hooks changed, until they change nothing."""
        if not self.preparing:
            with self._level():
                await self._write_all(wanted, {}, told=told)

    async def prepare(self) -> None:
        """Leave to the commit only what it may write without running a hook."""
        uow, marks = self._uow, Marks()
        with self._level():
            if uow.opened is None:
                await self._before_tracked(_everything, marks)
            if uow.opened is not None or uow.apart or self._after_hooks_wait():
                await self._write_all(_everything, marks)

    async def before(self, entities: Callable[[], Iterable[Any]], look: Look) -> None:
        """Run the before hooks of what a session is about to write."""
        with self._level():
            await self._before(entities, look, {})

    def wrote(self, entity: Any, images: Images | None) -> None:
        """It is in the database now; its after hooks are to run."""
        found = _hooks("after", entity, images)
        if found:
            self._written.append((entity, found))

    def forget(self) -> None:
        """What was written is undone."""
        self._written.clear()

    async def _write_all(self, wanted: Wanted, marks: Marks, *, told: bool = False) -> None:
        while await self._round(wanted, marks, told):
            marks.clear()

    async def _round(self, wanted: Wanted, marks: Marks, told: bool) -> bool:
        """Write what is pending; whether there may be more by now."""
        uow, ran = self._uow, self._ran
        if uow.opened is not None:
            await uow.opened.write()
        await self._before_tracked(wanted, marks, told)
        pairs = [pair for pair in uow.tracked.operations(told=told) if wanted(pair[0])]
        hooked = [entry.entity for entry, _ in pairs if hooks.of(type(entry.entity))]
        images = [uow.tracked.images(entity) for entity in hooked]
        await write_tracked(uow, pairs)
        for entity, found in zip(hooked, images, strict=True):
            self.wrote(entity, found)
        attached = uow.attach()
        await self._after()
        return attached or self._ran != ran

    def _after_hooks_wait(self) -> bool:
        tracked = self._uow.tracked
        return any(_hooks("after", one, tracked.images(one)) for one in self._tracked(_everything))

    def _tracked(self, wanted: Wanted, told: bool = False) -> list[Any]:
        found = self._uow.tracked.candidates(told=told)
        return [e.entity for e in found if hooks.of(type(e.entity)) and wanted(e)]

    async def _before_tracked(self, wanted: Wanted, marks: Marks, told: bool = False) -> None:
        await self._before(lambda: self._tracked(wanted, told), self._uow.tracked.images, marks)

    async def _before(self, entities: Callable[[], Iterable[Any]], look: Look, marks: Marks) -> None:
        was, self.preparing = self.preparing, True
        try:
            while due := [one for one in entities() if _due(one, look, marks)]:
                self._uow.writable()
                self._next(due[0])
                for entity in due:
                    # An earlier one may have changed what becomes of it.
                    for hook in _due(entity, look, marks):
                        marks[id(entity)] = entity, hook.moment
                        await self._run(hook, entity)
        finally:
            self.preparing = was

    async def _after(self) -> None:
        while self._written:
            written, self._written = self._written, []
            self._next(written[0][0])
            for entity, found in written:
                for hook in found:
                    await self._run(hook, entity)

    async def _run(self, hook: Hook, entity: Any) -> None:
        self._ran += 1
        try:
            given = (await hook.function(entity)) if hook.waits else hook.function(entity)
            if given is not None:
                _look_at(given, hook)
        except BaseException as error:
            # Also where somebody catches it: what it was about must not be stored.
            self._uow.doom(error)
            if self._uow.explicit is not None:
                self._uow.explicit.fail(error)
            self.refused = entity
            raise

    def _next(self, entity: Any) -> None:
        self._latest = type(entity)
        self._count += 1
        if self._count > ROUNDS:
            raise self._endless()

    @contextmanager
    def _level(self) -> Iterator[None]:
        if self._depth == 0:
            self._count = 0
        if self._depth == DEPTH:
            raise self._endless()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _endless(self) -> Misconfigured:
        return Misconfigured(f"The hooks of {self._latest.__name__} lead to more and more writes and never end.")


def _everything(_entry: Entry) -> bool:
    return True


def _moment(when: Literal["before", "after"], images: Images) -> Moment:
    return cast(Moment, f"{when}_{_ENDINGS[kind_of(*images)]}")


def _hooks(when: Literal["before", "after"], entity: Any, images: Images | None) -> Sequence[Hook]:
    found = hooks.of(type(entity)) if images is not None else None
    return found.get(_moment(when, images), ()) if found and images is not None else ()


def _due(entity: Any, look: Look, marks: Marks) -> Sequence[Hook]:
    """The before hooks that are still to run."""
    if not hooks.of(type(entity)):
        return ()
    found = _hooks("before", entity, look(entity))
    return () if found and marks.get(id(entity)) == (entity, found[0].moment) else found


def _look_at(given: Any, hook: Hook) -> None:
    """A hook gives nothing back but a `Failure`."""
    if given.__class__ is Failure:
        raise given.error
    if isawaitable(given):
        if iscoroutine(given):
            given.close()
        raise Misconfigured(f"The hook {hook.name} gives something to await; make it an `async def`.")
