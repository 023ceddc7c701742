"""Environments to scan that nobody has installed."""

from pathlib import Path

_LICENCES = (
    "License-Expression: MIT",
    "License-Expression: Apache-2.0 OR BSD-3-Clause",
    "License: MPL-2.0",
    "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
    "License: see the file LICENSE",
)


def generate(folder: str | Path, count: int, *, release: str = "1.0.0") -> list[str]:
    """Write the metadata of `count` distributions into `folder`, always the same; gives their package ids.

    Of five, two have a permissive licence, one weak and one strong copyleft, and one an unknown
    licence. All but the first require the first; each requires the one before it.
    """
    ids = [f"sample-{number:05}" for number in range(count)]
    for number, name in enumerate(ids):
        inside = Path(folder, f"{name.replace('-', '_')}-{release}.dist-info")
        inside.mkdir(parents=True, exist_ok=True)
        required = sorted({ids[0], ids[number - 1]}) if number else []
        (inside / "METADATA").write_text(_metadata(name, release, _LICENCES[number % len(_LICENCES)], required))
    return ids


def _metadata(name: str, release: str, licence: str, required: list[str]) -> str:
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {release}", f"Summary: Sample {name}.", licence]
    lines += [f"Requires-Dist: {one}>={release}" for one in required]
    return "\n".join([*lines, "", "Nobody has installed this.", ""])
