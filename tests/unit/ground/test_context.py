"""The context: made at the entrance, inherited by what it causes, stored with what waits."""

import asyncio
import json
import re

import pytest
from hypothesis import given, strategies as st

from uno import context
from uno.context import Context, external_id

TEXT = st.text(min_size=1, max_size=40)
MAYBE = st.none() | TEXT
CONTEXTS = st.builds(
    Context,
    correlation_id=TEXT,
    message_id=TEXT,
    causation_id=MAYBE,
    actor=st.none() | st.text(max_size=40),
    actor_source=st.sampled_from(["principal", "header", "system"]),
    tenant=MAYBE,
    traceparent=MAYBE,
    deadline=st.none() | st.floats(allow_nan=False),
)


@given(CONTEXTS)
def test_a_context_survives_the_queue_without_its_deadline(before: Context) -> None:
    after = Context.from_json(json.loads(json.dumps(before.to_json())))
    assert after == before.replace(deadline=None)
    assert hash(after) == hash(before)


def test_a_context_stored_by_a_newer_version_can_be_read() -> None:
    stored = {"correlation_id": "c", "message_id": "m", "colour": "red", "deadline": "12"}
    assert Context.from_json(stored) == Context("c", "m")


def test_a_new_context_is_the_beginning_of_something() -> None:
    made = Context()
    assert re.fullmatch("[0-9a-f]{32}", made.correlation_id)
    assert made.message_id == made.correlation_id
    assert (made.causation_id, made.actor, made.actor_source, made.tenant) == (None, None, "system", None)


def test_what_is_caused_keeps_who_and_whose_and_gets_its_own_message_id() -> None:
    cause = Context("c", "m", actor="ada", actor_source="principal", tenant="t", traceparent="p", deadline=5.0)
    effect = cause.caused()
    assert effect == cause.replace(message_id=effect.message_id, causation_id="m")
    assert effect.message_id != "m"
    assert cause.caused("own").message_id == "own"
    assert cause.causation_id is None


def test_replace_changes_only_what_it_is_given() -> None:
    before = Context("c", "m", actor="ada")
    after = before.replace(tenant="t")
    assert (after.tenant, after.actor, after.message_id) == ("t", "ada", "m")
    assert before.tenant is None
    with pytest.raises(TypeError):
        before.replace(colour="red")


def test_the_current_context_is_the_innermost_one() -> None:
    outer, inner = Context("outer"), Context("inner")
    with context.use(outer):
        with pytest.raises(ValueError, match="inside"), context.use(inner):
            assert context.current() is inner
            raise ValueError("inside")
        assert context.current() is outer
    assert context.get() is None


def test_outside_a_message_nobody_shares_a_context() -> None:
    assert context.current() != context.current()


async def test_tasks_do_not_see_each_other() -> None:
    async def seen(name: str) -> str:
        with context.use(Context(name)):
            await asyncio.sleep(0)
            return context.current().correlation_id

    assert await asyncio.gather(seen("a"), seen("b"), seen("c")) == ["a", "b", "c"]


@pytest.mark.parametrize("value", ["a", "A.b_c-9", "0" * 128])
def test_a_correlation_id_from_outside_is_kept_if_it_is_harmless(value: str) -> None:
    assert external_id(value) == value


@pytest.mark.parametrize("value", [None, "", "0" * 129, "a b", "a\n", "ä", "<script>", "a;drop", "a/b", "%0a", "١"])
def test_any_other_correlation_id_from_outside_is_dropped(value: str | None) -> None:
    assert external_id(value) is None


@given(st.text(max_size=150))
def test_no_text_gets_through_that_the_rule_does_not_name(value: str) -> None:
    allowed = 1 <= len(value) <= 128 and all(c.isascii() and (c.isalnum() or c in "._-") for c in value)
    assert external_id(value) == (value if allowed else None)


def test_a_context_shows_what_it_knows() -> None:
    assert repr(Context("c", "m", tenant="t")) == (
        "Context(correlation_id='c', message_id='m', actor_source='system', tenant='t')"
    )
