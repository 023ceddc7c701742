"""The inventory put together: its modules, its routes and who may use them."""

from typing import Any

from uno.app import App, resource
from uno.di import value
from uno.examples.inventory.decisions import (
    AnnotatePackage,
    ApprovePackage,
    RejectPackage,
    annotate_package,
    approve_package,
    reject_package,
)
from uno.examples.inventory.licences import Licences
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
from uno.examples.inventory.settings import InventorySettings
from uno.examples.inventory.subscribers import classify_licence, warn
from uno.examples.inventory.summary import Summaries, SummariseInventory, summarise_inventory
from uno.examples.inventory.tables import LicenceCheck
from uno.modules import Access, Module, Route
from uno.security import AuthProvider
from uno.settings import JWTSettings, Settings, load, read

# What a token has to permit to approve and reject.
DECIDE = "packages:decide"


def app(*, settings: Settings | None = None, auth: AuthProvider | None = None, **options: Any) -> App:
    """The application; what is not given comes from the environment. `options` are those of `App`.

    With a key (`UNO_JWT_*`) it is protected: approving and rejecting need a token that permits
    `packages:decide`. With `UNO_INVENTORY_WEBHOOK` it tells of flagged licences.
    """
    settings, own = settings or load(), read(InventorySettings)
    auth = auth or tokens(settings.jwt)
    modules = [inventory(decide=DECIDE if auth else "open"), Licences()]
    if own.webhook:
        # Only now: its HTTP client takes a while to load.
        from uno.examples.inventory.notices import notices

        modules.append(notices(own))
    return App(*modules, settings=settings, auth=auth, **options)


def inventory(*, decide: Access = "open") -> Module:
    """The module about packages; `decide` says who may approve and reject."""
    summaries = Summaries()
    return Module(
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
            summarise_inventory,
            *summaries.handlers,
        ],
        providers=[value(summaries)],
        routes=[
            Route(ScanEnvironment, path="/packages/scan", access="open"),
            Route(ListPackages, access="open"),  # GET /packages
            Route(GetPackage, access="open"),  # GET /packages/{package_id}
            Route(ApprovePackage, access=decide),  # POST /packages/{package_id}/approve
            Route(RejectPackage, access=decide),  # POST /packages/{package_id}/reject
            Route(AnnotatePackage, access="open"),  # POST /packages/{package_id}/annotate
            Route(FindDependents, method="GET", path="/packages/{package_id}/dependents", access="open"),
            Route(GetPackageHistory, path="/packages/{package_id}/history", access="open"),
            Route(SummariseInventory, method="GET", path="/summary", access="open"),
            # GET /licence-checks, with filters and pages, and GET /licence-checks/{id}: no code of its own.
            resource(LicenceCheck, operations=["list", "get"], access="open"),
        ],
    )


def tokens(settings: JWTSettings) -> AuthProvider | None:
    """Who makes and checks tokens; None without a key."""
    if not (settings.secret_key or settings.private_key or settings.public_key):
        return None
    from uno.security import JWTAuthProvider

    return JWTAuthProvider(settings)
