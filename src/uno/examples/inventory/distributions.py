"""What is installed: the distributions of an environment, read with `importlib.metadata`.

These functions block; call them in a thread. Metadata is written by strangers: what cannot be read
is reported and stops nothing, and every text becomes one short printable line.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from uno.domain import ValueObject
from uno.errors import Invalid
from uno.examples.inventory.licences import LicenceDeclaration

LONGEST_LINE = 300
# The names of packages (PEP 508).
NAME = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"


@dataclass(frozen=True, slots=True)
class Distribution:
    """One installed distribution. `requires` are the ids of what it needs, extras left out."""

    id: str
    name: str
    release: str
    summary: str
    requires: tuple[str, ...]
    licence: LicenceDeclaration


class Unreadable(ValueObject):
    """An installed distribution whose metadata is missing or broken."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that was found, each distribution once, sorted by id."""

    distributions: Sequence[Distribution]
    unreadable: Sequence[Unreadable]


def normalised(name: str) -> str:
    """The one spelling of a package's name (PEP 503): `Zope.Interface` is `zope-interface`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_environment(path: str | None = None) -> Environment:
    """The distributions in a folder or virtual environment; by default those of this interpreter.

    Raises `Invalid` where there are none.
    """
    found: dict[str, Distribution] = {}
    unreadable: list[Unreadable] = []
    for installed in _installed(path):
        try:
            distribution = read_distribution(installed)
        except (OSError, ValueError) as error:
            unreadable.append(Unreadable(place=_place(installed), reason=str(error)))
        else:
            # As for `import`, the first on the path hides the others.
            found.setdefault(distribution.id, distribution)
    if not found:
        raise Invalid.field("path", f"No distributions are installed in {path!r}.", "empty")
    return Environment([found[id] for id in sorted(found)], sorted(unreadable, key=lambda one: one.place))


def read_distribution(installed: metadata.Distribution) -> Distribution:
    """Raises `ValueError` or `OSError` where its metadata is missing or broken."""
    fields = installed.metadata
    name, release = _line(fields.get_all("Name")), _line(fields.get_all("Version"))
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{name!r} is not the name of a package." if name else "The metadata is missing.")
    if not release:
        raise ValueError("The metadata has no version.")
    return Distribution(
        id=normalised(name),
        name=name,
        release=release,
        summary=_line(fields.get_all("Summary")),
        requires=_required(fields.get_all("Requires-Dist") or installed.requires or ()),
        licence=_licence(fields),
    )


def _installed(path: str | None) -> Iterable[metadata.Distribution]:
    return metadata.distributions() if path is None else metadata.distributions(path=_search_path(path))


def _search_path(folder: str) -> list[str]:
    """A virtual environment keeps its distributions further down."""
    # Not Path.is_dir(): it raises for a path that is too long or lies behind a closed door.
    if not os.path.isdir(folder):
        raise Invalid.field("path", f"There is no folder {folder!r}.", "missing")
    return [str(inside) for inside in Path(folder).glob("lib/python3*/site-packages")] or [folder]


def _licence(fields: metadata.PackageMetadata) -> LicenceDeclaration:
    classifiers = (_line([text]) for text in fields.get_all("Classifier", []))
    return LicenceDeclaration(
        expression=_line(fields.get_all("License-Expression")),
        text=_line(fields.get_all("License")),
        classifiers=tuple(text for text in classifiers if text.startswith("License ::")),
    )


def _required(requirements: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(_required_names(requirements))))


def _required_names(requirements: Iterable[str]) -> Iterator[str]:
    for requirement in requirements:
        named = re.match(NAME, requirement.strip())
        if named and not re.search(r";.*\bextra\s*==", requirement):
            yield normalised(named.group())


def _line(values: Sequence[str] | None) -> str:
    """The first line that says something; a licence field may hold the whole licence."""
    lines = str(values[0]).splitlines() if values else []
    first = next((line for line in lines if line.strip()), "")
    printable = "".join(character for character in first if character.isprintable())
    return printable.strip()[:LONGEST_LINE]


def _place(installed: metadata.Distribution) -> str:
    # importlib.metadata has no public name for the folder it reads.
    return str(getattr(installed, "_path", "?"))
