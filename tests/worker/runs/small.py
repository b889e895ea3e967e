"""A project small enough to run the whole loop in seconds, its jobs and its people."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.gate_policies import GatePolicies, GatePolicy
from app.domain.judgment_kinds import (
    JudgmentBody,
    JudgmentKind,
    PickBody,
    RankBody,
    RateBody,
    ThumbsBody,
)
from app.domain.lora import Lora
from app.domain.plan import (
    EvaluationPlan,
    PolicyPlan,
    Preflight,
    RoundPlan,
    Sampling,
    SftPlan,
    Starter,
)
from app.domain.ranking import Ranking
from app.domain.reward_plan import RewardPlan
from app.domain.splits import content_hash
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Demonstration,
    Job,
    Project,
    Prompt,
    Role,
    Split,
    User,
)
from app.services.jobs import job_leases
from app.services.judging import submissions
from app.services.people import accounts
from app.services.project import criteria, projects
from app.services.queue import slot_leases
from app.services.rounds import judging_flow, rounds
from tests.worker.rlhf import tiny
from worker.artifacts import Artifacts
from worker.orders import Orders
from worker.rlhf.model.models import LoadedModel
from worker.runs import find
from worker.runs.process.job_context import JobContext

SECRET = b"0" * 32
LORA = Lora(r=2, alpha=4)
SFT = SftPlan(epochs=2, batch_size=8, starter=Starter(300, 16, 1, 2))
PLAN = RoundPlan(
    prompts=6,
    heldout_prompts=3,
    candidates=3,
    overlap=2,
    seed=3,
    sampling=Sampling(max_new_tokens=8, batch_size=16),
    preflight=Preflight(drop_cut_off=False, spares=2),
    sft=SFT,
    reward=RewardPlan(epochs=1, batch_size=3, normaliser_prompts=4, lora=LORA, learning_rate=1e-3),
    policy=PolicyPlan(
        prompts=8,
        batch_size=4,
        epochs=2,
        passes=2,
        learning_rate=1e-3,
        heldout_prompts=3,
        evaluate_every=2,
        save_every=1,
        kl_budget=None,
        lora=LORA,
    ),
    evaluation=EvaluationPlan(prompts=4, overlap=1),
    gates=GatePolicies.all(GatePolicy.WARN),  # models this small learn next to nothing
)


def plan(**changes: object) -> RoundPlan:
    return replace(PLAN, **changes)  # type: ignore[arg-type]


def make_project(
    session: Session,
    *,
    kind: JudgmentKind = JudgmentKind.PICK,
    k: int = 2,
    base_model: str | None = "starter",
    labelers: int = 2,
) -> Project:
    owner = _user(session, "owner")
    project = projects.create(
        session,
        name="Small",
        owner=owner,
        judgment_kind=kind,
        k=k,
        overlap=2,
        base_model=base_model,
        instruction="Answer shortly.",
        evaluation_rate=1.0,
    )
    for number in range(labelers):
        labeler = _user(session, f"labeler{number}")
        accounts.add_member(session, project.id, labeler.id, Role.LABELER, actor_id=owner.id)
    for split, count in ((Split.TRAIN, 10), (Split.VALIDATION, 4), (Split.TEST, 5)):
        for number in range(count):
            add_prompt(session, project, f"What is {split} number {number}?", split)
    session.flush()
    return project


def add_prompt(session: Session, project: Project, text: str, split: Split) -> Prompt:
    prompt = Prompt(
        project_id=project.id,
        messages=[{"role": "user", "content": text}],
        follow_up=[],
        split=split,
        content_hash=content_hash([("user", text)]),
        created_at=now(session),
    )
    session.add(prompt)
    session.flush()
    answer = f"It is a good answer to {text}"
    session.add(
        Demonstration(
            project_id=project.id,
            prompt_id=prompt.id,
            text=answer,
            content_hash=content_hash([("assistant", answer)]),
            created_at=now(session),
        )
    )
    return prompt


def save_tiny_llama(folder: Path) -> Path:
    """Save a random model as plain transformers does, for use as somebody's base model."""
    return _save(tiny.loaded(), folder)


def save_tiny_t5(folder: Path) -> Path:
    """Save a random encoder–decoder model as plain transformers does."""
    made = tiny.loaded_t5()
    made.tokenizer.chat_template = None  # as published ones have none
    return _save(made, folder)


def _save(made: LoadedModel, folder: Path) -> Path:
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


def import_completions(session: Session, project: Project) -> None:
    """Give every train prompt an answer of somebody else's model, without token ids."""
    query = select(Prompt).where(Prompt.project_id == project.id, Prompt.split == Split.TRAIN)
    for prompt in session.scalars(query).all():
        session.add(
            Completion(
                project_id=project.id,
                prompt_id=prompt.id,
                source="another model",
                source_key="import",
                sample_index=0,
                text=f"A foreign answer, number {prompt.id}.",
                created_at=now(session),
            )
        )
    session.flush()


def labeler_ids(session: Session) -> list[int]:
    query = select(User.id).where(User.name.startswith("labeler")).order_by(User.id)
    return list(session.scalars(query))


def context_of(
    database: Database,
    claimed: job_leases.ClaimedJob,
    folder: Path,
    orders: Orders | None = None,
) -> JobContext:
    return JobContext(
        database,
        claimed,
        store=Artifacts(str(folder / "artifacts"), folder / "cache"),
        work_root=folder / "work",
        device="cpu",
        advance=rounds.advance,
        orders=orders,
    )


