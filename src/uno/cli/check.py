"""`uno demo --check`: starts the demo, drives it over HTTP as a user would, stops it."""

import asyncio
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2
import typer

from uno import clock, ids
from uno.api import listen, serve
from uno.cli.demo import HOST, Demonstration, demonstration, starting
from uno.cli.loop import run_async
from uno.cli.output import Progress, emit, say
from uno.cli.serving import configure_logs
from uno.errors import UnoError
from uno.settings import load

# Seconds for the worker to classify everything.
PATIENCE = 120.0
PAGE = 500
INTERRUPTED = 130
# Whose token it is.
DECIDER = "check"


class Failed(UnoError):
    """A step did not give what it has to."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, what came of it, and the milliseconds it took."""

    name: str
    result: str
    ms: float


def check_demo(port: int, data_dir: Path | None, path: str | None, *, as_json: bool) -> None:
    """Print every step. Raises `Failed`, which names the step that failed."""
    configure_logs(load(), "ERROR")
    steps: list[Step] = []

    def tell(step: Step) -> None:
        steps.append(step)
        if not as_json:
            say(f"✓ {step.name:<10} {step.ms:8,.0f} ms  {step.result}")

    began = clock.monotonic()
    with _data_folder(data_dir) as folder, Progress() as progress, starting(folder, progress):
        run_async(_check(folder, port, path, progress, tell))
        stopping = clock.monotonic()
    tell(Step("stop", "the application and PostgreSQL are stopped", _ms_since(stopping)))
    if as_json:
        emit({"ok": True, "ms": _ms_since(began), "steps": [asdict(step) for step in steps]})
    else:
        say(f"All {len(steps)} steps passed in {_ms_since(began) / 1000:.1f} s.")


async def _check(folder: Path, port: int, path: str | None, progress: Progress, tell: Callable[[Step], None]) -> None:
    began = clock.monotonic()
    made = demonstration(folder, progress, decider=DECIDER)
    async with _serving(made, port) as url, httpx2.AsyncClient(base_url=url, timeout=60.0) as client:
        progress.stop()
        tell(Step("start", f"PostgreSQL and the application answer on {url}", _ms_since(began)))
        visit = Visit(client, path, made.token)
        for do in (
            visit.ready,
            visit.scan,
            visit.classified,
            visit.listed,
            visit.approve,
            visit.history,
            visit.refused,
            visit.again,
            *([visit.metrics] if made.metrics else []),
        ):
            tell(await _timed(do))


async def _timed(do: Callable[[], Any]) -> Step:
    name, began = do.__name__, clock.monotonic()
    try:
        result = await do()
    except (Failed, httpx2.HTTPError) as error:
        raise Failed(f"The step {name!r} failed: {error or type(error).__name__}") from error
    return Step(name, result, _ms_since(began))


