"""`uno demo`: the inventory application on embedded PostgreSQL."""

import json as json_library
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from secrets import token_urlsafe
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uno.cli.loop import run_async
from uno.cli.output import AsJson, Progress, say
from uno.cli.serving import configure_logs

if TYPE_CHECKING:
    from uno.app import App
    from uno.security import AuthProvider

HOST = "127.0.0.1"
# Minutes for which a token of the demo's own is valid: longer than anybody looks at it.
A_DAY = 24 * 60
TRY = """\
Serving on {url}, and delivering events. To try:

  {pages}

  curl -X POST {url}/packages/scan -H 'content-type: application/json' -d {body}
  curl '{url}/packages?limit=5'
  curl '{url}/licence-checks?sort=-checked_at&limit=5'
{approve}
  curl {url}/packages/{id}/history

{note}Ctrl-C stops everything; the data stay in {folder}"""
# The first is refused.
PROTECTED = """\
  curl -X POST {url}/packages/{id}/approve
  TOKEN={token}
  curl -H "Authorization: Bearer $TOKEN" -X POST {url}/packages/{id}/approve"""
OPEN = """\
  curl -X POST {url}/packages/{id}/approve -H 'content-type: application/json' -d '{{"approved_by": "me"}}'"""
UNPROTECTED = "Everybody may approve: a token is needed only after python -m pip install 'uno[auth]'.\n"


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
        from uno.api import listen, serve

        made = demonstration(folder, progress, decider="you")
        settings = made.app.settings

        def ready(url: str) -> None:
            progress.stop()
            say(_to_try(made, url, path, folder))

        with closing(listen(HOST, settings.api.port if port is None else port)) as sock:
            configure_logs(settings)
            run_async(serve(made.api, sock=sock, ready=ready))


def _to_try(made: "Demonstration", url: str, path: str | None, folder: Path) -> str:
    package = "typer"
    approve = (PROTECTED if made.token else OPEN).format(url=url, id=package, token=made.token)
    pages = "\n  ".join(f"{url}/{page}" for page in ("docs", *(["metrics"] if made.metrics else [])))
    body = quote(json_library.dumps({"path": path} if path else {}))
    note = "" if made.token else UNPROTECTED
    return TRY.format(url=url, pages=pages, body=body, id=package, approve=approve, note=note, folder=folder)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """The demo application, and what a visitor needs: a token that may decide, whether there is `/metrics`.

    Both need an extra; without it the demo is open, and has no such page.
    """

    app: "App"
    api: Any
    token: str | None = field(repr=False)
    metrics: bool


def demonstration(folder: Path, progress: Callable[[str], None], *, decider: str) -> Demonstration:
    """The demo application with a worker inside, on the server in `folder`, whatever UNO_DB_URL says."""
    from uno.api import asgi
    from uno.data import Database
    from uno.examples.inventory import DECIDE, app
    from uno.examples.inventory.application import tokens
    from uno.settings import load
    from uno.sync import drive

    settings = load()
    database = Database(f"embedded:{folder}", settings=settings.db, progress=progress)
    auth = tokens(settings.jwt) or _own_tokens()
    made = app(settings=settings, auth=auth, database=database, worker=True)
    token = drive(auth.create_token({"sub": decider, "permissions": [DECIDE]})) if auth else None
    metrics = find_spec("prometheus_client") is not None
    return Demonstration(made, asgi(made, metrics=metrics), token, metrics)


def _own_tokens() -> "AuthProvider | None":
    """Of a key that nobody knows and that ends with this process."""
    if find_spec("joserfc") is None:
        return None
    from pydantic import SecretStr

    from uno.security import JWTAuthProvider, JWTSettings

    key = SecretStr(token_urlsafe(48))
    return JWTAuthProvider(JWTSettings(algorithm="HS256", secret_key=key, access_token_expire_minutes=A_DAY))


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
