"""What a lead is told if judgments or the policy were made under another instruction."""

import pytest
from sqlalchemy.orm import Session

from app.db import now
from app.models import Checkpoint, CheckpointKind, Project
from app.services.project import projects
from app.services.rounds import instruction_remarks
from tests.services import sample_votes

TEXTS = {1: "Be brief.", 2: "Be kind.", 3: "Be brief."}


@pytest.mark.parametrize(
    ("by_version", "version", "expected"),
    [
        ({}, 2, ""),
        ({2: 5}, 2, ""),
        ({1: 5}, 3, ""),
        ({1: 2, 2: 5}, 2, "2 of 7 judgments were made under another instruction (2 under vers"),
        ({0: 4, 2: 1}, 2, "4 of 5 judgments were made under another instruction (4 imported or"),
        ({0: 4}, 9, ""),
    ],
)
def test_judgments_under_another_text_are_counted(
    by_version: dict[int, int], version: int, expected: str
) -> None:
    remark = instruction_remarks.of_versions(by_version, TEXTS, version)
    assert remark.startswith(expected)
    assert bool(remark) == bool(expected)


def _edit(session: Session, project: Project, text: str) -> None:
    projects.edit(session, project, {"instruction": text}, actor_id=1)


def test_a_change_after_judgments_is_remarked(session: Session) -> None:
    project, people = sample_votes.make_project(session, instruction="Be brief.")
    sample_votes.vote(session, sample_votes.make_comparison(session, project), people[0])
    assert instruction_remarks.remarks(session, project) == ()
    _edit(session, project, "Be kind.")
    (remark,) = instruction_remarks.remarks(session, project)
    assert remark == (
        "1 of 1 judgments were made under another instruction (1 under version 1); "
        "training uses version 2"
    )
    _edit(session, project, "Be brief.")
    assert instruction_remarks.remarks(session, project) == ()


def test_a_policy_trained_under_another_instruction_is_remarked(session: Session) -> None:
    project, _ = sample_votes.make_project(session, instruction="Be kind.")
    policy = Checkpoint(
        project_id=project.id,
        kind=CheckpointKind.POLICY,
        name="Policy 1",
        uri="x",
        config={"instruction": "Be kind.", "instruction_version": 1},
        created_at=now(session),
    )
    session.add(policy)
    session.flush()
    project.policy_checkpoint_id = policy.id
    assert instruction_remarks.remarks(session, project) == ()
    _edit(session, project, "Be brief.")
    (remark,) = instruction_remarks.remarks(session, project)
    assert remark.startswith("Policy 1 was trained under version 1 of the instruction")
