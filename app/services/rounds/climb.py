"""The climb of a project: collects the figures of its rounds, which `app.domain.climb` defines."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import bulk
from app.domain import climb
from app.domain.climb import Climb, ClimbRound, LeftOutRound, ScoredPair
from app.domain.measures import Measure
from app.domain.states import RoundState
from app.errors import FigurePending
from app.models import Checkpoint, Completion, Evaluation, Project, Round
from app.services.checkpoints import checkpoints
from app.services.quality import agreement
from app.services.quality.brief_cache import cached_briefly
from app.services.rounds import completion_pairs, evaluations, round_progress

PENDING = "it is being computed"
UNKNOWN = "an unrecorded model"
_LEVELS = ("accuracy_on_votes", "human_level", "ceiling_low", "ceiling_high")


def of_project(session: Session, project: Project) -> Climb:
    """Return the figures of every round that counts, and which rounds do not."""
    rounds, left_out = [], []
    for round_ in reversed(round_progress.of_project(session, project.id)):
        reason = climb.why_left_out(
            RoundState(round_.state), has_policy=round_.policy_checkpoint_id is not None
        )
        if reason:
            left_out.append(LeftOutRound(round_.number, reason))
        else:
            rounds.append(_round(session, round_))
    return Climb(tuple(rounds), tuple(left_out))


def _round(session: Session, round_: Round) -> ClimbRound:
    policy = session.get_one(Checkpoint, round_.policy_checkpoint_id)
    initial = checkpoints.initial_model(session, policy)
    evaluation = _complete_evaluation(session, round_)
    last_id = evaluation.old_checkpoint_id if evaluation else round_.policy_before_id
    last = _checkpoint(session, last_id) or initial
    is_same = initial is not None and last is not None and initial.id == last.id
    last_name, initial_name = (row.name if row else UNKNOWN for row in (last, initial))
    results = evaluations.results(session, evaluation) if evaluation else None
    votes = climb.by_votes(results)
    lengths = _lengths(evaluation, is_same=is_same)
    people = _people(session, round_)
    levels = [climb.recorded(people.get(name), climb.NO_REWARD) for name in _LEVELS]
    return ClimbRound(
        number=round_.number,
        state=RoundState(round_.state),
        policy=policy.name,
        last=last_name,
        initial=initial_name,
        votes_by=results.decided_by if results else "",
        scores_by=str(evaluation.results.get("arbiter", "")) if evaluation else "",
        votes_sft=climb.votes_against_initial(votes, last_name, initial_name, is_same=is_same),
        scores_sft=_by_scores(session, evaluation, last if is_same else initial),
        votes_last=votes,
        scores_last=_by_scores(session, evaluation, last),
        agreement=_agreement(session, round_),
        accuracy=levels[0],
        human_level=levels[1],
        ceiling_low=levels[2],
        ceiling_high=levels[3],
        kl_nats=climb.recorded(climb.kl_nats(policy.metrics)),
        length=climb.recorded(lengths.get("new"), climb.NO_EVALUATION),
        length_last=climb.recorded(lengths.get("old"), climb.NO_EVALUATION),
        length_sft=climb.recorded(lengths.get("initial"), climb.NO_SCORES),
    )


def _complete_evaluation(session: Session, round_: Round) -> Evaluation | None:
    evaluation = evaluations.of_round(session, round_.id)
    is_complete = evaluation is not None and evaluation.state == evaluations.COMPLETE
    return evaluation if is_complete else None


def _people(session: Session, round_: Round) -> dict[str, Any]:
    """Return what the round's reward model recorded of people's votes; the ceiling in two parts."""
    reward = _checkpoint(session, round_.reward_checkpoint_id)
    people = (reward.metrics if reward else {}).get("people")
    if not isinstance(people, Mapping):
        return {name: {"reason": climb.NOT_RECORDED} for name in _LEVELS} if reward else {}
    ceiling = people.get("ceiling") or {}
    no_ceiling = {"reason": ceiling.get("undefined", climb.NOT_RECORDED)}
    return {**people, **{name: ceiling.get(name, no_ceiling) for name in _LEVELS[2:]}}


def _by_scores(
    session: Session, evaluation: Evaluation | None, other: Checkpoint | None
) -> Measure:
    """Measure the win rate over another model by the scores of an evaluation."""
    if evaluation is None or other is None:
        return Measure.missing(climb.NO_EVALUATION)
    return _compare_scores(session, evaluation.id, other.id)


@cached_briefly
def _compare_scores(session: Session, evaluation_id: int, other_id: int) -> Measure:
    evaluation = session.get_one(Evaluation, evaluation_id)
    both = evaluation.results.get("scores", {})
    initial = evaluation.results.get(evaluations.INITIAL, {}).get("scores", {})
    scores = {int(key): float(score) for key, score in {**both, **initial}.items()}
    query = select(Completion.id, Completion.prompt_id, Completion.checkpoint_id).where(
        bulk.among(session, Completion.id, list(scores))
    )
    by_prompt: dict[int, dict[int, float]] = defaultdict(dict)
    for row in session.execute(query):
        by_prompt[row.prompt_id][row.checkpoint_id] = scores[row.id]
    new_id = evaluation.new_checkpoint_id
    withdrawn = completion_pairs.withdrawn_prompts(session, evaluation_id)
    return climb.by_scores(
        [
            ScoredPair(prompt_id, by_model[new_id], by_model[other_id])
            for prompt_id, by_model in by_prompt.items()
            if new_id in by_model and other_id in by_model and prompt_id not in withdrawn
        ]
    )


def _lengths(evaluation: Evaluation | None, *, is_same: bool) -> Mapping[str, float]:
    recorded: Mapping[str, Any] = evaluation.results if evaluation else {}
    lengths = dict(recorded.get("lengths", {}))
    initial = lengths.get("old") if is_same else recorded.get(evaluations.INITIAL, {}).get("length")
    return lengths if initial is None else {**lengths, "initial": initial}


def _checkpoint(session: Session, checkpoint_id: int | None) -> Checkpoint | None:
    return None if checkpoint_id is None else session.get_one(Checkpoint, checkpoint_id)


def _agreement(session: Session, round_: Round) -> Measure:
    try:
        return agreement.summary(session, round_.project_id, round_id=round_.id).raw
    except FigurePending:
        return Measure.missing(PENDING)
