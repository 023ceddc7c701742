"""The cache that processes share over Redis, against a server that speaks Redis' protocol."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from cashews.backends.redis.backend import _UNLOCK
from fakeredis import TcpFakeServer
from pydantic import BaseModel
from redis import Redis
from tests.unit.steered import Steered

from uno import clock
from uno.aio import SharedCache
from uno.errors import Misconfigured, NotFound, Unavailable
from uno.result import Failure
from uno.telemetry.signals import signal_counts

# Seconds that an answer may take on a busy machine.
PATIENCE = 20.0
CROWD = 300
Make = Callable[..., SharedCache]


class Order(BaseModel):
    id: int
    lines: list[str] = []


@dataclass
class Server:
    url: str
    client: "Redis[bytes]"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    served = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    with Redis(port=served.server_address[1]) as client:
        # It hangs up after "no such script", which Redis does not.
        client.script_load(_UNLOCK.replace("\n", " "))
        yield Server(f"redis://127.0.0.1:{served.server_address[1]}/0", client)
    served.shutdown()
    served.server_close()
    thread.join()


@asynccontextmanager
async def making(server: Server) -> AsyncIterator[Make]:
    made: list[SharedCache] = []

    def make(ttl: float = 60.0, *args: Any, **options: Any) -> SharedCache:
        usual = {"name": "test", "timeout": PATIENCE, "jitter": 0}
        made.append(SharedCache(server.url, ttl, *args, **{**usual, **options}))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


@pytest.fixture
async def make(server: Server) -> AsyncIterator[Make]:
    """Each is the cache of another process."""
    server.client.flushall()
    async with making(server) as make:
        yield make


class Source:
    """Counts its loads; waits where it is told to, raises what it is told to."""

    def __init__(self, give: Callable[[int], Any] = lambda number: number) -> None:
        self.loads = 0
        self.error: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.began = asyncio.Event()
        self._give = give

    async def __call__(self, key: str) -> Any:
        self.loads += 1
        found = self._give(self.loads)
        self.began.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return found


class Time(Steered):
    """Moved by hand; who sleeps waits for real, as what answers is real, too."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def time() -> Iterator[Time]:
    with clock.use(Time()) as used:
        assert isinstance(used, Time)
        yield used


async def test_what_one_process_loaded_another_one_gets(make: Make) -> None:
    source = Source()
    assert [await cache.get("a", source) for cache in (make(), make(), make(name="other"))] == [1, 1, 2]


async def test_values_come_back_as_the_type_they_are_declared_as(make: Make) -> None:
    source = Source(lambda number: Order(id=number, lines=["x"]))
    one, two = make(of=Order), make(of=Order)
    assert [await one.get("a", source), await two.get("a", source)] == [Order(id=1, lines=["x"])] * 2
    orders = make(of=list[Order], name="lists")
    assert await orders.get("a", lambda key: [Order(id=1)]) == [Order(id=1)]
    assert await orders.get("a", lambda key: 0) == [Order(id=1)]


async def test_who_loads_gets_the_same_as_who_reads_it_later(make: Make) -> None:
    cache = make()
    assert [await cache.get("a", lambda key: {1: (2, 3)}) for _ in range(2)] == [{"1": [2, 3]}] * 2
    assert [await cache.get(key, lambda key: None) for key in "bb"] == [None, None]


async def test_a_value_of_another_type_is_refused(make: Make) -> None:
    with pytest.raises(Misconfigured, match="cannot store a dict"):
        await make(of=Order).get("a", lambda key: {"id": 1})
    with pytest.raises(Misconfigured, match="cannot store a object"):
        await make().get("a", lambda key: object())


async def test_what_another_version_of_the_program_stored_is_loaded_anew(make: Make, server: Server) -> None:
    await make().get("a", lambda key: "no order")
    assert await make(of=Order).get("a", lambda key: Order(id=7)) == Order(id=7)
    for rubbish in (b"", b"bytes:{", b"bytes:[]\n", b"17", b"bytes:[1,2,3,{},null,false]", b"\x80\x04."):
        server.client.set("uno:cache:test:value:a", rubbish)
        assert await make(of=Order).get("a", lambda key: Order(id=8)) == Order(id=8)


async def test_nothing_in_redis_is_ever_unpickled(make: Make, server: Server) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("it was unpickled",))

    import pickle

    await make().get("a", lambda key: 1)
    for name in server.client.keys("*"):
        server.client.set(name, pickle.dumps(Evil()))
    assert await make().get("a", lambda key: 2) == 2


