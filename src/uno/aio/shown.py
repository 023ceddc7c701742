"""Everything that runs, as data: groups and tasks, how old, where made, and where each waits.

`uno tasks` and `/management/tasks` show it. It is put together when asked for; until then a group is an entry in
a dict.
"""

import asyncio
import sys
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any, Literal, Protocol

from uno import clock, sync
from uno.aio.births import Birth, described, place, waits, waits_at

State = Literal["new", "queued", "waiting", "running", "cancelling", "restarting", "failed", "gave up"]
# Of the code in which a task waits for its turn, or to be started again.
WAITING_ROOMS: dict[CodeType, State] = {}
# So many groups inside each other are drawn; JSON is written by a recursion.
_DEEPEST = 50


class Group(Protocol):
    """What has tasks: a task group, or a group of background tasks."""

    name: str

    @property
    def owner(self) -> "asyncio.Task[Any] | None":
        """The task that has to wait for them."""
        ...

    @property
    def born(self) -> Birth:
        """When and where it was opened."""
        ...

    def running(self) -> "list[tuple[asyncio.Task[Any], Birth]]":
        """The tasks that have not ended, the oldest first."""
        ...

    def about(self, task: "asyncio.Task[Any]") -> dict[str, Any]:
        """What else it knows of one, as fields of `TaskInfo`."""
        ...

    def fallen(self) -> "Iterable[TaskInfo]":
        """The last ones that failed."""
        ...


class Lasting(Group, Protocol):
    """A group that is not left."""

    @property
    def gone(self) -> bool:
        """Whether there is nothing to show any more."""
        ...


# The groups that are open now, of all event loops of the process; entered and left by the groups themselves.
opened: dict[Group, None] = {}
# Those that are not left, but go when nobody has them any more.
_lasting: dict[int, weakref.ref[Lasting]] = {}


def show(group: Lasting) -> None:
    """From now on the group is shown, as long as somebody holds it."""
    key = id(group)
    _lasting[key] = weakref.ref(group, lambda _: _lasting.pop(key, None))


def _groups() -> list[Group]:
    lasting = [group for held in list(_lasting.values()) if (group := held()) is not None and not group.gone]
    return [*list(opened), *lasting]


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """One task. `age` is in seconds, None where uno did not make it; places are `path:line in function`.

    `waits_at` is the line of the program it waits in, or where its work begins until it is started again; `stack`
    all calls on the way, the outermost first. `id` is unique among what runs; `owner` is the id of the task that has
    to wait for its group. `error` is what the last attempt failed with, `restarts` how often it was started again
    after a failure.
    """

    id: int
    name: str
    group: str | None
    state: State
    age: float | None = None
    created_at: str | None = None
    waits_at: str | None = None
    stack: tuple[str, ...] = ()
    owner: int | None = None
    restarts: int = 0
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "stack": list(self.stack)}


def waiting_for(task: "asyncio.Task[Any]") -> "list[asyncio.Task[Any]]":
    """The task, and those that cannot end before it has: owners of the groups it is in, callers of what it was lent."""
    found = [task]
    for one in found:
        owners = [group.owner for group in list(opened) if any(one is member for member, _ in group.running())]
        found += {owner for owner in (*owners, sync.holder_of(one)) if owner is not None}.difference(found)
    return found


def list_tasks() -> list[TaskInfo]:
    """All tasks of the process: of groups, in the background, and others of the same event loops; then what failed."""
    grouped, others = _found()
    ran = [info for tasks in grouped.values() for info in tasks]
    return [*ran, *others, *(info for group in grouped for info in group.fallen())]


def task_count() -> int:
    """How many tasks there are now, without looking at any."""
    grouped, others = _members()
    return sum(map(len, grouped.values())) + len(others)


