"""`uno modules` and `uno graph`: what an application is made of. Nothing is started."""

from typing import TYPE_CHECKING, Any

from uno.cli.output import AsJson, emit, say, table
from uno.cli.reference import Reference, load

if TYPE_CHECKING:
    from uno.modules import Module


def modules(app: Reference, json: AsJson = False) -> None:
    """List the modules and what they handle."""
    entries = [_entry(module) for module in load(app).app.modules]
    if json:
        emit(entries)
        return
    columns = ("name", "version", "description")
    rows = [(*(e[c] for c in columns), ", ".join(map(_last, e["handles"])), ", ".join(e["models"])) for e in entries]
    table(["MODULE", "VERSION", "DESCRIPTION", "HANDLES", "MODELS"], rows)


def graph(app: Reference, json: AsJson = False) -> None:
    """Draw the modules and the messages between them, as Mermaid."""
    from dataclasses import asdict

    from uno.app.graph import edges, mermaid

    modules = load(app).app.modules
    if json:
        emit([asdict(edge) for edge in edges(modules)])
    else:
        say(mermaid(modules))


def _entry(module: "Module") -> dict[str, Any]:
    from uno.bus import handles_of
    from uno.modules.module import overrides

    marks = [mark for handler in module.handlers for mark in handles_of(handler)]
    return {
        "name": module.name,
        "class": f"{type(module).__module__}.{type(module).__qualname__}",
        "version": module.metadata.version,
        "description": module.metadata.description,
        "handles": [m.__uno_name__ for m in dict.fromkeys([*module.events, *(mark.message for mark in marks)])],
        # It declares no events and has to be asked.
        "asked": not module.events and overrides(module, "handle"),
        "models": [model.__qualname__ for model in module.models],
        "routes": [route.message.__uno_name__ for route in module.endpoints()],
    }


def _last(name: str) -> str:
    return name.rpartition(".")[2]
