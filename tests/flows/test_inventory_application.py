"""The demo application, through its messages, on both backends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from uno.app import App
from uno.audit.tables import audit
from uno.data import Database
from uno.errors import Conflict, Invalid, NotFound
from uno.examples.inventory import (
    AnnotatePackage,
    ApprovePackage,
    FindDependents,
    GetPackage,
    GetPackageHistory,
    LicenceCheck,
    LicenceClass,
    ListPackages,
    Package,
    PackageUpdated,
    RejectPackage,
    ScanEnvironment,
    ScanSummary,
    Status,
    app as inventory,
    generate,
)
from uno.messages import message_name
from uno.queue.tables import deliveries
from uno.testing.postgres import DatabaseFarm


async def create_schema(url: str) -> None:
    async with Database(url) as database:
        await inventory(database=database).create_schema()


@pytest.fixture(scope="module")
async def farm() -> AsyncIterator[DatabaseFarm]:
    async with DatabaseFarm() as farm:
        await farm.template("inventory", create_schema)
        yield farm


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, farm: DatabaseFarm, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return await farm.create("inventory")
    url = f"sqlite:///{tmp_path}/inventory.db"
    await create_schema(url)
    return url


@pytest.fixture
async def app(url: str) -> AsyncIterator[App]:
    async with inventory(database=url) as app:
        yield app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generate(tmp_path / "site", 10)
    return tmp_path / "site"


async def scan(app: App, folder: Path) -> ScanSummary:
    return (await app.bus.dispatch(ScanEnvironment(path=str(folder)))).unwrap()


async def get(app: App, package_id: str) -> Package:
    return (await app.bus.dispatch(GetPackage(package_id=package_id))).unwrap()


async def listed(app: App, **query: Any) -> list[str]:
    return [package.id for package in (await app.bus.dispatch(ListPackages(**query))).unwrap()]


async def rows(app: App, table: Any) -> int:
    assert app.database is not None
    return int((await app.database.query(select(func.count()).select_from(table)))[0][0])


async def ledgers(app: App) -> dict[str, int]:
    """How many rows each table has that a change would add one to."""
    return {table.name: await rows(app, table) for table in (audit, deliveries, LicenceCheck.__table__)}


async def test_a_scan_discovers_what_is_installed(app: App, folder: Path) -> None:
    summary = await scan(app, folder)
    assert summary == ScanSummary(found=10, discovered=10, updated=0, unchanged=0, removed=0, unreadable=[])
    package = await get(app, "sample-00003")
    assert (package.name, package.release, package.status) == ("sample-00003", "1.0.0", Status.PENDING)
    assert package.requires == ["sample-00000", "sample-00002"]
    assert await ledgers(app) == {"uno_audit": 10, "uno_delivery": 10, "licence_checks": 0}


async def test_a_second_scan_changes_nothing(app: App, folder: Path) -> None:
    await scan(app, folder)
    before = await ledgers(app)
    summary = await scan(app, folder)
    assert summary == ScanSummary(found=10, discovered=0, updated=0, unchanged=10, removed=0, unreadable=[])
    assert await ledgers(app) == before


async def test_a_second_scan_changes_nothing_after_licences_were_classified(app: App, folder: Path) -> None:
    await scan(app, folder)
    await app.worker().drain()
    before = await ledgers(app)
    assert (await scan(app, folder)).unchanged == 10
    await app.worker().drain()
    assert await ledgers(app) == before


async def test_a_scan_sees_what_was_updated_and_removed(app: App, tmp_path: Path, folder: Path) -> None:
    await scan(app, folder)
    await app.bus.dispatch(ApprovePackage(package_id="sample-00001", approved_by="ada"))
    generate(tmp_path / "later", 8, release="2.0.0")
    summary = await scan(app, tmp_path / "later")
    assert summary == ScanSummary(found=8, discovered=0, updated=8, unchanged=0, removed=2, unreadable=[])
    assert (await get(app, "sample-00001")).status is Status.PENDING
    missing = await app.bus.dispatch(GetPackage(package_id="sample-00009"))
    assert missing.is_failure
    assert isinstance(missing.error, NotFound)


async def test_a_scan_without_distributions_removes_nothing(app: App, tmp_path: Path, folder: Path) -> None:
    await scan(app, folder)
    refused = await app.bus.dispatch(ScanEnvironment(path=str(tmp_path / "typo")))
    assert isinstance(refused.error, Invalid)
    assert len(await listed(app)) == 10


async def test_a_broken_distribution_is_reported(app: App, folder: Path) -> None:
    (folder / "broken-1.0.dist-info").mkdir()
    summary = await scan(app, folder)
    assert summary.found == 10
    assert [Path(one.place).name for one in summary.unreadable] == ["broken-1.0.dist-info"]


async def test_this_environment_can_be_scanned(app: App) -> None:
    summary = (await app.bus.dispatch(ScanEnvironment())).unwrap()
    assert summary.discovered == summary.found > 10
    assert "fastapi" in {p.id for p in (await app.bus.dispatch(FindDependents(package_id="Pydantic"))).unwrap()}


async def test_a_worker_classifies_every_licence_once(app: App, folder: Path) -> None:
    await scan(app, folder)
    await app.worker().drain()
    assert {kind: await listed(app, licence=kind) for kind in LicenceClass} == {
        LicenceClass.PERMISSIVE: ["sample-00000", "sample-00001", "sample-00005", "sample-00006"],
        LicenceClass.WEAK_COPYLEFT: ["sample-00002", "sample-00007"],
        LicenceClass.STRONG_COPYLEFT: ["sample-00003", "sample-00008"],
        LicenceClass.UNKNOWN: ["sample-00004", "sample-00009"],
    }
    assert await ledgers(app) == {"uno_audit": 30, "uno_delivery": 10, "licence_checks": 10}


async def test_strong_copyleft_is_flagged(app: App, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    await scan(app, folder)
    await app.worker().drain()
    flagged = sorted(record.getMessage() for record in caplog.records if "strong-copyleft" in record.getMessage())
    assert flagged == [
        "sample-00003 1.0.0 has a strong-copyleft licence",
        "sample-00008 1.0.0 has a strong-copyleft licence",
    ]


async def test_an_event_that_comes_too_late_does_not_classify_another_release(
    app: App, tmp_path: Path, folder: Path
) -> None:
    await scan(app, folder)
    generate(tmp_path / "later", 10, release="2.0.0")
    await scan(app, tmp_path / "later")
    assert app.database is not None
    [(late,)] = await app.database.query(select(func.count()).where(deliveries.c.event == message_name(PackageUpdated)))
    assert late == 10
    await app.worker().drain()
    assert (await get(app, "sample-00000")).licence is LicenceClass.PERMISSIVE
    assert await rows(app, LicenceCheck.__table__) == 20


async def test_a_package_is_approved_once(app: App, folder: Path) -> None:
    await scan(app, folder)
    approved = (await app.bus.dispatch(ApprovePackage(package_id="Sample_00001", approved_by="ada"))).unwrap()
    assert (approved.status, approved.decided_by) == (Status.APPROVED, "ada")
    before = await ledgers(app)
    again = await app.bus.dispatch(ApprovePackage(package_id="sample-00001", approved_by="bob"))
    assert isinstance(again.error, Conflict)
    assert str(again.error) == "sample-00001 1.0.0 is already approved, by ada."
    assert await ledgers(app) == before
    assert await listed(app, status=Status.APPROVED) == ["sample-00001"]


async def test_a_package_is_rejected_with_a_reason_and_annotated(app: App, folder: Path) -> None:
    await scan(app, folder)
    await app.bus.dispatch(RejectPackage(package_id="sample-00003", rejected_by="ada", reason="GPL"))
    await app.bus.dispatch(AnnotatePackage(package_id="sample-00003", note="ask legal"))
    package = await get(app, "sample-00003")
    assert (package.status, package.reason, package.note) == (Status.REJECTED, "GPL", "ask legal")


async def test_what_is_not_there_is_not_found(app: App) -> None:
    for message in (
        GetPackage(package_id="nothing"),
        ApprovePackage(package_id="nothing", approved_by="ada"),
        RejectPackage(package_id="nothing", rejected_by="ada", reason="no"),
        AnnotatePackage(package_id="nothing", note="?"),
        GetPackageHistory(package_id="nothing"),
    ):
        result = await app.bus.dispatch(message)  # type: ignore[arg-type]
        assert isinstance(result.error, NotFound), message
    assert (await app.bus.dispatch(FindDependents(package_id="nothing"))).unwrap() == []


async def test_lists_are_sorted_and_cut_into_pages(app: App, folder: Path) -> None:
    await scan(app, folder)
    await app.worker().drain()
    assert await listed(app, limit=2, offset=3) == ["sample-00003", "sample-00004"]
    assert await listed(app, sort="-id", limit=2) == ["sample-00009", "sample-00008"]
    pages = [await listed(app, sort="licence", limit=3, offset=offset) for offset in range(0, 12, 3)]
    assert sorted(id for page in pages for id in page) == await listed(app)


async def test_dependents_are_found_by_the_whole_name(app: App, folder: Path) -> None:
    await scan(app, folder)
    all_but_the_first = (await app.bus.dispatch(FindDependents(package_id="sample-00000"))).unwrap()
    assert [package.id for package in all_but_the_first] == (await listed(app))[1:]
    assert (await app.bus.dispatch(FindDependents(package_id="sample"))).unwrap() == []


async def test_the_history_of_a_package_outlives_it(app: App, tmp_path: Path, folder: Path) -> None:
    await scan(app, folder)
    await app.worker().drain()
    await app.bus.dispatch(ApprovePackage(package_id="sample-00009", approved_by="ada"))
    generate(tmp_path / "fewer", 9)
    await scan(app, tmp_path / "fewer")
    history = (await app.bus.dispatch(GetPackageHistory(package_id="sample-00009"))).unwrap()
    assert [entry.operation for entry in history] == ["create", "update", "update", "delete"]
    created, classified, approved, deleted = history
    assert classified.after == {"licence": "unknown"}
    assert classified.correlation_id == created.correlation_id
    assert approved.before == {"status": "pending", "decided_by": None}
    assert approved.after == {"status": "approved", "decided_by": "ada"}
    assert deleted.before is not None
    assert deleted.before["status"] == "approved"


async def test_two_people_decide_at_once_and_one_is_told(app: App, folder: Path) -> None:
    await scan(app, folder)
    results = await asyncio.gather(
        *(app.bus.dispatch(ApprovePackage(package_id="sample-00001", approved_by=who)) for who in ("ada", "bob"))
    )
    assert sorted(result.is_success for result in results) == [False, True]
    assert [type(result.error) for result in results if result.is_failure] == [Conflict]


async def test_two_thousand_distributions_are_one_unit_of_work(app: App, tmp_path: Path) -> None:
    generate(tmp_path / "many", 2_000)
    summary = await scan(app, tmp_path / "many")
    assert summary.discovered == 2_000
    assert app.database is not None
    [(requests, moments)] = await app.database.query(
        select(func.count(audit.c.message_id.distinct()), func.count(audit.c.timestamp.distinct()))
    )
    assert (requests, moments) == (1, 1)
    assert (await scan(app, tmp_path / "many")).unchanged == 2_000
    assert await ledgers(app) == {"uno_audit": 2_000, "uno_delivery": 2_000, "licence_checks": 0}
