"""What people say about a package: yes, no, and a note. The handlers are given the package that the command names."""

from pydantic import Field

from uno.bus import command_handler
from uno.errors import Invalid
from uno.examples.inventory.identity import PackageId, Person, Prose
from uno.examples.inventory.packages import Package
from uno.messages import Command
from uno.security import current_principal

WHO = "Who decides it, where nobody has to log in; otherwise it is whoever is logged in."


class ApprovePackage(Command[Package]):
    """Allow the installed release of a package, even if it was rejected before. Twice is a conflict."""

    package_id: PackageId
    approved_by: Person | None = Field(default=None, description=WHO)


class RejectPackage(Command[Package]):
    """Refuse the installed release of a package, even if it was approved before. Twice is a conflict."""

    package_id: PackageId
    rejected_by: Person | None = Field(default=None, description=WHO)
    reason: Prose = Field(min_length=1, description="Why.", examples=["We ship no AGPL code."])


class AnnotatePackage(Command[Package]):
    """Keep a note about a package; an empty one removes it."""

    package_id: PackageId
    note: Prose = Field(description="For people.", examples=["Needed until we move to 3.13."])


@command_handler(ApprovePackage)
async def approve_package(command: ApprovePackage, package: Package) -> Package:
    package.approve(by=_decider("approved_by", command.approved_by))
    return package


@command_handler(RejectPackage)
async def reject_package(command: RejectPackage, package: Package) -> Package:
    package.reject(by=_decider("rejected_by", command.rejected_by), reason=command.reason)
    return package


@command_handler(AnnotatePackage)
async def annotate_package(command: AnnotatePackage, package: Package) -> Package:
    package.annotate(command.note)
    return package


def _decider(field: str, said: str | None) -> str:
    """Whoever is logged in. Only where nobody is, who they say they are."""
    principal = current_principal()
    if principal is not None:
        return principal.subject
    if said is None:
        raise Invalid.field(field, "Say who decides it.", "missing")
    return said
