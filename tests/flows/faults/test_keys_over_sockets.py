"""Resources served by a process of their own: the same request many times at once, each on its own connection.

300 keys, or as many as `UNO_TEST_KEYS` says.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from tests.flows.test_idempotent_requests import served

KEYS = int(os.environ.get("UNO_TEST_KEYS", "300"))
TIMES, AT_ONCE = 20, 4
POST = (
    b"POST /items HTTP/1.1\r\nHost: depot\r\nContent-Type: application/json\r\n"
    b"Idempotency-Key: key %d\r\nContent-Length: %d\r\n\r\n%s"
)
Reply = tuple[int, dict[bytes, bytes], bytes]


class Line:
    """A connection that stays; clients that can do more take most of the time of such a test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def post(self, n: int) -> Reply:
        body = b'{"sku": "S-%d", "stock": %d}' % (n, n)
        self._writer.write(POST % (n, len(body), body))
        first, *rest = (await self._reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        headers = {name.lower(): value for name, _, value in (one.partition(b": ") for one in rest)}
        return int(first.split()[1]), headers, await self._reader.readexactly(int(headers[b"content-length"]))

    async def once(self, n: int, answered: asyncio.Event, ends: Counter[int]) -> Reply:
        """Later, where it is in hand: when the first has been answered."""
        while True:
            reply = await self.post(n)
            ends[reply[0]] += 1
            if reply[0] != 409:
                answered.set()
                return reply
            assert int(reply[1][b"retry-after"]) >= 1
            await answered.wait()


@asynccontextmanager
async def lines(port: int) -> AsyncIterator[list[Line]]:
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(TIMES)]
    try:
        yield [Line(reader, writer) for reader, writer in opened]
    finally:
        for _, writer in opened:
            writer.close()


async def test_keys_twenty_times_each_have_one_row_one_audit_row_and_one_answer(
    postgresql: str, tmp_path: Path
) -> None:
    ends: Counter[int] = Counter()

    async def several(port: int, keys: range) -> None:
        async with lines(port) as all_lines:
            for n in keys:
                answered = asyncio.Event()
                found = await asyncio.gather(*(line.once(n, answered, ends) for line in all_lines))
                replayed = Counter(headers.get(b"idempotency-replayed") for _, headers, _ in found)
                assert replayed == {None: 1, b"true": TIMES - 1}
                [(status, _, _, body)] = {
                    (status, headers[b"location"], headers[b"etag"], body) for status, headers, body in found
                }
                assert (status, b'"sku":"S-%d"' % n in body) == (201, True)

    async with served(tmp_path, postgresql, "tests.flows.faults.depot:served") as client:
        port = urlsplit(str(client.http.base_url)).port
        assert port is not None
        async with asyncio.TaskGroup() as group:
            for first in range(AT_ONCE):
                group.create_task(several(port, range(first, KEYS, AT_ONCE)))
    print(f"{KEYS} keys, {TIMES} times each, over sockets: {dict(ends)}")
    admin = await asyncpg.connect(postgresql)
    try:
        for table in ("depot_items", "uno_audit", "uno_idempotency"):
            assert await admin.fetchval(f"SELECT count(*) FROM {table}") == KEYS
    finally:
        await admin.close()
