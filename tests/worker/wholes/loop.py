"""A whole round on one kind of base model, on any database, and what plain libraries make of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.splits import content_hash
from app.domain.states import RoundState
from app.models import CheckpointKind, Completion, Prompt
from app.services.rounds import round_progress, rounds
from tests.worker.runs import small
from tests.worker.runs.test_loop import run_round
from tests.worker.wholes.kinds import SECOND_QUESTION, THOUGHT_END, Kind

STAGES: Final = ("sft", "generate", "reward", "policy", "evaluate")
SFT: Final = replace(small.SFT, lora=small.LORA, batch_size=8, epochs=1)
POLICY: Final = replace(small.PLAN.policy, epochs=1)


@dataclass(frozen=True, slots=True)
class WholeRound:
    """What a round left: its stages, its state, its models' folders, and its completions."""

    stages: tuple[str, ...]
    is_deciding: bool
    reason: str
    folders: Mapping[CheckpointKind, Path]
    ends: tuple[str, ...]
    completions: int
    follow_ups: int  # completions that respond to a follow-up
    thoughts: int  # completions with an end of reasoning

    @property
    def policy(self) -> Path:
        """The policy's folder."""
        return self.folders[CheckpointKind.POLICY]

    @property
    def reward(self) -> Path:
        """The reward model's folder."""
        return self.folders[CheckpointKind.REWARD]


def expect(ended: WholeRound, kind: Kind) -> None:
    """Raise AssertionError unless a round went as it should on this kind of model."""
    assert ended.stages == STAGES, ended.stages
    assert ended.is_deciding, ended.reason
    assert ended.ends == kind.ends, ended.ends
    assert ended.completions > 0
    assert ended.follow_ups == (ended.completions if kind.has_follow_ups else 0)
    assert (ended.thoughts > 0) is bool(kind.reasoning), ended.thoughts


def run(database: Database, kind: Kind, base: Path, folder: Path) -> WholeRound:
    """Run a round to its decision, with labelers who prefer vowels."""
    with database.transaction() as session:
        project = small.make_project(session, base_model=str(base))
        project.chat = kind.chat.to_json()
        if kind.has_follow_ups:
            _ask_more(session)
        rounds.launch(session, project, small.plan(sft=SFT, policy=POLICY), None)
    stages = run_round(database, project, folder)
    with database.reader() as session:
        round_ = round_progress.get(session, project.id, 1)
        found = round_progress.overview(session, round_).checkpoints
        policy = next(row for row in found if row.kind == CheckpointKind.POLICY)
        completions = session.scalars(select(Completion)).all()
        return WholeRound(
            stages=tuple(stages),
            is_deciding=round_.state == RoundState.DECIDING,
            reason=round_.reason or "",
            folders={CheckpointKind(row.kind): folder / "artifacts" / row.uri for row in found},
            ends=tuple(end["token"] for end in policy.config["ends"]),
            completions=len(completions),
            follow_ups=sum(bool(row.earlier) for row in completions),
            thoughts=sum(THOUGHT_END in row.text for row in completions),
        )


def _ask_more(session: Session) -> None:
    """Give all prompts second questions, as those of MT-Bench have."""
    for prompt in session.scalars(select(Prompt)).all():
        prompt.follow_up = [SECOND_QUESTION]
        turns = (("user", str(prompt.messages[0]["content"])), ("user", SECOND_QUESTION))
        prompt.content_hash = content_hash(turns)
