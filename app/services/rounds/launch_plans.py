"""Plans from the launch's choices: for the form, for the API and for the command line."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.domain import json_dataclasses, launch_sizes
from app.domain.launch_choice import ChoiceName
from app.domain.launch_sizes import ProjectData
from app.domain.plan import RoundPlan
from app.models import Project, Split
from app.services.datasets import demonstrations
from app.services.project import prompts
from app.services.rounds import gates, readiness


def data_of(session: Session, project: Project) -> ProjectData:
    """Return what a project has."""
    counts = prompts.counts(session, project.id)
    demonstrated = demonstrations.count(session, project.id, Split.TRAIN)
    return ProjectData(
        train=counts[Split.TRAIN],
        validation=counts[Split.VALIDATION],
        test=counts[Split.TEST],
        judged=readiness.count_judged(session, project.id),
        labelers=gates.count_labelers(session, project.id),
        overlap=project.overlap,
        k=project.k,
        does_sft=project.sft_checkpoint_id is None and demonstrated > 0,
        demonstrations=demonstrated,
    )


def of_json(session: Session, project: Project, values: Mapping[str, Any]) -> RoundPlan:
    """Read a plan; with a `choice`, it has the settings that the plan does not state.

    `choice` is the name of one, or the record of one in the plan of an earlier round.

    Raises:
        Invalid: an unknown name, a value of the wrong type, or one that breaks a rule.
    """
    chosen = values.get("choice")
    if chosen is None:
        return RoundPlan.from_json(values)
    named = chosen.get("name") if isinstance(chosen, Mapping) else chosen
    name = json_dataclasses.read(ChoiceName, named, "plan choice")
    data = data_of(session, project)
    settings = launch_sizes.applied(name, data).to_json()
    stated = {key: value for key, value in values.items() if key != "choice"}
    plan = RoundPlan.from_json(_merged(settings, stated))
    return launch_sizes.recorded(plan, name, data)


def _merged(settings: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, with those that are stated instead."""
    merged = dict(settings)
    for key, value in stated.items():
        own = merged.get(key)
        is_section = isinstance(own, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(own, value) if is_section else value  # type: ignore[arg-type]
    return merged
