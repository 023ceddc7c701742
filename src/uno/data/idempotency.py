"""A message with an idempotency key has its effect once; who sends it again gets the answer of the first time.

Its unit of work is a transaction from the start: it takes the lock of the key, looks for the stored
answer, and if there is none stores its own together with the effect. On PostgreSQL who gets neither
is refused (`KeyInUse`); on SQLite, which has one writer at a time, it waits.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from hashlib import blake2b
from itertools import count
from typing import Any

from pydantic import SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python
from sqlalchemy import Table, bindparam, delete, select, text, tuple_

from uno import clock, context
from uno.bus.idempotency import HEADER, Keyed, Render, Reply, current_key, fingerprint
from uno.bus.pipeline import CallNext, Middleware
from uno.bus.promise import result_of
from uno.bus.unit import ambient
from uno.context import Context
from uno.data.changes import Changes, Values
from uno.data.lease import Transaction
from uno.data.middleware import in_unit
from uno.data.tables import idempotency
from uno.data.unit_of_work import UnitOfWork
from uno.errors import Conflict, KeyInUse, KeyReused, Misconfigured
from uno.messages import Command, DomainEvent, Message, Query, message_name
from uno.result import Failure, Success

# Of an answer in Python.
NO_STATUS = 0
# Once in so many keys, at most so many rows that have expired are deleted.
SWEEP_EVERY, SWEPT = 100, 1_000

_c = idempotency.c
_LOCK = text("SELECT pg_try_advisory_xact_lock(:number)")
_OURS = (_c.tenant == bindparam("tenant"), _c.subject == bindparam("subject"), _c.key == bindparam("key"))
_STORED = select(
    _c.fingerprint, _c.status, _c.headers, _c.body, (_c.expires_at > bindparam("now")).label("is_alive")
).where(*_OURS)
_FORGET = delete(idempotency).where(*_OURS)
_EXPIRED = (
    select(_c.tenant, _c.subject, _c.key)
    .where(_c.expires_at <= bindparam("now"))
    .order_by(_c.expires_at)
    .limit(SWEPT)
    .with_for_update(skip_locked=True)
)
_SWEEP = delete(idempotency).where(tuple_(_c.tenant, _c.subject, _c.key).in_(_EXPIRED))


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose key it is."""

    tenant: str
    subject: str
    key: str

    @classmethod
    def of(cls, context: Context, key: str) -> "Scope":
        # With its source: who only says that they are alice do not see alice's answers.
        subject = f"{context.actor_source}:{context.actor}" if context.actor else ""
        return cls(context.tenant or "", subject, key)

    @property
    def row(self) -> Values:
        return {"tenant": self.tenant, "subject": self.subject, "key": self.key}

    @property
    def bytes(self) -> bytes:
        return fingerprint(self.tenant.encode(), self.subject.encode(), self.key.encode())

    @property
    def number(self) -> int:
        """That of its advisory lock."""
        digest = blake2b(self.bytes, digest_size=8, person=b"uno.idempotency").digest()
        return int.from_bytes(digest, signed=True)


class Once:
    """For each message type, the middleware that gives a message with a key one effect.

    It stands around the transaction, which then joins its unit of work. Queries have no effect, and
    events none that is asked for: they have no key.
    """

    def __init__(self, open_unit: Callable[[], UnitOfWork]) -> None:
        self._open_unit = open_unit
        self._turns = count(1)

    def __call__(self, message_type: type[Message]) -> Middleware | None:
        if issubclass(message_type, Query | DomainEvent):
            return None
        results = Results(message_type)

        # Not async: without a key it costs a call, and no coroutine.
        def once(message: Any, call_next: CallNext) -> Awaitable[Any]:
            asked = current_key.get()
            return call_next(message) if asked is None else self._once(asked, results, message, call_next)

        return once

    async def _once(self, asked: Keyed, results: "Results", message: Any, call_next: CallNext) -> Any:
        if ambient() is not None:
            raise Misconfigured(
                "An idempotency key needs a unit of work of its own; dispatch the message outside of handlers "
                "and of `async with UnitOfWork(...)`."
            )
        uow = self._open_unit()
        # What is dispatched inside, and by those who are told of the commit, has not this key.
        token = current_key.set(None)
        try:
            return await in_unit(uow, message, partial(self._answer, uow, asked, results, call_next))
        except Conflict as error:
            # The lock makes it rare: somebody stored the key since this transaction took its snapshot.
            asked.reply = None
            error.repeatable = error.repeatable or (error.constraint or "").startswith(idempotency.name)
            raise
        except BaseException:
            asked.reply = None
            raise
        finally:
            current_key.reset(token)

    async def _answer(
        self, uow: UnitOfWork, asked: Keyed, results: "Results", call_next: CallNext, message: Any
    ) -> Any:
        """The stored result, or that of the handler, which is stored with the commit."""
        scope = Scope.of(context.current(), asked.key)
        wanted = fingerprint(scope.bytes, asked.fingerprint or results.fingerprint(message))
        stored = await self._stored(uow, scope)
        if stored is not None:
            if bytes(stored.fingerprint) != wanted:
                raise KeyReused.field(
                    HEADER, "It was used for another request; take a new key.", "idempotency_key_reused"
                )
            return _replay(asked, results, stored)
        result = await call_next(message)
        if result.__class__ is not Failure:
            ttl = uow.database.settings.idempotency_ttl
            row = {**scope.row, "message": message_name(type(message)), "fingerprint": wanted}
            uow.also(_Answer(asked, asked.render or results.write, result.value, ttl, row))
        return result

    async def _stored(self, uow: UnitOfWork, scope: Scope) -> Any:
        """The row of a key that has not expired; None with the lock of the key taken. Raises `KeyInUse`."""
        transaction, now = await uow.transaction(), clock.now()
        # In a statement of its own: the next one then sees what the former owner of the lock has committed.
        ours = uow.database.backend != "postgresql" or await _try_lock(transaction, scope)
        row = (await transaction.execute(_STORED, {**scope.row, "now": now})).first()
        if row is not None and row.is_alive:
            return row
        if not ours:
            raise KeyInUse("A request with the same Idempotency-Key is being worked on; send it again later.")
        if row is not None:
            await transaction.execute(_FORGET, scope.row)
        if next(self._turns) % SWEEP_EVERY == 0:
            await transaction.execute(_SWEEP, {"now": now})
        return None


