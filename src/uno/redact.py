"""What may be written down: text without secrets, and without characters that would forge a line.

What is looked through may come from outside, so every pattern takes time that grows with the text and
no faster: each repetition is possessive or bounded, and no part of the text is read twice for long.
"""

import math
import re
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Characters of one text that are written down: of longer ones the beginning and the end.
LONGEST = 16_384
# Of a mapping in a mapping and so on.
_DEEPEST = 20
# Bits; Python refuses to write numbers of more than some thousand digits.
_LONGEST_NUMBER = 4096

_OTP = r"(?<![a-z0-9])otp(?![a-z0-9])"
# What is said of a secret, and is none.
_ABOUT = r"(?![_-]?(?:expir|type|count|limit|ur[il]|endpoint|length|name|policy))"
# `secret_key`, `tokens`, `password1` and `tokenValue`, but not `tokenize`.
_MORE = r"s?(?:(?:[_-]|\d|(?-i:[A-Z]))[\w-]{0,32}+)?"
_WORD = (
    r"(?:(?:passw(?:or[dt])?|passphrase|pwd|secret|token|credential"
    rf"|(?:api|access|private|encryption|signing|verification)[_-]?key|{_OTP}){_ABOUT}{_MORE}|jwt|bearer|session[_-]?id)"
)
_KEY = re.compile(rf"{_WORD}|authorization|cookie|private", re.IGNORECASE)
# `name=value`, `name: value`, `"name": "value"`, also where the quotes are escaped, and `("name", "value")`.
_NAMED = rf"{_WORD}(?:\\{{0,4}}[\"'])?[ \t]{{0,8}}[=:]>?[ \t]{{0,8}}"
_QUOTED = re.compile(rf"({_NAMED}b?(\\{{0,4}}[\"']))(?:(?!(?<!\\)\2)(?:\\.|[^\n]))*", re.IGNORECASE)
_PAIR = re.compile(
    rf"(\(b?[\"'][\w-]{{0,64}}?{_WORD}[\"'],[ \t]{{0,8}}b?([\"']))(?:(?!(?<!\\)\2)(?:\\.|[^\n]))*", re.IGNORECASE
)
_SEVERAL = re.compile(rf"({_NAMED}[\[({{])[^\])}}\n]*+", re.IGNORECASE)
_BARE = re.compile(rf"({_NAMED})(?!b?\\{{0,4}}[\"'])(?:(?:bearer|basic)[ \t]{{1,8}})?[^\s&;,\"'\[({{]++", re.IGNORECASE)
# As a header, or as a pair of a mapping or list of headers: it is all secret.
_HEADER = re.compile(
    r"((?:authorization|cookie)(?:\\{0,4}[\"'] ?[:,]|[ \t]{0,8}[=:])[ \t]{0,8}(?:b?\\{0,4}[\"'])?)[^\r\n\"']++",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bbearer[ \t]{1,8})(?=[a-z.]*+[0-9_~+/=-])[a-z0-9._~+/=-]{8,}+", re.IGNORECASE)
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w.-]++")
# What SQLAlchemy and PostgreSQL tell of the values of a statement.
_PARAMETERS = re.compile(r"(\[parameters: )[^\n]*+")
_DETAIL = re.compile(
    r"(DETAIL: {1,2})(?:[^\n]|\n(?!HINT: |\[SQL|\(Background on|\nThe above exception |\nDuring handling | *\+-))*"
)
_REFUSED_VALUE = re.compile(
    r"(\binvalid input (?:(?:syntax|value) for [^:\n]{1,80}+|for query argument \$\d{1,6}+): )[^\n]*+"
)
_OUT_OF_RANGE = re.compile(r"(\bvalue \")[^\"\n]{1,512}+(?=\" is out of range)")
_PEM = re.compile(r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----)[^-]*+")
# By what is in lower case in every text that the pattern finds: to look for that is much faster.
_SUBSTITUTES: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("[parameters: ",), _PARAMETERS, r"\1***]"),
    (("detail: ",), _DETAIL, r"\1***"),
    (("invalid input ",), _REFUSED_VALUE, r"\1***"),
    (("is out of range",), _OUT_OF_RANGE, r"\1***"),
    (("private key-----",), _PEM, r"\1***"),
    (("authorization", "cookie"), _HEADER, r"\1***"),
    (("=", ":"), _QUOTED, r"\1***"),
    (("=", ":"), _SEVERAL, r"\1***"),
    (("',", '",'), _PAIR, r"\1***"),
    (("=", ":"), _BARE, r"\1***"),
    (("bearer",), _BEARER, r"\1***"),
    (("eyj",), _JWT, "***"),
)
_USER = re.compile(r"[^:/@\s]{0,256}+:")
_RUN = re.compile(r"[^\s\"'<>]*+")
_PORT = re.compile(r"\d{1,5}+(?![^\s/?#\"'<>,;)\]}])")
# Of a password with spaces or quotes in it.
_LONGEST_PASSWORD = 256
_AUTHORITY = re.compile(r"[^\s/?#\"'<>]{0,256}+")
# Everything that ends a line, moves a cursor or turns the direction of writing on some terminal or viewer.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Redacted:
    """Marks an attribute whose values are not written down: `note: Annotated[str, Redacted]`."""


