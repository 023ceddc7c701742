"""`uno modules` and `uno graph`: what an application is made of. Nothing is started."""

from typing import TYPE_CHECKING, Any

from uno.cli.output import AsJson, emit, say, table
from uno.cli.reference import Reference, load

if TYPE_CHECKING:
    from uno.modules import Module


def modules(app: Reference, json: AsJson = False) -> None:
    """List the modules and what they handle."""
    from uno.app.graph import called

    modules = load(app).app.modules
    if json:
        emit([_entry(module) for module in modules])
        return
    names = called(message for module in modules for message in _handled(module))
    rows = [
        (
            module.name,
            module.metadata.version,
            module.metadata.description,
            ", ".join(names[message] for message in _handled(module)),
            ", ".join(_models(module)),
        )
        for module in modules
    ]
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
    from uno.modules.module import overrides

    return {
        "name": module.name,
        "class": f"{type(module).__module__}.{type(module).__qualname__}",
        "version": module.metadata.version,
        "description": module.metadata.description,
        "handles": [message.__uno_name__ for message in _handled(module)],
        # It declares no events and has to be asked.
        "asked": not module.events and overrides(module, "handle"),
        "models": _models(module),
        "routes": [route.message.__uno_name__ for route in module.endpoints()],
    }


def _handled(module: "Module") -> list[Any]:
    from uno.bus import handles_of

    marks = [mark for handler in module.all_handlers() for mark in handles_of(handler)]
    return list(dict.fromkeys([*module.events, *(mark.message for mark in marks)]))


def _models(module: "Module") -> list[str]:
    return [model.__qualname__ for model in module.all_models()]
