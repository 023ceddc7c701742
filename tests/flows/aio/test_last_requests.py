"""Requests that arrive in the last moment before a process that was told to stop accepts nothing more."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.types import Receive, Scope, Send
from tests.flows.aio.conftest import Line, Process, Refused, Start, ask

from uno.aio import get_async_manager
from uno.api import listen
from uno.api.draining import Draining

APPLICATION = """
import asyncio

from uno.aio import get_async_manager
from uno.api import asgi
from uno.app import App
from uno.data.deadlines import run_commit

api = asgi(App())
manager = get_async_manager()


@api.get("/quick")
async def quick() -> str:
    return "done"


@api.get("/committing")
async def committing() -> str:
    await run_commit(commit())
    return "done"


async def commit() -> None:
    print("commit begins", flush=True)
    while manager.remaining() > 0:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.4)
    print("committed", flush=True)
"""
RUN = ("uno.cli", "run", "plain:api", "--port", "0")
UVICORN = ("uvicorn", "plain:api", "--port", "0")
SERVERS = pytest.mark.parametrize("command", [RUN, UVICORN])


@pytest.fixture
def plain(served: Path) -> Path:
    path = served / "plain.py"
    path.write_text(APPLICATION)
    return path


async def port_of(process: Process) -> int:
    return int((await process.wait_for(r"(?:on|running on) https?://127.0.0.1:(\d+)"))[1])


async def until_nobody_listens(port: int) -> None:
    while True:
        try:
            (await Line.to(port)).close()
        except Refused:
            return
        await asyncio.sleep(0.02)


@SERVERS
async def test_a_request_that_has_begun_to_arrive_on_a_used_connection_is_answered(
    start: Start, plain: Path, command: tuple[str, ...]
) -> None:
    process = start(*command)
    port = await port_of(process)
    line = await Line.to(port)
    assert (await line.ask("GET", "/quick"))[0] == 200
    line.writer.write(b"GET /quick HTTP/1.1\r\nHo")
    assert (await ask(port, "/quick"))[0] == 200
    process.tell()
    await until_nobody_listens(port)
    line.writer.write(b"st: x\r\n\r\n")
    status, headers = await line.head()
    assert (status, headers["connection"]) == (200, "close")
    line.close()
    assert await process.exit_code() == 0


@SERVERS
async def test_a_commit_at_the_end_of_the_grace_period_is_finished_and_its_client_told(
    start: Start, plain: Path, command: tuple[str, ...]
) -> None:
    process = start(*command, UNO_GRACE="1")
    port = await port_of(process)
    asking = asyncio.create_task(ask(port, "/committing"))
    await process.wait_for("commit begins")
    process.tell()
    status, body = await asking
    assert (status, "its commit was under way, and has succeeded" in body) == (504, True)
    assert await process.exit_code() == 0
    assert "committed" in process.printed
    assert "Traceback" not in process.printed


class Hurried(uvicorn.Server):
    """Told to stop in the moment in which some have connected, and before it has accepted them."""

    def __init__(self, port: int) -> None:
        super().__init__(uvicorn.Config(say_done, lifespan="off", log_config=None))
        self.port = port
        self.late: list[socket.socket] = []

    async def main_loop(self) -> None:
        for _ in range(3):
            self.late.append(socket.create_connection(("127.0.0.1", self.port), timeout=10))
            self.late[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await Draining(self, get_async_manager(), grace=10.0, linger=0.0).shutdown(sockets)


async def say_done(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"done"})


async def test_who_waits_to_be_accepted_when_nobody_listens_any_more_is_answered() -> None:
    with listen("127.0.0.1", 0) as sock:
        server = Hurried(sock.getsockname()[1])
        async with get_async_manager().running():
            await server.serve(sockets=[sock])
    for client in server.late:
        with client:
            assert client.recv(1_000).startswith(b"HTTP/1.1 200 OK")


# ── TLS ──


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """The files of a key and of its certificate."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = made.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1)).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (tmp_path / "key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (tmp_path / "certificate").write_bytes(signed.public_bytes(pem))
    return str(tmp_path / "key"), str(tmp_path / "certificate")


async def test_who_is_in_the_middle_of_a_handshake_is_answered(
    start: Start, plain: Path, certificate: tuple[str, str]
) -> None:
    key, signed = certificate
    process = start(*UVICORN, "--ssl-keyfile", key, "--ssl-certfile", signed)
    port = await port_of(process)
    trusting = ssl.create_default_context(cafile=signed)
    trusting.check_hostname = False
    line = await Line.to(port)
    process.tell()
    await until_nobody_listens(port)
    await line.writer.start_tls(trusting)
    assert (await line.ask("GET", "/quick"))[0] == 200
    line.close()
    assert await process.exit_code() == 0
