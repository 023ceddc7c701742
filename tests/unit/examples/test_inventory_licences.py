"""What a licence asks of those who use the package."""

import pytest
from hypothesis import given, strategies as st

from uno.examples.inventory.licences import LicenceClass, LicenceDeclaration
from uno.examples.inventory.licences.classification import (
    PERMISSIVE,
    STRONG_COPYLEFT,
    UNKNOWN,
    WEAK_COPYLEFT,
    all_apply,
    any_applies,
    classify,
    classify_classifiers,
    classify_expression,
    classify_text,
)

EXPRESSIONS = {
    "MIT": PERMISSIVE,
    "Apache-2.0 OR BSD-2-Clause": PERMISSIVE,
    "mit and psf-2.0": PERMISSIVE,
    "MPL-2.0": WEAK_COPYLEFT,
    "LGPL-2.1-or-later AND MIT": WEAK_COPYLEFT,
    "LGPL-3.0+": WEAK_COPYLEFT,
    "GPL-3.0-only": STRONG_COPYLEFT,
    "AGPL-3.0-or-later AND MIT": STRONG_COPYLEFT,
    "GPL-2.0-only OR MIT": PERMISSIVE,
    "MIT OR Apache-2.0 AND GPL-3.0-only": PERMISSIVE,
    "(MIT OR Apache-2.0) AND GPL-3.0-only": STRONG_COPYLEFT,
    "GPL-2.0-only WITH Classpath-exception-2.0": WEAK_COPYLEFT,
    "Apache-2.0 WITH LLVM-exception": PERMISSIVE,
    "LicenseRef-Proprietary": UNKNOWN,
    "LicenseRef-Proprietary AND GPL-3.0-only": STRONG_COPYLEFT,
    "LicenseRef-Proprietary OR GPL-3.0-only": STRONG_COPYLEFT,
    "LicenseRef-Proprietary AND MIT": UNKNOWN,
    "": UNKNOWN,
    "MIT Apache-2.0": UNKNOWN,
    "MIT AND": UNKNOWN,
    "AND MIT": UNKNOWN,
    "(MIT": UNKNOWN,
    "MIT)": UNKNOWN,
    "()": UNKNOWN,
    "MIT WITH (MIT)": UNKNOWN,
    "(" * 100_000: UNKNOWN,
}


@pytest.mark.parametrize(("expression", "expected"), EXPRESSIONS.items(), ids=lambda value: str(value)[:40])
def test_an_expression_has_a_class(expression: str, expected: LicenceClass) -> None:
    assert classify_expression(expression) is expected


TEXTS = {
    "MIT License": PERMISSIVE,
    "BSD 3-Clause": PERMISSIVE,
    "Apache License, Version 2.0": PERMISSIVE,
    "Mozilla Public License 2.0 (MPL 2.0)": WEAK_COPYLEFT,
    "GNU Lesser General Public License v3 or later (LGPLv3+)": WEAK_COPYLEFT,
    "GNU Library General Public License": WEAK_COPYLEFT,
    "GNU General Public License v3 (GPLv3)": STRONG_COPYLEFT,
    "GNU Affero General Public License v3": STRONG_COPYLEFT,
    "GPLv2+": STRONG_COPYLEFT,
    "MIT OR GPL-3.0-only": PERMISSIVE,
    "parts are MIT, parts are GPL": STRONG_COPYLEFT,
    "Copyright (c) 2005, its developers.": UNKNOWN,
    "Permission is granted": UNKNOWN,
    "Other/Proprietary License": UNKNOWN,
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.items())
def test_a_text_has_the_class_of_the_licence_it_mentions(text: str, expected: LicenceClass) -> None:
    assert classify_text(text) is expected


def test_of_several_classifiers_the_strictest_that_is_known_counts() -> None:
    mit, gpl, osi = (
        "License :: OSI Approved :: MIT License",
        "License :: OSI Approved :: GNU General Public License v2 (GPLv2)",
        "License :: OSI Approved",
    )
    assert classify_classifiers([osi, mit]) is PERMISSIVE
    assert classify_classifiers([mit, gpl, osi]) is STRONG_COPYLEFT
    assert classify_classifiers([osi]) is UNKNOWN


