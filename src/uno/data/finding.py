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

_SIZE, _START = (bindparam(name, type_=BigInteger) for name in ("size", "start"))


async def answer(
    uow: "UnitOfWork",
    question: tuple[Any, ...],
    parts: Sequence[ColumnElement[Any]],
    make: Callable[[], Select[Any]],
    values: dict[str, Any],
    columns: tuple[Any, ...] = (),
) -> Sequence[Any]:
    """The rows of what `make` makes, which is the same for one `question` and `parts` of one shape."""
    shape = None if uow.explicit is not None else shape_of(parts)
    if shape is not None:
        prepare = uow.database.prepare
        prepared, bound = uow.database.shapes.prepared(question, shape, lambda: prepare(make(), columns))
        with suppress(Invalid, *WRONG):  # which SQLAlchemy says with the name of the field
            rows = await uow.reading.fetch(prepared, {**bound, **values})
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
    stretch = {"size": limit} if limit is not None else {}
    stretch |= {"start": offset} if offset else {}
    question = plan, "rows", len(order), *stretch

    def make() -> Select[Any]:
        found = chosen(*plan.columns).where(*where).order_by(*order)
        found = found.limit(_SIZE) if "size" in stretch else found
        return found.offset(_START) if "start" in stretch else found

    return await answer(uow, question, [*where, *order], make, stretch, plan.columns)
