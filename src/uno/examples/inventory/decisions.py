"""What people say about a package: yes, no, and a note."""

from pydantic import Field

from uno.bus import command_handler
from uno.data import Repository
from uno.examples.inventory.identity import PackageId, Person, Prose
from uno.examples.inventory.packages import Package
from uno.messages import Command


class ApprovePackage(Command[Package]):
    """Allow the installed release of a package, even if it was rejected before. Twice is a conflict."""

    package_id: PackageId
    approved_by: Person


class RejectPackage(Command[Package]):
    """Refuse the installed release of a package, even if it was approved before. Twice is a conflict."""

    package_id: PackageId
    rejected_by: Person
    reason: Prose = Field(min_length=1, description="Why.", examples=["We ship no AGPL code."])


class AnnotatePackage(Command[Package]):
    """Keep a note about a package; an empty one removes it."""

    package_id: PackageId
    note: Prose = Field(description="For people.", examples=["Needed until we move to 3.13."])


@command_handler(ApprovePackage)
async def approve_package(command: ApprovePackage, packages: Repository[Package]) -> Package:
    package = await packages.get(command.package_id)
    package.approve(by=command.approved_by)
    return package


@command_handler(RejectPackage)
async def reject_package(command: RejectPackage, packages: Repository[Package]) -> Package:
    package = await packages.get(command.package_id)
    package.reject(by=command.rejected_by, reason=command.reason)
    return package


@command_handler(AnnotatePackage)
async def annotate_package(command: AnnotatePackage, packages: Repository[Package]) -> Package:
    package = await packages.get(command.package_id)
    package.annotate(command.note)
    return package
