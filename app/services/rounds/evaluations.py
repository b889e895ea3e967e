"""New policy against old: blind comparisons in the labelers' queue, and what they come to.

Labelers see two answers and nothing of who wrote them. Answers that read the same are ties that
nobody has to judge. The arbiter is the round's reward model; how far it agrees with people on the
very same answers is reported beside what it says.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import now
from app.domain import bootstrap
from app.domain.measures import Measure, Undefined
from app.errors import NotFound
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Evaluation,
    Judgment,
    Prompt,
    Purpose,
    Round,
)
from app.services.queue import counted_judgments

RUNNING, COMPLETE = "running", "complete"
NOBODY = "nobody has judged yet"
POSITION = {"a": 0, "b": 1}


@dataclass(frozen=True, slots=True)
class WinTally:
    """Votes for the new policy. A tie is half a win in `share`; `both_bad` alone is no vote."""

    wins: int
    ties: int
    losses: int
    both_bad: int
    identical: int  # prompts on which both gave the same answer: ties without a vote


@dataclass(frozen=True, slots=True)
class Arbiter:
    """What a reward model says of the same answers, and how often it sides with people.

    `agreement` is None until somebody preferred one of the answers.
    """

    name: str
    share: float
    agreement: float | None
    compared: int


@dataclass(frozen=True, slots=True)
class Results:
    """How the new policy did: its share of wins with an interval by prompt, and the rest."""

    tally: WinTally
    prompts: int
    judged: int
    share: float | None
    low: float | None
    high: float | None
    arbiter: Arbiter | None
    length_new: float | None  # mean characters
    length_old: float | None

    @property
    def at_least_as_good(self) -> float | None:
        """Wins and ties among all votes, as people report it."""
        votes = self.tally.wins + self.tally.ties + self.tally.losses
        return (self.tally.wins + self.tally.ties) / votes if votes else None

    def to_json(self) -> dict[str, Any]:
        """Return the results as plain JSON values."""
        return asdict(self) | {"at_least_as_good": self.at_least_as_good}


@dataclass(frozen=True, slots=True)
class Answers:
    """What the two policies said to one prompt, and the arbiter's scores of it."""

    prompt: Prompt
    new: Completion
    old: Completion
    score_new: float
    score_old: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """One comparison of an evaluation, the new policy's place in it, and its votes."""

    comparison_id: int
    prompt_id: int
    new_id: int
    old_id: int
    votes: tuple[float, ...]  # 1 for the new one, 0 for the old, ½ for a tie
    both_bad: int


