"""Templates that lack a system turn, ignore it, refuse a conversation, or take arguments."""

from dataclasses import replace

import pytest

from tests.worker.rlhf import chat_models
from tests.worker.rlhf.chat_models import FAMILIES
from worker.rlhf.model import template
from worker.rlhf.model.chat_options import DEFAULT, ChatOptions
from worker.rlhf.model.template import ChatMessage, UnfitPrompt
from worker.training import token_ids

SYSTEM, ASKED = ChatMessage("system", "Be kind."), ChatMessage("user", "Why?")
TALK = [SYSTEM, ASKED]
WITHOUT_SYSTEM = {
    "alternating": "no system turn here",
    "bracketed": "turns must alternate between user and assistant",
    "silent": "it ignores it",
}
REFUSING = ChatOptions(folds_system=False)


def rendered(name: str, talk: list[ChatMessage], options: ChatOptions = DEFAULT) -> str:
    return template.render_prompt(FAMILIES[name].tokenizer(), talk, options)


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"plain"}))
def test_the_system_turn_is_there_once_in_every_family(name: str) -> None:
    text = rendered(name, TALK)
    assert text.count("Be kind.") == text.count("Why?") == 1
    folded = [ChatMessage("user", "Be kind.\n\nWhy?")]
    assert (text == rendered(name, folded)) is (name in WITHOUT_SYSTEM)


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"plain"}))
def test_a_missing_system_turn_is_refused_with_the_reason_where_the_project_says_so(
    name: str,
) -> None:
    if name not in WITHOUT_SYSTEM:
        assert rendered(name, TALK, REFUSING) == rendered(name, TALK)
        return
    with pytest.raises(UnfitPrompt, match=f"has no system turn.*{WITHOUT_SYSTEM[name]}"):
        rendered(name, TALK, REFUSING)
    assert rendered(name, [ASKED], REFUSING) == rendered(name, [ASKED])


@pytest.mark.parametrize("name", ["alternating", "bracketed"])
@pytest.mark.parametrize("before", [[], [SYSTEM]])
def test_a_conversation_that_the_template_refuses_has_its_message(
    name: str, before: list[ChatMessage]
) -> None:
    with pytest.raises(UnfitPrompt, match=r"^turns must alternate between user and assistant$"):
        rendered(name, [*before, ASKED, ASKED])


def test_a_template_that_trips_over_an_argument_refuses_the_prompt() -> None:
    tokenizer = FAMILIES["marked"].tokenizer()
    tokenizer.chat_template = "{{ bos_token + level }}" + chat_models.MARKED
    with pytest.raises(UnfitPrompt, match="str"):
        template.render_prompt(tokenizer, TALK, ChatOptions({"level": 3}))
    text = template.render_prompt(tokenizer, TALK, ChatOptions({"level": "high"}))
    assert text.startswith("<s>high<|im_start|>")


def test_arguments_reach_the_ids_of_every_loop() -> None:
    loaded = FAMILIES["thinking"].loaded()
    off = replace(loaded, chat=ChatOptions({"enable_thinking": False}))
    turns = [{"role": "user", "content": "Why?"}]
    with_thoughts, without = (
        token_ids.prompt_ids(model, turns, "Be kind.") for model in (loaded, off)
    )
    text = str(loaded.tokenizer.decode(list(without)))
    assert text.endswith("assistant\n<think>\n\n</think>\n\n")
    assert with_thoughts == without[: len(with_thoughts)]
    assert off.record["chat"]["arguments"] == {"enable_thinking": False}
    assert "chat" not in loaded.record
