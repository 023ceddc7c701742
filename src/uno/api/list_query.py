"""Lists over HTTP: the query string to what is asked, and where the pages beside this one are."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from starlette.types import Scope

from uno.api.problems import LISTED, Malformed, cut, invalid
from uno.api.request import query_pairs
from uno.app import Resource
from uno.app.listing import wrong_in
from uno.data.filters import Condition, Filter
from uno.data.paging import Page
from uno.data.recent import Recent
from uno.data.rendered import Rows
from uno.errors import FieldError, Invalid

# Parameters that are no conditions; a column of such a name is filtered by `limit__eq`.
PARAMETERS = ("limit", "offset", "after", "sort", "fields", "include", "total", "filter")
# By relationship, and by field of a related object, what lets in those who may read it there.
Gates: TypeAlias = Mapping[str, Sequence[Callable[[Scope], None]]]
UNGUARDED: Final[Gates] = {}
# Queries that are remembered, of a resource, and their length in bytes.
MOST_KNOWN, _LONGEST_KNOWN = 200, 200
# What is the same with and without quoting.
_PLAIN_QUERY = re.compile(r"(?:[\w.~-]+=[\w.~%+-]*(?:&(?!$)|$))*", re.ASCII)
_PLAIN_PATH = re.compile(r"[\w/.~-]*", re.ASCII)
_LARGEST = 2**63
_DIGITS = 19
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def as_malformed(error: Invalid) -> Malformed:
    """What is wrong with a query string is that it cannot be read."""
    return Malformed(str(error), error.errors or [FieldError("query", str(error), "value")])


def list_reader(resource: Resource, message: type[Any], gates: Gates = UNGUARDED) -> Callable[[Scope], Any]:
    """Reads what a list is asked for. Raises `Malformed` that names the parameters that are wrong."""

    def read(scope: Scope) -> Any:
        given: dict[str, str] = {}
        conditions, wrong = [], []
        for name, value in query_pairs(scope["query_string"]):
            if name not in PARAMETERS:
                conditions.append((name, value))
            elif name in given:
                wrong.append(FieldError(name, "It can be given only once.", "repeated"))
            else:
                given[name] = value
        values = {name: _READERS[name](value, resource, wrong) for name, value in given.items()}
        if wrong:
            raise invalid([*wrong, *_wrong_besides(conditions, given, resource)], malformed=True)
        values["filter"] = _filter(conditions, given.get("filter"), resource)
        made = message(**values)
        made.answered_as_json()
        return made

    known: Recent[bytes, tuple[Any, list[str]]] = Recent(MOST_KNOWN)

    def remembered(scope: Scope) -> Any:
        """What was asked before is the same message, which nobody can change."""
        asked = scope["query_string"]
        found = known.get(asked)
        if found is None:
            made = read(scope)
            found = made, [*made.include, *gates.keys() & {one.split()[0] for one in made.filter.walk()}]
            if len(asked) <= _LONGEST_KNOWN:
                known.keep(asked, found)
        if found[1]:
            pass_gates(scope, found[1], gates)
        return found[0]

    return remembered


def _filter(conditions: list[tuple[str, str]], groups: str | None, resource: Resource) -> Filter:
    try:
        found = Filter.of_query(conditions, resource.limits)
        return found if groups is None else found & Filter.of_json(groups, resource.limits)
    except Invalid as error:
        raise _with_names(error, conditions, resource) from None


def _wrong_besides(
    conditions: list[tuple[str, str]], given: Mapping[str, str], resource: Resource
) -> Sequence[FieldError]:
    """What is wrong with conditions and order, which are looked at last."""
    sort = given.get("sort", "")
    try:
        return wrong_in(resource, _filter(conditions, given.get("filter"), resource), sort)
    except Malformed as error:
        return [*error.errors, *wrong_in(resource, Filter(), sort)]


def _with_names(error: Invalid, conditions: list[tuple[str, str]], resource: Resource) -> Malformed:
    """Where there are too many, those that nobody knows are named as well."""
    split = {key: Condition(key, None).split()[0].partition(".")[0] for key, _ in conditions}
    unknown = [
        FieldError(cut(key), "There is no such field to filter by.", "unknown")
        for key, head in split.items()
        if head not in resource.filterable
    ]
    return Malformed(str(error), [*error.errors, *unknown][:LISTED])


def _number(name: str, least: int, most: int, value: str, wrong: list[FieldError]) -> int:
    plain = value.isascii() and value.isdigit() and len(value) <= _DIGITS
    if not plain or not least <= int(value) <= most:
        wrong.append(FieldError(name, f"It has to be a number from {least} to {most}.", "value"))
        return least
    return int(value)


def _total(value: str, _resource: Resource, wrong: list[FieldError]) -> bool:
    if value not in _TRUTH:
        wrong.append(FieldError("total", "It takes true or false.", "value"))
    return _TRUTH.get(value, False)


def read_fields(value: str, resource: Resource, wrong: list[FieldError]) -> tuple[str, ...]:
    """The names in `fields=`, each one that can be seen."""
    if resource.serialise is not None:
        wrong.append(FieldError("fields", "What this gives cannot be selected from.", "unknown"))
        return ()
    names = tuple(dict.fromkeys(value.split(",") if value else ()))
    strange = [one for one in names if one not in resource.names]
    wrong += [FieldError("fields", f"There is no field {cut(one)!r}.", "unknown") for one in strange[:LISTED]]
    return () if strange else names


def read_include(value: str, resource: Resource, wrong: list[FieldError]) -> tuple[str, ...]:
    """The names in `include=`, each one that the resource allows."""
    names = tuple(dict.fromkeys(value.split(",") if value else ()))
    strange = [one for one in names if one not in resource.includable]
    wrong += [FieldError("include", f"{cut(one)!r} cannot be included.", "unknown") for one in strange[:LISTED]]
    return () if strange else names


def pass_gates(scope: Scope, names: Iterable[str], gates: Gates) -> None:
    """Raises for who may not read what is to be included where it is a resource itself."""
    for name in names:
        for check in gates.get(name, ()):
            check(scope)


_READERS: dict[str, Callable[[str, Resource, list[FieldError]], Any]] = {
    "limit": lambda value, resource, wrong: _number("limit", 1, resource.max_limit, value, wrong),
    "offset": lambda value, _, wrong: _number("offset", 0, _LARGEST - 1, value, wrong),
    "after": lambda value, _resource, _wrong: value,
    "sort": lambda value, _resource, _wrong: value,
    "fields": read_fields,
    "include": read_include,
    "total": _total,
    "filter": lambda value, _resource, _wrong: value,
}


def read_page(given: Mapping[str, str | None], resource: Resource) -> dict[str, Any]:
    """Which page is asked for. Raises `Malformed` that names what is wrong."""
    wrong: list[FieldError] = []
    found = {name: _READERS[name](value, resource, wrong) for name, value in given.items() if value is not None}
    if wrong:
        raise invalid(wrong, malformed=True)
    return found


# ── pages beside this one ──


def links(scope: Scope, query: Any, page: Page[Any] | Rows) -> str:
    """The `Link` header (RFC 8288): `next` where there is more, `prev` where somebody counts, `first`."""
    if query.after is None and not query.offset and (page.next is None or not _counts(scope)):
        return "" if page.next is None else _first_link(scope, page.next)
    here = _here(scope)
    kept = [(name, value) for name, value in query_pairs(scope["query_string"]) if name not in ("after", "offset")]
    found = {"first": kept} if query.after is not None or query.offset else {}
    if page.next is not None:
        onwards = ("offset", str(query.offset + query.limit)) if _counts(scope) else ("after", page.next)
        found["next"] = [*kept, onwards]
    if query.offset:
        found["prev"] = [*kept, ("offset", str(max(0, query.offset - query.limit)))]
    return ", ".join(f'<{here}{"?" if pairs else ""}{urlencode(pairs)}>; rel="{rel}"' for rel, pairs in found.items())


def _first_link(scope: Scope, following: str) -> str:
    """What follows a first page: the same query with the cursor behind it, which needs no quoting."""
    asked = scope["query_string"].decode("ascii")
    if not _PLAIN_QUERY.fullmatch(asked):
        asked = urlencode(query_pairs(scope["query_string"]))
    return f'<{_here(scope)}?{asked}{"&" if asked else ""}after={following}>; rel="next"'


def _here(scope: Scope) -> str:
    path: str = scope["path"] if not scope.get("root_path") else _full_path(scope)
    return path if _PLAIN_PATH.fullmatch(path) else quote(path)


def _counts(scope: Scope) -> bool:
    asked = scope["query_string"]
    return (b"offset" in asked or b"%" in asked) and any(name == "offset" for name, _ in query_pairs(asked))


def _full_path(scope: Scope) -> str:
    path: str = scope["path"]
    root: str = scope["root_path"]
    return path if path.startswith(root) else root + path
