"""The names of the first uno for the manager: what is started, and which databases are open."""

import pytest
from sqlalchemy import text

from uno.aio import get_async_manager, get_resource_manager, get_resource_monitor
from uno.aio.manager import Stage
from uno.data import Database
from uno.errors import Misconfigured


async def test_without_a_database_the_resource_manager_opens_that_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNO_DB_URL", "sqlite:///:memory:")
    async with get_async_manager().running():
        pools = await get_resource_manager().create_database_pools()
        assert await get_resource_manager().create_database_pools() == pools
        assert isinstance(pools["database"], Database)
        factory = await get_resource_manager().create_session_factory()
        async with factory() as session:
            assert (await session.execute(text("SELECT 1"))).scalar() == 1
        assert await get_resource_monitor().health_of("database") == "healthy"
    with pytest.raises(Misconfigured, match="is not open"):
        await pools["database"].ping()


async def test_the_resource_manager_is_a_view_of_it() -> None:
    manager = get_resource_manager()
    with pytest.raises(Misconfigured, match="There is no database here"):
        await manager.create_database_pools()
    await manager.initialize()
    await manager.initialize()
    assert get_async_manager().stage is Stage.RUNNING
    await manager.shutdown()
    assert get_async_manager().stage is Stage.STOPPED
