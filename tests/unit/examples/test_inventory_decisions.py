"""What people decide about a package: pure decisions, tested without a database."""

import pytest

from uno.errors import Conflict, Invalid, NotFound
from uno.examples.inventory import (
    AnnotatePackage,
    ApprovePackage,
    LicenceDeclaration,
    Package,
    PackageApproved,
    PackageRejected,
    RejectPackage,
    Status,
)
from uno.examples.inventory.distributions import Distribution
from uno.security import Principal
from uno.security.principal import use_principal
from uno.testing import given


@pytest.fixture
def flask() -> Package:
    licence = LicenceDeclaration(expression="BSD-3-Clause")
    return Package.discover(Distribution("flask", "Flask", "3.1", "A framework", ("click",), licence))


def test_somebody_approves_it(flask: Package) -> None:
    command = ApprovePackage(package_id="Flask", approved_by="ada")
    given(flask).when(command).then(
        PackageApproved(package_id="flask", release="3.1", approved_by="ada"),
    ).state(lambda package: package.status is Status.APPROVED)
    given(flask).when(command).then_fails(Conflict, match="already approved, by ada")


def test_who_is_logged_in_decides(flask: Package) -> None:
    command = RejectPackage(package_id="flask", rejected_by="ada", reason="No AGPL.")
    with use_principal(Principal(subject="grace")):
        given(flask).when(command).then(
            PackageRejected(package_id="flask", release="3.1", rejected_by="grace", reason="No AGPL.")
        )


def test_somebody_has_to(flask: Package) -> None:
    given(flask).when(ApprovePackage(package_id="flask")).then_fails(Invalid, match="Say who decides it")


def test_a_note_is_no_event(flask: Package) -> None:
    decision = given(flask).when(AnnotatePackage(package_id="flask", note="needed"))
    decision.then_nothing().state(lambda package: package.note == "needed")


def test_what_is_not_installed_cannot_be_decided(flask: Package) -> None:
    given(flask).when(ApprovePackage(package_id="django", approved_by="ada")).then_fails(NotFound)
