"""What runs is to be seen: names, groups, ages, states, where made, where waiting."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.unit.steered import Steered, settled

from uno.aio import TaskGroup, TaskInfo, list_tasks, task_tree


def found(name: str) -> TaskInfo:
    return next(info for info in list_tasks() if info.name == name)


async def deep(gate: asyncio.Event) -> None:
    await gate.wait()  # here it waits


async def outer(gate: asyncio.Event) -> None:
    await deep(gate)


async def test_a_task_is_shown_with_its_group_its_age_and_its_places(steered: Steered) -> None:
    gate = asyncio.Event()
    async with TaskGroup("orders") as group:
        group.create_task(outer(gate), name="charging")
        assert found("charging").state == "new"
        await settled()
        steered.passed += 7.5
        info = found("charging")
        gate.set()
    assert (info.group, info.state, info.age, info.restarts) == ("orders", "waiting", 7.5, 0)
    assert info.created_at is not None
    assert info.created_at.endswith("in test_a_task_is_shown_with_its_group_its_age_and_its_places")
    lines = Path(__file__).read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "# here it waits" in text)
    assert info.waits_at is not None
    assert info.waits_at.endswith(f"test_shown_tasks.py:{line} in deep")
    assert [place.rpartition(" ")[2] for place in info.stack] == ["outer", "deep", "Event.wait"]
    assert info.owner == id(asyncio.current_task())
    json.dumps(info.to_json())


async def test_who_waits_for_a_place_or_is_being_cancelled_is_shown_so() -> None:
    gate = asyncio.Event()

    async def stubborn() -> None:
        try:
            await gate.wait()
        finally:
            await gate.wait()

    async with TaskGroup(max_concurrency=1) as group:
        first = group.create_task(stubborn(), name="first")
        group.create_task(outer(gate), name="second")
        await settled()
        assert found("second").state == "queued"
        first.cancel()
        await settled()
        assert found("first").state == "cancelling"
        gate.set()


async def test_the_task_that_asks_runs_and_is_in_no_group() -> None:
    task = asyncio.current_task()
    assert task is not None
    info = found(task.get_name())
    assert (info.state, info.group, info.age) == ("running", None, None)


async def test_a_group_that_was_left_is_not_shown() -> None:
    async with TaskGroup("gone") as group:
        group.create_task(settled(), name="going")
    assert "going" not in {info.name for info in list_tasks()}
    assert "gone" not in json.dumps(task_tree())


async def test_groups_inside_tasks_are_a_tree(steered: Steered) -> None:
    gate = asyncio.Event()

    async def nested() -> None:
        async with TaskGroup("inner") as inner:
            inner.create_task(outer(gate), name="leaf")

    async with TaskGroup("outer") as group:
        group.create_task(nested(), name="branch")
        await settled()
        steered.passed += 2
        tree = task_tree()
        gate.set()
    assert drawn(tree) == ["outer/branch/inner/leaf"]
    node = next(node for node in tree if node.get("groups"))["groups"][0]
    assert node["group"] == "outer"
    assert node["age"] == 2
    assert node["created_at"].endswith("in test_groups_inside_tasks_are_a_tree")
    json.dumps(tree)


def drawn(tree: list[dict[str, Any]]) -> list[str]:
    """The paths from groups to tasks without groups, of the groups of this test."""
    paths = []
    for node in tree:
        for group in node.get("groups", [node]):
            for task in group["tasks"]:
                paths += [f"{group['group']}/{task['name']}/{rest}" for rest in drawn([task])] or [
                    f"{group['group']}/{task['name']}"
                ]
    return paths


async def test_tasks_of_two_groups_of_one_name_are_shown_once() -> None:
    gate = asyncio.Event()
    async with TaskGroup("twin") as one, TaskGroup("twin") as other:
        one.create_task(outer(gate), name="left")
        other.create_task(outer(gate), name="right")
        await settled()
        assert sorted(drawn(task_tree())) == ["twin/left", "twin/right"]
        names = [info.name for info in list_tasks()]
        gate.set()
    assert names.count("left") == names.count("right") == 1


async def test_another_thread_may_look() -> None:
    gate = asyncio.Event()
    async with TaskGroup("watched") as group:
        group.create_task(outer(gate), name="seen from afar")
        await settled()
        infos = await asyncio.to_thread(list_tasks)
        gate.set()
    assert "seen from afar" in {info.name for info in infos}
