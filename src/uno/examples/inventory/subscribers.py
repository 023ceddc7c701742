"""What follows from the events of the inventory."""

import logging

from uno import clock
from uno.bus import CommandBus, event_handler
from uno.data import Repository
from uno.examples.inventory.licences import ClassifyLicence
from uno.examples.inventory.packages import LicenceFlagged, Package, PackageDiscovered, PackageUpdated
from uno.examples.inventory.tables import LicenceCheck

log = logging.getLogger(__name__)
CLASSIFY = "inventory.classify-licence"


@event_handler(PackageDiscovered, durable=True, name=CLASSIFY)
@event_handler(PackageUpdated, durable=True, name=CLASSIFY)
async def classify_licence(
    event: PackageDiscovered | PackageUpdated,
    bus: CommandBus,
    packages: Repository[Package],
    checks: Repository[LicenceCheck],
) -> None:
    """Durable: a worker runs it, again after a crash, and its effects happen exactly once."""
    licence = (await bus.dispatch(ClassifyLicence(input=event.licence))).unwrap()
    check = LicenceCheck(package_id=event.package_id, release=event.release, licence=licence, checked_at=clock.now())
    await checks.add(check)
    package = await packages.get_by_id(event.package_id)
    # By now it may be gone, or described differently, of which another event tells.
    if package is not None and package.release == event.release and package.declared_licence == event.licence.stated:
        package.classify(licence)


@event_handler(LicenceFlagged)
async def warn(event: LicenceFlagged) -> None:
    """Not durable: it runs in process after the commit, and a crash in between loses one log line."""
    log.warning("%s %s has a %s licence", event.package_id, event.release, event.licence)
