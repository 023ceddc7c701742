"""What every test stands on: asyncio, one hypothesis profile, and nothing left out in CI."""

import os
import signal
from collections.abc import Generator, Iterator, Sequence

import pytest
from hypothesis import settings

from uno import clock
from uno.aio import manager
from uno.data import hooks

# A shell starts what runs in the background with SIGINT ignored, and programs started from here would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


IN_CI = bool(os.environ.get("CI"))

settings.register_profile("uno", deadline=None, max_examples=50, derandomize=IN_CI)
settings.load_profile("uno")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    """Hooks and the clock are the whole process's: whoever sets them takes them back, or every other test has them.

    The managers are those of event loops, which tests share: each test has new ones.
    """
    before = clock.current
    manager._process, manager._others = manager._OfLoop(), {}
    yield
    left, clock.current = clock.current, before
    assert left is before, f"this test leaves another clock behind: {left!r}"
    assert not hooks.registered, f"this test, or the import of some test, leaves hooks behind: {hooks.registered}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_to_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_to_skip(report)
    return report


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    if IN_CI:
        raise pytest.UsageError(f"In CI no test is deselected: {', '.join(item.nodeid for item in items)}")


def _refuse_to_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """A test that is skipped, or expected to fail, fails in CI."""
    if IN_CI and report.skipped:
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected to fail"
        report.longrepr = f"{report.nodeid}: in CI no test is skipped or expected to fail ({reason})"
        # pytest would go on counting it as an expected failure.
        vars(report).pop("wasxfail", None)
