"""What tests of uno and of applications on uno share."""

from uno.testing.decisions import Decision, Given, given

__all__ = ["Decision", "Given", "given"]
