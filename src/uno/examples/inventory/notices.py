"""A module that tells people elsewhere: where a licence is flagged, a webhook gets a notice.

What is outside may be slow, down, or hear twice: a timeout, a breaker and a key are for that.
"""

import logging
from collections.abc import AsyncIterator, Mapping

import httpx2

from uno.bus import event_handler
from uno.di import singleton, value
from uno.errors import Misconfigured, Unavailable
from uno.examples.inventory.packages import LicenceFlagged
from uno.examples.inventory.settings import InventorySettings
from uno.modules import Module
from uno.resilience import CircuitBreaker, Timeout

# It would log every URL, and this one is a secret.
logging.getLogger("httpx2").setLevel(logging.WARNING)


class Webhook:
    """An URL that takes JSON."""

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self._url = url
        self._client = client
        self._timeout = Timeout(5.0, name="inventory.webhook")
        # Around the timeout, which is one of the failures it counts.
        self._breaker = CircuitBreaker("inventory.webhook", failure_threshold=3, recovery_timeout=10.0)

    async def send(self, notice: Mapping[str, str], *, key: str) -> None:
        """POST it. Raises `Unavailable` or `TimedOut` where it may not have arrived."""
        await self._breaker.call(self._timeout.call, self._post, notice, key)

    async def _post(self, notice: Mapping[str, str], key: str) -> None:
        try:
            answer = await self._client.post(self._url, json=notice, headers={"Idempotency-Key": key})
        except httpx2.TransportError as error:
            raise Unavailable(f"The webhook cannot be reached: {type(error).__name__}.") from error
        if not answer.is_success:
            raise Unavailable(f"The webhook answered with {answer.status_code}.")


@singleton
async def webhook(settings: InventorySettings) -> AsyncIterator[Webhook]:
    """One for the life of the application, closed with it."""
    if settings.webhook is None:
        raise Misconfigured("There is nobody to tell: set UNO_INVENTORY_WEBHOOK.")
    async with httpx2.AsyncClient(timeout=None) as client:
        yield Webhook(str(settings.webhook.get_secret_value()), client)


@event_handler(LicenceFlagged, durable=True, name="notices.licence-flagged")
async def tell(event: LicenceFlagged, webhook: Webhook) -> None:
    """Durable: what fails is delivered again. The receiver knows a repetition by its key, the id of the event.

    No transaction is open and no connection held while it waits: a unit of work takes one when it commits.
    """
    notice = {"package": event.package_id, "release": event.release, "licence": event.licence.value}
    await webhook.send(notice, key=event.event_id)


def notices(settings: InventorySettings) -> Module:
    """The module, for those who have set a webhook."""
    return Module("notices", handlers=[tell], providers=[value(settings), webhook])
