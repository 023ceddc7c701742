"""Programs that are told to stop while they start."""

import asyncio
from collections.abc import Callable

import pytest

from uno.aio import get_async_manager, run_application
from uno.errors import Misconfigured, TimedOut, Unavailable


class Story:
    """What a program did; `start` is the start of its one resource."""

    def __init__(self, start: Callable[["Story"], object] = lambda story: None) -> None:
        self.lines: list[str] = []
        self._start = start

    async def start(self) -> None:
        self.lines.append("resource starts")
        if asyncio.iscoroutine(found := self._start(self)):
            await found
        self.lines.append("resource started")

    async def close(self) -> None:
        self.lines.append("resource closed")

    def startup(self) -> None:
        self.lines.append("startup")

    def cleanup(self) -> None:
        self.lines.append("cleanup")

    async def run(self) -> list[str]:
        manager = get_async_manager()
        before = Closed(self.lines)
        await manager.register_resource(before, "before")
        await manager.register_resource(self, "story", depends_on="before")
        await run_application(self.startup, self.cleanup, grace=5.0)
        assert manager.stage == "stopped"
        return self.lines


class Closed:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    async def close(self) -> None:
        self.lines.append("before closed")


async def hang(_story: Story) -> None:
    asyncio.get_running_loop().call_soon(get_async_manager().request_shutdown)
    await asyncio.Event().wait()


def tell(_story: Story) -> None:
    get_async_manager().request_shutdown()


async def deaf(story: Story) -> None:
    try:
        await hang(story)
    except asyncio.CancelledError:
        story.lines.append("cancelled")


async def test_told_while_a_resource_starts_it_breaks_that_off_and_closes_what_there_is() -> None:
    assert await Story(hang).run() == ["resource starts", "before closed"]


@pytest.mark.parametrize("start", [tell, deaf])
async def test_told_while_a_resource_starts_which_ends_all_the_same_it_begins_nothing_else(
    start: Callable[[Story], object],
) -> None:
    lines = await Story(start).run()
    assert "startup" not in lines
    assert lines[-2:] == ["resource closed", "before closed"]


async def test_a_start_that_fails_of_a_timeout_is_not_taken_for_a_signal() -> None:
    def fail(_story: Story) -> None:
        raise TimeoutError("the broker")

    with pytest.raises(Unavailable, match="TimeoutError: the broker"):
        await Story(fail).run()


async def test_nor_is_one_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_async_manager().resources, "start_timeout", 0)
    with pytest.raises(TimedOut, match="Starting the resource 'story' took longer than 0 s"):
        await Story(lambda _story: asyncio.Event().wait()).run()


async def test_after_its_end_it_may_run_again() -> None:
    def stop() -> None:
        get_async_manager().request_shutdown()

    for _ in range(2):
        lines: list[str] = []
        await run_application(lambda lines=lines: (lines.append("startup"), stop()))
        assert lines == ["startup"]


async def test_who_cancels_the_program_while_it_starts_is_not_taken_for_a_signal() -> None:
    story = Story(lambda _story: asyncio.Event().wait())
    running = asyncio.create_task(story.run())
    while "resource starts" not in story.lines:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert story.lines == ["resource starts", "before closed"]


async def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(Misconfigured, match="startup_func of run_application"):
        await run_application("startup")  # type: ignore[arg-type]
