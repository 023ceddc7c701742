"""From a request to a message: path, query and body, checked together, with all errors in one list.

The message's own pydantic validator does the work: strictly for a JSON body, where a number is not a
string, and from strings for path and query. What JSON leaves open is refused before it gets there: a
key given twice, NaN, numbers too large for a float, and the NUL character, which PostgreSQL cannot store.
"""

import inspect
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin
from urllib.parse import parse_qsl

from pydantic import AliasChoices, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from starlette.types import Receive, Scope

from uno.api.forms import form
from uno.api.problems import LISTED, NAMED, Malformed, cut, field_errors, invalid, not_json
from uno.app import Endpoint
from uno.errors import FieldError, Invalid, Problem

FromQuery: TypeAlias = Callable[[Scope], BaseModel]
FromBody: TypeAlias = Callable[[Scope, bytes], BaseModel]

# Whose messages come without a body.
WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE"})
_LISTS = (list, set, frozenset, tuple, Sequence)
_INTEGER = re.compile(r"-?[0-9]{1,400}")
_DECIMAL = re.compile(r"-?[0-9]{1,100}\.[0-9]{1,100}")
_LARGEST_WHOLE = 2.0**64
_WHOLE = re.compile(rb"[0-9](?:\.0+|(?:\.[0-9]+)?[eE][+-]?[0-9]+)")
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
# Not application/json-patch+json, which is a list of operations.
_MERGE = re.compile(r"application/(?:merge-patch\+)?json\s*(?:;.*)?", re.IGNORECASE)


def wire_name(name: str, field: FieldInfo) -> str:
    """What a field is called outside."""
    alias = field.validation_alias or field.alias
    if isinstance(alias, AliasChoices):
        alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
    return alias if isinstance(alias, str) else name


def _origins(annotation: Any) -> Iterable[Any]:
    if get_origin(annotation) in (Union, UnionType):
        return [get_origin(a) or a for a in get_args(annotation)]
    return [get_origin(annotation) or annotation]


def is_list(field: FieldInfo) -> bool:
    """Whether its query parameter may be given several times."""
    return any(origin in _LISTS for origin in _origins(field.annotation))


def unreadable(endpoints: Iterable[Endpoint]) -> Iterator[Problem]:
    """What keeps a request from being read: structured fields in a query, paths that are none."""
    for one in endpoints:
        where = f"{one.method} {one.path}"
        if not one.path.startswith("/"):
            yield Problem(
                "wrong path", where, f"The path of {one.message.__qualname__} does not begin with a slash; add it."
            )
        for name, field in form(one.message).model_fields.items() if one.method in WITHOUT_BODY else ():
            if name not in one.path_fields and _is_structured(field.annotation):
                yield Problem(
                    "structured query field",
                    where,
                    f"{one.message.__qualname__}.{name} does not fit into a query string; "
                    'use method="POST" or plain fields.',
                )


