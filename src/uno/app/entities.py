"""Of which classes the code of a file reads or writes rows, as far as its text says it."""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from importlib.util import resolve_name
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin

from uno.app.sql_names import called
from uno.data import Repository
from uno.di.dependencies import base_arguments
from uno.domain import AggregateRoot

# What takes the class of rows: `uow.repository(Order)`, `select(Order.id)`, `session.get(Order, id)`.
_TAKERS = {"Repository", "repository", "select", "insert", "update", "delete", "exists", "aliased"}
_TAKERS |= {"query", "get", "get_one", "join", "outerjoin", "select_from"}


def entities(tree: ast.AST, file: ModuleType) -> Iterator[tuple[int, type]]:
    """The line and the class of each use of rows: by a repository, by a statement, by a session."""
    names = {**_imported(tree, file), **vars(file)}
    for line, node in _expressions(tree):
        for value in _touched(node, names):
            if inspect.isclass(value) and _has_rows(value):
                yield line, value


def _expressions(tree: ast.AST) -> Iterator[tuple[int, ast.AST]]:
    """Every expression, those in quoted annotations too."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        yield line, node
        text = getattr(getattr(node, "annotation", None), "value", None)
        if isinstance(text, str):
            try:
                quoted = ast.parse(text, mode="eval")
            except SyntaxError:  # not an annotation that anybody reads
                continue
            yield from ((line, inner) for inner in ast.walk(quoted))


def _touched(node: ast.AST, names: Mapping[str, Any]) -> Iterator[Any]:
    if isinstance(node, ast.Subscript):
        if _is_repository(_value(node.value, names)):
            yield _value(node.slice, names)
    elif isinstance(node, ast.Call):
        if called(node.func) in _TAKERS:
            yield from (_value(one, names) for one in node.args)
    elif isinstance(node, ast.Name | ast.Attribute):
        yield _entity_of(_value(node, names))


def _value(node: ast.AST, names: Mapping[str, Any]) -> Any:
    """What a name stands for; of `Order.id` the class, of `orders.Order` too."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, names)
        return vars(owner).get(node.attr) if isinstance(owner, ModuleType) else owner
    return None


def _entity_of(value: Any) -> Any:
    """The `Order` of `Repository[Order]`, of a class derived from it, of an alias for one of them."""
    origin = get_origin(value)
    if origin is Annotated:
        return _entity_of(get_args(value)[0])
    if _is_repository(origin):
        return get_args(value)[0]
    return (base_arguments(value, Repository) or (None,))[0] if _is_repository(value) else None


def _is_repository(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, Repository)


def _has_rows(cls: type) -> bool:
    return hasattr(cls, "__tablename__") or hasattr(cls, "__table__") or issubclass(cls, AggregateRoot)


def _imported(tree: ast.AST, file: ModuleType) -> dict[str, Any]:
    """What is imported inside functions, or for type checkers only."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            source = vars(sys.modules.get(_source(node, file), ModuleType("nothing")))
            found |= {one.asname or one.name: source.get(one.name) for one in node.names}
    return found


def _source(node: ast.ImportFrom, file: ModuleType) -> str:
    try:
        return resolve_name("." * node.level + (node.module or ""), file.__package__)
    except ImportError:  # it goes beyond the top: nobody's
        return ""
