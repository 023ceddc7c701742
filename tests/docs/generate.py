"""Writes the tables of the documentation that say what the code says.

    python tests/docs/generate.py            # write them anew
    python tests/docs/generate.py --check    # name those that are not current, exit 1

A table stands between `<!-- begin: name -->` and `<!-- end: name -->`. What a setting means is written by hand into
its row and kept.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import typer.main
from pydantic import SecretStr

import uno
from uno import compat, settings
from uno.api import problems
from uno.cli.entry import _cli
from uno.telemetry.catalogue import SIGNALS, SPANS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# ── seeds.md ──


def seeds(_written: str) -> str:
    rows = [(f"`{old}`", f"`{new}`") for old, new in sorted(compat.NAMES.items())]
    systems = groupby(rows, lambda row: row[0].strip("`").partition(".")[0])
    return "\n\n".join(_table([f"`{system}`", "uno"], list(found)) for system, found in systems)


# ── settings.md ──


def variables(written: str) -> str:
    meanings = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", written, re.MULTILINE))
    rows = [(f"`{name}`", kind, default, meanings.get(name, "")) for name, kind, default in _variables()]
    return _table(["variable", "type", "default", "meaning"], rows)


def _variables() -> Iterator[tuple[str, str, str]]:
    sections: list[type[settings.Section]] = [settings.Settings, *settings._SECTIONS.values()]
    for section in sections:
        prefix = str(section.model_config["env_prefix"])
        for name, field in section.model_fields.items():
            if name not in settings._SECTIONS or section is not settings.Settings:
                yield f"{prefix}{name.upper()}", _kind(field.annotation), _default(field.default)


def _kind(annotation: Any) -> str:
    choices = re.findall(r"'(\w+)'", str(annotation)) if "Literal" in str(annotation) else []
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    plain = str(annotation).removesuffix(" | None") if "|" in str(annotation) else annotation.__name__
    return "text" if annotation in (str, str | None, SecretStr | None) else plain


def _default(value: Any) -> str:
    return "" if value in (None, "") else f"`{value:_}`" if type(value) is int and value >= 10_000 else f"`{value}`"


# ── cli.md ──


def commands(_written: str) -> str:
    return _table(["command", "what it does"], _commands(typer.main.get_command(_cli), "uno"))


def _commands(group: Any, path: str) -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if hasattr(command, "commands"):
            yield from _commands(command, full)
        else:
            yield f"`{full}{''.join(_parameters(command))}`", command.help.partition("\n\n")[0].replace("\n", " ")


def _parameters(command: Any) -> Iterator[str]:
    for one in command.params:
        if one.param_type_name == "argument":
            name = (one.metavar or one.name).strip("[]")
            yield f" {name}" if one.required else f" [{name}]"
        else:
            value = "" if one.is_flag else f" {(one.metavar or one.name).upper()}"
            yield f" [{one.opts[0]}{value}]"


# ── api.md ──


def kinds(_written: str) -> str:
    raised = {kind.slug: error.__name__ for error, kind in problems.KINDS.items()}
    found = {kind.slug: kind for kind in (*problems.KINDS.values(), *problems._OF_HTTP)}
    ordered = sorted(found.values(), key=lambda kind: (kind.status, kind.slug))
    rows = [(str(k.status), f"`{k.type}`", _raised(raised.get(k.slug)), k.title) for k in ordered]
    return _table(["status", "type", "error", "title"], rows)


def _raised(name: str | None) -> str:
    return f"`{name}`" if name else ""


# ── architecture.md ──


def house(_written: str) -> str:
    rooms = [line[4:] for line in str(uno.__doc__).splitlines() if line.startswith("    ")]
    return "\n".join(["```text", *rooms, "```"])


# ── telemetry.md ──


def signals(_written: str) -> str:
    rows = [
        (f"`{name}`", signal.level, signal.text, ", ".join(f"`{field}`" for field in signal.fields))
        for name, signal in sorted(SIGNALS.items())
    ]
    return _table(["signal", "level", "what happened", "fields"], rows)


def spans(_written: str) -> str:
    return _table(["span", "kind", "what it is"], [(f"`{one.pattern}`", one.kind, one.text) for one in SPANS])


def told(written: str) -> str:
    return f"{spans(written)}\n\n{signals(written)}"


# ── reference.md ──


def _rooms() -> list[str]:
    found = re.findall(r"^    (\w+)(?:\.py|/) ", str(uno.__doc__), re.MULTILINE)
    return [room for room in found if room not in ("__init__", "examples", "cli", "testing")]


def names(written: str) -> str:
    meanings = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*) \|$", written, re.MULTILINE))
    return "\n\n".join(_room(room, meanings) for room in _rooms())


def _room(room: str, meanings: dict[str, str]) -> str:
    found = import_module(f"uno.{room}")
    rows = [
        (f"`{room}.{name}`", _meaning(found, name) or meanings.get(f"{room}.{name}", "")) for name in _public(found)
    ]
    return f"## uno.{room}\n\n{_table(['name', 'what it is'], rows)}"


def _public(room: ModuleType) -> list[str]:
    own = [name for name, value in vars(room).items() if getattr(value, "__module__", None) == room.__name__]
    return sorted(getattr(room, "__all__", None) or (n for n in own if n[0] != "_" and not _is_variable(room, n)))


def _is_variable(room: ModuleType, name: str) -> bool:
    return isinstance(getattr(room, name), TypeVar)


def _meaning(room: ModuleType, name: str) -> str:
    """The first sentence of what the code says of it; of constants and aliases nothing."""
    found = getattr(room, name)
    ours = str(getattr(found, "__module__", None)).startswith("uno") and callable(found)
    own = ours or isinstance(found, ModuleType)
    if own and str(found.__doc__).startswith(f"{name}("):  # what dataclasses make themselves
        return ""
    said = " ".join(str(found.__doc__ or "").split("\n\n")[0].split()) if own else ""
    first = re.match(r".*?\.(?= |$)", said)
    return (first[0] if first else said).rstrip(":").replace("|", "/")


TABLES: dict[str, tuple[str, Callable[[str], str]]] = {
    "seeds.md": ("names", seeds),
    "settings.md": ("variables", variables),
    "cli.md": ("commands", commands),
    "api.md": ("problems", kinds),
    "architecture.md": ("map", house),
    "telemetry.md": ("signals", told),
    "reference.md": ("names", names),
}


def current(page: str) -> tuple[str, str]:
    """A page as it is and as it should be."""
    name, make = TABLES[page]
    text = (DOCS / page).read_text()
    marked = re.compile(rf"(<!-- begin: {name} -->\n)(.*?)(<!-- end: {name} -->)", re.DOTALL)
    found = marked.search(text)
    if found is None:
        sys.exit(f"docs/{page} has no place for the table {name!r}")
    return text, marked.sub(lambda match: f"{match[1]}\n{make(match[2])}\n\n{match[3]}", text)


def unexplained() -> list[str]:
    """Variables that the code reads and settings.md does not explain."""
    written = (DOCS / "settings.md").read_text()
    source = "\n".join(file.read_text() for file in (ROOT / "src" / "uno").rglob("*.py"))
    named = set(re.findall(r"\bUNO_[A-Z][A-Z_]*[A-Z]\b", source))
    empty = re.findall(r"^\| `(\w+)` \|.*\|\s*\|$", written, re.MULTILINE)
    return sorted({name for name in named if f"`{name}`" not in written} | set(empty))


def main(*, check: bool) -> None:
    stale = []
    for page in TABLES:
        text, wanted = current(page)
        if text != wanted:
            stale.append(f"docs/{page} is not what the code says; run: python tests/docs/generate.py")
            if not check:
                (DOCS / page).write_text(wanted)
    missing = [f"docs/settings.md does not say what {name} means" for name in unexplained()]
    unsaid = re.findall(r"^\| `([\w.]+)` \|\s*\|$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    missing += [f"docs/reference.md does not say what uno.{name} is: give it a docstring" for name in unsaid]
    if found := [*(stale if check else []), *missing]:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main(check="--check" in sys.argv)
