"""The tables that code names in SQL and in foreign keys."""

import ast
import re

# A text that begins with one of these words is a statement; what follows the others is a table.
_STATEMENT = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|TRUNCATE|COPY|MERGE|LOCK)\s", re.IGNORECASE)
_TABLE = re.compile(
    r"\b(?:FROM|JOIN|INTO|UPDATE|TRUNCATE(?:\s+TABLE)?|COPY|LOCK(?:\s+TABLE)?)\s+(?:ONLY\s+)?\"?(?:\w+\"?\.\"?)?(\w+)",
    re.IGNORECASE,
)


def tables_in(node: ast.AST) -> set[str]:
    """The tables that this very node names: a text with a statement, or `ForeignKey("orders.id")`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return set(_TABLE.findall(node.value)) if _STATEMENT.match(node.value) else set()
    if isinstance(node, ast.Call) and _called(node.func) == "ForeignKey" and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            return {first.value.split(".")[-2]} if "." in first.value else set()
    return set()


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
