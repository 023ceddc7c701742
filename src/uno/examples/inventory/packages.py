"""A package in the inventory: what it is, what may happen to it, and the events that tell of it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Self

from uno import clock
from uno.domain import AggregateRoot
from uno.errors import Conflict
from uno.examples.inventory.distributions import Distribution
from uno.examples.inventory.licences import LicenceClass, LicenceDeclaration
from uno.messages import DomainEvent


class Status(StrEnum):
    """What has been decided about the installed release of a package."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"


class PackageDiscovered(DomainEvent):
    """A package is installed that was not there before."""

    package_id: str
    release: str
    licence: LicenceDeclaration


class PackageUpdated(DomainEvent):
    """A package is there in another release, or describes itself differently."""

    package_id: str
    previous: str
    release: str
    licence: LicenceDeclaration


class PackageRemoved(DomainEvent):
    """A package is no longer installed."""

    package_id: str
    release: str


class PackageApproved(DomainEvent):
    """Somebody allowed the installed release of a package."""

    package_id: str
    release: str
    approved_by: str


class PackageRejected(DomainEvent):
    """Somebody does not want the installed release of a package."""

    package_id: str
    release: str
    rejected_by: str
    reason: str


class LicenceFlagged(DomainEvent):
    """The licence of a package is one that somebody should look at."""

    package_id: str
    release: str
    licence: LicenceClass


@dataclass(kw_only=True)
class Package(AggregateRoot[str]):
    """An installed package. Its id is its normalised name, so there is one of each.

    A decision is about one release: another release is pending again. `licence` is None until the
    declared licence has been classified.
    """

    id: str
    name: str
    release: str
    summary: str
    requires: list[str]
    declared_licence: str
    licence: LicenceClass | None = None
    status: Status = Status.PENDING
    decided_by: str | None = None
    reason: str | None = None
    note: str | None = None
    discovered_at: datetime = field(default_factory=clock.now)

    @classmethod
    def discover(cls, found: Distribution) -> Self:
        """The package of a distribution that was not there before."""
        package = cls(
            id=found.id,
            name=found.name,
            release=found.release,
            summary=found.summary,
            requires=list(found.requires),
            declared_licence=found.licence.stated,
        )
        package.register_event(PackageDiscovered(package_id=found.id, release=found.release, licence=found.licence))
        return package

    def update(self, found: Distribution) -> bool:
        """Become what is installed now; false where that is nothing new."""
        if self._describes(found):
            return False
        event = PackageUpdated(package_id=self.id, previous=self.release, release=found.release, licence=found.licence)
        if found.release != self.release:
            self.status, self.decided_by, self.reason = Status.PENDING, None, None
        self.name, self.release, self.summary = found.name, found.release, found.summary
        self.requires, self.declared_licence, self.licence = list(found.requires), found.licence.stated, None
        self.register_event(event)
        return True

    def remove(self) -> None:
        """It is no longer installed."""
        self.register_event(PackageRemoved(package_id=self.id, release=self.release))

    def approve(self, *, by: str) -> None:
        """Allow this release. Raises `Conflict` where that is decided already."""
        self._decide(Status.APPROVED, by=by)
        self.register_event(PackageApproved(package_id=self.id, release=self.release, approved_by=by))

    def reject(self, *, by: str, reason: str) -> None:
        """Refuse this release. Raises `Conflict` where that is decided already."""
        self._decide(Status.REJECTED, by=by, reason=reason)
        self.register_event(PackageRejected(package_id=self.id, release=self.release, rejected_by=by, reason=reason))

    def annotate(self, note: str) -> None:
        """Keep a note for people, through all releases."""
        self.note = note or None

    def classify(self, licence: LicenceClass) -> None:
        """Remember the class of the licence; strong copyleft is flagged."""
        self.licence = licence
        if licence is LicenceClass.STRONG_COPYLEFT:
            self.register_event(LicenceFlagged(package_id=self.id, release=self.release, licence=licence))

    def _describes(self, found: Distribution) -> bool:
        now = (self.name, self.release, self.summary, self.requires, self.declared_licence)
        return now == (found.name, found.release, found.summary, list(found.requires), found.licence.stated)

    def _decide(self, status: Status, *, by: str, reason: str | None = None) -> None:
        if self.status is status:
            raise Conflict(f"{self.name} {self.release} is already {self.status}, by {self.decided_by}.")
        self.status, self.decided_by, self.reason = status, by, reason
