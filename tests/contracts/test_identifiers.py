"""PostgreSQL makes the first half of an identifier as Python does."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from uno.data import Database
from uno.data.stamps import DIGITS
from uno.ids import uuid7_at

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def test_of_any_microsecond(tenant_url: str) -> None:
    moments = [*range(3_000), *range(1_792_000_000_123_000, 1_792_000_000_126_000), 2**50, 2**53]
    async with Database(tenant_url) as database, database.transaction() as transaction:
        asked = text(f"SELECT {DIGITS.format('m')} FROM unnest(CAST(:moments AS bigint[])) AS m")
        found = (await transaction.execute(asked, {"moments": moments})).scalars()
        assert list(found) == [uuid7_at(EPOCH + timedelta(microseconds=m)).hex[:16] for m in moments]
