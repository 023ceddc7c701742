"""Checks of web addresses and ports, against real sockets."""

import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from uno.errors import Invalid
from uno.health import HealthCheck, HealthStatus, create_callable_check, create_http_check, create_tcp_check

HEALTHY, UNHEALTHY = HealthStatus.HEALTHY, HealthStatus.UNHEALTHY


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append(self.path)  # type: ignore[attr-defined]
        self.send_response(int(self.path.rpartition("/")[2].partition("?")[0]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


def test_a_page_below_400_is_healthy_and_any_other_is_not(server: ThreadingHTTPServer) -> None:
    base = f"http://127.0.0.1:{server.server_port}"
    found = {code: create_http_check("api", f"{base}/{code}?full=1")() for code in (200, 204, 302, 404, 503)}
    assert [found[code].status for code in found] == [HEALTHY] * 3 + [UNHEALTHY] * 2
    assert (found[200].details, found[503].message) == ({"status_code": 200}, "127.0.0.1 answers 503")
    assert server.seen == [f"/{code}?full=1" for code in found]  # type: ignore[attr-defined]


def test_an_address_where_nobody_listens_is_unhealthy_and_says_why(closed_port: int) -> None:
    for check in (
        create_http_check("api", f"http://ada:hunter2@127.0.0.1:{closed_port}/"),
        create_tcp_check("db", "127.0.0.1", closed_port),
    ):
        result = check()
        assert result.status is UNHEALTHY
        assert "refused" in result.message
        assert "hunter2" not in result.message


def test_what_accepts_but_never_answers_is_unhealthy_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert create_tcp_check("db", "127.0.0.1", port)().status is HEALTHY
        result = create_http_check("api", f"http://127.0.0.1:{port}/", timeout=0.05)()
    assert (result.status, result.message) == (UNHEALTHY, "timed out")
    assert result.duration_ms >= 40


def test_what_answers_with_something_else_is_unhealthy() -> None:
    def say() -> None:
        with listening.accept()[0] as connection:
            connection.recv(1024)
            connection.sendall(b"220 mail.example.org\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=say)
        thread.start()
        result = create_http_check("api", f"http://127.0.0.1:{listening.getsockname()[1]}/")()
        thread.join()
    assert result.status is UNHEALTHY


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/", "localhost:8000", "http://", ""])
def test_an_address_that_is_none_of_the_web_is_refused_at_once(url: str) -> None:
    with pytest.raises(Invalid, match="http://"):
        create_http_check("api", url)


async def test_probes_are_asked_without_blocking_the_loop(server: ThreadingHTTPServer, closed_port: int) -> None:
    health = HealthCheck()
    health.add_check("api", create_http_check("api", f"http://127.0.0.1:{server.server_port}/200"))
    health.add_check("port", create_tcp_check("port", "127.0.0.1", server.server_port))
    health.add_check("gone", create_tcp_check("gone", "127.0.0.1", closed_port))
    report = await health.check_async()
    assert [one.status for one in report.checks] == [HEALTHY, HEALTHY, UNHEALTHY]


def test_a_probe_that_decides_liveness_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="uno.health"):
        HealthCheck().add_check("partner", create_tcp_check("partner", "127.0.0.1", 9), liveness=True)
    assert "'partner' decides liveness" in caplog.text


def test_a_callable_is_healthy_while_it_is_true() -> None:
    usage = iter([50, 95])
    check = create_callable_check("disk", lambda: next(usage) < 90, "Disk OK", "Disk full")
    for status, message in ((HEALTHY, "Disk OK"), (UNHEALTHY, "Disk full")):
        result = check()
        assert (result.name, result.status, result.message) == ("disk", status, message)
    assert check().message == "StopIteration"


async def test_an_async_callable_is_awaited() -> None:
    async def enough() -> bool:
        return False

    health = HealthCheck()
    health.add_check("disk", create_callable_check("disk", enough, "Disk OK", "Disk full"))
    [told] = (await health.check_async()).checks
    assert (told.status, told.message) == (UNHEALTHY, "Disk full")
