"""Sends requests over a few kept connections, one at a time on each, and counts the answers.

`wrk` does it where it is installed; otherwise this module, in a process of its own. In a request `@turn@` is how
often it has been sent, counted from 1, and `@number@` the same with six digits.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import count
from time import monotonic

CONNECTIONS = 8
TURN, NUMBER = "@turn@", "@number@"
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
# wrk asks for one request before it begins, and does not send it.
_LUA = """
local requests = {%s}
local n = -2
request = function()
    n = n + 1
    local text = requests[n %% #requests + 1]
    if not text:find("@turn@", 1, true) then return text end
    local turn = math.floor(n / #requests) + 1
    return (text:gsub("@turn@", turn):gsub("@number@", 100000 + turn))
end
done = function(summary)
    local e = summary.errors
    local bad = e.connect + e.read + e.write + e.status + e.timeout
    io.write(string.format("\\ncounted %%d %%d %%d\\n", summary.requests, bad, summary.duration))
end
"""


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: object) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def patch(path: str, turn: str, body: str) -> bytes:
    """Of what has this version; `body` is as long as its `@number@`."""
    head = f'PATCH {path} HTTP/1.1\r\nHost: localhost\r\nIf-Match: "{turn}"\r\nContent-Type: application/json\r\n'
    length = len(body.replace(NUMBER, "100000"))
    return f"{head}Content-Length: {length}\r\n\r\n{body}".encode()


def filled(request: bytes, turn: int) -> bytes:
    """What is sent for the `turn`th time."""
    return request.replace(TURN.encode(), b"%d" % turn).replace(NUMBER.encode(), b"%d" % (100_000 + turn))


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "benchmarks/load.py"


def send(port: int, requests: Sequence[bytes], seconds: float) -> tuple[int, float]:
    """How many requests were answered, in how many seconds. Raises if any answer was not 2xx."""
    count, bad, took = (_wrk if shutil.which("wrk") else _own)(port, requests, seconds)
    if bad:
        raise RuntimeError(f"{bad} of {count} answers were errors.")
    return count, took


def _wrk(port: int, requests: Sequence[bytes], seconds: float) -> tuple[int, int, float]:
    texts = ",\n".join(json.dumps(one.decode()) for one in requests)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_LUA % texts)
        script.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "-s", script.name]
        done = subprocess.run([*command, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    count, bad, took = re.search(r"counted (\d+) (\d+) (\d+)", done.stdout).groups()
    return int(count), int(bad), int(took) / 1e6


def _own(port: int, requests: Sequence[bytes], seconds: float) -> tuple[int, int, float]:
    command = [sys.executable, "-m", "benchmarks.load", str(port), str(seconds)]
    given = json.dumps([one.decode() for one in requests])
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    count, bad, took = json.loads(done.stdout)
    return count, bad, took


class _Client(asyncio.Protocol):
    """One connection: sends the next request when the answer to the last one is complete."""

    def __init__(self, requests: Iterator[bytes], until: float) -> None:
        self._requests = requests
        self._until = until
        self._got = b""
        self.count = self.bad = 0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._got, 0, end + 4)
        if len(self._got) - end - 4 < int(length[1] if length else 0):
            return
        self.count += 1
        self.bad += self._got[9:10] != b"2"
        self._got = b""
        if monotonic() < self._until:
            self._transport.write(next(self._requests))
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.bad += error is not None
        self.closed.set_result(None)


def _endless(requests: Sequence[bytes]) -> Iterator[bytes]:
    for turn in count(1):
        for request in requests:
            yield filled(request, turn)


async def _load(port: int, requests: Sequence[bytes], seconds: float) -> tuple[int, int, float]:
    loop, started = asyncio.get_running_loop(), monotonic()
    clients: list[_Client] = []
    endless = _endless(requests)
    for _ in range(CONNECTIONS):
        made = await loop.create_connection(lambda: _Client(endless, started + seconds), "127.0.0.1", port)
        clients.append(made[1])
    await asyncio.gather(*(client.closed for client in clients))
    return sum(c.count for c in clients), sum(c.bad for c in clients), monotonic() - started


def _main() -> None:
    import uvloop

    requests = [one.encode() for one in json.load(sys.stdin)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(_load(int(sys.argv[1]), requests, float(sys.argv[2])))))


if __name__ == "__main__":
    _main()