def run_jobs(
    database: Database, folder: Path, until: Callable[[job_leases.ClaimedJob], bool] | None = None
) -> list[str]:
    """Run jobs in this process until there is none, or one that `until` wants left alone."""
    ran: list[str] = []
    while True:
        with database.transaction() as session:
            claimed = job_leases.claim(session, "here", ["gpu", "cpu"], lease_s=600)
        if claimed is None:
            return ran
        if until is not None and until(claimed):
            with database.transaction() as session:
                job_leases.requeue(session, claimed.job_id, claimed.lease_token)
            return ran
        context = context_of(database, claimed, folder)
        find(claimed.kind)(context)
        assert context.is_over, claimed.kind
        ran.append(claimed.kind)


STAGES = ("sft", "generate", "reward", "policy", "evaluate")
_reached: dict[tuple[str, str], Path] = {}
"""Copies of databases and artifacts, by what was launched and the job that waits in them."""


def up_to(
    database: Database, folder: Path, kind: str, plan: RoundPlan = PLAN, **project: Any
) -> int:
    """Run a round in this process up to a kind of job, and leave that one in the queue.

    What an earlier test has run in the same way, in an empty SQLite database, is copied.
    """

    def is_reached(claimed: job_leases.ClaimedJob) -> bool:
        return claimed.kind == kind

    launched = json.dumps([plan.to_json(), project], sort_keys=True, default=str)
    with database.reader() as session:
        is_new = session.scalar(select(Project.id)) is None and _file_of(database) is not None
    stages = STAGES[: STAGES.index(kind) + 1] if is_new else ()
    known = [stage for stage in stages if (launched, stage) in _reached]
    if known:
        _restore(_reached[launched, known[-1]], database, folder)
        with database.reader() as session:
            project_id = session.scalars(select(Project.id)).one()
    else:
        with database.transaction() as session:
            project_id = make_project(session, **project).id
            rounds.launch(session, session.get_one(Project, project_id), plan, None)
    if kind in known:
        return project_id
    run_jobs(database, folder, is_reached)
    if kind not in {"sft", "generate"}:
        judge(database, project_id)
        run_jobs(database, folder, is_reached)
    if is_new:
        _reached[launched, kind] = _keep(database, folder)
    return project_id


def _file_of(database: Database) -> Path | None:
    url = database.engine.url
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def _keep(database: Database, folder: Path) -> Path:
    kept = folder.parent / f"reached-{len(_reached)}"  # not in the folder of one test
    copied(database, folder, kept).dispose()
    return kept


def _restore(kept: Path, database: Database, folder: Path) -> None:
    file = _file_of(database)
    assert file is not None
    database.dispose()
    shutil.copy(kept / file.name, file)
    if (kept / "artifacts").is_dir():
        shutil.copytree(kept / "artifacts", folder / "artifacts")


def claimed(database: Database, folder: Path, orders: Orders | None = None) -> JobContext:
    """Claim the job that waits, and return its context."""
    with database.transaction() as session:
        held = job_leases.claim(session, "here", ["gpu", "cpu"], lease_s=600)
    assert held is not None
    return context_of(database, held, folder, orders)


def copied(database: Database, folder: Path, target: Path) -> Database:
    """Copy a database and its artifacts to another folder, for a run that is compared with it."""
    target.mkdir()
    path = Path(str(database.engine.url.database))
    shutil.copy(path, target / path.name)
    if (folder / "artifacts").is_dir():  # nothing is made before SFT
        shutil.copytree(folder / "artifacts", target / "artifacts")
    return Database(f"sqlite:///{target / path.name}")


Taste = Callable[[str], float]


def judge(database: Database, project_id: int, taste: Taste = len, most: int = 10_000) -> int:
    """Let every labeler judge all there is, by taste; return how many judgments were made."""
    done = 0
    with database.reader() as session:
        labelers = labeler_ids(session)
    waiting = True
    while waiting and done < most:
        waiting = False
        for labeler in labelers:
            with database.transaction() as session:
                project = session.get_one(Project, project_id)
                assignment = slot_leases.claim(session, SECRET, project, labeler)
                if assignment is None:
                    continue
                waiting, done = True, done + 1
                body = _answer(session, assignment.comparison_id, taste)
                judging_flow.submit(
                    session,
                    project,
                    labeler,
                    submissions.Submission(
                        assignment.id, assignment.lease_token, f"key-{assignment.id:08d}", body
                    ),
                )
    return done


def _answer(session: Session, comparison_id: int, taste: Taste) -> JudgmentBody:
    texts = _texts(session, comparison_id)
    comparison = session.get_one(Comparison, comparison_id)
    if comparison.kind == JudgmentKind.RATE:
        rated = tuple(min(5, 1 + round(taste(text))) for text in texts)
        names = [one.name for one in criteria.active(session, comparison.project_id)]
        return RateBody(dict.fromkeys(names, rated))
    if comparison.kind == JudgmentKind.THUMBS:
        return ThumbsBody("up" if taste(texts[0]) >= 2 else "down")
    ranking = Ranking.of_positions([-taste(text) for text in texts])
    if len(texts) > 2:
        return RankBody(ranking.ranks)
    preferred = {(1, 2): "a", (2, 1): "b"}.get((ranking.ranks[0], ranking.ranks[1]), "tie")
    return PickBody(preferred)


def _texts(session: Session, comparison_id: int) -> Sequence[str]:
    query = (
        select(Completion.text)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .where(ComparisonCompletion.comparison_id == comparison_id)
        .order_by(ComparisonCompletion.position)
    )
    return list(session.scalars(query))


def jobs_of(session: Session, round_id: int) -> dict[str, Job]:
    query = select(Job).where(Job.round_id == round_id)
    return {job.kind: job for job in session.scalars(query)}


def _user(session: Session, name: str) -> User:
    return accounts.create_user(
        session, email=f"{name}@example.org", name=name, password="a long enough password"
    )
