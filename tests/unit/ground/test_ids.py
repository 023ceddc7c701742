"""Identifiers: they sort by time, carry it, and tests set them."""

import random
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, strategies as st
from ulid import ULID

from uno import clock, ids

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


class At:
    """A clock that stands still."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Zeros:
    def getrandbits(self, k: int, /) -> int:
        return 0


@given(st.lists(TIMES, min_size=2, unique_by=lambda t: round(t.timestamp() * 1_000_000) // 1000))
def test_ids_sort_by_the_time_they_were_made(times: list[datetime]) -> None:
    ulids, uuids = [], []
    for time in sorted(times):
        with clock.use(At(time)):
            ulids.append(ids.new_id())
            uuids.append(ids.uuid7())
    assert ulids == sorted(ulids)
    assert uuids == sorted(uuids)


@given(TIMES)
def test_ids_carry_the_millisecond_of_the_clock(time: datetime) -> None:
    milliseconds = (time - EPOCH) // timedelta(milliseconds=1)
    with clock.use(At(time)):
        assert ULID.from_str(ids.new_id()).milliseconds == milliseconds
        assert ids.uuid7().int >> 80 == ids.ulid().int >> 80 == milliseconds


def test_ids_have_the_forms_of_their_standards() -> None:
    made = ids.uuid7()
    assert isinstance(made, UUID)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert (ids.uuid4().version, ids.uuid4().variant) == (4, "specified in RFC 4122")
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{26}", ids.new_id())
    assert re.fullmatch(r"[0-9a-f]{32}", ids.trace_id())
    assert re.fullmatch(r"[0-9a-f]{16}", ids.span_id())


def test_ids_of_a_trace_are_never_all_zero() -> None:
    with ids.use(Zeros()):
        assert int(ids.trace_id(), 16) != 0
        assert int(ids.span_id(), 16) != 0


def test_ids_are_different() -> None:
    made = [
        make() for make in (ids.new_id, ids.uuid7, ids.uuid4, ids.ulid, ids.trace_id, ids.span_id) for _ in range(1000)
    ]
    assert len(set(made)) == 6000


def test_a_test_sets_the_ids_it_gets() -> None:
    def some() -> list[object]:
        with ids.use(random.Random(7)), clock.use(At(EPOCH)):
            return [ids.new_id(), ids.uuid7(), ids.trace_id(), ids.span_id()]

    assert some() == some()


def test_after_an_error_the_ids_are_random_again() -> None:
    with pytest.raises(ValueError, match="inside"), ids.use(Zeros()):
        raise ValueError("inside")
    assert ids.trace_id() != ids.trace_id()


def test_a_forked_child_does_not_make_the_ids_of_its_parent() -> None:
    program = (
        "import os\n"
        "from uno import ids\n"
        "child = os.fork()\n"
        "os.write(1, f'{ids.trace_id()}\\n'.encode())\n"
        "child and os.waitpid(child, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(set(done.stdout.split())) == 2
