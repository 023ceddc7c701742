"""`uno demo`: the inventory application on embedded PostgreSQL."""

import json as json_library
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from uno.cli.loop import run_async
from uno.cli.output import AsJson, Progress, say
from uno.cli.serving import configure_logs

if TYPE_CHECKING:
    from uno.app import App

HOST = "127.0.0.1"
TRY = """\
Serving on {url}, and delivering events. To try:

  {url}/docs

  curl -X POST {url}/packages/scan -H 'content-type: application/json' -d {body}
  curl '{url}/packages?limit=5'
  curl -X POST {url}/packages/{id}/approve -H 'content-type: application/json' -d '{{"approved_by": "me"}}'
  curl {url}/packages/{id}/history

Ctrl-C stops everything; the data stay in {folder}"""


def demo(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="By default UNO_API_PORT, or 8000; with --check any free one.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where PostgreSQL keeps the data.", show_default=False)
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(help="What to scan instead of this Python: a folder of distributions or a virtual environment."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Drive the application over HTTP, say what happened, stop.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Run the demo: which packages this Python has, under which licence, and who approved them."""
    if check:
        from uno.cli.check import check_demo

        check_demo(port or 0, data_dir, path, as_json=json)
    elif json:
        raise typer.BadParameter("it goes with --check", param_hint="--json")
    else:
        _serve(port, data_dir, path)


def _serve(port: int | None, data_dir: Path | None, path: str | None) -> None:
    from uno.data import embedded

    folder = (data_dir or embedded.default_folder()).expanduser().absolute()
    with Progress() as progress, starting(folder, progress):
        say(f"Data: embedded PostgreSQL in {folder}")
        from uno.api import asgi, listen, serve

        app = inventory_app(folder, progress)

        def ready(url: str) -> None:
            progress.stop()
            body = quote(json_library.dumps({"path": path} if path else {}))
            say(TRY.format(url=url, body=body, id="typer", folder=folder))

        with closing(listen(HOST, app.settings.api.port if port is None else port)) as sock:
            configure_logs(app.settings)
            run_async(serve(asgi(app), sock=sock, ready=ready))


def inventory_app(folder: Path, progress: Callable[[str], None]) -> "App":
    """The demo application with a worker inside, on the server in `folder`, whatever UNO_DB_URL says."""
    from uno.app import App
    from uno.data import Database
    from uno.examples.inventory import inventory
    from uno.settings import load

    settings = load()
    database = Database(f"embedded:{folder}", settings=settings.db, progress=progress)
    return App(inventory, settings=settings, database=database, worker=True)


@contextmanager
def starting(folder: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Start the server already while we import what takes as long; what fails, fails again for the app."""
    from concurrent.futures import ThreadPoolExecutor

    from uno.data import embedded

    with ThreadPoolExecutor(1) as pool:
        lease = pool.submit(embedded.acquire, folder, progress=progress)
        try:
            yield
        finally:
            if lease.exception() is None:
                lease.result().release()
