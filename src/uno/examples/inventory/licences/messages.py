"""What other modules may say to this one: the event `ClassifyLicence`, and what it carries."""

from enum import StrEnum

from uno.domain import ValueObject
from uno.modules import Event


class LicenceClass(StrEnum):
    """What it takes to use the package in a program of one's own."""

    PERMISSIVE = "permissive"
    WEAK_COPYLEFT = "weak-copyleft"
    STRONG_COPYLEFT = "strong-copyleft"
    UNKNOWN = "unknown"


class LicenceDeclaration(ValueObject):
    """What a package says about its licence, in its own words."""

    expression: str = ""
    text: str = ""
    classifiers: tuple[str, ...] = ()

    @property
    def stated(self) -> str:
        """One line for people; empty where nothing is declared."""
        return self.expression or self.text or ", ".join(map(title, self.classifiers))


class ClassifyLicence(Event[LicenceDeclaration, LicenceClass]):
    """Asks for the class of a declared licence."""

    name = "licences.classify"


def title(classifier: str) -> str:
    """The last part of a classifier, which names the licence."""
    return classifier.rpartition(" :: ")[2]
