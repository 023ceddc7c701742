"""Processes that are told to stop: by one signal and by two, early and late, under uvicorn alone, as workers."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.flows.aio.conftest import Line, Load, Refused, Start, ask, counts, first_503, running

RUN = ("uno.cli", "run", "served:api", "--port", "0")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PLAIN = """
import asyncio

from uno.api import asgi
from uno.app import App, Module


class Slow(Module):
    async def on_load(self):
        print("loading", flush=True)
        await asyncio.sleep(LOAD)

    async def on_unload(self):
        print("unloading", flush=True)
        await asyncio.sleep(UNLOAD)
        print("unloaded", flush=True)


api = asgi(App(Slow("slow")))


@api.get("/slow")
async def slow() -> str:
    print("slow begins", flush=True)
    await asyncio.sleep(60)
    return "done"
"""


STUBBORN = """
import time

@api.get("/deaf")
async def deaf() -> None:
    print("stubborn", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

@api.get("/blocking")
async def blocking() -> None:
    print("stubborn", flush=True)
    time.sleep(60)

@api.get("/in_a_thread")
def in_a_thread() -> None:
    print("stubborn", flush=True)
    time.sleep(60)
"""


STUBBORN_PROGRAM = """
import asyncio
import time

from uno.aio import get_async_manager, in_thread, run_application


async def deaf():
    print("stubborn", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass


async def blocking():
    print("stubborn", flush=True)
    time.sleep(60)


def work():
    print("stubborn", flush=True)
    time.sleep(60)


async def in_a_thread():
    def in_a_thread():
        work()
    await in_thread(in_a_thread)


async def startup():
    get_async_manager().create_task(STUBBORN())


asyncio.run(run_application(startup, grace=0.5))
"""


@pytest.fixture
def plain(served: Path) -> Path:
    """An application without a database that starts and stops at once."""
    return write(served)


def write(folder: Path, *, load: float = 0, unload: float = 0) -> Path:
    path = folder / "plain.py"
    path.write_text(PLAIN.replace("UNLOAD", str(unload)).replace("LOAD", str(load)))
    return path


def handled(process: int) -> set[int]:
    """The signals for which a process has handlers: what it has none for, the one with the number 1 never gets."""
    mask = int(re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{process}/status").read_text())[1], 16)  # type: ignore[index]
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


# ── the second signal, and what does not end ──


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_second_signal_ends_it_at_once(start: Start, plain: Path, number: int) -> None:
    process = start("uno.cli", "run", "plain:api", "--port", "0", UNO_GRACE="60")
    port = int((await process.wait_for(r"Serving on http://127.0.0.1:(\d+)\n"))[1])
    asking = asyncio.create_task(ask(port, "/slow"))
    await process.wait_for("slow begins")
    process.tell(number)
    await first_503(port)
    process.tell(signal.SIGTERM)
    assert await process.exit_code() == 128 + signal.SIGTERM
    assert "told a second time" in process.printed
    assert "unloading" not in process.printed
    found = (await asyncio.gather(asking, return_exceptions=True))[0]
    assert isinstance(found, OSError | asyncio.IncompleteReadError)


async def test_at_the_end_of_the_grace_period_a_request_is_answered_with_503(start: Start, plain: Path) -> None:
    process = start("uno.cli", "run", "plain:api", "--port", "0", UNO_GRACE="1")
    port = int((await process.wait_for(r"Serving on http://127.0.0.1:(\d+)\n"))[1])
    asking = asyncio.create_task(ask(port, "/slow"))
    await process.wait_for("slow begins")
    process.tell()
    status, body = await asking
    assert (status, "The server stops" in body) == (503, True)
    assert await process.exit_code() == 0
    assert "requests were cancelled at the end of the grace period" in process.printed
    assert "Traceback" not in process.printed
    assert "unloaded" in process.printed


async def test_an_application_that_does_not_stop_is_left_behind_with_the_line_at_which_it_waits(
    start: Start, served: Path
) -> None:
    write(served, unload=60)
    process = start("uno.cli", "run", "plain:api", "--port", "0", UNO_GRACE="0.2")
    await process.wait_for("Serving on")
    process.tell()
    assert await process.exit_code() == 1
    assert "unloading" in process.printed
    assert re.search(
        r"The application did not stop within 0\.2 s of grace; it waits at .*plain\.py:\d+ in Slow\.on_unload",
        process.printed,
    )


@pytest.mark.parametrize("command", ["uno.cli run plain:api --port 0", "uvicorn plain:api --port 0"])
@pytest.mark.parametrize("stubborn", ["deaf", "blocking", "in_a_thread"])
async def test_whatever_does_not_end_is_ended_after_the_grace_period(
    start: Start, plain: Path, command: str, stubborn: str
) -> None:
    plain.write_text(plain.read_text() + STUBBORN)
    process = start(*command.split(), UNO_GRACE="0.5")
    port = int((await process.wait_for(r"on http://127.0.0.1:(\d+)\s"))[1])
    asking = asyncio.create_task(ask(port, f"/{stubborn}"))
    await process.wait_for("stubborn")
    process.tell()
    assert await process.exit_code() == 1
    # The stacks of its threads say where.
    assert "Timeout (0:00:02.5" in process.printed
    assert stubborn == "deaf" or f"in {stubborn}" in process.printed
    await asyncio.gather(asking, return_exceptions=True)


@pytest.mark.parametrize("stubborn", ["deaf", "blocking", "in_a_thread"])
async def test_so_is_a_program(start: Start, served: Path, stubborn: str) -> None:
    (served / "program.py").write_text(STUBBORN_PROGRAM.replace("STUBBORN", stubborn))
    process = start("program")
    await process.wait_for("stubborn")
    process.tell()
    assert await process.exit_code() == 1
    assert "Timeout (0:00:02.5" in process.printed
    assert stubborn == "deaf" or f"in {stubborn}" in process.printed


MANAGED = """
import asyncio
from contextlib import asynccontextmanager

from fastapi import FastAPI
from uno.api import setup_resource_management


@asynccontextmanager
async def lifespan(app):
    print("loading", flush=True)
    await asyncio.sleep(60)
    yield


api = FastAPI(lifespan=lifespan)
setup_resource_management(api)
"""


@pytest.mark.parametrize(
    ("command", "source"),
    [
        (("uno.cli", "run"), None),
        (("uvicorn",), None),
        (("uvicorn", "--workers", 2), None),
        (("uvicorn",), MANAGED),
    ],
)
async def test_a_signal_while_it_starts_stops_the_start(
    start: Start, served: Path, command: tuple[object, ...], source: str | None
) -> None:
    path = write(served, load=60)
    if source is not None:
        path.write_text(source)
    process = start(*command, "plain:api", "--port", "0")
    await process.wait_for("(?s)" + "loading.*" * (2 if "--workers" in command else 1))
    process.tell()
    assert await process.exit_code() == 0, process.printed
    assert "Serving on" not in process.printed
    assert "Traceback" not in process.printed


async def test_a_signal_before_it_starts_under_uvicorn_alone_is_obeyed(start: Start, plain: Path) -> None:
    plain.write_text("import os, signal\n\nos.kill(os.getpid(), signal.SIGTERM)\n" + plain.read_text())
    (plain.parent / "late.py").write_text("def api():\n    import plain\n\n    return plain.api\n")
    process = start("uvicorn", "--factory", "late:api", "--port", "0")
    assert await process.exit_code() == 0, process.printed
    assert "loading" not in process.printed


def as_number_one() -> tuple[str, ...]:
    """What runs a command as the process with the number 1 of a container; nothing where the machine permits none."""
    for rights in (), ("--user", "--map-root-user"):
        way = ("unshare", *rights, "--pid", "--fork", "--kill-child")
        if shutil.which(way[0]) and subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
            return way
    return ()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["uno.cli run plain:api --port 0", "uvicorn plain:api --port 0", "program"])
async def test_with_the_number_1_it_stops_as_otherwise_since_it_handles_the_signals_itself(
    start: Start, plain: Path, command: str, number: int
) -> None:
    (plain.parent / "program.py").write_text(PROGRAM.replace("WAIT", "pass"))
    before = as_number_one()
    process = start(*command.split(), before=before)
    await process.wait_for("on http|started")
    pid = process.running.pid
    if before:
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        assert re.search(r"NSpid:.*\s1$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    # What it has no handlers for, a process with the number 1 never gets; so this says it everywhere.
    assert set(SIGNALS) <= handled(pid)
    os.kill(pid, number)
    assert await process.exit_code() == 0, process.printed
    assert "unloaded" in process.printed or "closed" in process.printed


# ── clients ──


async def test_a_client_that_goes_away_cancels_its_handler(start: Start, url: str) -> None:
    process = start(*RUN, UNO_DB_URL=url)
    port = int((await process.wait_for(r"Serving on http://127.0.0.1:(\d+)\n"))[1])
    line = await Line.to(port)
    line.writer.write(b"GET /slow?seconds=60 HTTP/1.1\r\nHost: x\r\n\r\n")
    await process.wait_for("slow begins")
    line.close()
    await process.wait_for("slow was cancelled")
    assert (await ask(port, "/slow?seconds=0"))[0] == 200
    process.tell()
    assert await process.exit_code() == 0
    assert "Traceback" not in process.printed


async def test_whoever_asks_again_on_an_open_connection_is_told_that_it_closes(start: Start, plain: Path) -> None:
    process = start("uno.cli", "run", "plain:api", "--port", "0")
    port = int((await process.wait_for(r"Serving on http://127.0.0.1:(\d+)\n"))[1])
    line = await Line.to(port)
    _, headers, _ = await line.ask("GET", "/health/live")
    assert "connection" not in headers
    process.tell()
    await first_503(port)
    status, headers, _ = await line.ask("GET", "/health/live")
    assert (status, headers["connection"]) == (200, "close")
    assert await line.reader.read() == b""
    line.close()
    assert await process.exit_code() == 0
    with pytest.raises(Refused):
        await Line.to(port)


# ── uvicorn alone ──


@pytest.mark.parametrize("workers", [1, 2])
async def test_under_uvicorn_alone_nobody_who_was_accepted_is_failed(start: Start, url: str, workers: int) -> None:
    command = ("uvicorn", "served:api", "--port", "0", "--workers", workers)
    process = start(*command, UNO_DB_URL=url)
    port = int((await process.wait_for(r"running on http://127.0.0.1:(\d+) "))[1])
    for _ in range(workers):
        await process.wait_for("(?s)" + "Application startup complete.*" * workers)
    load = Load(port, rate=50.0)
    loading = asyncio.create_task(load.run())
    while load.sent < 50:
        await asyncio.sleep(0.02)
    told = time.monotonic()
    process.tell()
    await first_503(port)
    # It goes on until nobody listens any more.
    code = await process.exit_code()
    await loading
    assert (code, load.failed, set(load.answers)) == (0, [], {200})
    # The parent holds the port open, and with several workers nobody else can close it: who knocks after the linger is
    # reset.
    assert [asked for asked in load.unheard if workers == 1 or asked < told + 1.0] == []
    assert len(re.findall("cache closed", process.printed)) == workers
    assert "Traceback" not in process.printed


# ── workers ──


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_worker_finishes_what_it_can_and_gives_back_the_rest(start: Start, url: str, number: int) -> None:
    serving = start(*RUN, UNO_DB_URL=url)
    port = int((await serving.wait_for(r"Serving on http://127.0.0.1:(\d+)\n"))[1])
    line = await Line.to(port)
    for order in ("short", "endless"):
        assert (await line.ask("POST", "/orders", f'{{"order_id": "{order}"}}'))[0] == 200
    line.close()
    serving.tell()
    assert await serving.exit_code() == 0
    working = start("uno.cli", "worker", "served:app", UNO_DB_URL=url, UNO_GRACE="4")
    await working.wait_for(r"\+short")
    await working.wait_for(r"\+endless")
    assert set(SIGNALS) <= handled(working.running.pid)
    working.tell(number)
    assert await working.exit_code() == 0, working.printed
    assert running(working.printed) == {"endless"}
    assert await counts(url) == {"ready": 1, "done": 1}
    assert "cache closed" in working.printed


async def test_a_worker_that_is_told_while_it_starts_takes_nothing(start: Start, url: str, served: Path) -> None:
    source = (served / "served.py").read_text()
    (served / "served.py").write_text(
        source.replace("    async def on_load(self) -> None:\n", "    async def on_load(self) -> None:\n"
                       '        print("loading", flush=True)\n        await asyncio.sleep(1)\n')
    )  # fmt: skip
    working = start("uno.cli", "worker", "served:app", UNO_DB_URL=url)
    await working.wait_for("loading")
    working.tell()
    assert await working.exit_code() == 0, working.printed


# ── programs ──

PROGRAM = """
import asyncio
from uno.aio import get_async_manager, run_application

manager = get_async_manager()


async def startup():
    manager.create_task(tick(), name="tick")
    await manager.register_resource(Closing(), "thing")
    print("started", flush=True)
    WAIT


async def tick():
    while not manager.is_shutting_down():
        await asyncio.sleep(0.01)
    print("ticked", flush=True)


async def cleanup():
    print("cleaned", flush=True)


class Closing:
    async def close(self):
        print("closed", flush=True)


asyncio.run(run_application(startup_func=startup, cleanup_func=cleanup))
"""


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("wait", ["pass", "await asyncio.sleep(60)", "manager.request_shutdown()"])
async def test_a_program_runs_until_it_is_told(start: Start, served: Path, number: int, wait: str) -> None:
    (served / "program.py").write_text(PROGRAM.replace("WAIT", wait))
    process = start("program")
    await process.wait_for("started")
    if "request" not in wait:
        assert set(SIGNALS) <= handled(process.running.pid)
        process.tell(number)
    assert await process.exit_code() == 0, process.printed
    assert [line for line in process.printed.splitlines() if "{" not in line][:4] == [
        "started", "ticked", "cleaned", "closed",
    ]  # fmt: skip


async def test_its_grace_may_be_without_end(start: Start, served: Path) -> None:
    endless = PROGRAM.replace("cleanup_func=cleanup", "cleanup_func=cleanup, grace=float('inf')")
    (served / "program.py").write_text(endless.replace("WAIT", "pass"))
    process = start("program")
    await process.wait_for("started")
    process.tell()
    assert await process.exit_code() == 0, process.printed
    assert "closed" in process.printed
