"""Jobs that let models respond to the same prompts, for people to compare side by side."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.domain.digits import number_of
from app.errors import Invalid
from app.models import CheckpointKind, Job, Project, Split
from app.services.checkpoints import checkpoints
from app.services.jobs import jobs

MOST_PROMPTS = 2000


def enqueue(
    session: Session,
    project: Project,
    sides: Sequence[str],
    prompts: int,
    split: Split,
    *,
    user_id: int | None,
) -> Job:
    """Enqueue a job that lets models respond to the first prompts of a split.

    Raises:
        Invalid: a side is not a model that generates, or there are too many prompts.
        NotFound: the project has no such model.
    """
    if not 1 <= prompts <= MOST_PROMPTS:
        raise Invalid(f"models can respond to 1 to {MOST_PROMPTS} prompts here, not {prompts}")
    ids = [_model_id(session, project, side) for side in dict.fromkeys(sides)]
    return jobs.enqueue(
        session,
        kind="answer",
        queue="gpu",
        payload={"checkpoint_ids": ids, "prompts": prompts, "split": split},
        project_id=project.id,
        created_by_id=user_id,
    )


def _model_id(session: Session, project: Project, side: str) -> int:
    kind, _, number = side.partition("-")
    row_id = number_of(number)
    if kind != "model" or row_id is None:
        raise Invalid(f"{side!r} is not a model; only models can respond")
    model = checkpoints.get(session, project.id, row_id)
    if model.kind == CheckpointKind.REWARD:
        raise Invalid(f"{model.name} is a reward model; it cannot respond to prompts")
    return model.id
