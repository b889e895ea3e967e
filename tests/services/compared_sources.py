"""A project in which four sources are compared, made quickly for tests."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.judgment_kinds import JudgmentKind
from app.models import (
    AiJudgment,
    AiOutcome,
    Comparison,
    ComparisonCompletion,
    Completion,
    Judge,
    Project,
    Prompt,
    Purpose,
    Split,
    User,
)
from app.services.project import prompts
from app.services.queue import comparisons
from tests.services.sample_votes import vote

SOURCES = ("alpha", "beta", "gamma", "delta")
PAIRS = ((0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2))


def compare(
    session: Session,
    project: Project,
    number: int,
    sources: Sequence[str],
    *,
    category: str = "",
    purpose: Purpose = Purpose.TRAIN,
    lengths: Sequence[int] = (),
    **options: Any,
) -> Comparison:
    """Put the responses of sources to a new prompt to labelers, in the order given."""
    given = prompts.NewPrompt((("user", f"Question {number} to {', '.join(sources)}?"),))
    prompt: Prompt = prompts.add(session, project, [given]).prompts[0]
    prompt.split, prompt.category = Split.TRAIN, category
    texts = [f"{name} on {number} " for name in sources]
    completions = [
        Completion(
            project_id=project.id,
            prompt_id=prompt.id,
            source=name,
            source_key=f"file-{at}",
            sample_index=at,
            text=text.ljust(lengths[at] if lengths else 0, "x"),
            sampling={},
            created_at=now(session),
        )
        for at, (name, text) in enumerate(zip(sources, texts, strict=True))
    ]
    session.add_all(completions)
    session.flush()
    return comparisons.create(
        session,
        project,
        prompt.id,
        [completion.id for completion in completions],
        natural_key=f"compared-{number}-{purpose}-{'-'.join(sources)}",
        seed=number,
        purpose=purpose,
        **options,
    )


def order_of(session: Session, comparison: Comparison) -> list[str]:
    """Return the sources of a comparison in canonical order."""
    query = (
        select(Completion.source)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .where(ComparisonCompletion.comparison_id == comparison.id)
        .order_by(ComparisonCompletion.position)
    )
    return list(session.scalars(query))


def prefer(session: Session, comparison: Comparison, user: User, *sources: str) -> None:
    """Prefer sources in this order; none of them: a tie."""
    order = order_of(session, comparison)
    if comparison.kind == JudgmentKind.RANK:
        ranks = [sources.index(name) + 1 for name in order]
        places = tuple(range(len(order)))
        vote(session, comparison, user, ranking=ranks, shown_order=places)
        return
    said = "ab"[order.index(sources[0])] if sources else "tie"
    vote(session, comparison, user, preferred=said)


def judged(
    session: Session, project: Project, people: Sequence[User], rounds: int = 8
) -> list[Comparison]:
    """Compare four sources in all pairs, each `rounds` times; the first of them wins most often."""
    made = []
    for turn in range(rounds):
        for at, pair in enumerate(PAIRS):
            number = turn * len(PAIRS) + at
            names = [SOURCES[place] for place in sorted(pair)]
            lengths = [80 + 7 * (number * (place + 1) % 23) for place in pair]
            category = ("math", "prose", "")[turn % 3]
            comparison = compare(
                session, project, number, names, category=category, lengths=lengths
            )
            for person, user in enumerate(people):
                upset = (turn + at + person) % (2 + (pair[1] - pair[0]) * 2) == 0
                tied = (turn * 5 + at + person) % 7 == 0
                prefer(
                    session, comparison, user, *([] if tied else names[::-1] if upset else names)
                )
            made.append(comparison)
    return made


def add_judge(session: Session, project: Project, comparisons_: Sequence[Comparison]) -> Judge:
    """Let an AI judge prefer the second response of each comparison."""
    judge = Judge(
        project_id=project.id,
        name="Second opinion",
        pseudonym="J1",
        setup={},
        limits={},
        created_at=now(session),
    )
    session.add(judge)
    session.flush()
    for comparison in comparisons_:
        session.add(
            AiJudgment(
                project_id=project.id,
                judge_id=judge.id,
                comparison_id=comparison.id,
                outcome=AiOutcome.JUDGED,
                kind=comparison.kind,
                ranking=[2, 1],
                guidelines_version=1,
                instruction_version=0,
                created_at=now(session),
            )
        )
    session.flush()
    return judge
