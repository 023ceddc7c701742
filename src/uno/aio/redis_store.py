"""What a shared cache keeps in Redis, through `cashews` (the extra `cache`).

Values are JSON and read as a declared type, never pickled: whoever may write to Redis may not run code here.

A value holds the token of everything that can invalidate it: its key, its tags, the whole cache. To invalidate is to
give something another token; a value is good only while all its tokens are those that stand in Redis. So what was
read from a database before a change and stored after it is not good, whichever process did which.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from cashews import Cache
from cashews.exceptions import CacheError
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import RedisError

from uno import clock, ids
from uno.errors import Misconfigured, Unavailable
from uno.resilience import CircuitBreaker

T = TypeVar("T")
# Seconds for which a token stands; after it what holds it is loaded again.
_TOKENS = 86_400.0
# Seconds between two looks whether another process has loaded what is wanted.
_LOOK = 0.02
_BROKEN = (CacheError, RedisError, OSError, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class Stored:
    """A value, or that there is none: `absent` is then what it was looked for as. Times are in seconds since 1970."""

    value: Any
    fresh: float
    expires: float
    dead: float
    tokens: Mapping[str, str]
    absent: tuple[str, str] | None = None


class Codec:
    """Values as JSON and back."""

    def __init__(self, of: Any) -> None:
        self._of = of
        self._adapter: TypeAdapter[Any] = TypeAdapter(of)

    def encode(self, stored: Stored) -> bytes:
        """Raises `Misconfigured` for a value that is not of the declared type."""
        head = [stored.fresh, stored.expires, stored.dead, dict(stored.tokens), stored.absent, stored.value is None]
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + self._body(stored.value)

    def _body(self, value: Any) -> bytes:
        try:
            return b"" if value is None else self._adapter.dump_json(value, warnings="error")
        except (PydanticSerializationError, ValueError) as error:
            raise Misconfigured(
                f"A shared cache of {self._of} cannot store a {type(value).__name__} as JSON: load something else, or "
                "say with of= what it holds."
            ) from error

    def decode(self, found: Any) -> Stored | None:
        """None for what another version of the program stored in another form."""
        try:
            head, _, body = bytes(found).partition(b"\n")
            fresh, expires, dead, tokens, absent, nothing = json.loads(head)
            value = None if nothing else self._adapter.validate_json(body)
            return Stored(value, fresh, expires, dead, tokens, None if absent is None else (absent[0], absent[1]))
        except (ValidationError, ValueError, TypeError, IndexError):
            return None

    def again(self, value: Any) -> Any:
        """The value as everybody will read it."""
        try:
            return None if value is None else self._adapter.validate_json(self._body(value))
        except ValidationError as error:
            raise Misconfigured(f"A shared cache of {self._of} was given a {type(value).__name__}: {error}") from error


def _text(token: Any) -> str | None:
    return None if token is None else bytes(token).decode()


class RedisStore:
    """The part of a Redis that one cache uses. Raises `Unavailable` where Redis does not answer within `timeout`."""

    def __init__(self, url: str, name: str, timeout: float, codec: Codec) -> None:
        # Not shown: there may be a password in it.
        if str(url).partition("://")[0] not in ("redis", "rediss", "unix"):
            raise Misconfigured("The url of a SharedCache is that of a Redis, as in redis://cache:6379/0.")
        self._url = url
        self._name = name
        self._timeout = timeout
        self._codec = codec
        self._breaker = CircuitBreaker(f"cache {name}", failure_threshold=3, recovery_timeout=5.0, success_threshold=1)
        # A connection belongs to the event loop it was opened in.
        self._clients: dict[asyncio.AbstractEventLoop, _Client] = {}

    # ── names ──

    def _named(self, kind: str, what: str = "") -> str:
        return f"uno:cache:{self._name}:{kind}:{what}"

    def tokens_of(self, key: str, tags: Iterable[str]) -> list[str]:
        """The names of the tokens that a value holds."""
        return [self._named("all"), self._named("key", key), *dict.fromkeys(self._named("tag", tag) for tag in tags)]

    @property
    def any_tag(self) -> str:
        """The name of the token that changes with that of any tag."""
        return self._named("tags")

    # ── values ──

    async def read(self, key: str, tags: Iterable[str]) -> Stored | None:
        """What is stored for the key and was not invalidated, however old; `tags` are those it is thought to have."""
        names = self.tokens_of(key, tags)
        found, *tokens = await self._call(lambda client: client.get_many(self._named("value", key), *names))
        stored = None if found is None else self._codec.decode(found)
        if stored is None:
            return None
        known = dict(zip(names, tokens, strict=True))
        if more := [name for name in stored.tokens if name not in known]:
            known |= zip(more, await self._call(lambda client: client.get_many(*more)), strict=True)
        return stored if all(_text(known[name]) == token for name, token in stored.tokens.items()) else None

    async def keep(self, key: str, stored: Stored) -> None:
        left = max(stored.dead - clock.now().timestamp(), 0.001)
        encoded = self._codec.encode(stored)
        await self._call(lambda client: client.set(self._named("value", key), encoded, expire=left))

    # ── tokens ──

    async def tokens(self, names: Iterable[str]) -> dict[str, str]:
        """The tokens as they stand; those that there are not are made. One that is gone again fits nothing."""
        names = list(names)
        found = await self._call(lambda client: client.get_many(*names))
        for name in [name for name, token in zip(names, found, strict=True) if token is None]:
            await self._renew(name, only_new=True)
        if None in found:
            found = await self._call(lambda client: client.get_many(*names))
        return {name: _text(token) or "" for name, token in zip(names, found, strict=True)}

    async def forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self._renew(self._named("key", key))

    async def forget_tags(self, tags: Iterable[str]) -> None:
        for name in (self.any_tag, *(self._named("tag", tag) for tag in tags)):
            await self._renew(name)

    async def forget_all(self) -> None:
        await self._renew(self._named("all"))

    async def _renew(self, name: str, *, only_new: bool = False) -> None:
        token, exist = ids.trace_id().encode(), False if only_new else None
        await self._call(lambda client: client.set(name, token, expire=_TOKENS, exist=exist))

    # ── one process at a time ──

    async def begin_turn(self, key: str, seconds: float) -> str | None:
        """Be alone with the key, for at most `seconds`. After waiting for so long in vain, None: go on without."""
        name, mine = self._named("lock", key), ids.trace_id()
        end = clock.monotonic() + seconds
        while not await self._call(lambda client: client.set_lock(name, mine, seconds)):
            if clock.monotonic() >= end:
                return None
            await clock.sleep(_LOOK)
        return mine

    async def end_turn(self, key: str, mine: str) -> None:
        try:
            await self._call(lambda client: client.unlock(self._named("lock", key), mine))
        except Unavailable:  # what it was for is done; the lock ends by itself
            return

    # ── the connection ──

    async def _call(self, do: Callable[[Cache], Awaitable[T]]) -> T:
        try:
            found: T = await self._breaker.call(self._try, do)
        except _BROKEN as error:
            raise Unavailable(f"The cache {self._name} does not reach Redis.") from error
        return found

    async def _try(self, do: Callable[[Cache], Awaitable[T]]) -> T:
        return await do(self._connected().cache)

    def _connected(self) -> "_Client":
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            for closed in [one for one in list(self._clients) if one.is_closed()]:
                self._clients.pop(closed, None)
            client = self._clients[loop] = _Client(self._url, self._timeout)
        return client

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()


class _Client:
    """A cache of `cashews` for one event loop."""

    def __init__(self, url: str, timeout: float) -> None:
        self._pool: BlockingConnectionPool | None = None
        self.cache = Cache()
        self.cache.setup(
            url,
            suppress=False,
            pickle_type="null",
            check_repr=False,
            connection_pool_class=self,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
        )

    def from_url(self, url: str, **options: Any) -> BlockingConnectionPool:
        """What `cashews` asks the class of its pool for. Kept, because it closes it by a method Redis gives up."""
        self._pool = BlockingConnectionPool.from_url(url, **options)
        return self._pool

    async def aclose(self) -> None:
        if self._pool is not None:
            await self._pool.disconnect(inuse_connections=True)
