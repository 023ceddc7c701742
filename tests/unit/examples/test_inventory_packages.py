"""What may happen to a package, and the events that tell of it; no database in sight."""

import re

import pytest

from uno.errors import Conflict
from uno.examples.inventory import (
    LicenceClass,
    LicenceDeclaration,
    LicenceFlagged,
    Package,
    PackageApproved,
    PackageDiscovered,
    PackageRejected,
    PackageRemoved,
    PackageUpdated,
    Status,
)
from uno.examples.inventory.distributions import Distribution


def distribution(release: str = "1.0", **changes: object) -> Distribution:
    values = {
        "id": "flask",
        "name": "Flask",
        "release": release,
        "summary": "A framework",
        "requires": ("click",),
        "licence": LicenceDeclaration(expression="BSD-3-Clause"),
    }
    return Distribution(**values | changes)  # type: ignore[arg-type]


def test_a_discovered_package_is_pending_and_not_classified() -> None:
    package = Package.discover(distribution())
    assert (package.id, package.name, package.release) == ("flask", "Flask", "1.0")
    assert (package.status, package.licence, package.declared_licence) == (Status.PENDING, None, "BSD-3-Clause")
    [event] = package.collect_events()
    assert isinstance(event, PackageDiscovered)
    assert (event.aggregate_id, event.licence.expression) == ("flask", "BSD-3-Clause")


def test_the_same_again_changes_nothing() -> None:
    package = Package.discover(distribution())
    package.collect_events()
    assert not package.update(distribution())
    assert package.collect_events() == []


def test_another_release_has_to_be_decided_and_classified_again() -> None:
    package = Package.discover(distribution())
    package.approve(by="ada")
    package.annotate("needed")
    package.classify(LicenceClass.PERMISSIVE)
    package.collect_events()
    assert package.update(distribution("2.0", requires=()))
    assert (package.release, package.requires, package.note) == ("2.0", [], "needed")
    assert (package.status, package.decided_by, package.licence) == (Status.PENDING, None, None)
    [event] = package.collect_events()
    assert isinstance(event, PackageUpdated)
    assert (event.previous, event.release) == ("1.0", "2.0")


def test_a_decision_outlives_another_description_of_the_same_release() -> None:
    package = Package.discover(distribution())
    package.approve(by="ada")
    assert package.update(distribution(summary="The framework"))
    assert package.status is Status.APPROVED


def test_approving_twice_is_a_conflict_that_names_the_state() -> None:
    package = Package.discover(distribution())
    package.approve(by="ada")
    with pytest.raises(Conflict, match=re.escape("Flask 1.0 is already approved, by ada.")):
        package.approve(by="bob")
    assert package.decided_by == "ada"


def test_rejecting_twice_is_a_conflict_that_names_the_state() -> None:
    package = Package.discover(distribution())
    package.reject(by="ada", reason="too old")
    with pytest.raises(Conflict, match=re.escape("Flask 1.0 is already rejected, by ada.")):
        package.reject(by="bob", reason="too new")
    assert package.reason == "too old"


def test_minds_may_change() -> None:
    package = Package.discover(distribution())
    package.reject(by="ada", reason="too old")
    package.approve(by="bob")
    assert (package.status, package.decided_by, package.reason) == (Status.APPROVED, "bob", None)
    assert [type(event) for event in package.collect_events()] == [PackageDiscovered, PackageRejected, PackageApproved]


def test_only_strong_copyleft_is_flagged() -> None:
    package = Package.discover(distribution())
    package.collect_events()
    for licence in LicenceClass:
        package.classify(licence)
    [event] = package.collect_events()
    assert isinstance(event, LicenceFlagged)
    assert event.licence is LicenceClass.STRONG_COPYLEFT


def test_a_removed_package_says_so() -> None:
    package = Package.discover(distribution())
    package.remove()
    assert isinstance(package.collect_events()[-1], PackageRemoved)


def test_an_empty_note_is_none() -> None:
    package = Package.discover(distribution())
    package.annotate("keep")
    package.annotate("")
    assert package.note is None
