"""Synchronous code leaves nothing behind: at the end of a process, in a forked one, after it is closed."""

import subprocess
import sys

import pytest
from sqlalchemy import text
from tests.contracts.conftest import Templates
from tests.contracts.trips import Base

from uno.data import Database

BEGIN = """
import gc, os, sys, threading
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped, mapped_column
from uno.data import Database, Model
from uno.telemetry import configure_logging

configure_logging()

class Base(Model):
    __abstract__ = True
    metadata = MetaData()

class Trip(Base):
    __tablename__ = "process_trips"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)

database = Database(sys.argv[1])
trips = database.blocking.repository(Trip)

def add(*ids):
    with database.blocking.transaction():
        for id in ids:
            trips.add(Trip(id=id))

def ids():
    with database.blocking.unit_of_work():
        return [trip.id for trip in trips.find(sort="id")]

database.blocking.create_tables([Base.metadata])
"""
LEFT_OPEN = """
add(1, 2)
with database.blocking.transaction():
    trips.add(Trip(id=3))
    stream = trips.stream(batch=1, sort="id")
    print(next(stream).id)
    sys.exit()
"""
CLOSED = """
before = threading.active_count()
with database.blocking:
    add(1, 2)
    threads = [threading.Thread(target=add, args=(n,)) for n in range(3, 9)]
    for one in threads: one.start()
    for one in threads: one.join()
    print(ids())
left = [one for one in threading.enumerate() if one is not threading.main_thread()]
print([one.name for one in left if one.name != "uno.portal" and not one.name.startswith("asyncio_")])
del database, trips
gc.collect()
"""
FORKED = """
import warnings
add(1)
children = []
for n in (2, 3):
    child = os.fork()
    if child == 0:
        add(n)
        assert set(ids()) >= {1, n}, ids()
        sys.exit(0)
    children.append(child)
add(4)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
add(5)
print(ids())
"""
FORKED_INSIDE = """
with database.blocking.transaction():
    trips.add(Trip(id=1))
    trips.count()
    child = os.fork()
    if child == 0:
        try:
            trips.count()
        except Exception as error:
            print("No unit of work" in str(error), flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print(ids())
"""


@pytest.fixture
async def url(templates: Templates, backend: str) -> str:
    return await templates.url(backend, Base.metadata)


def played(code: str, url: str) -> list[str]:
    """What it prints; warnings are errors, and nothing may be said at the end."""
    program = [sys.executable, "-W", "error", "-c", BEGIN + code, url]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


async def test_a_process_may_end_without_closing_anything(url: str) -> None:
    assert played(LEFT_OPEN, url) == ["1"]
    async with Database(url) as database:
        assert len(await database.query(text("SELECT id FROM process_trips"))) == 2


async def test_what_is_closed_leaves_no_thread_and_no_connection(url: str) -> None:
    assert played(CLOSED, url) == [str(list(range(1, 9))), "[]"]


async def test_a_forked_process_has_connections_of_its_own(url: str) -> None:
    assert played(FORKED, url) == ["[1, 2, 3, 4, 5]"]


async def test_a_process_forked_inside_a_unit_of_work_is_outside_of_it(url: str) -> None:
    assert played(FORKED_INSIDE, url) == ["True", "[1]"]
