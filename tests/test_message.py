"""Messages and what a model is shown of them."""

import json
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlab.message import ChatMessage, Message, ToolCall, ToolResult
from simlab.schema import read_json, to_json, to_ordered_json

CALL = ToolCall("call_1", "book", {"seats": 2, "at": "noon"})


@settings(max_examples=30, deadline=None)
@given(st.text('aZ0 :"\\{}\n\x00é\u2028🍯'), st.sampled_from(["user", "assistant", "system"]))
def test_a_text_is_stored_once_whoever_says_it_and_whoever_hears_it(text, role):
    said, heard = Message("mara", text), ChatMessage(role, text)
    assert said.content == heard.content
    assert heard.key == f"{role}:{said.key}"
    assert read_json(said.content) == text


def test_a_call_is_stored_once_whoever_makes_it_and_whoever_sees_it():
    assert Message("assistant", "", calls=(CALL,)).content == ChatMessage("assistant", "", (CALL,)).content


def test_what_a_message_has_computed_of_itself_is_no_part_of_it():
    message = Message("assistant", "One moment.", calls=(CALL,))
    before = to_json(message), to_ordered_json(message)
    assert [view.wire for view in (*message.said, *message.heard)]
    assert (to_json(message), to_ordered_json(message)) == before


def test_a_call_is_stored_with_its_id_its_name_and_its_arguments():
    assert read_json(Message("assistant", "One moment.", calls=(CALL,)).content) == {
        "text": "One moment.",
        "calls": [{"id": "call_1", "name": "book", "arguments": {"seats": 2, "at": "noon"}}],
        "results": [],
    }


def test_a_text_that_spells_a_stored_call_is_not_taken_for_one():
    with_call = Message("assistant", "", calls=(CALL,))
    assert Message("assistant", with_call.content).key != with_call.key


def test_the_result_of_a_tool_is_part_of_what_was_said():
    done = Message("tools", "", results=(ToolResult("call_1", "book", 200, {"seat": "4A"}),))
    full = Message("tools", "", results=(ToolResult("call_1", "book", 409, {"seat": "4A"}),))
    assert done.key != full.key
    assert read_json(done.content)["results"] == [
        {"call_id": "call_1", "name": "book", "status": 200, "body": {"seat": "4A"}}
    ]


def test_who_hears_it_when_and_why_it_was_said_is_not_part_of_what_was_said():
    plain = Message("mara", "Hello")
    assert Message("joren", "Hello", to=("mara",), delay=3.0, notes={"tries": 2}).key == plain.key


def test_on_the_wire_a_text_has_a_role_and_a_content():
    assert json.loads(ChatMessage("user", "Grüße").wire) == {"role": "user", "content": "Grüße"}


@given(st.sampled_from(["system", "user", "assistant", "tool", 'a "b"']), st.text())
def test_on_the_wire_any_text_is_written_as_json_is_everywhere(role, text):
    assert ChatMessage(role, text).wire == to_json({"role": role, "content": text}).encode()


def test_on_the_wire_the_arguments_of_a_call_are_a_json_string():
    wire = json.loads(ChatMessage("assistant", "One moment.", (CALL,)).wire)
    assert wire == {
        "role": "assistant",
        "content": "One moment.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "book", "arguments": '{"at":"noon","seats":2}'}}
        ],
    }


def test_on_the_wire_a_call_without_words_has_content_null_and_silence_without_a_call_is_empty():
    assert json.loads(ChatMessage("assistant", "", (CALL,)).wire)["content"] is None
    assert json.loads(ChatMessage("assistant", "").wire)["content"] == ""


def test_on_the_wire_a_tools_answer_says_which_call_it_answers():
    answer = ChatMessage("tool", "4A", call_id="call_1")
    assert json.loads(answer.wire) == {"role": "tool", "content": "4A", "tool_call_id": "call_1"}
    assert answer.key != ChatMessage("tool", "4A", call_id="call_2").key


@pytest.mark.parametrize("made", [Message("mara", "Hello"), ChatMessage("user", "Hello"), CALL])
def test_what_was_said_cannot_be_changed(made):
    field = "name" if made is CALL else "text"
    with pytest.raises(FrozenInstanceError):
        setattr(made, field, "Goodbye")


def test_the_notes_of_a_message_without_any_cannot_be_written_to():
    with pytest.raises(TypeError):
        Message("mara", "Hello").notes["tries"] = 2
