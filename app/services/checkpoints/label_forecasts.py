"""The newest forecast of a project of what more judgments would bring to its reward model."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.domain import json_dataclasses
from app.domain.label_value import LabelValue
from app.models import Checkpoint, CheckpointKind
from app.services.checkpoints import checkpoints

METRIC = "label_value"


@dataclass(frozen=True, slots=True)
class LabelForecast:
    """A reward model, and what was measured with parts of its comparisons."""

    model: Checkpoint
    value: LabelValue


def newest(session: Session, project_id: int) -> LabelForecast | None:
    """Return the forecast of the newest reward model that has one."""
    for model in checkpoints.of_project(session, project_id, CheckpointKind.REWARD):
        if METRIC in model.metrics:
            value = json_dataclasses.read(LabelValue, model.metrics[METRIC], METRIC)
            assert isinstance(value, LabelValue)
            return LabelForecast(model, value)
    return None
