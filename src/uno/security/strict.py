"""JSON that means one thing only (RFC 8259; RFC 7493 for what it leaves open)."""

import json
import math
import re
from typing import Any

_DEPTH = 32
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Refused(ValueError):
    """Why a token is not accepted, in a few words without anything of the token; `claim` is what is wrong."""

    def __init__(self, reason: str, claim: str = "") -> None:
        super().__init__(reason)
        self.claim = claim


def parse(data: bytes) -> dict[str, Any]:
    """A JSON object: UTF-8, no key twice, finite numbers, not nested deeply. Raises `Refused`."""
    if data.count(b"[") + data.count(b"{") > _DEPTH and _depth(data) > _DEPTH:
        raise Refused("it is nested too deeply")
    try:
        found = _decoder.decode(data.decode())
    except Refused:
        raise
    except ValueError:  # no JSON, no UTF-8, or a number with too many digits
        raise Refused("it is not JSON") from None
    if not isinstance(found, dict):
        raise Refused("it is not a JSON object")
    return found


def _depth(data: bytes) -> int:
    depth = deepest = 0
    for char in _STRING.sub(b"", data):
        if char in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in b"]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Refused("it has a key twice")
    return made


def _no_constant(_name: str) -> Any:
    raise Refused("it has a number that is none")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise Refused("it has a number that is too large")
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
