"""Looking at what is installed."""

from pydantic import Field

from uno.aio import in_thread
from uno.bus import command_handler
from uno.data import Repository
from uno.domain import ValueObject
from uno.examples.inventory.distributions import Unreadable, read_environment
from uno.examples.inventory.packages import Package
from uno.messages import Command


class ScanSummary(ValueObject):
    """What a scan found, and what it changed."""

    found: int = Field(description="Distributions that are installed.", examples=[73])
    discovered: int = Field(description="Of these, not in the inventory before.", examples=[2])
    updated: int = Field(description="Of these, in another release or differently described.", examples=[1])
    unchanged: int = Field(description="Of these, as they were.", examples=[70])
    removed: int = Field(description="In the inventory, but no longer installed.", examples=[1])
    unreadable: list[Unreadable] = Field(description="Distributions whose metadata is missing or broken.")


class ScanEnvironment(Command[ScanSummary]):
    """Make the inventory say what is installed in one environment: what is new is discovered, what is gone is removed.

    Scanning the same environment again changes nothing.
    """

    path: str | None = Field(
        default=None,
        min_length=1,
        description="A folder of distributions or a virtual environment, where the server runs. "
        "Without it: what the server's own interpreter has installed.",
        examples=["/srv/shop/.venv"],
    )


@command_handler(ScanEnvironment)
async def scan_environment(command: ScanEnvironment, packages: Repository[Package]) -> ScanSummary:
    """All of it is one unit of work: the inventory is never half of what is installed."""
    environment = await in_thread(read_environment, command.path)
    stored = {package.id: package for package in await packages.find()}
    discovered = updated = 0
    for distribution in environment.distributions:
        package = stored.pop(distribution.id, None)
        if package is None:
            await packages.add(Package.discover(distribution))
            discovered += 1
        elif package.update(distribution):
            updated += 1
    for gone in stored.values():
        gone.remove()
        await packages.delete(gone)
    found = len(environment.distributions)
    return ScanSummary(
        found=found,
        discovered=discovered,
        updated=updated,
        unchanged=found - discovered - updated,
        removed=len(stored),
        unreadable=list(environment.unreadable),
    )
