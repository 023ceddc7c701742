"""The module that knows licences."""

from uno.examples.inventory.licences.classification import classify
from uno.examples.inventory.licences.messages import ClassifyLicence, LicenceClass, LicenceDeclaration
from uno.modules import Module, handles, module


# inline: it computes and never blocks, so it needs no thread.
@module("licences", "What a licence asks of those who use the package", inline=True)
class Licences(Module):
    @handles(ClassifyLicence)
    def classify(self, declared: LicenceDeclaration) -> LicenceClass:
        return classify(declared)