def task_tree(limit: int | None = None) -> list[dict[str, Any]]:
    """The same as a tree, as JSON has it: tasks have `groups`, groups have `tasks`.

    At most `limit` tasks, and fifty groups inside each other: deeper ones are without their tasks.
    """
    members, others = _members()
    left = iter(range(sys.maxsize if limit is None else limit))
    owned: dict[int | None, list[Group]] = {}
    for group in members:
        owned.setdefault(_owner(group), []).append(group)

    def drawn(infos: Iterable[TaskInfo], depth: int) -> list[dict[str, Any]]:
        return [{**info.to_json(), "groups": groups_of(info.id, depth)} for info in infos]

    def groups_of(owner: int | None, depth: int = 1) -> list[dict[str, Any]]:
        return [_drawn(group, tasks_of(group, depth)) for group in owned.get(owner, ())]

    def tasks_of(group: Group, depth: int) -> list[dict[str, Any]]:
        if depth > _DEEPEST:
            return []
        ran = [member(group, *one) for one, _ in zip(members[group], left, strict=False)]
        return drawn((*ran, *group.fallen()), depth + 1)

    # Who has groups comes first: nothing of them would be seen without it.
    others.sort(key=lambda task: id(task) not in owned)
    return [*groups_of(None), *drawn([_info(task) for task, _ in zip(others, left, strict=False)], 1)]


def _drawn(group: Group, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    age = clock.monotonic() - group.born[0]
    return {"group": group.name, "age": age, "created_at": place(group.born), "tasks": tasks}


def _owner(group: Group) -> int | None:
    return None if group.owner is None else id(group.owner)


def _members() -> "tuple[dict[Group, list[tuple[asyncio.Task[Any], Birth]]], list[asyncio.Task[Any]]]":
    """The tasks of each group, and the others."""
    known: set[asyncio.Task[Any]] = set()
    grouped: dict[Group, list[tuple[asyncio.Task[Any], Birth]]] = {}
    for group in _groups():
        grouped[group] = [(task, born) for task, born in group.running() if task not in known and not task.done()]
        known.update(task for task, _ in grouped[group])
    return grouped, [task for loop in _loops(known) for task in asyncio.all_tasks(loop) if task not in known]


def _found() -> tuple[dict[Group, list[TaskInfo]], list[TaskInfo]]:
    """The same, looked at."""
    grouped, others = _members()
    infos = {group: [member(group, *one) for one in ones] for group, ones in grouped.items()}
    return infos, [_info(task) for task in others]


def _loops(known: "set[asyncio.Task[Any]]") -> set[asyncio.AbstractEventLoop]:
    here = asyncio._get_running_loop()
    return {task.get_loop() for task in known} | ({here} if here is not None else set())


def member(group: Group, task: "asyncio.Task[Any]", born: Birth) -> TaskInfo:
    """One task of a group."""
    return replace(
        _info(task),
        group=group.name,
        owner=_owner(group),
        age=clock.monotonic() - born[0],
        created_at=place(born),
        **group.about(task),
    )


def _info(task: "asyncio.Task[Any]") -> TaskInfo:
    coroutine = task.get_coro()
    places = waits(coroutine)
    return TaskInfo(
        id=id(task),
        name=task.get_name(),
        group=None,
        state=_state(task, coroutine, [code for code, _, _ in places]),
        waits_at=waits_at(places),
        stack=tuple(described(code, line) for code, line, _ in places),
    )


def _state(task: "asyncio.Task[Any]", coroutine: Any, codes: list[CodeType]) -> State:
    if task is asyncio.current_task(task.get_loop()):
        return "running"
    if task.cancelling():
        return "cancelling"
    if not _begun(coroutine):
        return "new"
    rooms: list[State] = [WAITING_ROOMS[code] for code in codes if code in WAITING_ROOMS]
    return rooms[0] if rooms else "waiting"


def _begun(coroutine: Any) -> bool:
    return getattr(coroutine, "cr_suspended", True) or getattr(coroutine, "cr_running", False)
