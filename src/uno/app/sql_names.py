"""The tables that code names: in SQL, in foreign keys and where it asks SQLAlchemy for one."""

import ast
import re

# A text that begins with one of these words is a statement; what follows the others is a table.
_STATEMENT = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|TRUNCATE|COPY|MERGE|LOCK)\s", re.IGNORECASE)
_TABLE = re.compile(
    r"\b(?:FROM|JOIN|INTO|UPDATE|TRUNCATE(?:\s+TABLE)?|COPY|LOCK(?:\s+TABLE)?)\s+(?:ONLY\s+)?\"?(?:\w+\"?\.\"?)?(\w+)",
    re.IGNORECASE,
)


def tables_in(node: ast.AST) -> set[str]:
    """The tables that this very node names.

    A text with a statement, `ForeignKey("orders.id")`, `table("orders")`, `Table("orders", …)`,
    `metadata.tables["orders"]`.
    """
    if isinstance(node, ast.Constant):
        text = literal(node)
        return set(_TABLE.findall(text)) if text and _STATEMENT.match(text) else set()
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
