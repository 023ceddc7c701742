"""Changes that PostgreSQL writes down itself: statement triggers, so that raw SQL is audited too.

A class says `__audit__ = "trigger"`; classes of another base than `uno.data.Model` go through `by_trigger`.
The triggers come with the table and write the rows that the unit of work would write. Who changed what on
whose behalf is in the transaction's setting `uno.context`, which the unit of work sets; where it is not set,
the actor is what the setting `uno.actor` says, or the database's user. On other databases the unit of work
writes the rows.
"""

import json
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, TypeVar

from sqlalchemy import JSON, Column, ColumnElement, Table, event, inspect, text
from sqlalchemy.dialects.postgresql import JSONB, asyncpg
from sqlalchemy.engine import Connection

from uno.context import Context
from uno.data import record_ids, wire
from uno.data.lease import Transaction
from uno.data.marks import HIDDEN
from uno.data.plan import MappedPlan, mapped_plan
from uno.errors import Misconfigured

C = TypeVar("C", bound=type)
# Under this key of its `info` a table knows the class whose changes its triggers write down.
_CLASS = "uno.audit"
_LONGEST_NAME = 63
# Of one jsonb_build_object: functions take 100 arguments.
_MEMBERS = 50
_VERBS = ("insert", "update", "delete", "truncate")
# typing does not know what a dialect is made of.
_dialect: Any = asyncpg.dialect()  # type: ignore[no-untyped-call]
_quote = _dialect.identifier_preparer.quote
_SAY = text("SELECT set_config('uno.context', :said, true)")
_COLUMNS = (
    "id, kind, component, actor, actor_source, tenant, timestamp, correlation_id, message_id, traceparent, "
    "record_id, operation, before, after"
)
# A UUID of version 7 as `uno.ids.uuid7_at` makes it, and what is the same in every row.
_SAME = """
      (
        lpad(to_hex((micros + ({place} >> 14)) / 1000), 12, '0') || '7'
        || lpad(to_hex((micros + ({place} >> 14)) % 1000 * 4096 / 1000), 3, '0')
        || to_hex(32768 + ({place} & 16383)) || right(gen_random_uuid()::text, 12)
      )::uuid,
      'change', {component}, said->>'actor', said->>'actor_source', said->>'tenant', moment,
      said->>'correlation_id', said->>'message_id', said->>'traceparent'"""
