"""What a violated constraint says: the attributes it is about, the same by every way and on both backends."""

from collections.abc import Awaitable, Callable

from sqlalchemy import text

from uno.data import Database
from uno.data.default_names import default_name

Fresh = Callable[..., Awaitable[Database]]

LONG = "a_table_with_a_name_that_is_very_long_indeed_for_postgresql"
NAMES = [
    ("short", ["n"]),
    ("two", ["first", "second"]),
    (LONG, ["serial_number_of_a_thing"]),
    ("t", ["a_column_with_a_name_that_is_very_long_indeed_for_postgresql_x"]),
    (LONG, [LONG]),
    (LONG + "es", [LONG]),
    (LONG, [f"column_{n}_of_very_many" for n in range(9)]),
    ("straße_mit_einem_sehr_langen_namen_über_alle_maße_für_größen", ["größe_in_fuß_und_zöllen_über_alles"]),
    ("ß" * 31, ["ü" * 31]),
    ("ß" * 20, ["x" + "ü" * 30]),
]


async def test_default_names_are_those_that_postgresql_gives(fresh: Fresh) -> None:
    database = await fresh("postgresql")
    for table, columns in NAMES:
        quoted = [f'"{one}"' for one in columns]
        listed = ", ".join(quoted)
        async with database.transaction() as transaction:
            await transaction.execute(
                text(
                    f'CREATE TABLE "{table}" (id int PRIMARY KEY, {", ".join(f"{one} int" for one in quoted)},'
                    f" UNIQUE ({listed}), CHECK ({quoted[0]} > 0),"
                    f' FOREIGN KEY ({listed}) REFERENCES "{table}" ({listed}))'
                )
            )
            rows = await transaction.execute(
                text("SELECT conname FROM pg_constraint WHERE contype IN ('p','u','c','f')")
            )
            there = set(rows.scalars())
            await transaction.execute(text(f'DROP TABLE "{table}"'))
        wanted = {default_name(table, columns, "key"), default_name(table, columns, "fkey")}
        assert wanted | {default_name(table, columns[:1], "check"), default_name(table, [], "pkey")} <= there
