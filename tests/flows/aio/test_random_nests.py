"""10,000 random nests of groups, timeouts, shields, cancels and failures, each run in virtual time."""

import gc
import inspect
import logging
import os
import random
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import given, settings, strategies as st
from tests.flows.aio.nests import Hung, VirtualLoop, judged

from uno.aio import group
from uno.aio.shown import opened

MANY = int(os.environ.get("UNO_TEST_NESTS", "10000"))
# What a line does, the line, and what stands there without it.
LINES = {
    "what the group cancelled itself is taken back": ("self._parent.uncancel() >", "self._parent.cancelling() >"),
    "a cancellation from outside goes before errors": ("stopped is not None and outer:", "not failed and outer:"),
    "a cancellation while the group is left is noticed": ("                stopped = cancelled\n", ""),
    "older cancellations are not counted": (
        "self._older = older(parent)",
        "self._older = 0",
    ),
    "the block of a failed group is cancelled": ("            self._parent.cancel()\n", ""),
    "who has ended makes room": ("        places.release()\n", "        pass\n"),
    "errors nobody caught are raised": ("not self._collects or _is_unseen(task)", "not self._collects"),
    "errors that were caught are not": ("not self._collects or _is_unseen(task)", "True"),
}


@pytest.fixture(scope="module")
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


@settings(max_examples=MANY)
@given(data=st.binary(min_size=48, max_size=128))
def test_a_nest_leaves_nothing_behind_and_swallows_no_cancellation(data: bytes, loop: VirtualLoop) -> None:
    assert judged(data, loop) == []


@pytest.mark.parametrize("name", LINES)
@pytest.mark.filterwarnings("ignore")
def test_without_one_of_its_lines_the_group_is_found_out(name: str) -> None:
    line, instead = LINES[name]
    source = inspect.getsource(group)
    assert source.count(line) == 1
    assert _found_out(_changed(source.replace(line, instead)))


def _changed(source: str) -> ModuleType:
    made = ModuleType("changed_group")
    exec(compile(source, group.__file__, "exec"), vars(made))
    return made


def _found_out(changed: ModuleType) -> bool:
    """Whether some of the same kind of nests goes wrong with it."""
    generator, loop = random.Random(0), VirtualLoop()
    logging.getLogger("uno.group").disabled = True
    try:
        return any(_goes_wrong(generator.randbytes(80), loop, changed) for _ in range(MANY))
    finally:
        logging.getLogger("uno.group").disabled = False
        loop.close()
        opened.clear()
        gc.collect()  # what it has left behind complains here, and in no other test


def _goes_wrong(data: bytes, loop: VirtualLoop, changed: ModuleType) -> bool:
    try:
        return bool(judged(data, loop, group=changed.TaskGroup, closed=changed.GroupClosed))
    except (Hung, RuntimeError):
        return True
