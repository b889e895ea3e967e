"""Checks of a plan's rewards when a round is launched, as far as they need no worker.

A model in a folder that this machine can read is checked here, and one that only workers can reach
in the round's first job.
"""

import json
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.domain.reward_parts import PartKind, RewardPart
from app.domain.reward_plan import RewardPlan
from app.errors import Invalid
from app.models import Project
from app.services.checkpoints import reward_models

ARCHITECTURE = "ForSequenceClassification"


def check(session: Session, project: Project, plan: RewardPlan, user_id: int | None) -> None:
    """Refuse rewards that cannot be used.

    Args:
        session: of the launch.
        project: of the round.
        plan: of the rewards.
        user_id: who launches the round, and must lead the projects whose models it uses.

    Raises:
        Invalid: the message names the reward and the reason.
    """
    for part, title in zip(plan.parts, plan.titles, strict=True):
        if part.checkpoint is not None:
            reward_models.check_readable(session, project.id, part.checkpoint, user_id)
        elif part.kind in (PartKind.CLASSIFIER, PartKind.REWARD_MODEL):
            _check_folder(part, title)


def _check_folder(part: RewardPart, title: str) -> None:
    config = _config(Path(part.model.strip()).expanduser())
    if config is None:
        return
    where = f"the {part.words} reward {title!r}, {part.model},"
    architectures = [str(name) for name in config.get("architectures") or ()]
    if not any(name.endswith(ARCHITECTURE) for name in architectures):
        listed = ", ".join(architectures) or "unknown"
        raise Invalid(f"{where} has no classification head (architecture: {listed})")
    labels = _labels(config)
    if part.kind is PartKind.REWARD_MODEL:
        if len(labels) != 1:
            raise Invalid(
                f"{where} has {len(labels)} labels and a reward model has one; "
                "use it as a classifier, with one of its labels"
            )
        return
    known = {name.lower() for pair in labels.items() for name in pair}
    if part.label.lower() not in known and (part.label or len(labels) != 1):
        problem = f"no label {part.label!r}" if part.label else "several labels; name one"
        raise Invalid(f"{where} has {problem}; it has {', '.join(labels.values())}")


def _labels(config: dict[str, Any]) -> dict[str, str]:
    """Return the labels by number; a model that names none has two, as in transformers."""
    named = config.get("id2label")
    if isinstance(named, dict) and named:
        return {str(number): str(text) for number, text in named.items()}
    return {str(number): f"LABEL_{number}" for number in range(int(config.get("num_labels", 2)))}


def _config(folder: Path) -> dict[str, Any] | None:
    """Return the configuration of a model in a folder that can be read here."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None
