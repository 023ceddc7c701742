"""Every name of the table is there."""

import inspect
import re
from types import ModuleType

import pytest

from uno.compat import NAMES, resolve
from uno.errors import Misconfigured


@pytest.mark.parametrize("old", NAMES)
def test_every_old_name_resolves_to_what_the_table_says(old: str) -> None:
    found = resolve(old)
    assert isinstance(found, ModuleType) or inspect.getmodule(found) is not None or callable(found)
    assert re.fullmatch(r"(\w+\.)+\w+", NAMES[old])


def test_an_unknown_name_says_where_the_known_ones_are() -> None:
    with pytest.raises(Misconfigured, match=r"docs/seeds\.md"):
        resolve("pymodules.Nothing")
