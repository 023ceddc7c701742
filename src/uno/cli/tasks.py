"""`uno tasks` and `uno resources`: what a running process is doing, and what it keeps open."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uno.cli.output import AsJson, emit, say, table
from uno.redact import one_line

if TYPE_CHECKING:
    from uno.cli.asking import Group, Pool, Task, Tasks

Url = Annotated[
    str | None,
    typer.Argument(
        metavar="URL",
        help="Where it is served, or the whole URL of the page; by default UNO_API_HOST and UNO_API_PORT. "
        "A token is read from UNO_TOKEN.",
        show_default=False,
    ),
]
Watch = Annotated[
    float | None, typer.Option(metavar="SECONDS", min=0.1, help="Ask again so often, until it is interrupted.")
]
CLEAR = "\x1b[H\x1b[2J"


def tasks(url: Url = None, watch: Watch = None, json: AsJson = False) -> None:
    """Show what a running process is doing: its groups and tasks, their age, and where each waits."""
    import sys
    import time

    from uno.cli.asking import Tasks, ask

    while True:
        found = ask(url, "tasks", Tasks)
        if watch is not None and not json and sys.stdout.isatty():
            print(CLEAR, end="")
        if json:
            emit(found.model_dump(mode="json"))
        else:
            _print(found)
        if watch is None:
            return
        time.sleep(watch)


def resources(url: Url = None, json: AsJson = False) -> None:
    """Show what a running process keeps open, and how it is."""
    from uno.cli.asking import Resources, ask

    found = ask(url, "resources", Resources)
    if json:
        emit(found.model_dump(mode="json"))
        return
    say(f"Process {found.pid}")
    rows = [
        (name, one.type, one.health, ", ".join(one.depends_on), _figures(one.figures))
        for name, one in found.resources.items()
    ]
    if rows:
        table(["NAME", "TYPE", "HEALTH", "NEEDS", "FIGURES"], rows)
    else:
        say("It keeps nothing open.")


def _figures(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in figures.items())


def _print(found: "Tasks") -> None:
    say(one_line(f"Process {found.pid}, {found.stage} for {_age(found.uptime)}: {_counted(found.count, 'task')}"))
    for line in _lines(found.tasks, ""):
        say(one_line(line))
    if found.hidden:
        say(f"… and {_counted(found.hidden, 'task')} more")
    for pool in found.threads:
        for line in _of_pool(pool):
            say(one_line(line))


def _lines(nodes: "Sequence[Task | Group]", indent: str) -> Iterator[str]:
    """Each under what it belongs to, with what it waits for."""
    from uno.cli.asking import Group

    for node in nodes:
        if isinstance(node, Group):
            made = f", opened at {node.created_at}" if node.created_at else ""
            yield f"{indent}▾ {node.group} ({_counted(len(node.tasks), 'task')}, {_age(node.age)}{made})"
            yield from _lines(node.tasks, indent + "  ")
        else:
            yield f"{indent}{_told(node)}"
            yield from _lines(node.groups, indent + "  ")


def _told(task: "Task") -> str:
    parts = [f"{task.name}  {task.state}"]
    if task.age is not None:
        parts.append(_age(task.age))
    if task.waits_at:
        parts.append(f"at {task.waits_at}")
    if task.created_at:
        parts.append(f"made at {task.created_at}")
    if task.restarts:
        parts.append(f"started again {_counted(task.restarts, 'time')}")
    if task.error:
        parts.append(task.error)
    return ", ".join(parts)


def _of_pool(pool: "Pool") -> Iterator[str]:
    yield f"Threads {pool.name}: {pool.running} of {pool.threads} work, {_counted(pool.waiting, 'call')} waiting"
    for call in pool.calls:
        yield f"  {call.function}, {_age(call.age)}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if hours < 2 else f"{hours:.0f} h"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
