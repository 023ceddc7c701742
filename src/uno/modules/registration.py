"""What has to be right before a module is registered with a host, and its hooks."""

import inspect
from collections.abc import Callable, Coroutine, Iterator
from types import NoneType
from typing import Any, is_typeddict

from pydantic import BaseModel

from uno.bus.annotations import contradicts, hints_of
from uno.di.dependencies import name_of
from uno.modules.chain import AnyEvent, Candidate, Directory, declared
from uno.modules.errors import ModuleRegistrationError
from uno.modules.event import EventOutput, input_type, output_type
from uno.modules.handles import overridden
from uno.modules.module import Module, label, overrides
from uno.modules.runner import Runner, in_a_loop
from uno.redact import one_line


def check(module: Module, directory: Directory) -> None:
    """Raises `ModuleRegistrationError` where `module` cannot stand beside those of the directory."""
    if not isinstance(module, Module):
        raise ModuleRegistrationError(f"{module!r} is no Module; derive its class from uno.modules.Module.")
    name = label(module)
    if module.host is not None:
        raise ModuleRegistrationError(f"{name} is registered already; make another instance of it.", module)
    for wrong in (*unhandled(module), *disagreements(module)):
        raise ModuleRegistrationError(wrong, module)
    check_events(module, directory)
    for _, candidate in declared(module):
        _check_parameters(module, candidate)


def check_events(module: Module, directory: Directory) -> None:
    """Raises `ModuleRegistrationError` where another module declares an event of `module`."""
    for event in module.events:
        other = directory.declared.get(event)
        if other is not None:
            who = f"{label(other.module)} and {label(module)}"
            text = f"{who} both declare {event.__qualname__}; let one of them handle it."
            raise ModuleRegistrationError(text, module)


def ambiguities(module: Module, directory: Directory) -> Iterator[str]:
    """What would be confused with a module that is there, by its name; it works all the same."""
    own = _place(module)
    # Several instances of one class are several on purpose.
    namesakes = (_place(m) for m in directory.modules if label(m) == label(module))
    other = next((place for place in namesakes if place != own), None)
    if other is not None:
        yield f"Two modules are called {label(module)}, {other} and {own}; give each its own name."
    names: dict[str, type[AnyEvent]] = {}
    for event in (*directory.declared, *module.events):
        namesake = names.setdefault(event.name, event)
        if event.name and event in module.events and namesake is not event:
            which = f"{namesake.__qualname__} and {event.__qualname__}"
            yield f"Two events are called {one_line(event.name)}, {which}; give each its own name."


def _place(module: Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def unhandled(module: Module) -> Iterator[str]:
    """What a module says it handles and does not."""
    if overrides(module, "handle"):
        return
    if overrides(module, "can_handle") and not module.events:
        yield f"{label(module)} says what it can handle, but has no handle(); write it."
    for event, candidate in declared(module):
        if candidate.handled is None:
            yield _unhandled(module, event)


def _unhandled(module: Module, event: type[AnyEvent]) -> str:
    name, found = event.__qualname__, overridden(type(module), event)
    if found is None:
        return f"{label(module)} declares {name}, but nothing handles it; write handle() or use @handles."
    method, base = found
    what = f"{type(module).__qualname__}.{method} overrides that of {base.__qualname__}, which handles {name}"
    return f"{what}, and is not marked itself; write @handles({name}) above it."


def disagreements(module: Module) -> Iterator[str]:
    """Where a method marked `@handles` says something else than its event or another, and inputs that take nothing."""
    for event, candidate in declared(module):
        yield from _not_dataclasses(event)
        yield from _twice(module, event)
        if candidate.handled is not None:
            yield from _other_types(module, event, candidate.target)


def _twice(module: Module, event: type[AnyEvent]) -> Iterator[str]:
    # One function under two names is one.
    marked = [one.method for one in module._marked if one.event is event]
    names = list({id(inspect.getattr_static(module, name)): name for name in reversed(marked)}.values())[::-1]
    if len(names) > 1:
        where = f"{type(module).__qualname__} handles {event.__qualname__} more than once"
        yield f"{where}, by {' and '.join(names)}; let one of them handle it."


def _other_types(module: Module, event: type[AnyEvent], method: Any) -> Iterator[str]:
    hints, names = hints_of(method), list(inspect.signature(method).parameters)
    where = f"{type(module).__qualname__}.{method.__name__}"
    if not names:
        yield f"{where} takes no input; write `def {method.__name__}(self, input)`."
    elif contradicts(hints.get(names[0]), input_type(event)):
        what = f"takes {name_of(hints[names[0]])}, but the input of {event.__qualname__}"
        yield f"{where} {what} is {name_of(input_type(event))}; make them the same."
    # Nothing is an answer to every event: it has been handled.
    if hints.get("return") is not NoneType and contradicts(hints.get("return"), output_type(event)):
        what = f"gives back {name_of(hints['return'])}, but the output of {event.__qualname__}"
        yield f"{where} {what} is {name_of(output_type(event))}; make them the same."


def _not_dataclasses(event: type[AnyEvent]) -> Iterator[str]:
    output = output_type(event)
    outputs = [output] if inspect.isclass(output) and issubclass(output, EventOutput) else []
    for cls in (input_type(event), *outputs):
        if inspect.isclass(cls) and _forgot_decorator(cls):
            fields = ", ".join(_annotated(cls))
            yield f"{cls.__qualname__} of {event.__qualname__} takes no {fields}: write @dataclass above the class."


def _annotated(cls: type) -> list[str]:
    return [name for name, hint in inspect.get_annotations(cls).items() if "ClassVar" not in str(hint)]


def _forgot_decorator(cls: type) -> bool:
    """Whether it names fields, and nothing makes an `__init__` of them."""
    if issubclass(cls, BaseModel) or is_typeddict(cls):
        return False
    makes = vars(cls).keys() & {"__dataclass_params__", "__init__", "__new__"}
    return bool(_annotated(cls)) and not makes


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
    found = hook()
    if not isinstance(found, Coroutine):
        return
    if in_a_loop():
        found.close()
        how = "use `await host.register_async(module)` and `await host.shutdown_async()`"
        raise ModuleRegistrationError(f"{hook.__qualname__} has to be awaited, and an event loop runs: {how}.")
    runner.run(lambda: found)


async def await_hook(hook: Callable[[], Any]) -> None:
    """Call `on_load` or `on_unload` of a module, and await it where it can be awaited."""
    found = hook()
    if inspect.isawaitable(found):
        await found
