"""The completions that an evaluation compares, by prompt, with the scores of its arbiter."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from app.models import Checkpoint, Comparison, Completion, Evaluation, Prompt, Purpose
from app.services.checkpoints import checkpoints
from app.services.rounds import evaluations


@dataclass(frozen=True, slots=True)
class CompletionPair:
    """Both policies' completions of one prompt, with the arbiter's scores.

    `initial` is the completion of the model that the new policy's KL is measured to, which may be
    the old policy; None if it did not respond to the prompt.
    """

    prompt: Prompt
    new: Completion
    old: Completion
    score_new: float
    score_old: float
    initial: Completion | None = None
    score_initial: float | None = None
    is_withdrawn: bool = False  # its comparison was withdrawn, and its judgments do not count


def of_evaluation(session: Session, evaluation: Evaluation) -> list[CompletionPair]:
    """Return both policies' completions of every prompt that both answered, in prompt order."""
    scores: Mapping[str, float] = evaluation.results.get("scores", {})
    query = (
        select(Completion, Prompt)
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .where(Completion.id.in_([int(key) for key in scores]))
        .order_by(Prompt.id)
    )
    by_prompt: dict[int, dict[bool, Completion]] = defaultdict(dict)
    prompts: dict[int, Prompt] = {}
    for completion, prompt in session.execute(query):
        is_new = completion.checkpoint_id == evaluation.new_checkpoint_id
        prompts[prompt.id] = prompt
        by_prompt[prompt.id][is_new] = completion
    withdrawn = withdrawn_prompts(session, evaluation.id)
    both = {prompt_id: pair for prompt_id, pair in by_prompt.items() if len(pair) == 2}
    old = {prompt_id: pair[False] for prompt_id, pair in both.items()}
    initial, all_scores = _of_initial_model(session, evaluation, old)
    return [
        CompletionPair(
            prompts[prompt_id],
            pair[True],
            pair[False],
            scores[str(pair[True].id)],
            scores[str(pair[False].id)],
            initial.get(prompt_id),
            all_scores[str(initial[prompt_id].id)] if prompt_id in initial else None,
            prompt_id in withdrawn,
        )
        for prompt_id, pair in both.items()
    ]


def initial_id(session: Session, evaluation: Evaluation) -> int | None:
    """Return the model that the new policy's KL is measured to; None if none is recorded."""
    new = session.get_one(Checkpoint, evaluation.new_checkpoint_id)
    initial = checkpoints.initial_model(session, new)
    return None if initial is None else initial.id


def _of_initial_model(
    session: Session, evaluation: Evaluation, old: Mapping[int, Completion]
) -> tuple[Mapping[int, Completion], Mapping[str, float]]:
    """Return the initial model's completions by prompt, and the scores by completion."""
    if initial_id(session, evaluation) == evaluation.old_checkpoint_id:
        return old, evaluation.results["scores"] if old else {}
    scores: Mapping[str, float] = evaluation.results.get(evaluations.INITIAL, {}).get("scores", {})
    query = select(Completion).where(Completion.id.in_([int(key) for key in scores]))
    return {row.prompt_id: row for row in session.scalars(query)}, scores


def withdrawn_prompts(session: Session, evaluation_id: int) -> set[int]:
    """Return the prompts whose comparisons have all been withdrawn."""
    query = (
        select(Comparison.prompt_id)
        .where(Comparison.evaluation_id == evaluation_id, Comparison.purpose == Purpose.EVALUATION)
        .group_by(Comparison.prompt_id)
        .having(func.sum(case((Comparison.is_withdrawn, 0), else_=1)) == 0)
    )
    return set(session.scalars(query))
