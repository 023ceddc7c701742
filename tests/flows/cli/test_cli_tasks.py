"""`uno tasks` and `uno resources`: real processes, asked over real sockets."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.flows.cli.conftest import Background, Uno, clean

from uno.security import JWTAuthProvider
from uno.settings import JWTSettings

KEY = "k" * 40

BUSY = """
import asyncio
from contextlib import asynccontextmanager

from uno.aio import RestartPolicy, TaskGroup, get_resource_registry, get_task_manager
from uno.api import JWTAuthProvider, asgi
from uno.app import App


async def sends_mail():
    await asyncio.Event().wait()


async def breaks():
    raise ValueError("broken")


@asynccontextmanager
async def life(app):
    get_task_manager().create_task(sends_mail, "mailer")
    policy = RestartPolicy(base_delay=60, jitter=False)
    get_task_manager().create_task(breaks, "flaky", group="flaky", restart=policy)
    get_resource_registry().breaker("payments")
    async with TaskGroup("orders") as group:
        charging = group.create_task(sends_mail(), name="charging \\x1b[31mtoken=hunter2")
        yield
        charging.cancel()


def app():
    return App(lifespan=life)


def guarded():
    return App(lifespan=life, auth=JWTAuthProvider())


def api():
    return asgi(app())
"""


@pytest.fixture
def busy(tmp_path: Path) -> str:
    (tmp_path / "busy.py").write_text(BUSY)
    return "busy:app"


def url_of(running: Any) -> str:
    return str(running.wait_for(r"Serving on (\S+)")[1])


def test_the_tree_of_a_running_process_is_printed(uno: Uno, background: Background, busy: str) -> None:
    with background("run", busy, "--port", "0", UNO_API_MANAGEMENT="open", UNO_GRACE="0") as running:
        url = url_of(running)
        done = uno("tasks", url)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Process {running.process.pid}, running for ")
        assert "hunter2" not in done.stdout
        assert "\x1b" not in done.stdout
        lines = done.stdout.splitlines()
        [orders] = [n for n, line in enumerate(lines) if re.search(r"▾ orders \(1 task, [\d.]+ s, opened at", line)]
        pattern = (
            r"    charging \\x1b\[31mtoken=\*\*\*  waiting, [\d.]+ s, at busy.py:\d+ in sends_mail, made at busy.py"
        )
        assert re.match(pattern, lines[orders + 1])
        assert re.search(r"▾ background \(1 task", done.stdout)
        flaky = r"^ +flaky  restarting, .* at busy.py:\d+ in breaks, .*, started again 1 time, ValueError\('broken'\)$"
        assert re.search(flaky, done.stdout, re.MULTILINE)

        told = json.loads(uno("tasks", url, "--json").stdout)
        assert told["pid"] == running.process.pid
        assert uno("tasks", f"{url.removeprefix('http://')}/management/tasks").returncode == 0
        by_default = uno("tasks", UNO_API_PORT=url.rpartition(":")[2], UNO_API_HOST="0.0.0.0")
        assert by_default.returncode == 0, by_default.stderr
        assert re.search(r"payments\s+CircuitBreaker\s+healthy\s+state=closed", uno("resources", url).stdout)
        # No proxy is asked for what is on this machine.
        assert uno("tasks", url, HTTP_PROXY="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1").returncode == 0


def test_a_closed_page_says_how_it_is_opened(uno: Uno, background: Background, busy: str) -> None:
    with background("run", busy, "--port", "0", UNO_GRACE="0") as running:
        for command in ("tasks", "resources"):
            done = uno(command, url_of(running))
            assert (done.returncode, done.stdout) == (1, "")
            assert "it is closed. The process opens it when it is started with UNO_API_MANAGEMENT" in done.stderr


async def test_a_token_is_read_from_the_environment(uno: Uno, background: Background, busy: str) -> None:
    provider = JWTAuthProvider(JWTSettings(secret_key=KEY))
    variables = {"UNO_JWT_SECRET_KEY": KEY, "UNO_API_MANAGEMENT": "ops:read", "UNO_GRACE": "0"}
    token = await provider.create_token({"sub": "ada", "permissions": ["ops:read"]})
    poor = await provider.create_token({"sub": "bob", "permissions": ["other"]})
    with background("run", "busy:guarded", "--port", "0", **variables) as running:
        url = url_of(running)
        for given, code, sentence in (
            (token, 0, ""),
            ("", 1, "wants to know who asks: put a token into the environment variable UNO_TOKEN"),
            ("nonsense", 1, "does not accept the token in UNO_TOKEN"),
            (poor, 1, "the permission is missing"),
            ("two words", 1, "What is in UNO_TOKEN is no token"),
        ):
            done = uno("tasks", url, UNO_TOKEN=given)
            assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr
            assert not given or given not in done.stderr
            assert len(done.stderr.splitlines()) == code


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """Something that listens, and answers whatever it is asked with `reply`."""

    def serve() -> None:
        try:
            line, _ = server.accept()
        except OSError:  # nobody came
            return
        with line:
            line.recv(10_000)
            line.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def http(status: str, body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (http("200 OK", b"<html>", "text/html"), "is not a process of uno; check the URL"),
        (http("200 OK", b'{"tasks": 5}'), "is not a process of uno"),
        (http("200 OK", b"[" * 100_000), "is not a process of uno"),
        (http("404 Not Found", b"nothing", "text/plain"), "is not a process of uno (it answers 404)"),
        (http("302 Found", b"", "text/plain"), "is not a process of uno (it answers 302)"),
        (http("500 Oh", b"", "text/plain"), "answers with an error of its own, 500; its log says more"),
        (b"220 mail.example.org ESMTP\r\n", "gave no answer that can be read"),
        (b"", "gave no answer that can be read"),
    ],
)
def test_what_is_not_uno_is_told_in_one_sentence(uno: Uno, reply: bytes, sentence: str) -> None:
    with answering(reply) as url:
        done = uno("tasks", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("127.0.0.1:1", "Nothing answers at http://127.0.0.1:1/management/tasks"),
        ("http://ada:hunter2@127.0.0.1:1", "Leave name and password out of the URL"),
        ("ftp://127.0.0.1", "is no URL of a server"),
        ("http://", "is no URL of a server"),
        ("http://[::1", "is no URL"),
        (None, "UNO_API_PORT is 0"),
    ],
)
def test_where_nothing_can_answer_it_says_so(uno: Uno, url: str | None, sentence: str) -> None:
    done = uno("tasks", *([] if url is None else [url]), UNO_API_PORT="0")
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert "hunter2" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_is_watched_until_it_is_interrupted(background: Background, busy: str, tmp_path: Path) -> None:
    with background("run", busy, "--port", "0", UNO_API_MANAGEMENT="open", UNO_GRACE="0") as running:
        command = [sys.executable, "-m", "uno.cli", "tasks", url_of(running), "--watch", "0.1"]
        with subprocess.Popen(command, cwd=tmp_path, env=clean({}), stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            seen = 0
            while seen < 3:
                seen += watching.stdout.readline().startswith("Process ")
            watching.send_signal(signal.SIGINT)
            watching.stdout.read()
        assert watching.returncode == 130


def test_one_of_several_processes_says_which_it_is(uno: Uno, tmp_path: Path, busy: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "busy:api", "--factory", "--port", port, "--workers", "2"]
    variables = clean({"UNO_API_MANAGEMENT": "open", "UNO_GRACE": "0"})
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=log, stderr=log)
    try:
        done = uno("tasks", f"127.0.0.1:{port}")
        while done.returncode:
            assert process.poll() is None
            done = uno("tasks", f"127.0.0.1:{port}")
        pid = int(re.match(r"Process (\d+),", done.stdout)[1])  # type: ignore[index]
        assert pid != process.pid
        os.kill(pid, 0)
    finally:
        process.terminate()
        process.wait(60)
