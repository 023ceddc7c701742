"""The server on a real socket: limits, ports, starting and stopping."""

import asyncio
import http.client
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from uno.api import asgi, listen, serve
from uno.app import App, Module, Route
from uno.bus import command_handler
from uno.errors import Unavailable
from uno.messages import Command
from uno.settings import ApiSettings, Settings

LIMIT = 100_000
SOURCES = Path(__file__).parents[2] / "src"


class StoreText(Command[int]):
    text: str = ""


class BreakText(Command[None]):
    pass


@command_handler(StoreText)
async def store(command: StoreText) -> int:
    return len(command.text)


@command_handler(BreakText)
async def break_text(command: BreakText) -> None:
    raise RuntimeError("hunter2")


class Noted(Module):
    """Remembers whether it is loaded."""

    def __init__(self) -> None:
        super().__init__(
            "texts",
            handlers=[store, break_text],
            routes=[Route(StoreText, path="/texts"), Route(BreakText, path="/broken")],
        )
        self.events: list[str] = []

    async def on_load(self) -> None:
        self.events.append("loaded")

    async def on_unload(self) -> None:
        self.events.append("unloaded")


def make_app(module: Module) -> App:
    return App(module, settings=Settings(api=ApiSettings(max_body_bytes=LIMIT)))


@asynccontextmanager
async def running(module: Module) -> AsyncIterator[int]:
    """The port of a server that runs inside the block."""
    urls: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(serve(asgi(make_app(module)), port=0, ready=urls.put_nowait))
    try:
        url = await asyncio.wait_for(urls.get(), 10)
        yield int(url.rpartition(":")[2])
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def answer(reader: asyncio.StreamReader) -> str:
    return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()