def open_evaluation(session: Session, round_: Round, new_id: int, old_id: int) -> Evaluation:
    """Return the round's evaluation of two checkpoints, made on first call."""
    found = of_round(session, round_.id)
    if found is not None:
        return found
    row = Evaluation(
        project_id=round_.project_id,
        round_id=round_.id,
        new_checkpoint_id=new_id,
        old_checkpoint_id=old_id,
        results={},
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row


def of_round(session: Session, round_id: int) -> Evaluation | None:
    """Return the evaluation of a round, if it has begun."""
    return session.scalar(select(Evaluation).where(Evaluation.round_id == round_id))


def of_project(session: Session, project_id: int) -> list[Evaluation]:
    """Return the project's evaluations, newest first."""
    query = select(Evaluation).where(Evaluation.project_id == project_id)
    return list(session.scalars(query.order_by(Evaluation.id.desc())))


def get(session: Session, project_id: int, evaluation_id: int) -> Evaluation:
    """Return an evaluation of the project.

    Raises:
        NotFound: there is none.
    """
    row = session.get(Evaluation, evaluation_id)
    if row is None or row.project_id != project_id:
        raise NotFound(f"there is no evaluation {evaluation_id} in this project")
    return row


def is_judged(session: Session, evaluation_id: int) -> bool:
    """True when every comparison has the judgments it wants, also where there is none to make."""
    waiting = session.scalar(
        select(func.count()).where(
            Comparison.evaluation_id == evaluation_id,
            Comparison.is_withdrawn.is_(False),
            Comparison.done_slots < Comparison.overlap,
        )
    )
    return not waiting


def record_scores(
    session: Session,
    evaluation: Evaluation,
    *,
    arbiter: str,
    scores: Mapping[int, float],
    identical: Sequence[int],
    lengths: Mapping[str, float],
    notes: Mapping[str, Any],
) -> None:
    """Keep what the run found: the arbiter's score of each completion, and prompts that tie."""
    evaluation.results = {
        **evaluation.results,
        "arbiter": arbiter,
        "scores": {str(key): value for key, value in scores.items()},
        "identical_prompts": list(identical),
        "lengths": dict(lengths),
        **notes,
    }
    session.flush()


def complete(session: Session, evaluation: Evaluation) -> None:
    """Close the evaluation with its results as they stand."""
    if evaluation.state == COMPLETE:
        return
    found = results(session, evaluation)
    evaluation.results = {**evaluation.results, "summary": found.to_json()}
    evaluation.state = COMPLETE
    evaluation.completed_at = now(session)
    session.flush()


def results(session: Session, evaluation: Evaluation) -> Results:
    """Count wins, ties and losses of the new policy, with an interval clustered by prompt."""
    asked = _asked(session, evaluation)
    identical = list(evaluation.results.get("identical_prompts", []))
    votes = [vote for each in asked for vote in each.votes]
    tally = WinTally(
        wins=votes.count(1.0),
        ties=votes.count(0.5),
        losses=votes.count(0.0),
        both_bad=sum(each.both_bad for each in asked),
        identical=len(identical),
    )
    measure = _share(asked, identical, seed=evaluation.id)
    low, high = _bounds(measure)
    lengths = evaluation.results.get("lengths", {})
    return Results(
        tally=tally,
        prompts=len({each.prompt_id for each in asked}) + len(identical),
        judged=len(votes),
        share=None if isinstance(measure.value, Undefined) else measure.value,
        low=low,
        high=high,
        arbiter=_arbiter(evaluation, asked),
        length_new=lengths.get("new"),
        length_old=lengths.get("old"),
    )


def answers(session: Session, evaluation: Evaluation) -> list[Answers]:
    """Return both policies' answers to every prompt that both answered, in the prompts' order."""
    scores: Mapping[str, float] = evaluation.results.get("scores", {})
    query = (
        select(Completion, Prompt)
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .where(Completion.id.in_([int(key) for key in scores]))
        .order_by(Prompt.id)
    )
    pairs: dict[int, dict[bool, Completion]] = defaultdict(dict)
    asked: dict[int, Prompt] = {}
    for completion, prompt in session.execute(query):
        asked[prompt.id] = prompt
        pairs[prompt.id][completion.checkpoint_id == evaluation.new_checkpoint_id] = completion
    return [
        Answers(
            asked[prompt_id],
            pair[True],
            pair[False],
            scores[str(pair[True].id)],
            scores[str(pair[False].id)],
        )
        for prompt_id, pair in pairs.items()
        if len(pair) == 2
    ]


def _share(asked: Sequence[_Asked], identical: Sequence[int], *, seed: int) -> Measure:
    by_prompt: dict[int, list[float]] = defaultdict(list)
    for each in asked:
        by_prompt[each.prompt_id].extend(each.votes)
    shares = [sum(votes) / len(votes) for votes in by_prompt.values() if votes]
    if not shares and not identical:
        return Measure.missing(NOBODY)
    return bootstrap.share([*shares, *(0.5 for _ in identical)], seed=seed)


def _bounds(measure: Measure) -> tuple[float | None, float | None]:
    if isinstance(measure.interval, Undefined):
        return None, None
    return measure.interval.low, measure.interval.high


def _arbiter(evaluation: Evaluation, asked: Sequence[_Asked]) -> Arbiter | None:
    scores: Mapping[str, float] = evaluation.results.get("scores", {})
    pairs = [each for each in asked if str(each.new_id) in scores and str(each.old_id) in scores]
    if not pairs:
        return None
    gaps = [scores[str(each.new_id)] - scores[str(each.old_id)] for each in pairs]
    sided = [
        float((gap > 0) == (vote == 1.0))
        for gap, each in zip(gaps, pairs, strict=True)
        for vote in each.votes
        if vote != 0.5 and gap != 0
    ]
    return Arbiter(
        name=evaluation.results.get("arbiter", ""),
        share=sum(_won(gap) for gap in gaps) / len(gaps),
        agreement=sum(sided) / len(sided) if sided else None,
        compared=len(sided),
    )


def _won(gap: float) -> float:
    return 0.5 if gap == 0 else float(gap > 0)


def _asked(session: Session, evaluation: Evaluation) -> list[_Asked]:
    members = session.execute(
        select(
            ComparisonCompletion.comparison_id,
            Comparison.prompt_id,
            ComparisonCompletion.position,
            Completion.id,
            Completion.checkpoint_id,
        )
        .join(Comparison, Comparison.id == ComparisonCompletion.comparison_id)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(
            Comparison.evaluation_id == evaluation.id,
            Comparison.purpose == Purpose.EVALUATION,
            ~Comparison.is_withdrawn,
        )
        .order_by(ComparisonCompletion.comparison_id, ComparisonCompletion.position)
    )
    places: dict[int, dict[str, int]] = defaultdict(dict)
    for comparison_id, prompt_id, position, completion_id, checkpoint_id in members:
        is_new = checkpoint_id == evaluation.new_checkpoint_id
        places[comparison_id]["prompt"] = prompt_id
        places[comparison_id]["new" if is_new else "old"] = completion_id
        if is_new:
            places[comparison_id]["position"] = position
    said = _judgments(session, evaluation.id)
    return [
        _Asked(
            comparison_id,
            place["prompt"],
            place["new"],
            place["old"],
            tuple(
                _vote(judgment.preferred, place["position"])
                for judgment in said[comparison_id]
                if judgment.preferred is not None
            ),
            sum(judgment.both_bad for judgment in said[comparison_id]),
        )
        for comparison_id, place in places.items()
    ]


def _judgments(session: Session, evaluation_id: int) -> dict[int, list[Judgment]]:
    query = (
        select(Judgment)
        .join(Comparison, Comparison.id == Judgment.comparison_id)
        .where(
            Comparison.evaluation_id == evaluation_id,
            Comparison.purpose == Purpose.EVALUATION,
            counted_judgments.counts(),
        )
        .order_by(Judgment.id)
    )
    found: dict[int, list[Judgment]] = defaultdict(list)
    for judgment in session.scalars(query):
        found[judgment.comparison_id].append(judgment)
    return found


def _vote(preferred: str | None, new_position: int) -> float:
    place = POSITION.get(preferred or "")
    return 0.5 if place is None else float(place == new_position)