def test_the_expression_decides_before_classifiers_and_classifiers_before_the_text() -> None:
    gpl = ("License :: OSI Approved :: GNU General Public License v2 (GPLv2)",)
    assert classify(LicenceDeclaration(expression="MIT", classifiers=gpl, text="MPL-2.0")) is PERMISSIVE
    assert classify(LicenceDeclaration(classifiers=gpl, text="MPL-2.0")) is STRONG_COPYLEFT
    assert classify(LicenceDeclaration(text="MPL-2.0")) is WEAK_COPYLEFT
    assert classify(LicenceDeclaration(expression="LicenseRef-Ours", text="MIT")) is PERMISSIVE
    assert classify(LicenceDeclaration()) is UNKNOWN


def test_a_declaration_is_shown_as_its_best_line() -> None:
    classifiers = ("License :: OSI Approved :: MIT License", "License :: Public Domain")
    assert LicenceDeclaration(expression="MIT", text="mit", classifiers=classifiers).stated == "MIT"
    assert LicenceDeclaration(text="mit", classifiers=classifiers).stated == "mit"
    assert LicenceDeclaration(classifiers=classifiers).stated == "MIT License, Public Domain"
    assert LicenceDeclaration().stated == ""


# ── any expression: a tree, written down in some way ──

LEAVES = {
    "MIT": PERMISSIVE,
    "mpl-2.0": WEAK_COPYLEFT,
    "GPL-3.0-only": STRONG_COPYLEFT,
    "GPL-3.0-only WITH GCC-exception-3.1": WEAK_COPYLEFT,
    "LicenseRef-1": UNKNOWN,
}
Tree = tuple[str, LicenceClass]


def _any(parts: list[Tree]) -> Tree:
    return f"({' OR '.join(text for text, _ in parts)})", any_applies(found for _, found in parts)


def _all(parts: list[Tree]) -> Tree:
    return f"( {' and '.join(text for text, _ in parts)} )", all_apply(found for _, found in parts)


trees = st.recursive(
    st.sampled_from(sorted(LEAVES.items())),
    lambda inner: st.lists(inner, min_size=1, max_size=4).flatmap(
        lambda parts: st.sampled_from([_any(parts), _all(parts)])
    ),
    max_leaves=20,
)
classes = st.sampled_from(LicenceClass)


@given(trees)
def test_every_expression_is_read_as_it_is_meant(tree: Tree) -> None:
    text, expected = tree
    assert classify_expression(text) is expected
    assert classify_expression(f" ({text.upper()})") is expected


@given(
    st.lists(st.sampled_from(["(", ")", "AND", "or", "WITH", "MIT", "GPL-3.0-only", "x"]), max_size=12).map(" ".join)
)
def test_what_is_no_expression_is_unknown_and_never_an_error(text: str) -> None:
    assert classify_expression(text) in LicenceClass
    if text.count("(") != text.count(")"):
        assert classify_expression(text) is UNKNOWN


@given(st.text(), st.text(), st.lists(st.text()))
def test_any_declaration_has_a_class(expression: str, text: str, classifiers: list[str]) -> None:
    declared = LicenceDeclaration(expression=expression, text=text, classifiers=tuple(classifiers))
    assert classify(declared) in LicenceClass


@given(st.lists(classes, min_size=1), st.randoms())
def test_neither_order_nor_repetition_changes_a_class(found: list[LicenceClass], random: object) -> None:
    shuffled = [*found, found[0]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert all_apply(shuffled) is all_apply(found)
    assert any_applies(shuffled) is any_applies(found)


@given(st.lists(classes, min_size=1))
def test_strong_copyleft_is_never_hidden_by_another_licence_that_applies_too(found: list[LicenceClass]) -> None:
    assert (all_apply(found) is STRONG_COPYLEFT) == (STRONG_COPYLEFT in found)
    assert (any_applies(found) is PERMISSIVE) == (PERMISSIVE in found)