def post(path: str, headers: str) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n\r\n".encode()


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent() -> None:
    async with running(Noted()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/texts", f"Content-Length: {10_000_000}"))
        head = await answer(reader)
        assert head.startswith("HTTP/1.1 413 ")
        assert "application/problem+json" in head
        assert b"larger than 100000 bytes" in await asyncio.wait_for(reader.read(), 10)
        writer.close()


def exchange(port: int, body: Any) -> tuple[int, Any]:
    """As an ordinary client does it: the whole body first, then the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/texts", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.load(response)
    finally:
        connection.close()


@pytest.mark.parametrize("way", ["with a length", "in chunks"])
async def test_a_client_that_sends_its_whole_body_first_reads_why_it_is_refused(way: str) -> None:
    async with running(Noted()) as port:
        for _ in range(5):
            body = b" " * 10_000_000 if way == "with a length" else iter([b" " * 100_000] * 100)
            status, problem = await asyncio.to_thread(exchange, port, body)
            assert (status, problem["detail"]) == (413, "The body is larger than 100000 bytes.")


async def test_a_request_with_two_lengths_is_refused_and_its_connection_closed() -> None:
    async with running(Noted()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/texts", "Content-Length: 2\r\nTransfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n")
        writer.write(post("/texts", "Content-Length: 0"))
        assert (await answer(reader)).startswith("HTTP/1.1 400 ")
        assert b"HTTP/1.1" not in await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_a_body_in_chunks_is_read_no_further_than_the_limit() -> None:
    async with running(Noted()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/texts", "Transfer-Encoding: chunked"))
        piece = b"%x\r\n%s\r\n" % (10_000, b" " * 10_000)
        for _ in range(12):
            writer.write(piece)
        # No last chunk: who waits for the end of the body never answers.
        assert (await answer(reader)).startswith("HTTP/1.1 413 ")
        await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_a_body_in_chunks_below_the_limit_is_read() -> None:
    async with running(Noted()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/texts", "Transfer-Encoding: chunked\r\nX-Correlation-ID: mine"))
        writer.write(b'9\r\n{"text": \r\n6\r\n"abc"}\r\n0\r\n\r\n')
        head = await answer(reader)
        assert head.startswith("HTTP/1.1 200 ")
        assert "x-correlation-id: mine" in head.lower()
        assert await reader.readexactly(1) == b"3"
        writer.close()


async def test_a_client_that_goes_away_while_it_sends_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Noted()) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/texts", "Content-Length: 100") + b'{"text"')
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/texts", "Content-Length: 0"))
        assert (await answer(reader)).startswith("HTTP/1.1 200 ")
        writer.close()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def test_a_bug_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Noted()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post("/broken", "Content-Length: 0"))
        assert (await answer(reader)).startswith("HTTP/1.1 500 ")
        writer.close()
    assert [r.name for r in caplog.records if r.exc_info] == ["uno.api"]


# ── ports ──


async def test_a_free_port_is_chosen_and_told() -> None:
    sock = listen("127.0.0.1", 0)
    assert sock.getsockname()[1] > 0
    sock.close()


async def test_a_taken_port_is_one_sentence_before_anything_starts() -> None:
    module = Noted()
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable) as caught:
            await serve(asgi(make_app(module)), port=port)
    assert str(caught.value) == f"Cannot listen on 127.0.0.1:{port}: Address already in use; choose another port."
    assert module.events == []


async def test_a_host_of_another_machine_is_one_sentence() -> None:
    with pytest.raises(Unavailable, match=r"^Cannot listen on 192\.0\.2\.1:0: "):
        listen("192.0.2.1", 0)


# ── starting and stopping ──


async def test_the_application_starts_and_stops_with_the_server() -> None:
    module = Noted()
    async with running(module):
        assert module.events == ["loaded"]
    assert module.events == ["loaded", "unloaded"]


async def test_an_application_that_does_not_start_raises_its_own_error(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Module):
        async def on_load(self) -> None:
            raise Unavailable("The database does not answer.")

    sock = listen("127.0.0.1", 0)
    with pytest.raises(Unavailable, match=r"^The database does not answer\.$"):
        await serve(asgi(App(Broken("b"))), sock=sock)
    assert sock.fileno() == -1
    assert "Traceback" not in caplog.text


async def test_an_application_that_does_not_stop_properly_raises_its_error() -> None:
    @asynccontextmanager
    async def lifespan(_app: App) -> AsyncIterator[None]:
        yield
        raise Unavailable("The last word was not written.")

    task: asyncio.Task[None]

    def stop(_url: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    task = asyncio.create_task(serve(asgi(App(lifespan=lifespan)), port=0, ready=stop))
    with pytest.raises(Unavailable, match="last word"):
        await task


SLOW = """
import asyncio, sys
from uno.api import asgi, serve
from uno.app import App, Module
from fastapi import FastAPI

class Told(Module):
    async def on_unload(self):
        print("unloaded", flush=True)

api = asgi(App(Told("t")))

@api.get("/slow")
async def slow():
    print("working", flush=True)
    await asyncio.sleep(1)
    return "done"

asyncio.run(serve(api, port=0, ready=lambda url: print(url, flush=True)))
print("after", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_running_requests_finish_and_the_caller_go_on(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    assert process.stdout is not None
    line: Callable[[], Any] = process.stdout.readline
    try:
        port = int((await asyncio.to_thread(line)).rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await asyncio.to_thread(line) == "working\n"
        process.send_signal(number)
        assert (await answer(reader)).startswith("HTTP/1.1 200 ")
        writer.close()
        output = await asyncio.to_thread(process.stdout.read)
        assert output.split() == ["unloaded", "after"]
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_socket_of_ones_own_is_served() -> None:
    """As a supervisor hands it over."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        own.listen()

        async def once() -> str:
            urls: asyncio.Queue[str] = asyncio.Queue()
            task = asyncio.create_task(serve(asgi(make_app(Noted())), sock=own, ready=urls.put_nowait))
            url = await asyncio.wait_for(urls.get(), 10)
            task.cancel()
            await asyncio.wait([task])
            return url

        port = own.getsockname()[1]
        assert asyncio.run(once()) == f"http://127.0.0.1:{port}"
