"""What is installed, read from real folders."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from uno.errors import Invalid
from uno.examples.inventory import generate
from uno.examples.inventory.distributions import Distribution, normalised, read_environment
from uno.examples.inventory.licences import LicenceDeclaration


def install(folder: Path, name: str, *lines: str, raw: bytes | None = None) -> None:
    inside = folder / f"{name}.dist-info"
    inside.mkdir(parents=True)
    (inside / "METADATA").write_bytes(
        "\n".join(("Metadata-Version: 2.1", *lines, "", "")).encode() if raw is None else raw
    )


def test_a_distribution_is_read_as_it_describes_itself(tmp_path: Path) -> None:
    install(
        tmp_path,
        "zope.interface-5.0",
        "Name: Zope.Interface",
        "Version: 5.0",
        "Summary: Interfaces",
        "License: ZPL 2.1",
        "Classifier: License :: OSI Approved :: Zope Public License",
        "Classifier: Programming Language :: Python",
        "Requires-Dist: setuptools",
        "Requires-Dist: Typing_Extensions (>=4) ; python_version < '3.12'",
        "Requires-Dist: setuptools>=1",
        "Requires-Dist: sphinx ; extra == 'docs'",
    )
    assert read_environment(str(tmp_path)).distributions == [
        Distribution(
            id="zope-interface",
            name="Zope.Interface",
            release="5.0",
            summary="Interfaces",
            requires=("setuptools", "typing-extensions"),
            licence=LicenceDeclaration(text="ZPL 2.1", classifiers=("License :: OSI Approved :: Zope Public License",)),
        )
    ]


def test_the_old_egg_info_is_read_too(tmp_path: Path) -> None:
    inside = tmp_path / "old.egg-info"
    inside.mkdir()
    (inside / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: old\nVersion: 0.1\n\n")
    (inside / "requires.txt").write_text("click\n\n[docs]\nsphinx\n")
    [found] = read_environment(str(tmp_path)).distributions
    assert (found.id, found.release, found.requires) == ("old", "0.1", ("click",))


def test_broken_metadata_is_reported_and_stops_nothing(tmp_path: Path) -> None:
    install(tmp_path, "good-1.0", "Name: good", "Version: 1.0")
    install(tmp_path, "latin-1.0", raw="Name: latin\nVersion: 1.0\nSummary: café\n".encode("latin-1"))
    install(tmp_path, "nameless-1.0", "Version: 1.0")
    install(tmp_path, "noversion-1.0", "Name: noversion")
    install(tmp_path, "strange-1.0", "Name: '; DROP TABLE packages", "Version: 1.0")
    install(tmp_path, "zero-1.0", raw=b"")
    (tmp_path / "missing-1.0.dist-info").mkdir()
    found = read_environment(str(tmp_path))
    assert [one.id for one in found.distributions] == ["good"]
    assert {Path(one.place).name.partition("-")[0]: one.reason for one in found.unreadable} == {
        "latin": "'utf-8' codec can't decode byte 0xe9 in position 37: invalid continuation byte",
        "missing": "The metadata is missing.",
        "nameless": "The metadata is missing.",
        "noversion": "The metadata has no version.",
        "strange": '"\'; DROP TABLE packages" is not the name of a package.',
        "zero": "The metadata is missing.",
    }


def test_every_text_becomes_one_short_printable_line(tmp_path: Path) -> None:
    licence = "License: \n        The MIT\0 License\n        \n        Permission is hereby granted"
    install(tmp_path, "long-1.0", "Name: long", "Version: 1.0", f"Summary: {'x' * 10_000}", licence)
    [found] = read_environment(str(tmp_path)).distributions
    assert found.summary == "x" * 300
    assert found.licence.text == "The MIT License"


def test_the_first_of_two_distributions_hides_the_other(tmp_path: Path) -> None:
    install(tmp_path, "twice-1.0", "Name: twice", "Version: 1.0")
    install(tmp_path, "Twice-2.0", "Name: Twice", "Version: 2.0")
    assert len(read_environment(str(tmp_path)).distributions) == 1


def test_a_virtual_environment_may_be_named_by_its_own_folder(tmp_path: Path) -> None:
    generate(tmp_path / "lib" / "python3.11" / "site-packages", 3)
    assert len(read_environment(str(tmp_path)).distributions) == 3


def test_without_a_path_it_is_what_this_interpreter_runs() -> None:
    found = {one.id: one.release for one in read_environment().distributions}
    assert found["pytest"] == metadata.version("pytest")
    assert len(found) == len({normalised(d.metadata["Name"]) for d in metadata.distributions(path=sys.path)})


@pytest.mark.parametrize(
    "name", ["nowhere", "empty", "file", "long" * 1000, "nul\0", "a/" * 3000], ids=lambda name: name[:8]
)
def test_a_path_without_distributions_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(Invalid) as raised:
        read_environment(str(tmp_path / name))
    assert [error.field for error in raised.value.errors] == ["path"]


def test_samples_are_always_the_same_and_can_be_read(tmp_path: Path) -> None:
    ids = generate(tmp_path, 12)
    generate(tmp_path, 12)
    found = read_environment(str(tmp_path))
    assert [one.id for one in found.distributions] == ids
    assert found.unreadable == []
    assert found.distributions[5].requires == ("sample-00000", "sample-00004")
