"""Which Python packages an environment runs, under which licence, and who approved them.

The demo application, to be read from the inside out:

    licences/          a module of its own: what a licence asks of those who use the package
    distributions.py   what is installed, read with importlib.metadata
    packages.py        the aggregate Package, and the events that tell what happened to it
    tables.py          how both are stored
    identity.py        how messages name packages and people
    scanning.py        the command ScanEnvironment and its handler
    decisions.py       the commands of people: approve, reject, annotate
    queries.py         what can be asked
    summary.py         the inventory at a glance, from a cache that its events make forget
    subscribers.py     what follows from the events: licences are classified
    notices.py         another module: a webhook is told of flagged licences, behind a breaker
    settings.py        the URL of that webhook
    application.py     all of it put together, and who may do what; `app()` makes the application
    samples.py         environments to scan that nobody has installed

Serve it with `uno run uno.examples.inventory:app`; `uno graph` draws its modules, `uno check` their boundaries.
"""

from uno.examples.inventory.application import DECIDE, app
from uno.examples.inventory.decisions import AnnotatePackage, ApprovePackage, RejectPackage
from uno.examples.inventory.distributions import Unreadable
from uno.examples.inventory.licences import ClassifyLicence, LicenceClass, LicenceDeclaration
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
from uno.examples.inventory.summary import InventorySummary, SummariseInventory
from uno.examples.inventory.tables import LicenceCheck

__all__ = [
    "DECIDE",
    "AnnotatePackage",
    "ApprovePackage",
    "ClassifyLicence",
    "FindDependents",
    "GetPackage",
    "GetPackageHistory",
    "InventorySummary",
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
    "SummariseInventory",
    "Unreadable",
    "app",
    "generate",
]
