"""Which values a database cannot store: looked for only once it, its driver or a type has said that there is one."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Table, event
from sqlalchemy.engine import Dialect, Engine, ExceptionContext
from sqlalchemy.types import TypeEngine

from uno.data.changes import Operation, Values
from uno.data.failures import translate
from uno.data.plan import ATTRIBUTE
from uno.data.tables import documents, metadata
from uno.data.values import WRONG, problem_of, unfit
from uno.errors import Invalid

# A column, its type and its value.
Written = tuple[str, TypeEngine[Any], Any]
_ALONE = "param"


def raise_named(error: BaseException, operations: Iterable[Operation], dialect: Dialect) -> None:
    """Raise an error that names the values which do not fit; return if there is none, or if `error` names some."""
    written = (one for op in operations if _is_the_handlers(op.table) for one in _of_operation(op))
    better = None if isinstance(error, Invalid) and error.errors else _named(written, dialect)
    if better is not None:
        raise better from error


def name_unfit(engine: Engine) -> None:
    """Name the values in the errors of all statements that SQLAlchemy runs on `engine`."""
    dialect: Any = engine.dialect
    context_of: Any = dialect.execution_ctx_cls

    class Naming(context_of):  # type: ignore[misc]
        @classmethod
        def _init_compiled(cls, *given: Any, **more: Any) -> Any:
            try:
                return super()._init_compiled(*given, **more)
            except (Invalid, *WRONG) as error:  # of a type; the listener below is not told the statement
                (*_, compiled, parameters, _statement, extracted) = given
                better = _named(_not_sent(compiled, parameters, extracted, more.get("param_dict")), dialect)
                raise (better or error) from (error if better is not None else error.__cause__)

    dialect.execution_ctx_cls = Naming

    @event.listens_for(engine, "handle_error")
    def _refused(context: ExceptionContext) -> Invalid | None:
        compiled: Any = getattr(context.execution_context, "compiled", None)
        known = translate(context.original_exception)
        doubtful = isinstance(context.original_exception, WRONG) if known is None else isinstance(known, Invalid)
        if compiled is None or not doubtful or (isinstance(known, Invalid) and known.errors):
            return None
        rows = getattr(context.execution_context, "compiled_parameters", None) or ()
        return _named((one for row in rows for one in _of_row(compiled, row)), context.dialect)


def _named(written: Iterable[Written], dialect: Dialect) -> Invalid | None:
    found = {name: problem for name, type_, value in written if (problem := problem_of(type_, value, dialect))}
    return unfit(found) if found else None


def _is_the_handlers(table: Table) -> bool:
    """Not the ledgers, which repeat the values."""
    return table is documents or table.metadata is not metadata


def _of_operation(operation: Operation) -> Iterator[Written]:
    row = {**operation.key, **operation.values}
    for name, value in row.items():
        yield from _of_column(operation.table, name, operation.table.c[name].type, value)


def _of_row(compiled: Any, row: Values) -> Iterator[Written]:
    table = getattr(compiled.statement, "table", None)
    for name, value in row.items():
        bind = compiled.binds.get(name)
        if bind is not None and not bind.expanding:  # a list, for IN, has the type of its elements
            column = _column_of(name, bind)
            if column is not None:
                yield from _of_column(table, column, bind.type, value)


def _column_of(name: str, bind: Any) -> str | None:
    """The column of the parameter `name`; None for a value that stands by itself, which SQLAlchemy calls `param`."""
    own: str = getattr(bind, "_orig_key", bind.key)
    if own != _ALONE:  # of comparisons it numbers the names
        return own
    return None if name.startswith(_ALONE) else name


def _not_sent(compiled: Any, parameters: Any, extracted: Any, collected: Any) -> Iterator[Written]:
    """The values of a statement that was refused before it was sent."""
    for given in parameters or (None,):
        row = compiled.construct_params(given, extracted, False, _check=False, _collected_params=collected)
        yield from _of_row(compiled, row)


def _of_column(table: Any, name: str, type_: TypeEngine[Any], value: Any) -> Iterable[Written]:
    """A column; of a document its attributes."""
    if table is documents and name == "body" and isinstance(value, dict):
        return [(attribute, type_, held) for attribute, held in value.items()]
    column = None if table is None else table.columns.get(name)
    return [(name if column is None else column.info.get(ATTRIBUTE, name), type_, value)]