_PLACE = "(row_number() OVER ({order}) - 1)"
# A column may be called as one of the variables; columns are named with their table.
_BODY = """
#variable_conflict use_variable
DECLARE
  moment timestamptz := clock_timestamp();
  micros bigint := (extract(epoch FROM moment) * 1000000)::bigint;
  said jsonb := nullif(current_setting('uno.context', true), '')::jsonb;
  named text := nullif(current_setting('uno.actor', true), '');
  own text := 'transaction-' || pg_current_xact_id()::text;
BEGIN
  IF said IS NULL AND named IS NOT NULL THEN
    said := jsonb_build_object('actor', named, 'actor_source', 'setting');
  END IF;
  said := jsonb_build_object('actor_source', 'database', 'correlation_id', own, 'message_id', own)
    || coalesce(said, jsonb_build_object('actor', session_user));
  IF TG_OP = 'INSERT' THEN
    INSERT INTO {audit} ({columns}) SELECT {same}, {new_id}, 'create', NULL, {new} FROM uno_new n;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO {audit} ({columns}) SELECT {same}, {old_id}, 'delete', {old}, NULL FROM uno_old o;
  ELSIF TG_OP = 'TRUNCATE' THEN
    IF row_security_active({name}) THEN
      RAISE EXCEPTION 'The rows that TRUNCATE takes from % cannot be written down: its policies hide rows from %.',
        {name}, current_user
        USING ERRCODE = 'insufficient_privilege',
        HINT = 'Put TRUNCATE between ALTER TABLE ... NO FORCE ROW LEVEL SECURITY and FORCE, in one transaction.';
    END IF;
    -- Of a partitioned table the triggers of its partitions are called, too.
    INSERT INTO {audit} ({columns}) SELECT {same}, {old_id}, 'delete', {old}, NULL FROM {table} o
    WHERE o.tableoid = TG_RELID OR TG_RELID = {name}::regclass AND NOT EXISTS (
      SELECT FROM pg_trigger t
      WHERE t.tgrelid = o.tableoid AND t.tgname = 'uno_audit_truncate' AND t.tgenabled <> 'D'
    );
  ELSE{unseen}
    INSERT INTO {audit} ({columns}) SELECT {same_joined},
      coalesce({old_id}, {new_id}),
      CASE WHEN {no_old} THEN 'create' WHEN {no_new} THEN 'delete' {soft}ELSE 'update' END,
      CASE WHEN NOT {no_old} THEN c.before END, CASE WHEN NOT {no_new} THEN c.after END
    FROM uno_old o FULL JOIN uno_new n ON {joined}
    CROSS JOIN LATERAL (
      SELECT jsonb_object_agg(v.name, v.before) AS before, jsonb_object_agg(v.name, v.after) AS after
      FROM (VALUES
        {values}
      ) AS v (name, before, after, changed)
      WHERE v.changed OR {no_old} OR {no_new}
    ) AS c
    WHERE c.before IS NOT NULL;
  END IF;
  RETURN NULL;
END
"""
# After a row that a MERGE puts into a partition PostgreSQL shows it again in the place of each that the MERGE updates.
_UNSEEN = """
    IF EXISTS (
      SELECT FROM uno_old o JOIN {table} t ON {still} LEFT JOIN uno_new n ON {joined} WHERE {no_new}
    ) THEN
      RAISE EXCEPTION 'A MERGE that updates and inserts rows of the partitioned table % cannot be written down.', {name}
        USING ERRCODE = 'feature_not_supported', HINT = 'Use INSERT ... ON CONFLICT, or two statements.';
    END IF;"""
_SOFT = (
    "WHEN o.{deleted} IS NULL AND n.{deleted} IS NOT NULL THEN 'soft_delete' "
    "WHEN o.{deleted} IS NOT NULL AND n.{deleted} IS NULL THEN 'restore' "
)
_STATE = text(
    "SELECT p.prosrc, (SELECT count(*) FROM pg_trigger t WHERE t.tgfoid = p.oid AND t.tgrelid = to_regclass(:table) "
    "AND t.tgenabled <> 'D') FROM pg_proc p WHERE p.oid = to_regprocedure(:function)"
)
# The partitions of a table, those of its partitions too, and how many triggers of each call the function.
_PARTITIONS = text(
    "SELECT n.nspname, c.relname, (SELECT count(*) FROM pg_trigger t WHERE t.tgfoid = to_regprocedure(:function) "
    "AND t.tgrelid = c.oid AND t.tgenabled <> 'D') FROM pg_partition_tree(to_regclass(:table)) p "
    "JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE p.relid <> to_regclass(:table) AND c.relkind IN ('r', 'p') ORDER BY 1, 2"
)
# A partition has those of the table that it is of.
_TRIGGERED = text(
    "SELECT DISTINCT n.nspname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid "
    "WHERE starts_with(t.tgname, 'uno_audit_') AND starts_with(p.proname, 'uno_audit_') "
    "AND NOT EXISTS (SELECT FROM pg_partition_ancestors(c.oid) a JOIN pg_trigger u ON u.tgrelid = a.relid "
    "WHERE a.relid <> c.oid AND u.tgfoid = t.tgfoid)"
)
# Functions of triggers that went, as with their table.
_UNUSED = text(
    "SELECT CAST(CAST(p.oid AS regprocedure) AS text) FROM pg_proc p WHERE starts_with(p.proname, 'uno_audit_') "
    "AND p.prorettype = CAST('trigger' AS regtype) AND pg_has_role(p.proowner, 'USAGE') "
    "AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = p.oid)"
)
# Texts are passed over.
_REFERENCE = re.compile(r"""'(?:[^']|'')*'|\b[on]\.("(?:[^"]|"")*"|\w+)""")


