"""Groups of background tasks that come and go."""

import asyncio

from uno.aio import TaskManager, task_tree


async def forever() -> None:
    await asyncio.Event().wait()


async def work() -> None:
    await asyncio.sleep(0)


async def fail() -> None:
    raise ValueError("broken")


async def test_groups_that_come_and_go_are_forgotten() -> None:
    async with TaskManager() as manager:
        for number in range(1000):
            async with manager.create_group(f"job {number}"):
                pass
            await manager.create_task(work, group=f"task {number}")
        assert len(manager._groups) < 100
        assert not any(str(one.get("group")).startswith(("job", "task")) for one in task_tree())
        for number in range(1000):
            await asyncio.wait([manager.create_task(fail, group=f"task {number}")])
        assert len(manager._groups) < 100
        assert [info.group for info in manager.tasks][-1] == "task 999"


async def test_a_group_that_was_asked_for_stays_until_it_is_closed() -> None:
    async with TaskManager() as manager:
        task = manager.create_task(forever(), group="emails")
        group = manager.get_group("emails")
        assert group is not None
        task.cancel()
        for number in range(1000):
            await manager.create_task(work, group=f"task {number}")
        assert manager.get_group("emails") is group
