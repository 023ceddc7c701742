"""Everything of one commit in one data-modifying statement.

    WITH g0 AS MATERIALIZED (SELECT … FROM t JOIN unnest(…) w … ORDER BY key FOR UPDATE OF t),
         gate AS MATERIALIZED (SELECT (SELECT count(*) FROM g0) = $n AS ok),
         w0 AS (UPDATE t SET … FROM unnest(…) v WHERE … AND (SELECT ok FROM gate)),
         w1 AS (INSERT INTO uno_audit … SELECT … FROM unnest(…) WHERE (SELECT ok FROM gate))
    SELECT …

The gate locks the rows in the order of their keys, so that writers cannot deadlock, and opens only
if all are as expected, so that a stale row leaves nothing. A single update or delete is its own
gate. Rows travel as arrays, so that the text depends on the tables and not on the number of rows.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table
from sqlalchemy.engine import Dialect

from uno.data.changes import Operation
from uno.data.plan import cast_type, is_array
from uno.data.recent import Recent
from uno.data.stamps import STAMPED, stamped
from uno.data.statement import Processor, bind_processor
from uno.data.writer import stale

MAX_ROWS = 1_000
# Each is a part of the statement; this also bounds the parameters, of which there may be 32,767.
MAX_GROUPS = 24
# Remembered: clients choose which columns are changed.
MAX_TEXTS = 1_000

Shape = tuple[Any, ...]
Converters = list[tuple[str, Processor]]


@dataclass(slots=True)
class Group:
    """Operations with one text: of one kind, on one table, with the same columns."""

    kind: str
    table: Table
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    expected: tuple[str, ...]
    operations: list[Operation]

    @property
    def single(self) -> bool:
        return len(self.operations) == 1

    @property
    def stamped(self) -> bool:
        return STAMPED in self.table.info

    @property
    def shape(self) -> Shape:
        return (self.kind, self.table, self.columns, self.keys, self.expected, self.single)


@dataclass(slots=True)
class Gate:
    """Rows of one table that have to be as expected."""

    table: Table
    keys: tuple[str, ...]
    expected: tuple[str, ...]
    operations: list[Operation]

    @property
    def shape(self) -> Shape:
        return (self.table, self.keys, self.expected)


@dataclass(slots=True)
class OneStatement:
    """The text, its arguments, and whose rows have to be as expected."""

    sql: str
    arguments: list[Any]
    gates: list[Gate]

    def check(self, rows: Sequence[Any]) -> None:
        """Raise `VersionConflict` if the gate stayed shut."""
        if rows[0]["ok"]:
            return
        found = set(rows[0]["matched"] or ())
        marked = ((f"{n}:{i}", op) for n, g in enumerate(self.gates) for i, op in enumerate(g.operations, 1))
        raise stale([op for mark, op in marked if mark not in found])


def _groups(operations: Iterable[Operation]) -> list[Group]:
    found: dict[Shape, Group] = {}
    for op in operations:
        shape = (op.kind, op.table, tuple(op.values), tuple(op.key), tuple(op.expect))
        if shape not in found:
            found[shape] = Group(op.kind, op.table, tuple(op.values), tuple(op.key), tuple(op.expect), [])
        found[shape].operations.append(op)
    return list(found.values())


def _gates(groups: Iterable[Group]) -> list[Gate]:
    """One gate for each table, in a fixed order, so that all writers lock in the same one."""
    found: dict[Shape, Gate] = {}
    for group in groups:
        if group.kind != "insert":
            gate = Gate(group.table, group.keys, group.expected, [])
            found.setdefault(gate.shape, gate).operations.extend(group.operations)
    return sorted(found.values(), key=lambda gate: (gate.table.fullname, gate.expected))


class PostgresWriter:
    """Makes the statement, and remembers the text of each shape."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._texts: Recent[Shape, str] = Recent(MAX_TEXTS)
        self._known: Recent[tuple[Table, tuple[str, ...]], Converters] = Recent(MAX_TEXTS)

    def possible(self, operations: Sequence[Operation], restricted: Collection[str]) -> bool:
        """Whether one statement gives the same rows as writing them in order."""
        if len(operations) > MAX_ROWS or any(op.ordered or op.table.fullname in restricted for op in operations):
            return False
        inserted = {op.table for op in operations if op.kind == "insert"}
        deleted = {op.table for op in operations if op.kind == "delete"}
        if inserted & deleted:
            return False
        if len(operations) == 1:
            return True
        groups = _groups(operations)
        return len(groups) <= MAX_GROUPS and all(group.single or not _has_arrays(group) for group in groups)

    def one_statement(self, operations: Sequence[Operation], said: str | None = None) -> OneStatement:
        # A part can only refer to those before it, and inserts may wait for the one update or delete.
        # Stamped ones are last, when nothing is to be waited for any more.
        groups = sorted(_groups(operations), key=lambda group: (group.kind == "insert", group.stamped))
        gates = _gates(groups)
        own = len(gates) == 1 and len(gates[0].operations) == 1 and all(g.kind != "guard" for g in groups)
        shape = (said is not None, *(g.shape for g in groups))
        sql = self._texts.get(shape)
        if sql is None:
            sql = self._texts.keep(shape, _Text(self._dialect).write(groups, gates, own, said is not None))
        arguments = self._arguments(groups, gates, own)
        return OneStatement(sql, arguments if said is None else [*arguments, said], gates)

    def _arguments(self, groups: Sequence[Group], gates: Sequence[Gate], own: bool) -> list[Any]:
        """In the order in which the text asks for them."""
        found: list[Any] = []
        for gate in () if own else gates:
            found += self._values(gate, "key", gate.keys, False)
            found += self._values(gate, "expect", gate.expected, False)
            found.append(len(gate.operations))
        for group in groups:
            if group.kind == "guard":
                continue
            found += self._values(group, "values", group.columns, group.single)
            if group.kind != "insert":
                found += self._values(group, "key", group.keys, group.single)
                if own:
                    found += self._values(group, "expect", group.expected, group.single)
        return found

    def _values(self, group: Group | Gate, part: str, columns: tuple[str, ...], single: bool) -> list[Any]:
        """One argument for each column: a value, or an array with one for each operation."""
        converters = self._converters(group.table, columns)
        rows = [getattr(op, part) for op in group.operations]
        if single:
            [row] = rows
            return [row[name] if convert is None else convert(row[name]) for name, convert in converters]
        return [
            [row[name] for row in rows] if convert is None else [convert(row[name]) for row in rows]
            for name, convert in converters
        ]

    def _converters(self, table: Table, columns: tuple[str, ...]) -> Converters:
        found = self._known.get((table, columns))
        if found is None:
            made = [(n, bind_processor(table.c[n], self._dialect)) for n in columns]
            found = self._known.keep((table, columns), made)
        return found