def by_trigger(cls: C) -> C:
    """Have PostgreSQL write down the changes of a mapped class; its table is created with the triggers."""
    mapper: Any = inspect(cls)
    table: Table = mapper.local_table
    table.info[_CLASS] = cls
    if not event.contains(table, "after_create", _created):
        event.listen(table, "after_create", _created)
    return cls


def captured(tables: Iterable[Table]) -> list[Table]:
    """Those whose changes triggers are to write down."""
    return [table for table in tables if _CLASS in table.info]


def triggers(table: Table, *, schema: str = "public") -> list[str]:
    """The statements that create or renew the triggers of a table; `schema` has uno's tables.

    Raises `Misconfigured` for a table that no trigger can write down as the unit of work would.
    """
    function, target = _names(table, schema)
    body = _body(table, schema).replace("'", "''")
    # It writes with its owner's rights: who may change the table need not have any on the audit trail.
    rights = "SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO, YMD'"
    return [
        f"CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql {rights} AS '{body}'",
        f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC",
        *(_trigger(verb, target, function) for verb in _VERBS),
    ]


def renew(connection: Connection, tables: Iterable[Table]) -> None:
    """Make the triggers of the tables those of their classes, and drop them where a class wants none.

    Where columns that they would name are not there yet, triggers stay as they are; those that name a column that
    is gone would refuse every change, and are dropped.
    """
    if connection.dialect.name != "postgresql" or not inspect(connection).has_table("uno_audit"):
        return
    there, schema, wanted = inspect(connection), str(connection.dialect.default_schema_name), list(tables)
    for table in outdated(connection, wanted):
        if there.has_table(table.name, schema=table.schema):
            columns = {one["name"] for one in there.get_columns(table.name, schema=table.schema)}
            if columns.issuperset(_named(_body(table, schema))):
                _created(table, connection)
            elif not columns.issuperset(_named(_there(connection, table, schema)[0])):
                _drop(connection, table, schema)
    for table in unwanted(connection, wanted):
        _drop(connection, table, schema)
    for (function,) in connection.execute(_UNUSED).all():
        connection.exec_driver_sql(f"DROP FUNCTION {function}")


def outdated(connection: Connection, tables: Iterable[Table], *, partitions: bool = True) -> list[Table]:
    """Tables whose triggers are missing, disabled, or of another version of their class.

    With `partitions` those of their partitions count, which others may attach at any time.
    """
    wanted = captured(tables) if connection.dialect.name == "postgresql" else []
    schema = str(connection.dialect.default_schema_name)

    def is_right(table: Table) -> bool:
        if _there(connection, table, schema) != (_body(table, schema), len(_VERBS)):
            return False
        found = _partitions(connection, table, schema).values() if partitions else ()
        return all(count == len(_VERBS) for count in found)

    return [one for one in wanted if not is_right(one)]


def unwanted(connection: Connection, tables: Iterable[Table]) -> list[Table]:
    """Tables that have triggers though their class does not say so."""
    if connection.dialect.name != "postgresql":
        return []
    schema, there = connection.dialect.default_schema_name, {tuple(one) for one in connection.execute(_TRIGGERED)}
    return [one for one in tables if _CLASS not in one.info and (one.schema or schema, one.name) in there]


def _drop(connection: Connection, table: Table, schema: str) -> None:
    for target in (_names(table, schema)[1], *_partitions(connection, table, schema)):
        for verb in _VERBS:
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS uno_audit_{verb} ON {target}")


def _named(body: str) -> set[str]:
    """The columns of the table that the text of a function names."""
    names = (found[1] for found in _REFERENCE.finditer(body) if found[1])
    return {name[1:-1].replace('""', '"') if name.startswith('"') else name for name in names} - {"tableoid"}


