"""Times on PostgreSQL, which has 24:00 behind the last of Python's."""

from datetime import time
from typing import Any

from sqlalchemy import Engine, event

# Microseconds.
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND


def keep_times(engine: Engine) -> None:
    """Have connections read 24:00 as the last time there is; asyncpg has an error for it that names nothing."""

    @event.listens_for(engine, "connect")
    def teach(connection: Any, _record: Any) -> None:
        connection.run_async(
            lambda driver: driver.set_type_codec(
                "time", schema="pg_catalog", encoder=_sent, decoder=_read, format="tuple"
            )
        )


def _sent(value: Any) -> tuple[int]:
    return (((value.hour * 60 + value.minute) * 60 + value.second) * _SECOND + value.microsecond,)


def _read(sent: tuple[int]) -> time:
    if sent[0] >= _DAY:
        return time.max
    seconds, micros = divmod(sent[0], _SECOND)
    minutes, second = divmod(seconds, 60)
    return time(minutes // 60, minutes % 60, second, micros)
