"""The instruction in a prompt: one system turn at most, and nothing lost."""

import pytest

from app.domain import instruction_text
from app.domain.instruction_text import Turn

ASKED: Turn = ("user", "Why?")
SYSTEM: Turn = ("system", "You are a clerk.")


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ((ASKED,), (("system", "Be brief."), ASKED)),
        ((SYSTEM, ASKED), (("system", "Be brief.\n\nYou are a clerk."), ASKED)),
    ],
)
def test_the_system_turn_holds_the_instruction(
    turns: tuple[Turn, ...], expected: tuple[Turn, ...]
) -> None:
    assert instruction_text.as_system(turns, "Be brief.") == expected


def test_in_front_changes_the_first_turn_only() -> None:
    whole = instruction_text.in_front((ASKED, ("assistant", "So."), ASKED), "Be brief.")
    assert whole == (("user", "Be brief.\n\nWhy?"), ("assistant", "So."), ASKED)


def test_no_instruction_changes_nothing() -> None:
    assert instruction_text.as_system((SYSTEM, ASKED), "") == (SYSTEM, ASKED)
    assert instruction_text.in_front((ASKED,), "") == (ASKED,)


def test_a_form_and_a_file_give_the_same_text() -> None:
    assert instruction_text.normalized(" a\r\nb\rc\n") == "a\nb\nc"


@pytest.mark.parametrize("turns", [(ASKED,), (SYSTEM, ASKED)])
def test_an_instruction_that_is_there_is_not_added_again(turns: tuple[Turn, ...]) -> None:
    for add in (instruction_text.as_system, instruction_text.in_front):
        once = add(turns, "Be brief.")
        assert add(once, "Be brief.") == once
        assert add(once, "Be") != once
