"""A column that a trigger of the user's fills is read back where its class says so."""

import httpx2
from sqlalchemy import FetchedValue, MetaData, text
from sqlalchemy.orm import Mapped, mapped_column
from tests.contracts.conftest import Fresh

from uno import App, Module
from uno.api import asgi, resource
from uno.audit import AuditTrail
from uno.data import Model, VersionMixin

FILLING = (
    "CREATE FUNCTION loudly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.loud := upper(NEW.said); RETURN NEW; END'",
    "CREATE TRIGGER loudly BEFORE INSERT OR UPDATE ON filled_words FOR EACH ROW EXECUTE FUNCTION loudly()",
)


class FilledWord(VersionMixin, Model):
    __tablename__ = "filled_words"
    metadata = MetaData()
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    said: Mapped[str]
    loud: Mapped[str | None] = mapped_column(server_default=FetchedValue(), server_onupdate=FetchedValue())


async def test_answers_and_the_trail_have_what_the_trigger_made(fresh: Fresh) -> None:
    database = await fresh("postgresql", FilledWord.metadata)
    async with database.transaction() as transaction:
        for one in FILLING:
            await transaction.execute(text(one))
    database.forget_tables()
    app = App(Module("words", routes=[resource(FilledWord, prefix="/words", access="open")]), database=database)
    transport = httpx2.ASGITransport(app=asgi(app))
    async with app, httpx2.AsyncClient(transport=transport, base_url="http://uno") as client:
        made = await client.post("/words", json={"id": 1, "said": "a"})
        changed = await client.patch("/words/1", json={"said": "b"}, headers={"If-Match": made.headers["etag"]})
    assert [one.json()["loud"] for one in (made, changed)] == ["A", "B"]
    found = await AuditTrail(database).history(FilledWord, 1)
    assert [one.after["loud"] for one in found if one.after] == ["A", "B"]
