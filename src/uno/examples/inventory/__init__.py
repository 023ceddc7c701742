"""Which Python packages an environment runs, under which licence, and who approved them.

The demo application, to be read from the inside out:

    licences.py        what a licence asks of those who use the package: pure functions
    distributions.py   what is installed, read with importlib.metadata
    packages.py        the aggregate Package, and the events that tell what happened to it
    tables.py          how both are stored
    identity.py        how messages name packages and people
    scanning.py        the command ScanEnvironment and its handler
    decisions.py       the commands of people: approve, reject, annotate
    queries.py         what can be asked
    subscribers.py     what follows from the events: licences are classified
    module.py          all of it put together; `app()` makes the application
    samples.py         environments to scan that nobody has installed

Serve it with `uno run uno.examples.inventory:app`.
"""

from uno.examples.inventory.decisions import AnnotatePackage, ApprovePackage, RejectPackage
from uno.examples.inventory.distributions import Unreadable
from uno.examples.inventory.licences import LicenceClass, LicenceDeclaration
from uno.examples.inventory.module import app, inventory
from uno.examples.inventory.packages import (
    LicenceFlagged,
    Package,
    PackageApproved,
    PackageDiscovered,
    PackageRejected,
    PackageRemoved,
    PackageUpdated,
    Status,
)
from uno.examples.inventory.queries import FindDependents, GetPackage, GetPackageHistory, ListPackages
from uno.examples.inventory.samples import generate
from uno.examples.inventory.scanning import ScanEnvironment, ScanSummary
from uno.examples.inventory.tables import LicenceCheck

__all__ = [
    "AnnotatePackage",
    "ApprovePackage",
    "FindDependents",
    "GetPackage",
    "GetPackageHistory",
    "LicenceCheck",
    "LicenceClass",
    "LicenceDeclaration",
    "LicenceFlagged",
    "ListPackages",
    "Package",
    "PackageApproved",
    "PackageDiscovered",
    "PackageRejected",
    "PackageRemoved",
    "PackageUpdated",
    "RejectPackage",
    "ScanEnvironment",
    "ScanSummary",
    "Status",
    "Unreadable",
    "app",
    "generate",
    "inventory",
]
