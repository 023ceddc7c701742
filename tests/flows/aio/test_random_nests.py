"""10,000 random nests of groups, timeouts, shields, cancels and failures, each run in virtual time."""

import gc
import inspect
import logging
import os
import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from tests.flows.aio.nests import Hung, VirtualLoop, judged

from uno.aio import cancelling, group, locks, shield, timeouts
from uno.aio.shown import opened
from uno.resilience import alarm

MANY = int(os.environ.get("UNO_TEST_NESTS", "10000"))
# What a line does, whose it is, the line, and what stands there without it.
LINES = {
    "what the group cancelled itself is taken back": (
        group,
        "self._parent.uncancel() >",
        "self._parent.cancelling() >",
    ),
    "a cancellation from outside goes before errors": (
        group,
        "stopped is not None and outer:",
        "not failed and outer:",
    ),
    "a cancellation while the group is left is noticed": (group, "                stopped = cancelled\n", ""),
    "older cancellations are not counted": (
        group,
        "self._older = older(parent)",
        "self._older = 0",
    ),
    "the block of a failed group is cancelled": (group, "            self._parent.cancel()\n", ""),
    "who has ended makes room": (group, "        places.release()\n", "        pass\n"),
    "errors nobody caught are raised": (group, "not self._collects or is_unseen(task)", "not self._collects"),
    "errors that were caught are not": (group, "not self._collects or is_unseen(task)", "True"),
    "what a timeout cancelled itself is taken back": (alarm, "task.uncancel() <=", "task.cancelling() <="),
    "cancellations older than a timeout are not its own": (
        alarm,
        "self._counted = task.cancelling() - cancels.is_to_come(task)",
        "self._counted = 9",
    ),
    "a cancellable call that was cancelled is so": (cancelling, "        raise cancelled from failed\n", ""),
    "what is done to the end does not hide a cancellation": (shield, "cancelled = cancelled or error", "pass"),
    "who has entered a lock twice leaves it twice": (
        locks,
        "        if hold.leave():\n            if",
        "        if True:\n            if",
    ),
    "whose block ends does not keep a lock": (locks, "                hold.end()\n", "                pass\n"),
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
def test_without_one_of_its_lines_it_is_found_out(name: str) -> None:
    module, line, instead = LINES[name]
    source = inspect.getsource(module)
    assert source.count(line) == 1
    assert _found_out(**_parts(_changed(module, source.replace(line, instead))))


def _changed(module: ModuleType, source: str | None = None) -> ModuleType:
    made = ModuleType(f"changed_{module.__name__}")
    exec(compile(source or inspect.getsource(module), str(module.__file__), "exec"), vars(made))
    return made


def _parts(changed: ModuleType) -> dict[str, Any]:
    """What a nest is made of, from the changed module."""
    if hasattr(changed, "Alarm"):
        using = _changed(timeouts)
        vars(using)["Alarm"] = changed.Alarm
        return {"timeout": using.timeout}
    names = {
        "TaskGroup": "group",
        "GroupClosed": "closed",
        "Cancellable": "cancellable",
        "to_the_end": "to_the_end",
        "AsyncLock": "lock",
    }
    return {part: getattr(changed, name) for name, part in names.items() if hasattr(changed, name)}


def _found_out(**parts: Any) -> bool:
    """Whether some of the same kind of nests goes wrong with them."""
    generator, loop = random.Random(0), VirtualLoop()
    logging.getLogger("uno.group").disabled = True
    try:
        return any(_goes_wrong(generator.randbytes(80), loop, parts) for _ in range(MANY))
    finally:
        logging.getLogger("uno.group").disabled = False
        loop.close()
        opened.clear()
        gc.collect()  # what it has left behind complains here, and in no other test


def _goes_wrong(data: bytes, loop: VirtualLoop, parts: dict[str, Any]) -> bool:
    try:
        return bool(judged(data, loop, **parts))
    except (Hung, RuntimeError):
        return True
