"""Prompts that the chat template refuses are left out, counted, named, and never all of them."""

from collections.abc import Mapping

import pytest

from app.domain.chat_settings import ChatSettings, SystemTurns
from app.errors import Invalid
from tests.worker.rlhf.chat_models import FAMILIES
from worker.rlhf.model.chat_options import DEFAULT, ChatOptions
from worker.training import screening

Turns = list[Mapping[str, str]]
GOOD: Turns = [{"role": "user", "content": "Why?"}]
BAD: Turns = [*GOOD, *GOOD]


def screened(rows: list[Turns], *, is_needed: bool = True) -> screening.Screened[Turns]:
    return screening.screen(
        FAMILIES["alternating"].loaded(),
        rows,
        "Be brief.",
        "demonstrations",
        lambda turns: (f"prompt {len(turns)}", turns),
        is_needed=is_needed,
    )


def test_the_others_are_kept_and_the_refused_are_named() -> None:
    result = screened([GOOD, BAD, GOOD])
    assert result.kept == [GOOD, GOOD]
    (remark,) = result.refusals.remarks
    assert remark.startswith("1 demonstrations left out")
    assert "prompt 2: turns must alternate between user and assistant" in remark
    assert screened([GOOD]).refusals.remarks == []


def test_a_run_of_refused_prompts_alone_is_refused() -> None:
    with pytest.raises(Invalid, match="nothing to work on: 1 demonstrations left out"):
        screened([BAD])
    assert screened([BAD], is_needed=False).kept == []


def test_only_some_of_many_are_named() -> None:
    refusals = screening.Refusals("prompts", {f"prompt {n}": "no" for n in range(8)})
    assert refusals.remarks[0].startswith("8 prompts left out")
    assert "prompt 4: no; and 3 more" in refusals.remarks[0]


def test_options_are_those_of_the_project() -> None:
    chat = ChatSettings(SystemTurns.REFUSE, {"a": 1}, "</think>")
    assert screening.options_of(chat) == ChatOptions({"a": 1}, False, "</think>")
    assert screening.options_of(None) == screening.options_of(ChatSettings()) == DEFAULT
