"""`uno doctor`: what an application stands on, and whether it is well."""

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from uno import __version__
from uno.cli.databases import folder_of, report_progress, shown
from uno.cli.loop import run_async
from uno.cli.output import AsJson, Progress, emit, say, table
from uno.cli.reference import Reference, load
from uno.cli.variables import told, unread

if TYPE_CHECKING:
    from pydantic import BaseModel

    from uno.app import App
    from uno.data import Database
    from uno.settings import Settings

VERSION = {"postgresql": "SHOW server_version", "sqlite": "SELECT sqlite_version()"}
# Tables whose policies do not hold for whoever connects, and why.
UNPROTECTED = """
    SELECT format('%I.%I', n.nspname, c.relname), current_user, r.rolsuper, r.rolbypassrls
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_roles r
    WHERE c.relrowsecurity AND NOT row_security_active(c.oid) AND r.rolname = current_user ORDER BY 1
"""


def doctor(app: Reference, json: AsJson = False) -> None:
    """Look at an application's database, storage plans, deliveries and settings."""
    loaded = load(app).app
    with Progress() as progress:
        report = run_async(_examine(app, loaded, progress))
    if json:
        emit(report)
    else:
        _print(report)
    if report["problems"]:
        raise typer.Exit(1)


async def _examine(reference: str, app: "App", progress: Progress) -> dict[str, Any]:
    database = app.database
    report: dict[str, Any] = {
        "uno": __version__,
        "python": platform.python_version(),
        "app": reference,
        "modules": [module.name for module in app.modules],
        "database": None,
        "storage": [],
        "settings": redacted(app.settings),
        "unread": unread(),
        "warnings": [],
        "problems": [],
    }
    if database is not None:
        report_progress(database, progress)
        report |= await _database(app, database)
    told = opened(app.settings)
    report["problems" if app.settings.env == "production" else "warnings"] += told
    return report


def opened(settings: "Settings") -> list[str]:
    """What everybody may see who reaches the port, and should not in production."""
    if settings.api.management != "open":
        return []
    return ['UNO_API_MANAGEMENT is "open": everybody who reaches the port sees what the process is doing.']


async def _database(app: "App", database: "Database") -> dict[str, Any]:
    """What is to be said of a database; one that does not answer is a problem, not an error."""
    from uno.errors import UnoError

    about: dict[str, Any] = {"url": shown(database), "embedded": _embedded(database), "reachable": False}
    found: dict[str, Any] = {"database": about, "storage": _storage(database), "problems": []}
    if about["embedded"] and about["embedded"]["version"] is None:
        from uno.data import embedded

        start = embedded.command("start", about["embedded"]["folder"])
        found["problems"] = [f"The embedded server is not initialised; `uno run` or `{start}` does it."]
        return found
    try:
        async with database:
            found |= await _answers(app, database, about)
    except UnoError as error:
        found["problems"] = [f"{error} It is {about['url']}."]
    return found


async def _answers(app: "App", database: "Database", about: dict[str, Any]) -> dict[str, Any]:
    from uno.data import schema
    from uno.errors import Misconfigured

    async with database.lease() as lease:
        about |= {"version": (await lease.fetch_text(VERSION[database.backend], ()))[0][0], "reachable": True}
    about |= {"backend": database.backend, "schema": await schema.current(database), "schema_needed": schema.HEAD}
    migrations = app.migrating()
    try:
        if migrations is not None:
            state = await migrations.state()
            about |= {"revision": ", ".join(state.current), "revision_needed": ", ".join(state.heads)}
        await schema.require(database, app.tables(), migrations)
    except Misconfigured as error:
        return {"problems": [str(error)]}
    warnings = [*await unprotected(database), *await _unaudited(app, database)]
    return {"warnings": warnings, **await _queue(app, database)}


