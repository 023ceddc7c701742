"""What can be asked of the inventory."""

from typing import Any, Literal

from pydantic import Field

from uno.audit import AuditLog, AuditTrail
from uno.bus import query_handler
from uno.data import Repository
from uno.errors import NotFound
from uno.examples.inventory.identity import PackageId
from uno.examples.inventory.licences import LicenceClass
from uno.examples.inventory.packages import Package, Status
from uno.examples.inventory.tables import requiring
from uno.messages import Query

Order = Literal["id", "-id", "status", "-status", "licence", "-licence", "discovered_at", "-discovered_at"]


class GetPackage(Query[Package]):
    """One package."""

    package_id: PackageId


class ListPackages(Query[list[Package]]):
    """The packages of the inventory, page by page."""

    status: Status | None = Field(default=None, description="Only those with this status.")
    licence: LicenceClass | None = Field(default=None, description="Only those with a licence of this class.")
    sort: Order = Field(default="id", description="Sorted by this, with a leading `-` in descending order.")
    limit: int = Field(default=50, ge=1, le=500, description="At most so many.")
    offset: int = Field(default=0, ge=0, le=1_000_000, description="After leaving out so many.")


class FindDependents(Query[list[Package]]):
    """The packages that require a package, which need not be installed itself. Extras do not count."""

    package_id: PackageId


class GetPackageHistory(Query[list[AuditLog]]):
    """Every change of a package, oldest first, also after it is gone."""

    package_id: PackageId


@query_handler(GetPackage)
async def get_package(query: GetPackage, package: Package) -> Package:
    return package


@query_handler(ListPackages)
async def list_packages(query: ListPackages, packages: Repository[Package]) -> list[Package]:
    wanted: dict[str, Any] = {"status": query.status, "licence": query.licence}
    given = {name: value for name, value in wanted.items() if value is not None}
    # The id decides between equals, or pages would overlap.
    return await packages.find(sort=query.sort, limit=query.limit, offset=query.offset, **given)


@query_handler(FindDependents)
async def find_dependents(query: FindDependents, packages: Repository[Package]) -> list[Package]:
    return await packages.find(requiring(query.package_id), sort="id")


@query_handler(GetPackageHistory)
async def get_package_history(query: GetPackageHistory, trail: AuditTrail) -> list[AuditLog]:
    entries = await trail.query(component="Package", record_id=query.package_id)
    if not entries:
        raise NotFound("Package", query.package_id)
    return entries