def _is_structured(annotation: Any) -> bool:
    """Whether its values have names inside."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType, Annotated) or origin in _LISTS:
        return any(_is_structured(argument) for argument in get_args(annotation))
    cls = origin or annotation
    return inspect.isclass(cls) and (issubclass(cls, BaseModel | Mapping) or is_dataclass(cls))


# ── path and query ──


def query_reader(message: type[BaseModel], path_fields: Sequence[str]) -> FromQuery:
    """Reads a message whose fields are in the path and in the query."""
    validator = message.__pydantic_validator__
    in_path = _in_path(message, path_fields)
    known = _in_query(message, path_fields)
    is_open = message.model_config.get("extra") == "allow"
    lists = any(known.values())

    def read(scope: Scope) -> BaseModel:
        params = scope["path_params"]
        values: dict[str, Any] = {wire: params[name] for name, wire in in_path}
        query = scope["query_string"]
        wrong = _fill(values, query, known, is_open) if query else []
        nul = _nul_errors(values, "query") if b"%00" in query or b"\0" in query or "\0" in scope["path"] else []
        try:
            made = validator.validate_python(values, strict=False) if lists else validator.validate_strings(values)
        except ValidationError as error:
            raise _invalid(_beside(nul, field_errors(error, "query")), unknown=wrong) from None
        if wrong or nul:
            raise _invalid(nul, unknown=wrong)
        return made  # type: ignore[no-any-return]

    return read


def _nul_errors(given: Any, root: str) -> list[FieldError]:
    """Where there is a NUL character inside; `root` names a place without a name."""
    found: set[str] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), given)]
    while waiting:
        location, value = waiting.pop()
        if isinstance(value, dict):
            waiting += (((*location, name), inner) for name, inner in value.items())
        elif isinstance(value, list):
            waiting += (((*location, str(n)), inner) for n, inner in enumerate(value))
        texts = (value,) if isinstance(value, str) else value if isinstance(value, dict) else ()
        if any("\0" in text for text in texts):
            found.add(".".join(location) or root)
    return [FieldError(cut(name), "It has a NUL character.", "null_character") for name in sorted(found)]


def _beside(nul: Sequence[FieldError], errors: Iterable[FieldError]) -> list[FieldError]:
    """All of them; what has a NUL character is named once."""
    named = {error.field for error in nul}
    return [*nul, *(error for error in errors if error.field not in named)]


def _in_path(message: type[BaseModel], path_fields: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, wire_name(name, message.model_fields[name])) for name in path_fields)


def _in_query(message: type[BaseModel], path_fields: Sequence[str]) -> dict[str, bool]:
    """The names of the query parameters, and whether each is a list."""
    fields = message.model_fields.items()
    return {wire_name(name, field): is_list(field) for name, field in fields if name not in path_fields}


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """The parameters of a query string, in order. Raises `Malformed`."""
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        text = "The query string cannot be read: it is not UTF-8, percent-encoded."
        raise Malformed(text, [FieldError("query", text, "malformed")]) from None


def _fill(values: dict[str, Any], query: bytes, known: Mapping[str, bool], is_open: bool) -> list[FieldError]:
    """Put the query's parameters into `values`; gives back those that cannot be."""
    wrong = []
    for name, value in query_pairs(query):
        if known.get(name):
            values.setdefault(name, []).append(value)
        elif name in values:
            wrong.append(FieldError(cut(name), "It can be given only once.", "repeated"))
        elif name in known or is_open:
            values[name] = value
        else:
            wrong.append(FieldError(cut(name), "There is no such parameter.", "unknown"))
    return wrong


def _unknown_query(query: bytes) -> list[FieldError]:
    names = dict(query_pairs(query))
    message = "There is no such parameter; the fields are in the body."
    return [FieldError(cut(name), message, "unknown") for name in names]


def _invalid(errors: Sequence[FieldError], *, unknown: Sequence[FieldError] = ()) -> Invalid:
    found = [*errors, *unknown]
    return invalid(found, malformed=bool(unknown) or any(e.code == "json_invalid" for e in errors))


# ── path and body ──


async def read_body(receive: Receive) -> bytes:
    """The whole body; the entrance has limited it."""
    event = await receive()
    if not event.get("more_body") and event["type"] == "http.request":
        return event.get("body", b"")  # type: ignore[no-any-return]
    parts = [event.get("body", b"")]
    while event.get("more_body"):
        event = await receive()
        parts.append(event.get("body", b""))
    if event["type"] != "http.request":
        raise Malformed("The client went away before it had sent the whole body.")
    return b"".join(parts)


def body_reader(message: type[BaseModel], path_fields: Sequence[str]) -> FromBody:
    """Reads a message whose fields are in the path and in a JSON body."""
    validator = message.__pydantic_validator__
    in_path = _in_path(message, path_fields)
    numbers = frozenset(n for n in path_fields if _is_number(message.model_fields[n].annotation))

    def read(scope: Scope, body: bytes) -> BaseModel:
        try:
            return read_all(scope, body)
        except RecursionError:
            raise _too_deep() from None

    def read_all(scope: Scope, body: bytes) -> BaseModel:
        query = scope["query_string"]
        wrong = _unknown_query(query) if query else []
        if body:
            _check_type(scope)
        data = parse(body) if body else {}
        nul = _nul_errors(data, "body") if b"\\u0000" in body else []
        if in_path and data.__class__ is dict:
            params = scope["path_params"]
            conflicts = [e for n, wire in in_path if wire in data and (e := _conflict(wire, data[wire], params[n]))]
            if "\0" in scope["path"]:
                nul += _nul_errors({wire: params[name] for name, wire in in_path}, "path")
            body = _merged(data, body, {w: _literal(params[n], n in numbers) for n, w in in_path})
        else:
            conflicts = []
        try:
            made = _validated(validator, body or b"{}")
        except ValidationError as error:
            raise _invalid([*conflicts, *_beside(nul, field_errors(error, "body"))], unknown=wrong) from None
        if wrong or conflicts or nul:
            raise _invalid([*conflicts, *nul], unknown=wrong)
        return made  # type: ignore[no-any-return]

    return read


