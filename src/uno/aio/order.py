"""Which resource starts before which, and a drawing where that is impossible."""

from collections.abc import Mapping, Sequence

from uno.errors import Misconfigured, Problem


def in_order(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """All names, each after those it needs; otherwise as they came. Raises `Misconfigured` with the ring drawn."""
    ordered: dict[str, None] = {}
    for name in needs:
        _visit(name, needs, ordered, [])
    return list(ordered)


def _visit(name: str, needs: Mapping[str, Sequence[str]], ordered: dict[str, None], path: list[str]) -> None:
    if name in ordered:
        return
    if name in path:
        raise _ring([*path[path.index(name) :], name])
    for needed in needs[name]:
        if needed in needs:
            _visit(needed, needs, ordered, [*path, name])
    ordered[name] = None


def _ring(path: list[str]) -> Misconfigured:
    drawn = " → ".join(path)
    text = f"These resources depend on each other, so none of them can start first: {drawn}; take one depends_on away."
    return Misconfigured(text, [Problem("resource ring", path[0], text, tuple(path))])
