"""`uno routes` and `uno messages`: what an application consists of. Nothing is started."""

from typing import Any

from uno.cli.output import AsJson, emit, table
from uno.cli.reference import Reference, load


def routes(app: Reference, json: AsJson = False) -> None:
    """List what can be reached over HTTP."""
    endpoints = sorted(load(app).app.endpoints, key=lambda one: (one.path, one.method))
    if json:
        keys = ("method", "path", "status", "access", "name", "tags", "summary")
        emit([{k: getattr(e, k) for k in keys} | {"message": e.message.__uno_name__} for e in endpoints])
        return
    rows = [(e.method, e.path, e.status, e.access, e.message.__qualname__) for e in endpoints]
    table(["METHOD", "PATH", "STATUS", "ACCESS", "MESSAGE"], rows)


def messages(app: Reference, json: AsJson = False) -> None:
    """List commands, queries and events, and who handles them."""
    from uno.app.graph import called

    marks = load(app).app.bus.marks
    found = sorted(((_entry(mark), mark) for mark in marks), key=lambda one: _order(one[0]))
    if json:
        emit([entry for entry, _ in found])
        return
    # People know the modules of their application; programs get them with --json.
    names, handlers = called(mark.message for mark in marks), called(mark.handler for mark in marks)
    rows = [
        (e["kind"], names[m.message], ", ".join(e["fields"]), handlers[m.handler], e["subscriber"]) for e, m in found
    ]
    table(["KIND", "MESSAGE", "FIELDS", "HANDLED BY", "DURABLE AS"], rows)


def _entry(mark: Any) -> dict[str, Any]:
    from uno.modules.fields import field_names

    handler = mark.handler
    return {
        "kind": mark.kind,
        "message": mark.message.__uno_name__,
        "fields": list(field_names(mark.message)),
        "handler": f"{handler.__module__}.{handler.__qualname__}",
        "durable": mark.durable,
        "subscriber": mark.name if mark.durable else None,
    }


def _order(entry: dict[str, Any]) -> tuple[str, str, str]:
    return entry["kind"], entry["message"], entry["handler"]
