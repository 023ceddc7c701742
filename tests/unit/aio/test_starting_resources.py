"""Resources that are registered while the registry starts: each starts once, after what it depends on."""

import asyncio

import pytest

from uno.aio import ResourceRegistry
from uno.errors import Misconfigured, Unavailable


class Part:
    """`start` waits until `may_start` is set, and fails if told so."""

    def __init__(self, name: str, story: list[str], *, fails: bool = False) -> None:
        self.name = name
        self.story = story
        self.fails = fails
        self.may_start = asyncio.Event()

    async def start(self) -> None:
        self.story.append(f"{self.name} begins")
        await self.may_start.wait()
        if self.fails:
            raise OSError(f"no {self.name}")
        self.story.append(f"+{self.name}")

    async def close(self) -> None:
        self.story.append(f"-{self.name}")


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def parts(story: list[str], *, fails: bool = False) -> tuple[Part, Part]:
    database, mailer = Part("database", story, fails=fails), Part("mailer", story)
    mailer.may_start.set()
    return database, mailer


async def test_what_comes_while_that_starts_on_which_it_depends_waits_for_it() -> None:
    story: list[str] = []
    registry = ResourceRegistry()
    database, mailer = parts(story)
    await registry.register("database", database)
    starting = asyncio.create_task(registry.start())
    await settled()
    registering = asyncio.create_task(registry.register("mailer", mailer, depends_on="database"))
    await settled()
    assert story == ["database begins"]
    database.may_start.set()
    await asyncio.gather(starting, registering)
    await registry.close()
    assert story == ["database begins", "+database", "mailer begins", "+mailer", "-mailer", "-database"]


async def test_where_that_fails_it_is_not_started_and_that_is_not_tried_again() -> None:
    story: list[str] = []
    registry = ResourceRegistry()
    database, mailer = parts(story, fails=True)
    await registry.register("database", database)
    starting = asyncio.create_task(registry.start())
    await settled()
    registering = asyncio.create_task(registry.register("mailer", mailer, depends_on="database"))
    await settled()
    database.may_start.set()
    with pytest.raises(Unavailable, match="no database"):
        await starting
    with pytest.raises(Misconfigured, match="'database' would stay open"):
        await registering
    assert story == ["database begins"]
    assert list(registry.get_all_resources()) == ["database"]


async def test_one_that_fails_where_it_is_registered_takes_those_with_it_that_wait_for_it() -> None:
    story: list[str] = []
    database, mailer = parts(story, fails=True)
    registry = ResourceRegistry()
    await registry.start()
    first = asyncio.create_task(registry.register("database", database))
    await settled()
    second = asyncio.create_task(registry.register("mailer", mailer, depends_on="database"))
    await settled()
    database.may_start.set()
    for one in first, second:
        with pytest.raises(Unavailable, match="The resource 'database' could not start: OSError: no database"):
            await one
    assert len(registry) == 0
    assert story == ["database begins"]
    await registry.close()


async def test_two_that_need_the_same_start_it_once_and_the_second_goes_on_where_the_first_is_cancelled() -> None:
    story: list[str] = []
    registry = ResourceRegistry()
    database, _ = parts(story)
    await registry.register("database", database)
    one, other = (asyncio.create_task(registry.start_one("database")) for _ in range(2))
    await settled()
    assert story == ["database begins"]
    one.cancel()
    await settled()
    database.may_start.set()
    await other
    assert story == ["database begins", "database begins", "+database"]
    assert one.cancelled()
    await registry.close()


async def test_a_start_may_register_what_depends_on_it() -> None:
    story: list[str] = []
    registry = ResourceRegistry()

    class Broker(Part):
        async def start(self) -> None:
            await registry.register("channel", Part("channel", story), depends_on="broker", start=lambda: None)
            story.append("+broker")

    await registry.register("broker", Broker("broker", story))
    await registry.start()
    await registry.close()
    assert story == ["+broker", "-channel", "-broker"]
