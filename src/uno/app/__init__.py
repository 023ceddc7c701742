"""The composition root: modules in, one wired application out. Knows no web framework."""

from uno.app.app import App
from uno.app.endpoints import Endpoint
from uno.app.resources import Resource, resource
from uno.modules import Module, Route

__all__ = ["App", "Endpoint", "Module", "Resource", "Route", "resource"]