def setting(context: Context) -> str:
    """The context as the triggers read it."""
    return json.dumps(context.to_json())


async def say(transaction: Transaction, context: Context) -> None:
    """Tell the triggers of a transaction who changes what, unless they know."""
    said = setting(context)
    if transaction.said != said:
        await transaction.execute(_SAY, {"said": said})
        transaction.said = said


def _created(table: Table, connection: Connection, **_: Any) -> None:
    if connection.dialect.name != "postgresql":
        return
    schema = str(connection.dialect.default_schema_name)
    for statement in triggers(table, schema=schema):
        connection.exec_driver_sql(statement)
    function = _names(table, schema)[0]
    # Who names the parent does not call them, but for TRUNCATE.
    for partition in _partitions(connection, table, schema):
        for verb in _VERBS:
            connection.exec_driver_sql(_trigger(verb, partition, function))


def _there(connection: Connection, table: Table, schema: str) -> tuple[str, int]:
    """The text of the function, and how many triggers call it."""
    function, target = _names(table, schema)
    found = connection.execute(_STATE, {"function": function, "table": target}).one_or_none()
    return ("", 0) if found is None else (found[0], found[1])


def _partitions(connection: Connection, table: Table, schema: str) -> dict[str, int]:
    """Its partitions by name, with how many of their triggers call its function; one with a class has that one's."""
    function, target = _names(table, schema)
    own = {(one.schema or schema, one.name) for one in captured(table.metadata.tables.values())}
    rows = connection.execute(_PARTITIONS, {"function": function, "table": target}).all()
    return {f"{_quote(place)}.{_quote(name)}": count for place, name, count in rows if (place, name) not in own}


def _names(table: Table, schema: str) -> tuple[str, str]:
    """Of the function and of the table, with their schema."""
    name = f"uno_audit_{table.name}"
    if len(name.encode()) > _LONGEST_NAME:
        name = f"uno_audit_{sha256(name.encode()).hexdigest()[:32]}"
    place = _quote(table.schema or schema)
    return f"{place}.{_quote(name)}()", f"{place}.{_quote(table.name)}"


def _trigger(verb: str, target: str, function: str) -> str:
    tables = {
        "insert": "REFERENCING NEW TABLE AS uno_new ",
        "update": "REFERENCING OLD TABLE AS uno_old NEW TABLE AS uno_new ",
        "delete": "REFERENCING OLD TABLE AS uno_old ",
    }
    # What is truncated has to be written down while it is there.
    when = "BEFORE" if verb == "truncate" else "AFTER"
    return (
        f"CREATE OR REPLACE TRIGGER uno_audit_{verb} {when} {verb.upper()} ON {target} "
        f"{tables.get(verb, '')}FOR EACH STATEMENT EXECUTE FUNCTION {function}"
    )


# -- the text of the function; every name in it comes from a declared column


def _body(table: Table, schema: str) -> str:
    plan = _plan(table)
    columns = {a.name: a.column for a in plan.attributes if a.name in plan.marks.forms}
    key = [c.name for c in plan.mapper.primary_key]
    joined = " AND ".join(f"o.{_quote(name)} = n.{_quote(name)}" for name in key)
    ordered = ", ".join(f"coalesce(o.{_quote(name)}, n.{_quote(name)})" for name in key)
    no_new = f"n.{_quote(key[0])} IS NULL"
    names = {"table": _names(table, schema)[1], "name": _text(_names(table, schema)[1])}
    still = " AND ".join(f"t.{_quote(name)} = o.{_quote(name)}" for name in key)
    is_parted = table.dialect_options["postgresql"]["partition_by"] is not None
    return _BODY.format(
        **names,
        unseen=_UNSEEN.format(**names, still=still, joined=joined, no_new=no_new) if is_parted else "",
        audit=f"{_quote(schema)}.uno_audit",
        columns=_COLUMNS,
        same=_SAME.format(component=_text(plan.component), place=_PLACE.format(order="")),
        # Rows come out of the join in any order.
        same_joined=_SAME.format(component=_text(plan.component), place=_PLACE.format(order=f"ORDER BY {ordered}")),
        new_id=_key(plan, "n"),
        old_id=_key(plan, "o"),
        new=_object(plan, columns, "n"),
        old=_object(plan, columns, "o"),
        no_old=f"o.{_quote(key[0])} IS NULL",
        no_new=no_new,
        soft=_soft(plan),
        joined=joined,
        values=",\n        ".join(_change(plan, name, column) for name, column in columns.items()),
    )