async def _unaudited(app: "App", database: "Database") -> list[str]:
    """Where changes are made that nobody writes down."""
    from uno.data import cascades, schema

    told = await cascades.unaudited(database)
    triggerless = await schema.triggerless(database, app.tables(), partitions=True)
    remedy = "have no triggers that audit, or others than its class wants; run: uno db create PACKAGE:APP"
    return [*([told] if told else []), *(f"The table {name} or partitions of it {remedy}" for name in triggerless)]


async def unprotected(database: "Database") -> list[str]:
    """Where row-level security is meant to keep tenants apart, and does not."""
    if database.backend != "postgresql":
        return []
    async with database.lease() as lease:
        rows = await lease.fetch_text(UNPROTECTED, ())
    return [_unheld(*row) for row in rows]


def _unheld(table: str, role: str, is_super: bool, bypasses: bool) -> str:
    if is_super or bypasses:
        why = "which is a superuser" if is_super else "which has BYPASSRLS"
        fix = "let the application connect as a role that is neither and does not own the table"
    else:
        why, fix = "which owns it", f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY, or connect as another role"
    return f"The row-level security of {table} does not hold for the role {role}, {why}; {fix}."


async def _queue(app: "App", database: "Database") -> dict[str, Any]:
    from uno.queue.statements import Deliveries, Names

    deliveries = Deliveries(database)
    return {"deliveries": await deliveries.counts(), "unknown": await deliveries.unknown(Names.of(app.bus))}


def _storage(database: "Database") -> list[dict[str, Any]]:
    return [
        {"class": p.label, "table": p.table.name, "plan": "fast" if p.fast else "session", "reason": p.reason}
        for p in database.plans
    ]


def _embedded(database: "Database") -> dict[str, Any] | None:
    """As it is before we use it."""
    if not database.embedded:
        return None
    from uno.data import embedded

    return asdict(embedded.status(folder_of(database)))


def redacted(settings: "BaseModel") -> dict[str, Any]:
    """The settings in effect; of a secret only what is none."""
    from pydantic import BaseModel, SecretStr

    def shown(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return redacted(value)
        if isinstance(value, SecretStr):
            return _place_of(value.get_secret_value())
        return value

    return {name: shown(getattr(settings, name)) for name in type(settings).model_fields}


def _place_of(secret: str) -> str:
    """Of a database URL where it leads; of any other secret nothing."""
    from uno.data.url import parse, shown
    from uno.errors import Misconfigured

    if secret.startswith("embedded:"):
        return secret
    try:
        return shown(parse(secret))
    except Misconfigured:
        return "***"


def _print(report: dict[str, Any]) -> None:
    say(f"uno {report['uno']}, Python {report['python']}, {report['app']}: {', '.join(report['modules'])}")
    _print_database(report)
    _print_queue(report)
    say("\nSettings")
    table([], _flat(report["settings"]))
    say("")
    for name, nearest in report["unread"].items():
        say(f"! {told(name, nearest)}")
    for warning in report["warnings"]:
        say(f"! {warning}")
    for problem in report["problems"]:
        say(f"✗ {problem}")
    if not report["problems"]:
        say("✓ All is well.")


def _print_database(report: dict[str, Any]) -> None:
    database = report["database"]
    if database is None:
        say("\nDatabase: none")
        return
    say("\nDatabase")
    rows = [(name, value) for name, value in database.items() if name != "embedded"]
    table([], rows + [(f"embedded {k}", v) for k, v in (database["embedded"] or {}).items()])
    say("\nStorage")
    table(["CLASS", "TABLE", "PLAN", "REASON"], [tuple(one.values()) for one in report["storage"]])


def _print_queue(report: dict[str, Any]) -> None:
    if "deliveries" in report:
        counts = ", ".join(f"{n} {state}" for state, n in sorted(report["deliveries"].items()))
        say(f"\nDeliveries: {counts or 'none'}")
        for name, n in report["unknown"].items():
            say(f"{n} wait for {name}, which no code here knows.")


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in values.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return rows
