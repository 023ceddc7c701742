"""`uno run` and `uno worker`: until SIGINT or SIGTERM, then in good order."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uno.cli.databases import of_app, report_progress, shown
from uno.cli.loop import run_async
from uno.cli.output import Progress, say
from uno.cli.reference import Reference, load
from uno.cli.variables import warn_of_unread
from uno.errors import Misconfigured

if TYPE_CHECKING:
    from uno.app import App
    from uno.settings import Settings

Host = Annotated[str | None, typer.Option(help="The address to listen on; by default UNO_API_HOST, or 127.0.0.1.")]
Port = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="The port; 0 takes any free one. By default UNO_API_PORT, or 8000."),
]


def run(
    app: Reference,
    host: Host = None,
    port: Port = None,
    open: Annotated[bool, typer.Option("--open", help="Let everybody in who can reach the host.")] = False,
    worker: Annotated[bool, typer.Option("--worker", help="Deliver events in this process, too.")] = False,
) -> None:
    """Serve an application over HTTP."""
    _end_when_told()
    loaded = load(app)
    settings = loaded.app.settings
    host = host or settings.api.host
    if not open and loaded.app.auth is None and not is_loopback(host):
        raise Misconfigured(
            f"Nobody who calls is authenticated, so uno does not listen on {host}; "
            "with --open everybody who can reach it may do everything."
        )
    from uno.api import asgi, listen

    with closing(listen(host, settings.api.port if port is None else port)) as sock:
        configure_logs(settings)
        warn_of_unread()
        api = loaded.api or asgi(loaded.app)
        loaded.app.works = loaded.app.works or worker
        serve_until_stopped(loaded.app, api, sock)


def serve_until_stopped(app: "App", api: Any, sock: Any) -> None:
    """Serve, with progress until requests are answered."""
    from uno.api import serve

    with Progress() as progress:
        announce(app, progress)

        def ready(url: str) -> None:
            progress.stop()
            say(f"Serving on {url}")

        settings = app.settings
        run_async(serve(api, sock=sock, ready=ready, shutdown_timeout=settings.grace, linger=settings.api.linger))


def worker(app: Reference) -> None:
    """Deliver an application's events to its durable subscribers."""
    _end_when_told()
    loaded = load(app).app
    of_app(loaded, app)
    configure_logs(loaded.settings)
    warn_of_unread()
    with Progress() as progress:
        announce(loaded, progress)
        run_async(_deliver(loaded, progress))


async def _deliver(app: "App", progress: Progress) -> None:
    import asyncio

    from uno.aio import get_async_manager
    from uno.aio.stopping import told_to_stop

    manager = get_async_manager()
    with told_to_stop(manager.request_shutdown, lambda: app.settings.grace):
        async with app:
            progress.stop()
            worker = app.worker()
            delivering = asyncio.create_task(worker.run(), name="uno.worker")
            forget = manager.on_stopping(lambda: worker.finish(manager.remaining()))
            say(f"Worker {worker.name} is waiting for deliveries")
            try:
                await delivering
            finally:
                forget()


def _end_when_told() -> None:
    """Also while it is loaded."""
    from uno.aio.stopping import end_when_told

    end_when_told()


def announce(app: "App", progress: Progress) -> None:
    """Say which server keeps the data where uno brings it along."""
    database = app.database
    if database is not None and database.embedded:
        say(f"Data: {shown(database)}")
        report_progress(database, progress)


def configure_logs(settings: "Settings", level: str | None = None) -> None:
    """As UNO_LOG_LEVEL and UNO_LOG_FORMAT say."""
    import logging

    from uno.telemetry import configure_logging

    wanted = settings.log.format
    configure_logging(level=level or settings.log.level, json=None if wanted == "auto" else wanted == "json")
    # What uvicorn tells of its start and stop, we say ourselves.
    uvicorn = logging.getLogger("uvicorn.error")
    uvicorn.setLevel(logging.WARNING)
    uvicorn.addFilter(lambda record: not record.getMessage().startswith("Application startup failed"))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
