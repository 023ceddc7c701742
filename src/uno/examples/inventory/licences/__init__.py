"""A module of its own: it knows licences, stores nothing, and is asked with a typed event.

messages.py         what others may import: the event ClassifyLicence
classification.py   pure functions from what a package declares to a class
module.py           who answers
"""

from uno.examples.inventory.licences.messages import ClassifyLicence, LicenceClass, LicenceDeclaration
from uno.examples.inventory.licences.module import Licences

__all__ = ["ClassifyLicence", "LicenceClass", "LicenceDeclaration", "Licences"]
