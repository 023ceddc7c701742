"""A long stream needs no more memory than a short one."""

import asyncio
import json
import sys

from sqlalchemy import text
from tests.contracts.conftest import Fresh
from tests.contracts.streaming import LENGTH, ROWS, Base

INSERT = "INSERT INTO streamed (id, version, text) "
NUMBERED = {
    "postgresql": INSERT + "SELECT n, 1, repeat('x', :length) FROM generate_series(1, :rows) AS n",
    "sqlite": INSERT + "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :rows) "
    "SELECT n, 1, printf('%.*c', :length, 'x') FROM s",
}
# The texts alone are 60 million bytes; of a million rows 50 MiB are promised.
MOST = 10 * 2**20


async def test_a_process_grows_no_further_however_long_its_stream_is(fresh: Fresh, backend: str) -> None:
    database = await fresh(backend, Base.metadata)
    async with database.transaction() as transaction:
        await transaction.execute(text(NUMBERED[backend]), {"rows": ROWS, "length": LENGTH})
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contracts.streaming", database.url, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await child.communicate()
    assert child.returncode == 0
    grown = json.loads(printed)
    assert grown["auto"] < MOST
    assert grown["session"] < MOST
    assert grown["all"] > 5 * MOST  # it would be seen