def _plan(table: Table) -> MappedPlan:
    cls = table.info[_CLASS]
    plan = mapped_plan(cls)
    if plan is None or plan.table is not table or plan.mapper.inherits or len(plan.mapper.self_and_descendants) > 1:
        raise Misconfigured(
            f"{cls.__qualname__} is not the one class of the table {table.fullname}, so no trigger can write down "
            "its changes; let the unit of work do it."
        )
    if not plan.marks.forms:
        raise Misconfigured(f"Of {cls.__qualname__} nothing is to be written down; say `__audit__ = False`.")
    return plan


def _soft(plan: MappedPlan) -> str:
    if plan.deleted_name is None:
        return ""
    column = next(a.column for a in plan.attributes if a.name == plan.deleted_name)
    return _SOFT.format(deleted=_quote(column.name))


def _key(plan: MappedPlan, alias: str) -> str:
    """The key as `record_id` has it."""
    for column in plan.mapper.primary_key:
        if not record_ids.in_sql([column]):
            raise Misconfigured(
                f"{plan.label} has a key of the type {column.type!r}, which PostgreSQL writes otherwise than Python; "
                "let the unit of work write down its changes."
            )
    rows = plan.table.alias(alias)
    return _sql(record_ids.id_text_in_sql([rows.c[str(c.key)] for c in plan.mapper.primary_key]))


def _object(plan: MappedPlan, columns: dict[str, Column[Any]], alias: str) -> str:
    """The whole record as a JSON object."""
    members = [f"{_text(name)}, {_form(plan, name, column, alias)}" for name, column in columns.items()]
    stretches = [members[n : n + _MEMBERS] for n in range(0, len(members), _MEMBERS)]
    return " || ".join(f"jsonb_build_object({', '.join(stretch)})" for stretch in stretches)


def _change(plan: MappedPlan, name: str, column: Column[Any]) -> str:
    """What an update made of an attribute, as a row of VALUES."""
    before, after = (f"to_jsonb({_form(plan, name, column, alias)})" for alias in "on")
    # JSON cannot be compared, other than JSONB.
    plain = isinstance(column.type, JSON) and not isinstance(column.type.dialect_impl(_dialect), JSONB)
    was, became = (f"{alias}.{_quote(column.name)}{'::jsonb' if plain else ''}" for alias in "on")
    return f"({_text(name)}, {before}, {after}, {was} IS DISTINCT FROM {became})"


def _form(plan: MappedPlan, name: str, column: Column[Any], alias: str) -> str:
    """The JSON form of a value, as the unit of work writes it."""
    if name in plan.marks.redacted:
        return f"CASE WHEN {alias}.{_quote(column.name)} IS NOT NULL THEN {_text(HIDDEN)} END"
    found = wire.expression(plan.table.alias(alias).c[column.key], "postgresql")
    if found is None:
        raise Misconfigured(
            f"{plan.label}.{name} is of a type that SQL cannot write down as JSON; leave it out or redact it "
            '(info={"audit": …}), or let the unit of work write down the changes.'
        )
    return _sql(found)


def _sql(expression: ColumnElement[Any]) -> str:
    return str(expression.compile(dialect=_dialect, compile_kwargs={"literal_binds": True}))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'::text"
