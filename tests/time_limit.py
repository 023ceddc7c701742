"""No test waits for ever: after 300 seconds it fails where it waits, and the tests after it run.

Its setup, its call and its teardown have 300 seconds each, or what `@pytest.mark.time_limit` says. What keeps the main
thread is interrupted by SIGALRM. What waits in the event loop is cancelled: an exception thrown out of the loop, as
pytest-timeout does it, leaves the coroutine in anyio's task, and whatever comes after it in this loop waits behind it.
What goes on is asked again, with the tasks it began; if nothing helps, the process ends (pytest-xdist starts another).
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any, NoReturn

import pytest
from anyio._backends._asyncio import TestRunner

SECONDS = 300.0
TIMES = 5
LEAVING = 60.0


class _Phase:
    """The setup, the call or the teardown of a test."""

    def __init__(self, item: pytest.Item, name: str) -> None:
        marker = item.get_closest_marker("time_limit")
        self.seconds = float(marker.args[0]) if marker else SECONDS
        self._message = f"{item.nodeid}: its {name} took more than {self.seconds:g} s"
        self._capture = item.config.pluginmanager.getplugin("capturemanager")
        self.step: _Step | None = None
        self.alarms = 0

    def alarm(self, *_: object) -> None:
        self.alarms += 1
        if self.alarms > TIMES:
            self._end_process()
        if not self.step or not self.step.ends_itself(self._message):
            self.fail()

    def fail(self) -> NoReturn:
        __tracebackhide__ = True
        pytest.fail(self._message)

    def _end_process(self) -> NoReturn:
        with suppress(Exception):
            self._capture.suspend_global_capture(in_=True)
        print(f"\n{self._message}, and goes on", file=sys.__stderr__, flush=True)
        os._exit(1)


class _Step:
    """A fixture or a test in the task that anyio has for all of them, which is not to be left cancelled."""

    def __init__(self, phase: _Phase) -> None:
        self._phase, self._task = phase, None
        self._alarms, self._asked = 0, False

    async def run(self, function: Callable[..., Awaitable[Any]], /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        self._known = asyncio.all_tasks()
        self._task = task = asyncio.current_task()
        try:
            return await function(*args, **kwargs)
        except BaseException:
            if self._alarms:
                self._phase.fail()
            raise
        finally:
            self._task = None
            while self._alarms and task.cancelling():
                task.uncancel()

    def ends_itself(self, message: str) -> bool:
        """Not where its code keeps the loop: that is to be interrupted there."""
        if self._task is None:
            return True
        self._alarms += 1
        loop = self._task.get_loop()
        if self._asked or asyncio.current_task(loop):
            return False
        self._asked = True
        loop.call_soon_threadsafe(self._cancel, message)
        return True

    def _cancel(self, message: str) -> None:
        self._asked = False
        begun = asyncio.all_tasks() - self._known if self._alarms > 1 else ()
        for task in (self._task, *begun) if self._task else ():
            task.cancel(message)


_phase: _Phase | None = None
_call_in_runner_task, _close = TestRunner._call_in_runner_task, TestRunner.__exit__


async def _limited_in_runner_task(self: TestRunner, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    __tracebackhide__ = True
    phase = _phase
    if phase is None:
        return await _call_in_runner_task(self, function, *args, **kwargs)
    phase.step = step = _Step(phase)
    try:
        return await _call_in_runner_task(self, step.run, function, *args, **kwargs)
    finally:
        phase.step = None


def _closed(self: TestRunner, *error: Any) -> None:
    """Also where a thread never ends; otherwise anyio would go on with a closed loop. The phase fails anyway."""
    with suppress(pytest.fail.Exception):
        _close(self, *error)


def _limited(item: pytest.Item, name: str) -> Generator[None, Any, Any]:
    global _phase
    _phase = phase = _Phase(item, name)
    before = signal.signal(signal.SIGALRM, phase.alarm)
    signal.setitimer(signal.ITIMER_REAL, phase.seconds, phase.seconds / TIMES)
    try:
        result = yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        _phase = None
    if phase.alarms:
        phase.fail()
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _limited(item, "setup"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _limited(item, "call"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from _limited(item, "teardown"))


def pytest_enter_pdb() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"time_limit(seconds): instead of {SECONDS:g}; 0 is none")
    TestRunner._call_in_runner_task, TestRunner.__exit__ = _limited_in_runner_task, _closed


def pytest_unconfigure(config: pytest.Config) -> None:
    """Threads that never end keep no process; pytest-xdist ends those that it started."""
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, LEAVING)