def names_a_secret(name: str) -> bool:
    """Whether what is called so is a secret: a password, token, key and the like."""
    return _KEY.search(name) is not None


def redact(text: str) -> str:
    """`text` without passwords, tokens, cookies and the values of SQL statements, as far as they can be told."""
    if "://" in text:
        text = _without_url_passwords(text)
    lower = text.lower()
    for signs, pattern, substitute in _SUBSTITUTES:
        if any(map(lower.__contains__, signs)):
            text = pattern.sub(substitute, text)
    return text


def brief(text: str) -> str:
    """`redact`, then the middle left out of what is longer than `LONGEST`."""
    # Twice: what is cut before is cut again after, so no half of a secret stays at an edge.
    return _cut(redact(_cut(text, 2 * LONGEST)), LONGEST)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} … [{len(text) - 2 * half} characters left out] … {text[-half:]}"


def _without_url_passwords(text: str) -> str:
    """One way through the text, from `://` to `://`."""
    parts: list[str] = []
    done = 0
    # Where the run of characters ends that was looked at last, and its last @.
    run = at = -1
    found = text.find("://")
    while found >= 0:
        user = _USER.match(text, found + 3)
        begin = found + 3
        if user is not None:
            begin = user.end()
            if begin >= run:
                run = _end(_RUN, text, begin)
                at = text.rfind("@", begin, run)
            # Greedy: a password may itself contain @ or / where its author forgot to encode it.
            end = at if at > begin else _with_gaps(text, begin)
            if end > begin:
                parts += text[done:begin], "***"
                done = begin = end
        found = text.find("://", begin)
    return "".join((*parts, text[done:]))


def _with_gaps(text: str, begin: int) -> int:
    """Where a password with spaces or quotes in it ends; -1 if what begins there is no password."""
    if begin >= len(text) or text[begin].isspace() or _PORT.match(text, begin):
        return -1
    last = begin + _LONGEST_PASSWORD
    if text.find("@", begin, last) < 0:
        return -1
    ends = (text.find(mark, begin, last) for mark in ("\n", "://"))
    first = text.find("@", begin, min((end for end in ends if end >= 0), default=last))
    return -1 if first < 0 else text.rfind("@", first, _end(_AUTHORITY, text, first))


def _end(pattern: re.Pattern[str], text: str, begin: int) -> int:
    found = pattern.match(text, begin)
    return begin if found is None else found.end()


def clean(value: Any) -> Any:
    """`value` without secrets, however deep; what has no JSON form as its redacted `repr`."""
    return _clean(value, 0)


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return brief(_encodable(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if _has_a_json_form(value) else said(value)
    if depth == _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        named = ((said(key, str), held) for key, held in dict(value).items())
        return {name: "***" if _KEY.search(name) else _clean(held, depth + 1) for name, held in named}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item, depth + 1) for item in list(value)]
    return said(value)


def _has_a_json_form(number: int | float) -> bool:
    return math.isfinite(number) if isinstance(number, float) else number.bit_length() <= _LONGEST_NUMBER


def said(value: object, say: Callable[[object], str] = repr) -> str:
    """What `value` says of itself, redacted; its type where that fails."""
    try:
        return brief(_encodable(say(value)))
    except Exception:  # whoever reads it sees that there was something
        return f"<{type(value).__name__}>"


def _encodable(text: str) -> str:
    """Half a surrogate pair is written as an escape."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def one_line(text: str) -> str:
    """`text` with its control characters written as escapes: it stays on its line."""
    return _CONTROL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def described(error: BaseException, *, within: Path | None = None) -> str:
    """The error on one line, and the place of the last line of it that is not the import system's.

    Of places in the folder `within` the last, if there is one.
    """
    text = one_line(redact(_text(error)))
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {text}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    inside = [f for f in frames if within is not None and Path(f.filename).is_relative_to(within)]
    found = (inside or frames)[-1:]
    place = "".join(f" ({f.filename}, line {f.lineno})" for f in found)
    return f"{type(error).__name__}: {text}{place}"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as another:  # the author's own __str__; the user sees which error it raises
        return f"(its text raises {type(another).__name__})"


def flat(value: Any) -> Any:
    """What `clean` gave, each text in it on one line."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, dict):
        return {one_line(k): flat(v) for k, v in value.items()}
    return [flat(item) for item in value] if isinstance(value, list) else value