def _has_arrays(group: Group) -> bool:
    return any(is_array(group.table.c[name]) for name in (*group.columns, *group.keys))


class _Text:
    """Writes the SQL of one shape; every name comes from a declared column."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._quote = dialect.identifier_preparer
        self._parameters = 0

    def write(self, groups: Sequence[Group], gates: Sequence[Gate], own: bool, says: bool) -> str:
        parts = [] if own else self._gates(gates)
        behind = "EXISTS (SELECT FROM own)" if own else "(SELECT ok FROM gate)" if gates else ""
        inserted: list[str] = []
        for n, group in enumerate(g for g in groups if g.kind != "guard"):
            if own and group.kind != "insert":
                parts.append(f"own AS ({self._single(group, own=True, ok='')})")
            elif group.stamped:
                parts.append(f"w{n} AS ({self._insert(group, ' AND '.join(filter(None, (behind, *inserted))))})")
            elif group.kind == "insert":
                parts.append(f"w{n} AS ({self._insert(group, behind)} RETURNING 1)")
                inserted.append(f"(SELECT count(*) FROM w{n}) IS NOT NULL")
            else:
                parts.append(f"w{n} AS ({self._write_group(group, behind)})")
        return f"WITH {', '.join(parts)} SELECT {self._outcome(gates, own, self._said() if says else '')}"

    def _said(self) -> str:
        # Triggers of statements run when all of it is done, this too.
        return f", set_config('uno.context', {self._next()}::text, true)"

    def _outcome(self, gates: Sequence[Gate], own: bool, said: str) -> str:
        if not gates:
            return f"true AS ok{said}"
        if own:
            return f"EXISTS (SELECT FROM own) AS ok, NULL::text[] AS matched{said}"
        marks = " UNION ALL ".join(f"SELECT mark FROM g{n}" for n in range(len(gates)))
        return f"ok, CASE WHEN NOT ok THEN (SELECT array_agg(mark) FROM ({marks}) m) END AS matched{said} FROM gate"

    def _gates(self, gates: Sequence[Gate]) -> list[str]:
        parts, counts = [], []
        for n, gate in enumerate(gates):
            parts.append(f"g{n} AS MATERIALIZED ({self._gate(n, gate)})")
            counts.append(f"(SELECT count(*) FROM g{n}) = {self._next()}::bigint")
        if gates:
            parts.append(f"gate AS MATERIALIZED (SELECT {' AND '.join(counts)} AS ok)")
        return parts

    def _gate(self, number: int, gate: Gate) -> str:
        names = (*gate.keys, *gate.expected)
        source = self._unnest(gate.table, names, "w", numbered=True)
        joined = " AND ".join(f"t.{self._name(gate, name)} = w.c{i}" for i, name in enumerate(names))
        keys = ", ".join(f"t.{self._name(gate, k)}" for k in gate.keys)
        return (
            f"SELECT '{number}:' || w.n AS mark FROM {self._table(gate)} t "
            f"JOIN {source} ON {joined} ORDER BY {keys} FOR UPDATE OF t"
        )

    def _write_group(self, group: Group, ok: str) -> str:
        if group.single:
            return self._single(group, own=False, ok=ok)
        return self._many(group, ok)

    def _insert(self, group: Group, ok: str) -> str:
        names = ", ".join(self._name(group, c) for c in group.columns)
        target = f"INSERT INTO {self._table(group)} ({names})"
        if group.single and not ok and not group.stamped:
            return f"{target} VALUES ({', '.join(self._next() for _ in group.columns)})"
        where = f" WHERE {ok}" if ok else ""
        if group.single:
            given = (self._made(group, c, self._cast(group.table, c)) for c in group.columns)
            return f"{target} SELECT {', '.join(given)}{where}"
        given = (self._made(group, c, f"v.c{i}") for i, c in enumerate(group.columns))
        return f"{target} SELECT {', '.join(given)} FROM {self._unnest(group.table, group.columns, 'v')}{where}"

    def _made(self, group: Group, column: str, given: str) -> str:
        return stamped(given, single=group.single) if group.table.info.get(STAMPED) == column else given

    def _single(self, group: Group, *, own: bool, ok: str) -> str:
        head = f"DELETE FROM {self._table(group)} t"
        if group.kind == "update":
            sets = ", ".join(f"{self._name(group, c)} = {self._cast(group.table, c)}" for c in group.columns)
            head = f"UPDATE {self._table(group)} t SET {sets}"
        names = (*group.keys, *group.expected) if own else group.keys
        where = [f"t.{self._name(group, n)} = {self._cast(group.table, n)}" for n in names]
        return f"{head} WHERE {' AND '.join([*where, *([ok] if ok else [])])}{' RETURNING 1' if own else ''}"

    def _many(self, group: Group, ok: str) -> str:
        names = (*group.columns, *group.keys)
        source = self._unnest(group.table, names, "v")
        first = len(group.columns)
        where = " AND ".join(f"t.{self._name(group, k)} = v.c{first + i}" for i, k in enumerate(group.keys))
        if group.kind == "delete":
            return f"DELETE FROM {self._table(group)} t USING {source} WHERE {where} AND {ok}"
        sets = ", ".join(f"{self._name(group, c)} = v.c{i}" for i, c in enumerate(group.columns))
        return f"UPDATE {self._table(group)} t SET {sets} FROM {source} WHERE {where} AND {ok}"

    def _unnest(self, table: Table, columns: Sequence[str], alias: str, *, numbered: bool = False) -> str:
        arrays = ", ".join(f"{self._next()}::{cast_type(table.c[c], self._dialect)}[]" for c in columns)
        names = [f"c{i}" for i in range(len(columns))]
        if numbered:
            return f"unnest({arrays}) WITH ORDINALITY AS {alias}({', '.join([*names, 'n'])})"
        return f"unnest({arrays}) AS {alias}({', '.join(names)})"

    def _cast(self, table: Table, column: str) -> str:
        return f"{self._next()}::{cast_type(table.c[column], self._dialect)}"

    def _next(self) -> str:
        self._parameters += 1
        return f"${self._parameters}"

    def _name(self, group: Group | Gate, column: str) -> str:
        return self._quote.format_column(group.table.c[column])

    def _table(self, group: Group | Gate) -> str:
        return self._quote.format_table(group.table)
