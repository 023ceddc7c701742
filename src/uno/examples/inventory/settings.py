"""What can be set: `UNO_INVENTORY_*`."""

from pydantic import HttpUrl, Secret
from pydantic_settings import SettingsConfigDict

from uno.settings import Section


class InventorySettings(Section):
    """`webhook` is an URL that is told of flagged licences; who knows it may write there, so it is a secret."""

    model_config = SettingsConfigDict(env_prefix="UNO_INVENTORY_", env_file=".env", extra="ignore", frozen=True)

    webhook: Secret[HttpUrl] | None = None
