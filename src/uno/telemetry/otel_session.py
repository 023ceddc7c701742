"""The HTTP session to a collector: what a request may take in all, and what is read of an answer, is bounded.

Without this a collector that sends a byte now and then holds the exporter for ever (a timeout of `requests`
is for one read), and one that never stops sending fills the memory.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import ReadTimeout, TooManyRedirects
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

# Bytes of an answer; nobody looks at more than its status.
LONGEST = 65_536


class BoundedSession(Session):
    """Follows no redirect: a POST would become a GET, and the spans would be lost."""

    def __init__(self) -> None:
        super().__init__()
        self._adapter = _Bounded()
        self.mount("http://", self._adapter)
        self.mount("https://", self._adapter)

    def abort(self) -> None:
        """End the request that is under way on another thread."""
        self._adapter.line.cut()


class _Line:
    """The connection in use."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self.is_cut = False

    def use(self, connected: socket.socket | None) -> None:
        self._socket = connected
        if self.is_cut:
            self.cut()

    def cut(self) -> None:
        self.is_cut = True
        if self._socket is not None:
            try:
                # Unlike close, this wakes the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            except OSError:
                return  # it is gone already

    @contextmanager
    def at_most(self, seconds: float | None) -> Iterator[None]:
        self.is_cut = False
        timer = threading.Timer(seconds or 0.0, self.cut)
        timer.daemon = True
        try:
            if seconds:
                timer.start()
        except RuntimeError:  # the program ends, and begins no threads any more: closing the exporter cuts in time
            seconds = None
        try:
            yield
        finally:
            timer.cancel()


class _Bounded(HTTPAdapter):
    def __init__(self) -> None:
        self.line = _Line()
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _pools(self.line)

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        timeout = options.get("timeout")
        with self.line.at_most(timeout if isinstance(timeout, int | float) else None):
            try:
                response = super().send(request, *args, **{**options, "stream": True})
                response.raw = BytesIO(_beginning(response))
            except Exception as error:
                if self.line.is_cut:
                    raise ReadTimeout("the collector did not answer in time", request=request) from error
                raise
        if self.line.is_cut:
            raise ReadTimeout("the collector did not answer in time", request=request)
        if response.is_redirect or 300 <= response.status_code < 400:
            raise TooManyRedirects(f"the collector answers {response.status_code}", request=request, response=response)
        return response


def _beginning(response: Response) -> bytes:
    raw = response.raw
    try:
        read: bytes = raw.read(LONGEST + 1, decode_content=False)
    except BaseException:
        raw.close()
        raise
    if len(read) > LONGEST:
        # What is left would be read as the answer to the next request.
        raw.close()
    return read


def _pools(line: _Line) -> dict[str, type[HTTPConnectionPool]]:
    """Pools whose connections tell `line` which socket they use."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            line.use(self.sock)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            line.use(self.sock)

    plain = type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": Plain})
    secure = type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": Secure})
    return {"http": plain, "https": secure}
