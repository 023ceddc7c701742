"""A module: a part of an application that can be read, tested and left out by itself."""

from uno.modules.module import Module
from uno.modules.route import Access, Route

__all__ = ["Access", "Module", "Route"]
