"""For the tests of an application: no module goes beyond its boundary.

def test_modules_keep_to_themselves() -> None:
    assert_boundaries(app())
"""

from uno.app import App
from uno.app.boundaries import crossings


def assert_boundaries(app: App) -> None:
    """Raises `AssertionError` with every place where a module uses more of another than its messages."""
    found = crossings(app.modules)
    if found:
        raise AssertionError("\n".join(["Modules go beyond their boundaries:", *map(str, found)]))