class Visit:
    """The steps, each a method that gives back its figures in a sentence."""

    def __init__(self, client: httpx2.AsyncClient, path: str | None, token: str | None) -> None:
        self._client = client
        # Where nobody has to log in, one says who one is.
        self._who = {} if token else {"approved_by": DECIDER}
        self._token = {"Authorization": f"Bearer {token}"} if token else {}
        self._scan = {"path": path} if path else {}
        self._found = 0
        self._package: dict[str, Any] = {}
        self._correlation_id = ids.new_id()

    async def ready(self) -> str:
        report = await self._ask("GET", "/health/ready")
        return f"{report['status']}: " + ", ".join(f"{c['name']} {c['duration_ms']:.1f} ms" for c in report["checks"])

    async def scan(self) -> str:
        summary = await self._ask("POST", "/packages/scan", json=self._scan)
        self._found = summary["found"]
        return f"{_scanned(summary)}, {len(summary['unreadable'])} unreadable"

    async def classified(self) -> str:
        """The worker has classified every licence."""
        deadline = clock.monotonic() + PATIENCE
        while True:
            packages = await self._all()
            classes = Counter(one["licence"] for one in packages)
            if None not in classes and packages:
                return "by the worker: " + ", ".join(f"{n} {name}" for name, n in classes.most_common())
            _expect(clock.monotonic() < deadline, f"after {PATIENCE:.0f} s {classes[None]} licences are not classified")
            await clock.sleep(0.1)

    async def listed(self) -> str:
        packages = await self._all()
        _expect(len(packages) == self._found, f"{self._found} packages were found, but {len(packages)} are listed")
        self._package = next((one for one in packages if one["status"] == "pending"), packages[0])
        first = self._package
        return f"{len(packages)} packages; {first['name']} {first['release']} is {first['status']}, {first['licence']}"

    async def approve(self) -> str:
        """Only with the token; that is who approves."""
        approve, before = f"{self._path}/approve", "without the extra 'auth' everybody may: "
        if self._token:
            await self._problem(401, "POST", approve)
            before = "without a token: 401; with it "
        if self._package["status"] == "approved":
            reason = {"reason": "to approve it anew"} | ({} if self._token else {"rejected_by": DECIDER})
            await self._ask("POST", f"{self._path}/reject", json=reason, headers=self._token)
        headers = {"X-Correlation-ID": self._correlation_id} | self._token
        package = await self._ask("POST", approve, json=self._who, headers=headers)
        decided = (package["status"], package["decided_by"])
        _expect(decided == ("approved", DECIDER), f"its status is {decided[0]}, by {decided[1]}")
        twice = await self._problem(409, "POST", approve, json=self._who, headers=self._token)
        return f"{before}{package['name']} is approved by {decided[1]}; twice: 409 {twice['detail']}"

    async def history(self) -> str:
        entries = await self._ask("GET", f"{self._path}/history")
        mine = [one for one in entries if one["correlation_id"] == self._correlation_id]
        _expect(
            len(mine) == 1, f"{len(mine)} of its {len(entries)} audit rows carry the correlation id of the approval"
        )
        actor = mine[0]["actor"]
        _expect(actor == (DECIDER if self._token else None), f"the audit row of the approval names {actor}")
        by = f", that one by {actor}" if actor else ""
        return f"{len(entries)} audit rows: " + ", ".join(one["operation"] for one in entries) + by

    async def refused(self) -> str:
        """Bad requests are answered with a problem document that names the field, and write nothing."""
        before = await self._ask("GET", f"{self._path}/history")
        bad = {"approved_by": "", "role": "root"}
        wrong = await self._problem(422, "POST", f"{self._path}/approve", json=bad, headers=self._token)
        fields = [error["field"] for error in wrong.get("errors", ())]
        _expect(sorted(fields) == ["approved_by", "role"], f"the fields named are {fields}")
        await self._problem(
            400, "POST", f"{self._path}/approve", content='{"approved_by": ', headers=JSON | self._token
        )
        await self._problem(404, "GET", "/packages/no-such-package")
        _expect(await self._ask("GET", f"{self._path}/history") == before, "a refused request has written something")
        return f"422 names {', '.join(fields)}; malformed JSON 400; unknown id 404; nothing written"

    async def again(self) -> str:
        summary = await self._ask("POST", "/packages/scan", json=self._scan)
        changes = {kind: summary[kind] for kind in ("discovered", "updated", "removed") if summary[kind]}
        _expect(not changes, f"the second scan changed {changes}")
        return f"the second scan changed nothing: {_scanned(summary)}"

    async def metrics(self) -> str:
        """The page counts each kind of message; what was refused before it became one is not among them."""
        page = (await self._client.get("/metrics")).text
        counts = {name: int(float(n)) for name, n in re.findall(COUNTED, page, re.MULTILINE)}
        approvals = sum(n for name, n in counts.items() if name.endswith(".ApprovePackage"))
        _expect(approvals == APPROVALS, f"{approvals} approvals are counted, not {APPROVALS}")
        return f"/metrics counts {sum(counts.values())} messages, {approvals} of them ApprovePackage"

    @property
    def _path(self) -> str:
        return f"/packages/{self._package['id']}"

    async def _all(self) -> list[dict[str, Any]]:
        packages: list[dict[str, Any]] = []
        while True:
            page = await self._ask("GET", f"/packages?limit={PAGE}&offset={len(packages)}")
            packages += page
            if len(page) < PAGE:
                return packages

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        response = await self._client.request(method, path, **options)
        _expect(response.is_success, f"{method} {path} was answered with {response.status_code}: {response.text}")
        return response.json()

    async def _problem(self, status: int, method: str, path: str, **options: Any) -> Any:
        response = await self._client.request(method, path, **options)
        got = f"{response.status_code} {response.headers.get('content-type', '')}"
        _expect(
            got == f"{status} application/problem+json",
            f"{method} {path} should be {status}, not {got}: {response.text}",
        )
        return response.json()


JSON = {"content-type": "application/json"}
COUNTED = r'^uno_message_seconds_count\{message="([^"]+)"\} (\S+)$'
# The one that succeeds, and the one that is a conflict.
APPROVALS = 2


@contextmanager
def _data_folder(given: Path | None) -> Iterator[Path]:
    """The folder for the data; a private one is removed, with its server."""
    if given is not None:
        yield given.expanduser().absolute()
        return
    from uno.data import embedded

    folder = Path(tempfile.mkdtemp(prefix="uno-check-"))
    try:
        yield folder
    finally:
        embedded.stop(folder)
        shutil.rmtree(folder)


@asynccontextmanager
async def _serving(made: Demonstration, port: int) -> AsyncIterator[str]:
    """The URL of the demo, served beside us; where it stops before we let it, so do we."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    us, done = asyncio.current_task(), False

    def stopped(_server: object) -> None:
        if not done and us is not None:
            us.cancel()

    with closing(listen(HOST, port)) as sock:
        server = asyncio.create_task(serve(made.api, sock=sock, ready=ready.set_result))
        server.add_done_callback(stopped)
        try:
            yield await ready
        except (asyncio.CancelledError, Failed) as error:
            done = True
            if isinstance(error.__cause__, httpx2.TransportError):
                await asyncio.wait([server], timeout=5.0)  # it may be stopping, so look what becomes of it
            if server.done():
                server.result()  # raises what kept it from starting
                raise typer.Exit(INTERRUPTED) from None  # a signal stopped it
            raise
        finally:
            done = True
            server.cancel()
            await asyncio.wait([server])


def _expect(so: bool, otherwise: str) -> None:
    if not so:
        raise Failed(otherwise)


def _scanned(summary: dict[str, Any]) -> str:
    return ", ".join(f"{summary[kind]} {kind}" for kind in ("found", "discovered", "updated", "unchanged", "removed"))


def _ms_since(began: float) -> float:
    return round((clock.monotonic() - began) * 1000, 1)
