"""Prompts: one of each, split for good."""

import pytest
from sqlalchemy.orm import Session

from app.domain import earlier_turns
from app.domain.splits import Shares
from app.errors import Invalid, NotFound
from app.models import Split
from app.services.project import prompts
from app.services.project.prompts import NewPrompt
from tests.services.sample_votes import make_project


def asked(text: str) -> NewPrompt:
    return NewPrompt((("user", text),))


def test_prompts_that_read_the_same_are_one(session: Session) -> None:
    project, _ = make_project(session)
    added = prompts.add(session, project, [asked("Open?"), asked("Open?\r\n"), asked("Shut?")])
    assert added.new == 2
    assert added.prompts[0] is added.prompts[1]
    assert prompts.add(session, project, [asked(" Open? ")]).new == 0


def test_the_same_text_in_two_projects_has_the_same_split(session: Session) -> None:
    one, _ = make_project(session)
    other, _ = make_project(session)
    given = [asked(f"Question {n}") for n in range(20)]
    first = prompts.add(session, one, given).prompts
    second = prompts.add(session, other, list(reversed(given))).prompts
    assert [p.split for p in first] == [p.split for p in reversed(second)]


def test_shares_are_fixed_once_there_are_prompts(session: Session) -> None:
    project, _ = make_project(session)
    prompts.set_shares(session, project, Shares(0, 0, 100))
    added = prompts.add(session, project, [asked(f"Question {n}") for n in range(10)])
    assert {prompt.split for prompt in added.prompts} == {Split.TEST}
    with pytest.raises(Invalid, match="cannot change"):
        prompts.set_shares(session, project, Shares(80, 10, 10))


def test_a_prompt_of_another_project_is_not_found(session: Session) -> None:
    mine, _ = make_project(session)
    other, _ = make_project(session)
    prompt = prompts.add(session, other, [asked("Open?")]).prompts[0]
    with pytest.raises(NotFound):
        prompts.get(session, mine.id, prompt.id)


def test_only_the_users_turns_can_follow_an_answer_that_is_not_there_yet() -> None:
    assert earlier_turns.asked_in_steps([("user", "a"), ("user", "b"), ("user", "c")]) == (
        (("user", "a"),),
        ("b", "c"),
    )
    with pytest.raises(Invalid, match="turn 2"):
        earlier_turns.asked_in_steps([("user", "a"), ("user", "b"), ("assistant", "c")])


def test_the_same_answer_to_a_prompt_is_one_demonstration(session: Session) -> None:
    project, _ = make_project(session)
    prompt = prompts.add(session, project, [asked("Open?")]).prompts[0]
    given = [(prompt, "Yes."), (prompt, "Yes."), (prompt, "No.")]
    assert prompts.add_demonstrations(session, given) == 2
    assert prompts.add_demonstrations(session, given) == 0


def talked(*turns: str) -> NewPrompt:
    roles = ("user", "assistant")
    return NewPrompt(tuple((roles[n % 2], turn) for n, turn in enumerate(turns)))


def test_prompts_of_one_conversation_are_in_one_split(session: Session) -> None:
    project, _ = make_project(session)
    given = [
        talked(f"Q{n}", *later)
        for n in range(30)
        for later in [(), ("A", "B"), ("A", "B", "C", "D")]
    ]
    added = prompts.add(session, project, given).prompts
    for at in range(0, len(added), 3):
        assert len({prompt.split for prompt in added[at : at + 3]}) == 1
    assert len({prompt.split for prompt in added}) == 3


def test_a_new_turn_takes_the_split_of_the_conversation_that_is_there(session: Session) -> None:
    project, _ = make_project(session)
    for split in Split:
        (first,) = prompts.add(session, project, [asked(f"Is it {split}?")]).prompts
        first.split = split
        session.flush()
        later = prompts.add(session, project, [talked(f"Is it {split}?", "Yes.", "Why?")])
        assert [prompt.split for prompt in later.prompts] == [split]


def test_a_conversation_that_continues_an_evaluation_prompt_is_a_test_prompt(
    session: Session,
) -> None:
    project, _ = make_project(session)
    prompts.set_shares(session, project, Shares(100, 0, 0))
    evaluated = prompts.add(session, project, [talked("Q", "A", "B")], is_evaluation=True).prompts
    later = prompts.add(session, project, [asked("Q"), talked("Q", "A", "B", "C", "D")]).prompts
    assert {prompt.split for prompt in (*evaluated, *later)} == {Split.TEST}
    assert [prompt.is_evaluation for prompt in (*evaluated, *later)] == [True, False, False]
