"""Checks a base model without loading its weights, and keeps what it found with the model's row."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.domain.allowed_models import AllowedModels
from app.domain.checked_model import CheckedModel
from app.errors import Invalid
from app.models import Checkpoint
from app.services.checkpoints import base_models
from worker.libraries import versions
from worker.runs.process.job_context import JobContext
from worker.training import model_check


def run(context: JobContext) -> None:
    """Check the payload's base model; a refusal is a result, and is not tried again."""
    with context.database.reader() as session:
        checkpoint = session.get_one(Checkpoint, context.payload["checkpoint_id"])
    found = {**_found(checkpoint.uri, context.allowed_models, context.device), **_origin()}
    for sentence in _sentences(CheckedModel.from_json(found)):
        context.say(sentence)

    def finish(session: Session) -> Mapping[str, Any]:
        base_models.record(session, checkpoint.id, found)
        return {"checkpoint_id": checkpoint.id, "refusal": found["refusal"]}

    context.succeed(finish)


def _found(name: str, allowed: AllowedModels, device: str) -> dict[str, Any]:
    try:
        allowed.check(name)
    except Invalid as error:  # before anything is read of it
        return {"name": name, "refusal": str(error)}
    return model_check.check(name, device=device).to_json()


def _origin() -> dict[str, Any]:
    return {base_models.LIBRARIES: versions()}


def _sentences(found: CheckedModel) -> list[str]:
    if found.refusal is not None:
        return [f"{found.name} cannot be used: {found.refusal}"]
    facts = [f"{name}: {fact}" for name, fact in found.facts.items()]
    return [f"{found.name} can be used.", *facts, *found.remarks]
