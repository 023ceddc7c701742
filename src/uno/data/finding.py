"""What conditions find, by a statement that is compiled once for each shape of them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam

from uno.data.database import Plan
from uno.data.shapes import shape_of
from uno.data.untyped import chosen
from uno.data.values import WRONG
from uno.errors import Invalid

if TYPE_CHECKING:
    from uno.data.unit_of_work import UnitOfWork

# Without names, which those of conditions could be.
_SIZE, _START = (bindparam(None, type_=BigInteger, unique=True) for _ in range(2))


async def answer(
    uow: "UnitOfWork",
    question: tuple[Any, ...],
    parts: Sequence[ColumnElement[Any]],
    make: Callable[[], Select[Any]],
    values: dict[str, Any],
    columns: tuple[Any, ...] = (),
) -> Sequence[Any]:
    """The rows of what `make` makes, which is the same for one `question` and `parts` of one shape.

    `values` are those of its own parameters, by their keys.
    """
    shape = None if uow.explicit is not None else shape_of(parts)
    prepare = uow.database.prepare
    known = shape and uow.database.shapes.prepared(question, shape, lambda: prepare(make(), columns))
    if known:
        prepared, bound = known
        with suppress(Invalid, *WRONG):  # which SQLAlchemy says with the name of the field
            own = {prepared.names[key]: value for key, value in values.items()}
            rows = await uow.reading.fetch(prepared, {**bound, **own})
            return [prepared.row(row) for row in rows]
    return await uow.read(make().params(values))


async def rows_of(
    uow: "UnitOfWork",
    plan: Plan,
    where: Sequence[ColumnElement[bool]],
    order: Sequence[ColumnElement[Any]],
    limit: int | None,
    offset: int,
) -> Sequence[Any]:
    """Those of `plan` that fit, with its columns."""
    question = plan, "rows", len(order), limit is None, not offset
    stretch = {} if limit is None else {_SIZE.key: limit}
    if offset:
        stretch[_START.key] = offset

    def make() -> Select[Any]:
        found = chosen(*plan.columns).where(*where).order_by(*order)
        found = found if limit is None else found.limit(_SIZE)
        return found.offset(_START) if offset else found

    return await answer(uow, question, [*where, *order], make, stretch, plan.columns)
