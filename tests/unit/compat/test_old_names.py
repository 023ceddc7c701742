"""Every name of the table is there."""

import inspect
import re
from types import ModuleType

import pytest

from uno.compat import NAMES, resolve
from uno.errors import Misconfigured


@pytest.mark.parametrize("old", NAMES)
def test_every_old_name_resolves_to_what_the_table_says(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"^{re.escape(old)} is {re.escape(NAMES[old])} now") as told:
        found = resolve(old)
    assert told[0].filename == __file__
    assert isinstance(found, ModuleType) or inspect.getmodule(found) is not None or callable(found)
    assert re.fullmatch(r"(\w+\.)+\w+", NAMES[old])


def test_errors_of_pymodules_are_known_at_its_front_door_and_in_their_module() -> None:
    names = ("EventHandlingError", "ModuleRegistrationError", "PyModulesError")
    assert [NAMES[f"pymodules.{name}"] for name in names] == [NAMES[f"pymodules.exceptions.{name}"] for name in names]


def test_an_unknown_name_says_where_the_known_ones_are() -> None:
    with pytest.raises(Misconfigured, match=r"docs/seeds\.md"):
        resolve("pymodules.Nothing")
