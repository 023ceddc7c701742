"""What has to be right before a module is registered with a host, and its hooks."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from uno.modules.chain import Candidate, Directory, declared
from uno.modules.errors import ModuleRegistrationError
from uno.modules.handles import is_async
from uno.modules.module import Module, label, overrides
from uno.modules.runner import Runner, in_a_loop


def check(module: Module, directory: Directory) -> None:
    """Raises `ModuleRegistrationError` where `module` cannot stand beside those of the directory."""
    if not isinstance(module, Module):
        raise ModuleRegistrationError(f"{module!r} is no Module; derive its class from uno.modules.Module.")
    name = label(module)
    if module.host is not None:
        raise ModuleRegistrationError(f"{name} is registered already; make another instance of it.", module)
    for wrong in unhandled(module):
        raise ModuleRegistrationError(wrong, module)
    for event, candidate in declared(module):
        other = directory.declared.get(event)
        if other is not None:
            who = f"{label(other.module)} and {name}"
            text = f"{who} both declare {event.__qualname__}; let one of them handle it."
            raise ModuleRegistrationError(text, module)
        _check_parameters(module, candidate)


def unhandled(module: Module) -> Iterator[str]:
    """What a module says it handles and does not."""
    if overrides(module, "handle"):
        return
    if overrides(module, "can_handle") and not module.events:
        yield f"{label(module)} says what it can handle, but has no handle(); write it."
    for event, candidate in declared(module):
        if candidate.handled is None:
            what = f"{label(module)} declares {event.__qualname__}, but nothing handles it"
            yield f"{what}; write handle() or use @handles."


def _check_parameters(module: Module, candidate: Candidate) -> None:
    needed = [p.name for p in inspect.signature(candidate.target).parameters.values() if _required(p)][1:]
    if needed:
        where = f"{type(module).__qualname__}.{candidate.target.__name__}"
        text = f"{where} asks for {', '.join(needed)}, which only an App injects: give the module to App(...)."
        raise ModuleRegistrationError(text, module)


def _required(parameter: inspect.Parameter) -> bool:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in variadic


def run_hook(hook: Callable[[], Any], runner: Runner) -> None:
    """Call `on_load` or `on_unload` of a module, without an event loop around."""
    if not is_async(hook):
        hook()
        return
    if in_a_loop():
        how = "use `await host.register_async(module)` and `await host.shutdown_async()`"
        raise ModuleRegistrationError(f"{hook.__qualname__} is a coroutine function, and an event loop runs: {how}.")
    runner.run(lambda: hook())


async def await_hook(hook: Callable[[], Any]) -> None:
    """Call `on_load` or `on_unload` of a module, and await it where it can be awaited."""
    found = hook()
    if inspect.isawaitable(found):
        await found
