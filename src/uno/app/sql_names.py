"""The tables that code names: in SQL, in foreign keys and where it asks SQLAlchemy for one."""

import ast
import re
from collections.abc import Iterator, Sequence

# A text that begins like this is a statement.
_STATEMENT = re.compile(
    r"""(?:\s|\(|--[^\n]*|/\*.*?\*/)*+
    (?:EXPLAIN(?:\s+ANALYZE|\s+VERBOSE|\s+QUERY\s+PLAN|\s*\([^()]*\))*[\s(]+)?
    (?:SELECT|INSERT|UPDATE|DELETE|WITH|TRUNCATE|COPY|MERGE|LOCK)[\s(*]""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_PART = re.compile(r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"[^"]*"|\w+|\S""", re.DOTALL)
# What follows the first is a table, of the second several with commas between them, until one of the third.
_ONE = {"JOIN", "INTO", "UPDATE", "COPY"}
_SEVERAL = {"FROM", "USING", "TRUNCATE", "LOCK"}
_END = {"SELECT", "WITH", "WHERE", "GROUP", "HAVING", "WINDOW", "UNION", "INTERSECT", "EXCEPT", "ORDER", "LIMIT"}
_END |= {"OFFSET", "FETCH", "FOR", "SET", "VALUES", "RETURNING", ";"}
_BETWEEN = {"ONLY", "LATERAL", "TABLE", "."}


def tables_in(node: ast.AST) -> set[str]:
    """The tables that this very node names.

    A text with a statement, `ForeignKey("orders.id")`, `table("orders")`, `Table("orders", …)`,
    `metadata.tables["orders"]`.
    """
    if isinstance(node, ast.Constant):
        text = literal(node)
        return set(_in_statement(text)) if text and _STATEMENT.match(text) else set()
    if isinstance(node, ast.Subscript):
        return _last(node.slice) if called(node.value) == "tables" else set()
    if not isinstance(node, ast.Call) or not node.args:
        return set()
    if called(node.func) == "ForeignKey":
        column = literal(node.args[0]) or ""
        return {column.split(".")[-2]} if "." in column else set()
    if called(node.func) in ("table", "Table") or ast.unparse(node.func).endswith(".tables.get"):
        return _last(node.args[0])
    return set()


def _in_statement(text: str) -> Iterator[str]:
    parts = [part for part in _PART.findall(text) if not part.startswith(("--", "/*"))]
    # For each open parenthesis, whether a comma leads to another table; and whether a table comes next.
    listing, wanted = [False], False
    for at, part in enumerate(parts):
        word = part.upper()
        if word in _ONE | _SEVERAL and not _compares(parts, at):
            listing[-1], wanted = word in _SEVERAL or (word == "JOIN" and listing[-1]), True
        elif part == "(":
            listing.append(False)
            wanted = wanted and parts[at - 1].upper() != "USING"
        elif part == ")":
            listing, wanted = listing[:-1] or [False], False
        elif part == "," or word in _END:
            listing[-1] = wanted = listing[-1] and part == ","
        elif wanted and word not in _BETWEEN and parts[at + 1 : at + 2] != ["."]:
            yield part.strip('"')
            wanted = False


def _compares(parts: Sequence[str], at: int) -> bool:
    """Whether it is the end of `IS DISTINCT FROM`."""
    return at > 0 and parts[at - 1].upper() == "DISTINCT"


def called(function: ast.expr) -> str:
    """The last name of `a.b.c`."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def literal(node: ast.expr) -> str | None:
    """The text that stands there as such."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _last(node: ast.expr) -> set[str]:
    """The table of `"orders"` and of `"schema.orders"`."""
    name = literal(node)
    return set() if name is None else {name.rpartition(".")[2]}
