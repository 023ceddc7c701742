"""SIGTERM in the middle of everything: nobody who was accepted is failed, and nothing is lost."""

import asyncio
import time

from tests.flows.aio.conftest import Line, Load, Start, counts, first_503, running

GRACE = 8.0


async def read_stream(port: int) -> bytes:
    """All of a stream of events, to its proper end."""
    line = await Line.to(port)
    line.writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    status, headers = await line.head()
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    got = await line.reader.read()
    line.close()
    return got


async def test_sigterm_under_load_with_running_jobs_and_an_open_stream(start: Start, url: str) -> None:
    process = start(
        *("uno.cli", "run", "served:api", "--port", "0", "--worker"),
        UNO_DB_URL=url,
        UNO_GRACE=str(GRACE),
        UNO_WORKER_CONCURRENCY="24",
    )
    port = int((await process.wait_for(r"Serving on http://127.0.0.1:(\d+)\n"))[1])
    stream = asyncio.create_task(read_stream(port))
    load = Load(port)
    loading = asyncio.create_task(load.run())
    # It keeps up with the load: readiness is to be measured, not a line at the door.
    while len(running(process.printed)) < 20 or load.sent < 600 or load.waiting > 60:
        await asyncio.sleep(0.1)
    assert not stream.done()
    assert load.sent < 10_000, "this machine is too slow for 200 requests/s"

    load.answers.clear()
    load.failed.clear()
    process.tell()
    told = time.monotonic()
    begun = running(process.printed)
    ready = await first_503(port)
    await loading
    got = await stream
    code = await process.exit_code(GRACE + 2)
    took = time.monotonic() - told
    answered = sum(load.answers.values())
    print(f"\n{answered} answered after the signal; 503 after {ready - told:.3f} s, end after {took:.2f} s")

    # Nobody who was accepted is failed.
    assert load.failed == []
    assert load.unheard == []
    assert set(load.answers) == {200}
    # Everybody is told.
    assert ready - told <= 1.0
    assert got.endswith(b"\r\n0\r\n\r\n")
    # What ran has finished, and the rest is still there.
    assert code == 0, process.printed
    assert took <= GRACE + 2
    assert len(begun) >= 20
    assert running(process.printed) == set()
    states = await counts(url)
    assert set(states) == {"ready", "done"}
    assert sum(states.values()) == len(load.placed)
    # In the reverse order: the work, the modules, the resources.
    assert process.printed.index("unloaded") < process.printed.index("cache closed")
