"""The inventory put together."""

from uno.app import App
from uno.examples.inventory.decisions import (
    AnnotatePackage,
    ApprovePackage,
    RejectPackage,
    annotate_package,
    approve_package,
    reject_package,
)
from uno.examples.inventory.packages import Package
from uno.examples.inventory.queries import (
    FindDependents,
    GetPackage,
    GetPackageHistory,
    ListPackages,
    find_dependents,
    get_package,
    get_package_history,
    list_packages,
)
from uno.examples.inventory.scanning import ScanEnvironment, scan_environment
from uno.examples.inventory.subscribers import classify_licence, warn
from uno.examples.inventory.tables import LicenceCheck
from uno.modules import Module, Route

inventory = Module(
    "inventory",
    models=[Package, LicenceCheck],
    handlers=[
        scan_environment,
        approve_package,
        reject_package,
        annotate_package,
        get_package,
        list_packages,
        find_dependents,
        get_package_history,
        classify_licence,
        warn,
    ],
    routes=[
        Route(ScanEnvironment, path="/packages/scan"),
        ListPackages,  # GET /packages
        GetPackage,  # GET /packages/{package_id}
        ApprovePackage,  # POST /packages/{package_id}/approve
        RejectPackage,  # POST /packages/{package_id}/reject
        AnnotatePackage,  # POST /packages/{package_id}/annotate
        Route(FindDependents, method="GET", path="/packages/{package_id}/dependents"),
        Route(GetPackageHistory, path="/packages/{package_id}/history"),
    ],
)


def app() -> App:
    """The application; its settings and its database come from the environment."""
    return App(inventory)
