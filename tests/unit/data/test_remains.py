"""Which statements leave something in the session of their connection."""

import pytest

from uno.data.remains import LASTS, PLAIN, SAVES, UNDOES, effect

TEXTS = {
    PLAIN: (
        "SELECT 1",
        "(SELECT 1) UNION (SELECT 2);",
        "/* report */ -- of today\n select 1",
        "with x as (select 1) select temp from x",
        "UPDATE t SET role = 1",
        "INSERT INTO temp (temp) VALUES (1)",
        "CREATE TABLE temp (temp int)",
        "SELECT string_agg(a, ';') FROM t",
        "SET LOCAL ROLE x",
        "set\n local uno.tenant = 'x'",
        "SET TRANSACTION READ ONLY",
        "SET CONSTRAINTS ALL DEFERRED",
        "SELECT set_config('a', $1::VARCHAR, TRUE )",
        "SELECT pg_try_advisory_xact_lock(1), pg_advisory_xact_lock(1), pg_advisory_unlock(1)",
        "NOTIFY x",
        "TRUNCATE t",
        "SELECT " + "1, " * 2_000 + "1",
        "INSERT INTO t VALUES ('; SET ROLE x', $$; SET ROLE y; $$, E'\\'; set_config(', 'it''s; so', $a$ $$; x $a$)",
        'SELECT "set_config;x" FROM template',
        "SELECT 1 /* ; SET ROLE x */",
    ),
    SAVES: ("SAVEPOINT x", "release savepoint x"),
    UNDOES: ("ROLLBACK TO SAVEPOINT x", "rollback to x", "/* a */ rollback work to x"),
    LASTS: (
        "SET ROLE x",
        "set uno.tenant = 'x'",
        "SET local.tenant = 'x'",
        "SET SESSION AUTHORIZATION x",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "RESET ALL",
        "/* x */ SET ROLE y /* */ select",
        "/* a /* b */ select */ SET ROLE x",
        "-- select\nSET ROLE x",
        "SET/**/ROLE x",
        "SELECT set_config('a', 'b', false)",
        'SELECT pg_catalog."set_config"($1::VARCHAR, $2::VARCHAR, $3::BOOLEAN)',
        "SELECT set_config('a', 'b', true), set_config('c', 'd', false)",
        "SELECT set_config/**/('a', 'b', false)",
        "SELECT set_config -- of\n ('a', 'x, true)', false)",
        "SELECT set_config('a', 'x' /* , true) */, false)",
        "SELECT set_config('a', $$x, true)$$, false)",
        "SELECT set_config('a', E'\\', true)', false)",
        "SELECT set_config('a', 'b', (true and false))",
        "SELECT U&\"set\\005fconfig\"('a', 'b', false)",
        "SELECT /* /* */ ' */ set_config('a', 'b', false), '",
        "SELECT set_config(\"a, true)\", 'b', false) FROM x",
        "SELECT date'; ' || a$b$ || '$b$'; SET ROLE x",
        "INSERT INTO t SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock_shared(1)",
        "SELECT " + "1, " * 2_000 + "pg_advisory_lock(1)",
        "LISTEN x",
        "PREPARE x AS SELECT 1",
        "DISCARD TEMP",
        "DECLARE x CURSOR WITH HOLD FOR SELECT 1",
        "\nCREATE TEMPORARY TABLE x (a int)",
        "CREATE/**/TEMP TABLE x (a int)",
        "create or replace temp view x as select 1",
        "CREATE TABLE pg_temp.x (a int)",
        "SELECT 1 AS a INTO TEMP x",
        "DO $$ BEGIN END $$",
        "CALL x()",
        "LOAD 'x'",
        "SELECT 1; SET ROLE x",
        "COMMIT",
        "",
    ),
}


@pytest.mark.parametrize(("wanted", "sql"), [(wanted, sql) for wanted, texts in TEXTS.items() for sql in texts])
def test_what_a_statement_does(wanted: int, sql: str) -> None:
    assert effect(sql) == wanted
    assert effect(sql) == wanted
