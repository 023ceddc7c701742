"""The time, in the hands of a test."""

from collections.abc import Iterator

import pytest
from tests.unit.steered import Skipping, Steered

from uno import clock


@pytest.fixture
def steered() -> Iterator[Steered]:
    """The time stands still until the test moves it."""
    with clock.use(Steered()) as used:
        assert isinstance(used, Steered)
        yield used


@pytest.fixture
def skipping() -> Iterator[Skipping]:
    """Nothing waits: sleeping moves the time."""
    with clock.use(Skipping()) as used:
        assert isinstance(used, Skipping)
        yield used
