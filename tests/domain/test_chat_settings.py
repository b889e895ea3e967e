"""Settings for chat templates: what is refused, and what is shown of a response with reasoning."""

import pytest

from app.domain import chat_settings
from app.domain.chat_settings import ChatSettings, SystemTurns
from app.domain.plan import RoundPlan
from app.errors import Invalid


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"system_turns": "drop"}, "must be one of fold, refuse, not 'drop'"),
        ({"template_arguments": [1]}, r"must be an object, not \[1\]"),
        ({"template_arguments": {"tokenize": True}}, "cannot be given the argument 'tokenize'"),
        ({"template_arguments": {"a b": True}}, "cannot be given the argument 'a b'"),
        ({"template_arguments": {"a": [1]}}, "argument a must be a text, a number"),
        ({"template_arguments": {f"a{n}": n for n in range(33)}}, "at most 32 arguments"),
        ({"thought_end": " </think>"}, "without spaces around it, not ' </think>'"),
        ({"think": True}, "chat has no setting 'think'"),
    ],
)
def test_wrong_settings_are_refused_with_the_rule(data: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        ChatSettings.from_json(data)


def test_settings_survive_the_plan_of_a_round() -> None:
    chat = ChatSettings(SystemTurns.REFUSE, {"enable_thinking": False, "n": None}, "</think>")
    plan = RoundPlan(chat=chat)
    assert RoundPlan.from_json(plan.to_json()) == plan
    assert RoundPlan.from_json({}).chat is None


@pytest.mark.parametrize(("text", "message"), [("{", "are not JSON"), ("[]", "are a JSON object")])
def test_arguments_of_a_form_are_a_json_object(text: str, message: str) -> None:
    assert chat_settings.read_arguments('{"a": false}') == {"a": False}
    assert chat_settings.read_arguments("") == {}
    with pytest.raises(Invalid, match=message):
        chat_settings.read_arguments(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<think>two</think>\n\nFour.", "Four."),
        ("a</think>b</think> c", "c"),
        ("Four.", "Four."),
        ("two</think>", ""),
    ],
)
def test_reasoning_ends_at_the_last_mark(text: str, shown: str) -> None:
    assert chat_settings.without_reasoning(text, "</think>") == shown
    assert chat_settings.without_reasoning(text, "") == text
