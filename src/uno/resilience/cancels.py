"""Which cancellations of a task are older than something in it, and thus not for that to take back."""

import asyncio
from operator import attrgetter
from typing import Any

# Nothing public tells of one that is counted, and still to come: it will arrive inside of what begins now.
is_to_come: "attrgetter[bool]" = attrgetter("_must_cancel")


def older(task: asyncio.Task[Any]) -> int:
    """Those that have arrived already."""
    return task.cancelling() - is_to_come(task)