async def _try_lock(transaction: Transaction, scope: Scope) -> bool:
    return bool((await transaction.execute(_LOCK, {"number": scope.number})).scalar())


def _replay(asked: Keyed, results: "Results", stored: Any) -> Success[Any]:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in stored.headers]
    asked.reply, asked.replayed = (stored.status, headers, bytes(stored.body)), True
    # What an entrance has made of the result is all that is left of it.
    return Success(asked.reply if asked.render is not None else results.read(bytes(stored.body)))


@dataclass(slots=True)
class _Answer:
    """The book of one row: the answer to a message, made when its changes are written and before they are committed."""

    asked: Keyed
    render: Render
    value: Any
    ttl: float
    row: Values

    @property
    def table(self) -> Table:
        return idempotency

    def rows(self, changes: Changes) -> Sequence[Values]:
        status, headers, body = self.asked.reply = self.render(self.value)
        texts = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]
        answer = {"status": status, "headers": texts, "body": body}
        times = {"created_at": changes.at, "expires_at": changes.at + timedelta(seconds=self.ttl)}
        return [{**self.row, **answer, **times}]


class Results:
    """The results of one message type, for callers in Python: JSON of the type that it promises."""

    def __init__(self, message_type: type[Message]) -> None:
        self._type = message_type

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        if not issubclass(self._type, Command):
            raise Misconfigured(f"{self._type.__qualname__} is no command, and in Python only those have keys.")
        promised = result_of(self._type)
        try:
            return TypeAdapter(Any if promised is None else promised)
        except (PydanticUserError, NameError, TypeError) as error:
            raise self._unfit(promised) from error

    def _unfit(self, what: Any) -> Misconfigured:
        return Misconfigured(
            f"{self._type.__qualname__} was given an idempotency key, so its result is stored as JSON, and "
            f"{getattr(what, '__qualname__', what)} cannot be read from it again; let it promise a pydantic model, "
            "or an id."
        )

    def fingerprint(self, message: Any) -> bytes:
        """What the caller has said. What a default has made is another thing each time."""
        self._adapter  # noqa: B018 - refuses in time
        said = message.model_dump(exclude_unset=True)
        return fingerprint(message_name(self._type).encode(), json.dumps(_plain(said)).encode())

    def write(self, value: Any) -> Reply:
        """Raises `Misconfigured` for what `read` could not give back."""
        try:
            body = self._adapter.dump_json(value, by_alias=True, round_trip=True)
            self._adapter.validate_json(body)
        except (PydanticSerializationError, ValidationError) as error:
            raise self._unfit(type(value)) from error
        return NO_STATUS, [], body

    def read(self, body: bytes) -> Any:
        try:
            return self._adapter.validate_json(body)
        except ValidationError as error:
            raise Misconfigured(
                f"The stored result of {self._type.__qualname__} is not what it promises now."
            ) from error


def _plain(value: Any) -> Any:
    """As JSON in which the same values are always in the same order."""
    if isinstance(value, dict):
        return sorted(([_plain(name), _plain(inner)] for name, inner in value.items()), key=json.dumps)
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, SecretStr | SecretBytes):
        return _plain(value.get_secret_value())
    return to_jsonable_python(value, fallback=repr)
