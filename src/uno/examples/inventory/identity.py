"""How messages name packages and people."""

from typing import Annotated

from pydantic import AfterValidator, Field

from uno.examples.inventory.distributions import NAME, normalised

# Any spelling will do: Zope.Interface and zope_interface are one package.
PackageId = Annotated[
    str,
    Field(pattern=f"^{NAME}$", max_length=200, description="The name of the package.", examples=["fastapi"]),
    AfterValidator(normalised),
]

Person = Annotated[
    str,
    Field(
        pattern=r"^[^\x00-\x1f]+$",
        max_length=200,
        description="Who decided it, on one line.",
        examples=["ada@example.org"],
    ),
]

# PostgreSQL stores every character but one.
Prose = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=10_000)]
