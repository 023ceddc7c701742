"""What a licence asks of those who use the package: pure functions over what packages declare.

A package may declare its licence in three ways, from the newest to the oldest: an SPDX expression
(PEP 639), classifiers of a fixed list, and free text. The first that can be understood decides.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from uno.examples.inventory.licences.messages import LicenceClass, LicenceDeclaration, title

PERMISSIVE, WEAK_COPYLEFT, STRONG_COPYLEFT, UNKNOWN = LicenceClass
# From the most lenient to the strictest: an unknown licence may be anything but known to be strict.
_STRICTNESS = (PERMISSIVE, WEAK_COPYLEFT, UNKNOWN, STRONG_COPYLEFT)


def classify(declared: LicenceDeclaration) -> LicenceClass:
    """The class of a declared licence."""
    ways = (
        classify_expression(declared.expression),
        classify_classifiers(declared.classifiers),
        classify_text(declared.text),
    )
    return next((found for found in ways if found is not UNKNOWN), UNKNOWN)


def all_apply(classes: Iterable[LicenceClass]) -> LicenceClass:
    """The class of several licences that apply together: the strictest of them."""
    return max(classes, key=_STRICTNESS.index, default=UNKNOWN)


def any_applies(classes: Iterable[LicenceClass]) -> LicenceClass:
    """The class of several licences of which one may be chosen: the most lenient that is known."""
    return min((c for c in classes if c is not UNKNOWN), key=_STRICTNESS.index, default=UNKNOWN)


# ── SPDX expressions: MIT AND (Apache-2.0 OR GPL-2.0-only WITH Classpath-exception-2.0) ──

_FAMILIES = {
    STRONG_COPYLEFT: "agpl-* cc-by-sa-* cecill-1.* cecill-2.* eupl-* gpl-* osl-* qpl-* rpl-* sleepycat sspl-*",
    WEAK_COPYLEFT: "cddl-* cecill-c cpl-* epl-* lgpl-* mpl-* ms-rl ofl-*",
    PERMISSIVE: """0bsd afl-* apache-* artistic-2.0 blueoak-* bsd-* bsl-1.0 bzip2-* cc-by-1.* cc-by-2.* cc-by-3.*
        cc-by-4.* cc0-* cecill-b cnri-python* curl fsfap hpnd* icu isc libpng* mit mit-* ms-pl mulanpsl-* ncsa openssl
        pddl-* postgresql psf-* python-2.* tcl unicode-* unlicense upl-* w3c* wtfpl x11 zlib zpl-*""",
}
_PATTERNS = [(pattern, found) for found, patterns in _FAMILIES.items() for pattern in patterns.split()]
_TOKEN = re.compile(r"[()]|[^\s()]+")
# Deeper expressions are not written by people.
_DEEPEST = 50


class _Unreadable(ValueError):
    pass


def classify_expression(expression: str) -> LicenceClass:
    """The class of an SPDX licence expression (SPDX 3.0, annex B); unknown where it is none."""
    tokens = deque(_TOKEN.findall(expression.lower()))
    if tokens.count("(") > _DEEPEST:
        return UNKNOWN
    try:
        found = _alternatives(tokens)
    except (_Unreadable, IndexError):  # IndexError: it ends too early
        return UNKNOWN
    return UNKNOWN if tokens else found


def _alternatives(tokens: deque[str]) -> LicenceClass:
    return any_applies(_joined("or", _conjunction, tokens))


def _conjunction(tokens: deque[str]) -> LicenceClass:
    return all_apply(_joined("and", _operand, tokens))


def _joined(operator: str, part: Callable[[deque[str]], LicenceClass], tokens: deque[str]) -> list[LicenceClass]:
    found = [part(tokens)]
    while tokens and tokens[0] == operator:
        tokens.popleft()
        found.append(part(tokens))
    return found


def _operand(tokens: deque[str]) -> LicenceClass:
    word = tokens.popleft()
    if word in (")", "and", "or", "with"):
        raise _Unreadable(word)
    if word == "(":
        inner = _alternatives(tokens)
        if tokens.popleft() != ")":
            raise _Unreadable(word)
        return inner
    if tokens and tokens[0] == "with":
        tokens.popleft()
        return _with_exception(_licence(word), tokens.popleft())
    return _licence(word)


def _licence(identifier: str) -> LicenceClass:
    plain = identifier.removesuffix("+")
    return next((found for pattern, found in _PATTERNS if fnmatchcase(plain, pattern)), UNKNOWN)


def _with_exception(licence: LicenceClass, exception: str) -> LicenceClass:
    """Exceptions to the GPL allow linking; others change nothing."""
    if exception in ("(", ")", "and", "or", "with"):
        raise _Unreadable(exception)
    return WEAK_COPYLEFT if licence is STRONG_COPYLEFT else licence


# ── classifiers and free text ──

_PHRASES = [
    (STRONG_COPYLEFT, r"\ba?gpl|affero|(?<!lesser )(?<!library )general public|\beupl|european union public|sspl"),
    (WEAK_COPYLEFT, r"\blgpl|(lesser|library) general public|\bmpl|mozilla|\bepl\b|eclipse public|\bcddl|common dev"),
    (PERMISSIVE, r"\bmit\b|\bbsd|\b0bsd|apache|\bisc|\bpsf|python software|\bzlib|unlicen[sc]e|public domain|\bcc0"),
    (PERMISSIVE, r"\bzpl|zope|\bhpnd|historical permission|postgresql|\bncsa|boost software|academic free|wtfpl"),
]


def classify_classifiers(classifiers: Iterable[str]) -> LicenceClass:
    """The class of trove classifiers. They do not say "and" or "or": the strictest that is known counts."""
    found = (classify_text(title(classifier)) for classifier in classifiers)
    return all_apply(one for one in found if one is not UNKNOWN)


def classify_text(text: str) -> LicenceClass:
    """The class of a licence in free text: an expression, or the strictest licence it mentions."""
    mentioned = (found for found, phrase in _PHRASES if re.search(phrase, text, re.IGNORECASE))
    exact = classify_expression(text)
    return all_apply(mentioned) if exact is UNKNOWN else exact
