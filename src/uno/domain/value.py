"""Things without an identity: equal if all their parts are."""

from pydantic import BaseModel, ConfigDict


class ValueObject(BaseModel):
    """Immutable, validated, equal by value. A frozen dataclass does as well."""

    model_config = ConfigDict(frozen=True)
