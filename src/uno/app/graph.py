"""Who sends what to whom, as far as the code says it: drawn as a Mermaid flowchart.

Handled is what a module declares. Sent is every message whose class is called, and every payload
published under a literal name, in the source of a module's handlers, models and own class.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from uno.bus import handles_of
from uno.messages import DomainEvent, Message
from uno.modules import Module
from uno.modules.chain import declared
from uno.modules.event import is_event

Relation = Literal["handles", "subscribes", "sends"]
# The name of a module, what it does, and the class of a message or the name of a payload.
_Seen: TypeAlias = tuple[str, Relation, Any]


@dataclass(frozen=True, slots=True)
class Edge:
    """`module` handles, subscribes to or sends `message`, which is of this `kind`.

    A message is called by its class, or by its stable name where two are called alike.
    """

    module: str
    relation: Relation
    message: str
    kind: str


def edges(modules: Iterable[Module]) -> list[Edge]:
    """Everything the code says of who handles and who sends."""
    seen = {one for module in modules for one in (*_handled(module), *_sent(module))}
    names = called(message for _, _, message in seen)
    found = {Edge(module, relation, names[message], kind_of(message)) for module, relation, message in seen}
    return sorted(found, key=lambda e: (e.module, e.relation, e.message))


def called(messages: Iterable[Any]) -> dict[Any, str]:
    """For people: each by its class, or by its stable name where two are called alike."""
    short = {message: getattr(message, "__qualname__", message).rpartition("<locals>.")[2] for message in messages}
    times = Counter(short.values())
    return {m: name if times[name] == 1 else getattr(m, "__uno_name__", name) for m, name in short.items()}


def kind_of(message: Any) -> str:
    """ "event" for a request of a module, "payload" for a name, else "command", "query" or "fact"."""
    if isinstance(message, str):
        return "payload"
    if is_event(message):
        return "event"
    if issubclass(message, DomainEvent):
        return "fact"
    return next((base.__name__.lower() for base in message.__mro__ if base.__name__ in ("Command", "Query")), "message")


def _handled(module: Module) -> Iterator[_Seen]:
    for event, _ in declared(module):
        yield module.name, "handles", event
    for mark in (mark for handler in module.all_handlers() for mark in handles_of(handler)):
        relation: Relation = "subscribes" if mark.kind == "event" else "handles"
        yield module.name, relation, mark.message


def _sent(module: Module) -> Iterator[_Seen]:
    own = () if type(module) is Module else (type(module),)
    for target in (*own, *module.handlers, *module.models):
        names: Mapping[str, Any] = vars(sys.modules[target.__module__])
        for call in (node for node in ast.walk(_tree(target)) if isinstance(node, ast.Call)):
            message = _class_called(call.func, names)
            if message is not None:
                yield module.name, "sends", message
            name = _published(call)
            if name:
                yield module.name, "sends", name


def _tree(target: Any) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(target))))
    except (OSError, TypeError, SyntaxError):  # made at run time: there is no source to read
        return ast.Module(body=[], type_ignores=[])


def _class_called(function: ast.expr, names: Mapping[str, Any]) -> Any:
    found: Any = None
    if isinstance(function, ast.Name):
        found = names.get(function.id)
    elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        found = getattr(names.get(function.value.id), function.attr, None)
    if not isinstance(found, type) or not (issubclass(found, Message) or is_event(found)):
        return None
    return None if found.__module__.startswith(("uno.messages", "uno.modules")) else found


def _published(call: ast.Call) -> str | None:
    """The name in `host.publish("orders.placed", …)`."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr == "publish" and call.args):
        return None
    first = call.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


# ── drawing ──


def mermaid(modules: Iterable[Module]) -> str:
    """A Mermaid flowchart: modules are boxes, messages are rounded, facts and payloads are flags."""
    modules = list(modules)
    found = edges(modules)
    names = [module.name for module in modules]
    ids = {name: f"m{n}" for n, name in enumerate(names)}
    messages = {edge.message: edge.kind for edge in found}
    message_ids = {message: f"e{n}" for n, message in enumerate(sorted(messages))}
    lines = ["flowchart LR"]
    lines += [f'    {ids[name]}["{_text(name)}"]' for name in names]
    lines += [f"    {message_ids[m]}{_shape(m, messages[m])}" for m in sorted(messages)]
    for edge in found:
        lines.append("    " + _arrow(edge, ids[edge.module], message_ids[edge.message]))
    return "\n".join(lines)


def _shape(message: str, kind: str) -> str:
    text = _text(f"{message} ({kind})")
    return f'>"{text}"]' if kind in ("fact", "payload") else f'("{text}")'


def _arrow(edge: Edge, module: str, message: str) -> str:
    if edge.relation == "sends":
        return f"{module} --> {message}"
    return f"{message} -.-> {module}" if edge.relation == "subscribes" else f"{message} --> {module}"


def _text(text: str) -> str:
    """Without what Mermaid would read as its own."""
    return re.sub(r"[^\w .,:()/-]", "_", text)
