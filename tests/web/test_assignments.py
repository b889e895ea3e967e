"""Assignments as JSON: the instruction is shown once."""

from datetime import UTC, datetime

import pytest

from app.domain.instruction_text import InstructionText
from app.domain.judgment_kinds import JudgmentKind, Rules
from app.services.judging.sheets import Sheet
from app.web.assignments import assignment_out

ASKED = ("user", "Why?")


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        ((ASKED,), "Be brief."),
        ((("system", "Be brief."), ASKED), ""),
        ((("system", "Be brief.\n\nYou are a clerk."), ASKED), ""),
        ((("system", "Be briefer."), ASKED), "Be brief."),
    ],
)
def test_an_instruction_that_the_prompt_has_is_not_shown_again(
    messages: tuple[tuple[str, str], ...], shown: str
) -> None:
    sheet = Sheet(
        assignment_id=1,
        comparison_id=1,
        lease_token="x",
        kind=JudgmentKind.WRITE,
        messages=messages,
        candidates=(),
        expires_at=datetime(2026, 3, 1, tzinfo=UTC),
        previous=None,
    )
    out = assignment_out(sheet, Rules("write", 0), InstructionText(3, "Be brief."))
    assert (out.instruction, out.instruction_version) == (shown, 3)