def _validated(validator: Any, body: bytes) -> Any:
    try:
        return validator.validate_json(body, strict=True)
    except ValidationError:
        if not _WHOLE.search(body):
            raise
    # JSON Schema calls 37.0 an integer, pydantic's strict mode does not.
    return validator.validate_json(json.dumps(_whole_decoder.decode(body.decode())), strict=True)


def _check_type(scope: Scope) -> None:
    given = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if given == b"application/json":
        return
    taken = _MERGE if scope["method"] == "PATCH" else _JSON
    if not taken.fullmatch(given.decode("latin-1").strip()):
        raise not_json(given.decode("latin-1"), merges=taken is _MERGE)


def _conflict(name: str, in_body: Any, in_path: str) -> FieldError | None:
    text = in_body if isinstance(in_body, str) else json.dumps(in_body)
    if text == in_path:
        return None
    return FieldError(name, f"The path says {in_path!r}, the body something else.", "conflict")


def _is_number(annotation: Any) -> bool:
    """Whether JSON has a number or a boolean for it, and never a string."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_number(get_args(annotation)[0])
    if origin is Literal:
        return all(isinstance(value, int) for value in get_args(annotation))
    if origin in (Union, UnionType):
        return all(_is_number(argument) for argument in get_args(annotation) if argument is not NoneType)
    return inspect.isclass(annotation) and issubclass(annotation, int | float)


def _literal(text: str, is_number: bool) -> bytes:
    """A path's value as JSON: the body is strict about types, so a number has to be one."""
    if is_number and text in ("true", "false"):
        return text.encode()
    if is_number and _INTEGER.fullmatch(text):
        return b"%d" % int(text)
    if is_number and _DECIMAL.fullmatch(text):
        return repr(float(text)).encode()
    return json.dumps(text).encode()


def _merged(data: dict[str, Any], body: bytes, more: Mapping[str, bytes]) -> bytes:
    """The body with the path's values in it, as bytes: parsed values would lose what JSON mode knows."""
    members = b",".join(json.dumps(name).encode() + b":" + value for name, value in more.items())
    rest = body.lstrip()[1:] if body else b"}"
    return b"{" + members + (b"," if data else b"") + rest


# ── JSON, strictly (RFC 8259; RFC 7493 for what it leaves open) ──


def parse(body: bytes) -> Any:
    """The body as Python values. Raises `Malformed`."""
    try:
        return _decoder.decode(body.decode())
    except _Refused as error:
        raise Malformed(str(error), error.errors) from None
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Malformed(f"The body is not valid JSON: {error.msg} ({where}).") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise Malformed("The body has a number with too many digits.") from None


def _too_deep() -> Malformed:
    return Malformed("The body is nested too deeply.")


class _Refused(ValueError):
    def __init__(self, message: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message)
        self.errors = errors


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = sorted(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        errors = [FieldError(cut(name), "It can be given only once.", "repeated") for name in twice[:LISTED]]
        raise _Refused(f"The body has the same key more than once: {_several(errors, len(twice))}.", errors)
    return made


def _several(errors: Sequence[FieldError], count: int) -> str:
    more = [f"and {count - NAMED} more"] if count > NAMED else []
    return ", ".join([*(one.field for one in errors[:NAMED]), *more])


def _no_constant(name: str) -> Any:
    raise _Refused(f"The body is not valid JSON: {name} is not a number.")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused(f"The body has a number that is too large: {text[:40]}.")
    return value


def _whole(text: str) -> float:
    value = float(text)
    # Beyond it nobody means a whole number, and its digits would take the place of many bodies.
    return int(value) if abs(value) <= _LARGEST_WHOLE and value.is_integer() else value


_whole_decoder = json.JSONDecoder(parse_float=_whole)
_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
