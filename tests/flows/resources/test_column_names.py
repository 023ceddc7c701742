"""A column may be called as something is in uno's own SQL."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import Mapped, mapped_column, relationship
from tests.flows.resources.shop import calling

from uno.app import App, Module, resource
from uno.data import Model, VersionMixin
from uno.testing.postgres import DatabaseFarm


class Odd(Model):
    __abstract__ = True
    metadata = MetaData()


NAMES = [
    "row",
    "rows",
    "beside",
    "found",
    "object",
    "text",
    "old",
    "new",
    "written",
    "book0",
    "o",
    "n",
    "k",
    "said",
    "at",
]
NAMES += ["k0", "v_row", "versions", "said_at", "said_id", "place", "more", "one", "json", "anon_1", "order", "value"]
TEXTS: dict[str, Any] = {
    "__annotations__": {"id": Mapped[str], **dict.fromkeys(NAMES, Mapped[str])},
    "id": mapped_column(primary_key=True),
    **{name: mapped_column(default="") for name in NAMES},
}
Hall: Any = type("Hall", (VersionMixin, Odd), {"__tablename__": "odd_halls", "__module__": __name__, **TEXTS})
CHAIR: dict[str, Any] = {
    **TEXTS,
    "__annotations__": {**TEXTS["__annotations__"], "hall_id": Mapped[str | None], "new": Mapped[str]},
    **{name: mapped_column(default="") for name in NAMES},
    "id": mapped_column(primary_key=True),
    "hall_id": mapped_column(ForeignKey("odd_halls.id")),
    "hall": relationship(Hall, viewonly=True),
}
Chair: Any = type("Chair", (VersionMixin, Odd), {"__tablename__": "odd_chairs", "__module__": __name__, **CHAIR})
Hall.chairs = relationship(Chair, viewonly=True)
WRITING = ("bulk_create", "bulk_delete", "create", "merge", "replace", "delete")


@pytest.fixture(params=["sqlite", "postgresql"])
async def app(request: pytest.FixtureRequest, farm: DatabaseFarm, tmp_path: Path) -> App:
    url = f"sqlite:///{tmp_path / 'odd.db'}" if request.param == "sqlite" else await farm.create()
    operations = ("list", "get", "history", *WRITING)
    halls = resource(Hall, access="open", includable=["chairs"], operations=operations)
    chairs = resource(Chair, access="open", includable=["hall"], operations=operations)
    return App(Module("odd", routes=[halls, chairs]), database=url)


async def test_whatever_columns_are_called_a_resource_does_its_work(app: App) -> None:
    values = {name: f"its {name}" for name in NAMES}
    await app.create_schema()
    async with calling(app) as client:
        hall = await client.post("/halls", json={"id": "h", **values})
        assert (hall.status_code, hall.json()) == (201, {"id": "h", **values, "version": 1}), hall.text
        several = await client.post(
            "/chairs/bulk", json={"items": [{"id": id, "hall_id": "h", **values} for id in "ab"]}
        )
        assert several.status_code == 201, several.text
        chairs = several.json()["items"]
        assert (await client.get("/halls/h")).json() == hall.json()
        assert (await client.get("/chairs?sort=-row,id&row=its row&include=hall")).json()["items"] == [
            {**one, "hall": hall.json()} for one in chairs
        ]
        shown = await client.get("/halls/h?include=chairs")
        assert (shown.status_code, shown.json()) == (200, {**hall.json(), "chairs": chairs}), shown.text
        for method in ("PATCH", "PUT"):
            was = (await client.get("/halls/h")).headers["etag"]
            now = {name: f"{method} {name}" for name in NAMES}
            changed = await client.request(method, "/halls/h", json=now, headers={"If-Match": was})
            assert changed.status_code == 200, changed.text
            assert changed.json() == {"id": "h", **now, "version": int(was.strip('"')) + 1}
        entries = (await client.get("/halls/h/history")).json()["items"]
        assert [one["after"]["row"] for one in entries] == ["its row", "PATCH row", "PUT row"]
        gone = await client.post("/chairs/bulk/delete", json={"ids": ["a", "b"]})
        assert gone.status_code == 204, gone.text
        assert (await client.delete("/halls/h", headers={"If-Match": '"3"'})).status_code == 204
