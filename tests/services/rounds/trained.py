"""Rounds whose models were trained: jobs with curves, without training anything."""

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.db import now
from app.domain.plan import RoundPlan
from app.domain.states import JobState, RoundState
from app.models import Checkpoint, CheckpointKind, Job, Metric, Project, Round

ALARM = "KL budget: the square root of KL is 3.21, the budget 3.16"
EVERY = 10
"""Steps between evaluations on held-out prompts."""


def add_round(session: Session, project: Project, number: int, **columns: Any) -> Round:
    """Add a round that has been decided."""
    state = columns.pop("state", RoundState.HELD)
    round_ = Round(
        project_id=project.id,
        number=number,
        state=state,
        plan=RoundPlan().to_json(),
        created_at=now(session),
        ended_at=now(session),
        **columns,
    )
    session.add(round_)
    session.flush()
    return round_


def add_job(
    session: Session,
    round_: Round,
    kind: str,
    curves: Mapping[str, Mapping[int, float]],
    state: JobState = JobState.SUCCEEDED,
) -> Job:
    """Add a training job with curves: values by step, by name."""
    job = Job(
        project_id=round_.project_id,
        round_id=round_.id,
        kind=kind,
        queue="gpu",
        state=state,
        payload={},
        created_at=now(session),
        started_at=now(session),
    )
    session.add(job)
    session.flush()
    session.add_all(
        Metric(job_id=job.id, name=name, step=step, value=value)
        for name, values in curves.items()
        for step, value in values.items()
    )
    session.flush()
    return job


def policy_curves(steps: int, seed: int = 0) -> dict[str, dict[int, float]]:
    """Return the curves of a policy that learns."""
    every, looks = range(1, steps + 1), range(EVERY, steps + 1, EVERY)

    def noise(step: int) -> float:
        return math.sin(12.9898 * step + 78.233 * (seed + 1)) * 43758.5453 % 1 - 0.5

    def share(step: int) -> float:
        return step / steps

    return {
        "reward/normalised": {s: 1.4 * share(s) ** 0.5 + 0.4 * noise(s) for s in every},
        "heldout/reward": {s: 1.2 * share(s) ** 0.5 + 0.05 * seed for s in looks},
        "kl/k1": {s: 10.3 * share(s) + 0.3 * abs(noise(s)) for s in every},
        "heldout/kl": {s: 10 * share(s) for s in looks},
        "length/mean": {s: 38 + 20 * share(s) + 3 * noise(s) for s in every},
        "entropy": {s: 2.5 - 1.2 * share(s) + 0.1 * noise(s) for s in every},
        "fresh/share": {s: 0.5 + 0.2 * share(s) for s in looks},
        "fresh/share_low": {s: 0.4 + 0.2 * share(s) for s in looks},
        "fresh/share_high": {s: 0.6 + 0.2 * share(s) for s in looks},
        "fresh/pooled": dict.fromkeys(looks, 64.0),
    }


def reward_curves(steps: int) -> dict[str, dict[int, float]]:
    """Return the curves of a reward model that learns."""
    return {
        "loss": {s: 0.69 - 0.2 * s / steps for s in range(1, steps + 1)},
        "accuracy": {s: 0.5 + 0.2 * s / steps for s in range(1, steps + 1)},
        "heldout/accuracy": {s: 0.5 + 0.15 * s / steps for s in range(EVERY, steps + 1, EVERY)},
    }


def add_policy(
    session: Session, round_: Round, job: Job, *, best: int, steps: int, alarm: str = ""
) -> Checkpoint:
    """Add the policy that a job has trained, which an alarm may have ended."""
    policy = Checkpoint(
        project_id=round_.project_id,
        round_id=round_.id,
        job_id=job.id,
        kind=CheckpointKind.POLICY,
        name=f"Policy {round_.number} of job {job.id}",
        uri="",
        state="ready",
        metrics={
            "best_step": best,
            "steps": steps,
            "stop_reason": alarm or f"steps: all {steps} done",
            "stopped_by_alarm": bool(alarm),
        },
        created_at=now(session),
    )
    session.add(policy)
    session.flush()
    return policy


def two_rounds(session: Session, project: Project, steps: int = 120) -> list[Job]:
    """Add two rounds with a policy each; an alarm ended the second. Return the policies' jobs."""
    jobs = []
    for number in (1, 2):
        round_ = add_round(session, project, number)
        add_job(session, round_, "reward", reward_curves(40))
        job = add_job(session, round_, "policy", policy_curves(steps, seed=number))
        add_policy(
            session, round_, job, best=steps - 20, steps=steps, alarm=ALARM if number == 2 else ""
        )
        jobs.append(job)
    return jobs
