"""Collectors that answer for ever, a byte at a time, or with another address."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from uno.telemetry import OpenTelemetryExporter, Span, TraceContext
from uno.telemetry.otel_session import LONGEST

Answer = Callable[[socket.socket, threading.Event], None]
CHUNK = 65_536
DEADLINE = 20.0


def trace() -> TraceContext:
    made = TraceContext()
    made.spans.append(Span("work", made.trace_id))
    made.spans[0].end()
    return made


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """The endpoint of a server that answers every request with `answer`."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        def talk(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.recv(CHUNK)
                    answer(connection, over)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()


def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    sent: list[int] = []
    ended = threading.Event()

    def endless(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while not over.is_set() and sum(sent) < 1000 * CHUNK:
                connection.sendall(b"%x\r\n%s\r\n" % (CHUNK, b"a" * CHUNK))
                sent.append(CHUNK)
        finally:
            ended.set()

    with answering(endless) as endpoint:
        sending = OpenTelemetryExporter(endpoint, timeout=5.0, interval=0.01)
        sending.export(trace())
        assert sending.flush(DEADLINE)
        assert ended.wait(DEADLINE)
        sending.close()
    # What the system keeps for a connection comes on top.
    assert sum(sent) < LONGEST + 500 * CHUNK
    assert sending.dropped == 0


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_an_answer_that_comes_a_byte_at_a_time_is_late(head: bytes) -> None:
    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(head or b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not over.wait(0.02):
            connection.sendall(b"a")

    with answering(drip) as endpoint:
        sending = OpenTelemetryExporter(endpoint, timeout=0.3, interval=0.01)
        sending.export(trace())
        assert sending.flush(DEADLINE)
        assert sending.dropped == 1
        sending.close()
    assert "uno.otel" not in {thread.name for thread in threading.enumerate()}


def test_closing_ends_a_request_that_is_under_way() -> None:
    asked = threading.Event()

    def silent(_connection: socket.socket, over: threading.Event) -> None:
        asked.set()
        over.wait(DEADLINE)

    with answering(silent) as endpoint:
        sending = OpenTelemetryExporter(endpoint, timeout=600.0, interval=0.01)
        sending.export(trace())
        assert asked.wait(DEADLINE)
        sending.close(timeout=0.05)
        assert sending.flush(DEADLINE)
        assert sending.dropped == 1


@pytest.mark.parametrize("status", [302, 307])
def test_what_is_sent_elsewhere_is_not_delivered(status: int) -> None:
    def elsewhere(connection: socket.socket, _over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 %d x\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n" % status)

    with answering(elsewhere) as endpoint:
        sending = OpenTelemetryExporter(endpoint, timeout=5.0, interval=0.01)
        sending.export(trace())
        assert sending.flush(DEADLINE)
        sending.close()
    assert sending.dropped == 1


def test_the_password_of_an_endpoint_is_not_shown() -> None:
    assert "s3cret" not in repr(OpenTelemetryExporter("http://user:s3cret@collector:4318"))