async def test_many_in_two_processes_load_once(make: Make) -> None:
    one, two, source = make(), make(), Source()
    source.go.clear()
    callers = [asyncio.create_task(cache.get("a", source)) for cache in (one, two) for _ in range(CROWD // 2)]
    await source.began.wait()
    callers[0].cancel()
    source.go.set()
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [1] * (CROWD - 1)
    assert source.loads == 1


async def test_a_load_that_fails_is_tried_once_by_each_process(make: Make) -> None:
    one, two, source = make(), make(), Source()
    source.error = OSError("reset")
    callers = [asyncio.create_task(cache.get("a", source)) for cache in (one, two) for _ in range(20)]
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(one) for one in found} == {OSError}
    assert source.loads == 2
    source.error = None
    assert await one.get("a", source) == 3


async def test_a_process_that_dies_while_it_loads_is_waited_for_no_longer_than_its_lock(
    make: Make, server: Server
) -> None:
    server.client.set("uno:cache:test:lock:a", "of one that is gone", px=60_000)
    assert await make(lock_for=0.05).get("a", Source()) == 1
    assert server.client.get("uno:cache:test:lock:a") == b"of one that is gone"


async def test_it_expires_and_is_refreshed_before(make: Make, time: Time) -> None:
    cache, source = make(10.0, 2.0), Source()
    assert await cache.get("a", source) == 1
    time.passed += 9
    assert await cache.get("a", source) == 1
    while source.loads < 2 or len(cache._refreshes):
        await asyncio.sleep(0)
    assert await cache.get("a", source) == 2
    time.passed += 10
    assert await cache.get("a", source) == 3
    assert await cache.get("a", source, force_refresh=True) == 4


async def test_an_old_value_stands_in_while_loading_fails(make: Make, time: Time) -> None:
    one, two, source = make(10.0, stale_for=5.0), make(10.0, stale_for=5.0), Source()
    await one.get("a", source)
    source.error = Unavailable("away")
    time.passed += 12
    assert [await one.get("a", source), await two.get("a", source), source.loads] == [1, 1, 2]
    time.passed += 1
    assert [await two.get("a", source), source.loads] == [1, 3]
    time.passed += 2
    with pytest.raises(Unavailable, match="away"):
        await two.get("a", source)


async def test_a_failure_is_given_back_and_not_kept(make: Make, time: Time) -> None:
    cache = make(10.0)
    found: list[Any] = [Failure(Unavailable("away")), 1, Failure(Unavailable("away")), Failure(NotFound("order", 1)), 2]
    load = lambda key: found.pop(0)  # noqa: E731
    assert isinstance(await cache.get("a", load), Failure)
    assert await cache.get("a", load) == 1
    time.passed += 10
    assert await cache.get("a", load) == 1
    assert isinstance(await cache.get("a", load, force_refresh=True), Failure)
    assert await cache.get("a", load) == 2


async def test_that_there_is_nothing_is_remembered_where_that_is_wanted(make: Make, time: Time) -> None:
    one, two, source = make(10.0, negative_ttl=1.0), make(10.0, negative_ttl=1.0), Source()
    source.error = NotFound("order", "a")
    for cache in (one, two):
        with pytest.raises(NotFound) as raised:
            await cache.get("a", source)
        assert (raised.value.kind, raised.value.id) == ("order", "a")
    assert source.loads == 1
    time.passed += 1
    source.error = None
    assert await two.get("a", source) == 2


@pytest.mark.parametrize("tags", [["x"], lambda value: ["x"]])
@pytest.mark.parametrize("how", ["key", "tag", "all"])
async def test_what_another_process_invalidates_is_loaded_anew(make: Make, how: str, tags: Any) -> None:
    one, two, source = make(), make(), Source()
    assert [await one.get("a", source, tags=tags), await two.get("a", source, tags=tags)] == [1, 1]
    await {"key": lambda: two.invalidate("a"), "tag": lambda: two.invalidate_tags("x"), "all": two.clear}[how]()
    assert [await one.get("a", source, tags=tags), await two.get("a", source)] == [2, 2]
    # Invalidated while another process loads it: what that read before is not kept.
    source.go.clear()
    source.began.clear()
    loading = asyncio.create_task(one.get("a", source, force_refresh=True, tags=tags))
    await source.began.wait()
    await {"key": lambda: two.invalidate("a"), "tag": lambda: two.invalidate_tags("x"), "all": two.clear}[how]()
    source.go.set()
    assert await loading == 3
    assert await two.get("a", source, tags=tags) == 4


async def test_other_tags_and_keys_leave_it_alone(make: Make) -> None:
    one, two, source = make(), make(), Source()
    await one.get("a", source, tags=["x"])
    await two.invalidate_tags("y")
    await two.invalidate("b")
    assert await two.get("a", source, tags=["x"]) == 1


async def test_who_asks_after_an_invalidation_never_gets_what_was_there_before_it(make: Make) -> None:
    cache, version = make(of=list[int]), 0

    async def load(key: str) -> list[int]:
        return [version] * 200_000  # so much that reading it takes longer than forgetting it

    for turn in range(12):
        await cache.get("k", load)
        forgetting = asyncio.create_task(cache.invalidate("k"))
        for _ in range(turn % 4):
            await asyncio.sleep(0)
        early = asyncio.create_task(cache.get("k", load))
        version += 1
        await forgetting
        assert (await cache.get("k", load))[0] == version
        await early
        await cache.invalidate("k")


async def test_without_redis_values_are_loaded_and_to_invalidate_is_unavailable() -> None:
    before = signal_counts().get("cache.unreachable", 0)
    cache = SharedCache("redis://:secret@127.0.0.1:1/0", 60.0, name="away", timeout=0.2, of=int)
    source = Source()
    source.go.clear()
    callers = [asyncio.create_task(cache.get("a", source, tags=lambda value: ["x"])) for _ in range(20)]
    await source.began.wait()
    source.go.set()
    assert await asyncio.gather(*callers) == [1] * 20
    assert await cache.get("a", source) == 2
    assert signal_counts()["cache.unreachable"] > before
    for invalidate in (lambda: cache.invalidate("a"), lambda: cache.invalidate_tags("x"), cache.clear):
        with pytest.raises(Unavailable) as raised:
            await invalidate()
        assert "secret" not in repr(raised.value)
    source.error = Unavailable("away", retry_after=7)
    with pytest.raises(Unavailable) as raised:
        await cache.get("a", source)
    assert raised.value.retry_after == 7
    await cache.aclose()


def test_each_event_loop_has_its_own_connections(server: Server) -> None:
    server.client.flushall()
    cache, source = SharedCache(server.url, 60.0, name="loops", timeout=PATIENCE), Source()

    async def once() -> int:
        async with cache:
            return await cache.get("a", source)

    assert [asyncio.run(once()) for _ in range(3)] == [1, 1, 1]
    assert cache._store._clients == {}


async def test_closing_leaves_no_task(make: Make) -> None:
    cache, source = make(), Source()
    source.go.clear()
    waiting = asyncio.create_task(cache.get("a", source))
    await source.began.wait()
    await cache.aclose()
    with pytest.raises(Unavailable, match="cancelled"):
        await waiting
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "load test"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"url": "memcached://x:secret@y"}, "redis://"),
        ({"ttl": float("inf")}, "have an end"),
        ({"lock_for": 0}, "lock_for"),
        ({"name": "a:b"}, "without colons"),
        ({"name": None}, "without colons"),
        ({"timeout": "1"}, "timeout"),
        ({"load_timeout": None}, "load_timeout"),
    ],
)
def test_what_it_cannot_be_made_of_is_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(Misconfigured, match=says) as raised:
        SharedCache(**{"url": "redis://localhost", "ttl": 10.0, "name": "x", **wrong})
    assert "secret" not in str(raised.value)


async def test_a_key_is_text(make: Make) -> None:
    with pytest.raises(Misconfigured, match="cache_key"):
        await make().get(("a", 1), Source())  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="not its call"):
        await make().get("a", Source()("a"))  # type: ignore[arg-type]


def test_without_cashews_everything_else_works_and_one_sentence_says_what_to_install() -> None:
    program = """
import sys
sys.modules["cashews"] = None
import uno.aio
from uno.errors import Misconfigured
assert uno.aio.AsyncCache(60) and "SharedCache" not in dir(uno.aio)
try:
    uno.aio.SharedCache
except Misconfigured as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "A shared cache needs cashews: run `python -m pip install 'uno[cache]'`.\n", done.stderr
