"""Fresh PostgreSQL databases for tests, each a copy of a template.

    async with DatabaseFarm() as farm:
        await farm.template("shop", create_tables)
        url = await farm.create("shop")

The server is an embedded one in the folder for temporary files, shared by all test processes of
one checkout, and careless about power cuts; or the one that UNO_TEST_POSTGRES_URL names.
"""

import asyncio
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg

from uno import clock
from uno.data.embedded import Lease, acquire_async
from uno.errors import Invalid, Misconfigured, Unavailable

PREFIX = "uno_test_"
ABANDONED_SECONDS = 86_400.0
OURS = """
    SELECT datname AS name, extract(epoch FROM pg_postmaster_start_time())::float8 AS started
    FROM pg_database WHERE starts_with(datname, $1)
"""


class DatabaseFarm:
    """Makes databases, and drops those it made when it closes.

    `url` names a server (default: UNO_TEST_POSTGRES_URL), whose user may create databases; without
    it an embedded server runs in `folder` (default: one per working directory, in the folder for
    temporary files). Databases of test runs that were killed are dropped when the next farm opens.
    Connections are not kept, so every call may come from another event loop.
    """

    def __init__(self, url: str | None = None, *, folder: Path | None = None) -> None:
        self._url = url or os.environ.get("UNO_TEST_POSTGRES_URL") or None
        self._folder = folder
        self._lease: Lease | None = None
        self._label = ""
        self._made: set[str] = set()
        self._templates: dict[str, str] = {}
        self._preparing = asyncio.Lock()

    async def open(self) -> None:
        """Find or start the server. Raises `Unavailable` or `Misconfigured`."""
        if self._url is None:
            self._lease = await acquire_async(self._folder or shared_folder(), fsync=False)
        # The time in a name tells later farms which databases were abandoned.
        self._label = f"{PREFIX}{int(clock.now().timestamp() * 1000)}_{secrets.token_hex(3)}_"
        await self._drop_abandoned()

    async def close(self) -> None:
        """Drop what was made and leave the server."""
        try:
            if self._made:
                await self._run(*(_dropping(name) for name in sorted(self._made)))
        finally:
            self._made.clear()
            self._templates.clear()
            if self._lease is not None:
                self._lease.release()
                self._lease = None

    async def __aenter__(self) -> "DatabaseFarm":
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def template(self, name: str, prepare: Callable[[str], Awaitable[None]]) -> None:
        """Make a database to copy, once per name: `prepare(url)` fills it and closes its connections."""
        async with self._preparing:
            if name in self._templates:
                return
            url = await self.create()
            try:
                await prepare(url)
            except BaseException:
                await self.drop(url)
                raise
            self._templates[name] = _name_in(url)

    async def create(self, template: str | None = None) -> str:
        """The URL of a new database: a copy of a template made before, else an empty one."""
        if template is not None and template not in self._templates:
            raise Misconfigured(
                f"There is no template {template!r}: call `await farm.template({template!r}, …)` first."
            )
        source = self._templates[template] if template is not None else "template1"
        name = f"{self._label}{secrets.token_hex(4)}"
        self._made.add(name)
        await self._run(f'CREATE DATABASE "{name}" TEMPLATE "{source}" STRATEGY file_copy')
        return self._url_for(name)

    @asynccontextmanager
    async def database(self, template: str | None = None) -> AsyncIterator[str]:
        """The URL of a new database, which is dropped after the block: the fewer there are, the faster the server."""
        url = await self.create(template)
        try:
            yield url
        finally:
            await self.drop(url)

    async def drop(self, url: str) -> None:
        """Drop a database of this farm, with the connections to it."""
        name = _name_in(url)
        if name not in self._made:
            raise Invalid(f"The database {name!r} was not made by this farm.")
        await self._run(_dropping(name))
        self._made.discard(name)

    @property
    def server_url(self) -> str:
        """The URL of the server's own database; it contains the password."""
        if self._url is not None:
            return self._url
        if self._lease is None:
            raise Misconfigured("The farm is not open: use `async with DatabaseFarm() as farm`.")
        return self._lease.server.url

    def _url_for(self, name: str) -> str:
        return urlunsplit(urlsplit(self.server_url)._replace(path=f"/{quote(name, safe='')}"))

    async def _drop_abandoned(self) -> None:
        """An embedded server ends with its users, so what is older than it has no owner; elsewhere a day decides."""
        connection = await self._connect()
        try:
            rows = await connection.fetch(OURS, PREFIX)
        finally:
            await connection.close()
        yesterday = clock.now().timestamp() - ABANDONED_SECONDS
        old = [row["name"] for row in rows if _made_at(row["name"]) < (yesterday if self._url else row["started"])]
        if old:
            await self._run(*map(_dropping, old))

    async def _run(self, *statements: str) -> None:
        connection = await self._connect()
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def _connect(self) -> "asyncpg.Connection":
        try:
            return await asyncpg.connect(self.server_url)
        except (OSError, asyncpg.PostgresError) as error:
            raise Unavailable(f"The PostgreSQL server for tests does not answer: {error}.") from error


def shared_folder() -> Path:
    """The folder of the test server of this working directory and user."""
    checkout = hashlib.sha256(os.fsencode(Path.cwd())).hexdigest()[:8]
    folder = Path(tempfile.gettempdir(), f"uno-tests-{os.geteuid()}-{checkout}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise Unavailable(f"{folder}, for the test server, belongs to somebody else: remove it.")
    return folder


def _dropping(name: str) -> str:
    return f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'


def _name_in(url: str) -> str:
    return unquote(urlsplit(url).path.removeprefix("/"))


def _made_at(name: str) -> float:
    """Seconds since 1970 at which the farm that made the database opened."""
    digits = name.removeprefix(PREFIX).partition("_")[0]
    return int(digits) / 1000 if digits.isdecimal() else float("inf")
