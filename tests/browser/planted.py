"""A world in which every text that can come from outside is made of payloads.

One row of every table is made by hand; then every text column of every row is overwritten, but
for those that the product alone writes. A new column is planted by itself; one that cannot hold
any text goes into `OURS`.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sqlalchemy import String, select, update
from sqlalchemy.orm import Session

from app.db import now
from app.db.base import Base
from app.domain.gate_policies import Gate, GateOutcome
from app.domain.judges.setup import JudgeLimits, JudgeSetup
from app.domain.judgment_kinds import JudgmentKind
from app.domain.plan import RoundPlan, Sampling
from app.domain.reward_parts import PartKind, RewardPart
from app.domain.states import AssignmentState, RoundState
from app.models import (
    Adjudication,
    AiJudgment,
    AiOutcome,
    Assignment,
    AutomaticRounds,
    Chat,
    ChatTurn,
    Checkpoint,
    CheckpointInput,
    CheckpointKind,
    Comparison,
    Completion,
    Demonstration,
    Evaluation,
    Export,
    GateVerdict,
    Guidelines,
    ImportRun,
    Job,
    JobAttempt,
    Judge,
    Judgment,
    LinkedIdentity,
    Metric,
    ModelReply,
    Project,
    Prompt,
    PromptEdit,
    PromptTag,
    Purpose,
    ReplyState,
    Restoration,
    ResultsFile,
    ResultsRow,
    Role,
    Round,
    ScoredRow,
    Scoring,
    Shard,
    TrainingSample,
    User,
    WorkerHeartbeat,
)
from app.services.people import accounts, invitations
from app.services.project import projects
from tests.browser import payloads
from tests.services import sample_votes

# Written by the product alone: states, kinds, hashes, keys and addresses made of checked letters.
OURS = frozenset(
    {
        *("slug", "state", "kind", "queue", "role", "purpose", "split", "judgment_kind", "format"),
        *("goal", "preferred", "thumb", "outcome", "finish_reason", "pseudonym", "prefix"),
        *("token_hash", "id_hash", "key_hash", "content_hash", "body_hash", "password_hash"),
        *("sha256", "hash", "previous_hash", "natural_key", "submission_key", "lease_token"),
        *("source_key", "uri", "group_hash", "prompt_edit.action", "figure_refresher.holder"),
        *("kept_figure.name", "kept_figure.stamp", "kept_figure.value"),
        *("code_hash", "sealed_secret", "shard.work"),
        *("gate_verdict.stage", "gate_verdict.gate", "gate_verdict.remedy", "gate_verdict.redo"),
    }
)
UNIQUE = {("user", "email"), ("checkpoint", "name"), ("criterion", "name"), ("worker", "name")}
SLUG = "desk"
REJECTS = 88  # of an import: its page shows the first hundred
SAID: dict[str, tuple[int, dict[str, Any]]] = {  # completions, and what Ada said of them
    "rank": (3, {"ranking": [1, 2, 3]}),
    "rate": (1, {"ratings": {}}),
    "thumbs": (1, {"thumb": "up", "reasons": []}),
    "write": (0, {"text": ""}),
    "edit": (1, {"text": ""}),
}


class Places:
    """Numbers for the places where text enters, by name."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def text(self, name: str, between: str = "\n\n") -> str:
        """Return all payloads, numbered for a place."""
        number = self.numbers.setdefault(name, len(self.numbers) + 1)
        return between.join(payloads.payloads(number))

    def each(self, name: str) -> list[str]:
        """Return the payloads of a place one by one."""
        return payloads.payloads(self.numbers.setdefault(name, len(self.numbers) + 1))

    def of(self, mark: int) -> str:
        """Name the place of a mark."""
        at = mark // payloads.PER_PLACE
        return next(name for name, number in self.numbers.items() if number == at)


def plant(session: Session, places: Places) -> dict[str, list[int | str]]:
    """Make the world; return the ids by which pages name its rows, and the users'."""
    ids = make_rows(session)
    _plant_columns(session, places)
    _plant_json(session, places)
    return ids


def make_rows(session: Session) -> dict[str, list[int | str]]:
    """Make a row of every table, with ordinary texts; return what `plant` does."""
    project, (ada, bob) = sample_votes.make_project(session, 2, slug=SLUG)
    ada.is_admin = True
    ids = _work(session, project, ada, bob)
    ids |= _learning(session, project)
    ids |= _models_at_work(session, project, ada, ids)
    ids["token"] = [_people(session, project, ada)]
    ids["file_id"] = _results(session, project)
    for kind in SAID:
        ids[kind] = _project_of(session, kind, ada)
    session.flush()
    return ids | {"user_id": [bob.id], "ada": [ada.id], "name": ["ppo"]}


def columns() -> Iterator[tuple[Any, Any]]:
    """Yield every table's text columns that can hold text from outside."""
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            names = {column.name, f"{table.name}.{column.name}"}
            if isinstance(column.type, String) and not names & OURS:
                yield table, column


def _work(session: Session, project: Project, ada: User, bob: User) -> dict[str, list[int | str]]:
    moment = now(session)
    judged = sample_votes.make_comparison(session, project, overlap=9)
    for who in (ada, bob):
        sample_votes.vote(session, judged, who, preferred="a" if who is ada else "b")
    skipped = sample_votes.vote(
        session, sample_votes.make_comparison(session, project), ada, preferred="a"
    )
    session.get_one(Assignment, skipped.assignment_id).state = AssignmentState.SKIPPED
    session.delete(skipped)
    for _ in range(4):
        sample_votes.make_comparison(session, project, overlap=9)
    for purpose in (Purpose.GOLD, Purpose.PRACTICE):
        sample_votes.make_comparison(
            session, project, purpose=purpose, overlap=9, gold_answer={"preferred": "a"}
        )
    prompt = session.get_one(Prompt, judged.prompt_id)
    session.add_all(
        [
            Demonstration(
                project_id=project.id,
                prompt_id=prompt.id,
                text="",
                content_hash="0" * 64,
                created_at=moment,
            ),
            Adjudication(
                project_id=project.id,
                comparison_id=judged.id,
                adjudicator_id=ada.id,
                preferred="a",
                reason="",
                guidelines_version=1,
                created_at=moment,
            ),
            Guidelines(project_id=project.id, version=2, rules="", created_at=moment),
            PromptTag(project_id=project.id, prompt_id=prompt.id, tag=""),
            PromptEdit(project_id=project.id, action="tag", value="", prompts=1, created_at=moment),
            AutomaticRounds(
                project_id=project.id,
                is_on=True,
                judgments=500,
                most_in_row=3,
                hours_between=24.0,
                promotes=False,
                set_by_id=ada.id,
                set_at=moment,
                paused_at=moment,
                paused_by_id=bob.id,
            ),
        ]
    )
    runs = [
        ImportRun(
            project_id=project.id,
            filename="",
            format="",
            sha256="",
            counts={"records": 1, "rejected": 1},
            rejects=[],
            created_at=moment,
        )
        for _ in range(0, len(payloads.every()), REJECTS)
    ]
    session.add_all(runs)
    session.flush()
    assignment = session.scalars(
        select(Judgment.assignment_id).where(Judgment.comparison_id == judged.id)
    ).first()
    assert assignment is not None
    return {
        "comparison_id": [judged.id],
        "prompt_id": [prompt.id],
        "import_id": [run.id for run in runs],
        "assignment_id": [assignment],
    }


def _learning(session: Session, project: Project) -> dict[str, list[int | str]]:
    moment = now(session)
    base, old, new, reward = (
        Checkpoint(
            project_id=project.id,
            kind=kind,
            name=f"model {at}",
            uri="x",
            config={},
            metrics={},
            created_at=moment,
        )
        for at, kind in enumerate(
            (CheckpointKind.BASE, CheckpointKind.SFT, CheckpointKind.POLICY, CheckpointKind.REWARD)
        )
    )
    session.add_all([base, old, new, reward])
    session.flush()
    old.parent_id, new.parent_id, reward.parent_id = base.id, old.id, old.id
    project.policy_checkpoint_id = old.id
    round_ = Round(
        project_id=project.id,
        number=1,
        state="held",
        plan=RoundPlan().to_json(),
        policy_before_id=old.id,
        policy_checkpoint_id=new.id,
        reward_checkpoint_id=reward.id,
        created_at=moment,
        ended_at=moment,
    )
    session.add(round_)
    session.flush()
    new.round_id = reward.round_id = round_.id
    session.add(
        GateVerdict(
            round_id=round_.id,
            stage=RoundState.LABELING,
            gate=Gate.LABELERS,
            outcome=GateOutcome.OVERRIDDEN,
            figures={"wanted": 3, "labelers": 2},
            created_at=moment,
        )
    )
    job = Job(
        project_id=project.id,
        round_id=round_.id,
        kind="policy",
        queue="cpu",
        state="failed",
        payload={},
        result={},
        created_at=moment,
        started_at=moment,
        ended_at=moment,
    )
    evaluation = Evaluation(
        project_id=project.id,
        round_id=round_.id,
        new_checkpoint_id=new.id,
        old_checkpoint_id=old.id,
        state="complete",
        results={},
        created_at=moment,
    )
    export = Export(
        project_id=project.id,
        number=1,
        format="trl-implicit",
        options={},
        state="ready",
        rows=1,
        manifest={},
        created_at=moment,
        ready_at=moment,
    )
    session.add_all([job, evaluation, export])
    session.flush()
    session.add_all(
        [
            JobAttempt(job_id=job.id, lease_token=1, worker="", started_at=moment),
            Shard(job_id=job.id, work="draw-1", n=1, rows=32, payload={}, claims=2),
            Metric(job_id=job.id, name="loss", step=1, value=1.0),
            *(
                TrainingSample(job_id=job.id, step=step, n=0, prompt="", completion="")
                for step in (0, 5)
            ),
            WorkerHeartbeat(name="worker", queues=[], started_at=moment, seen_at=moment),
            Restoration(sha256="0" * 64, taken_at=moment, restored_at=moment, lease_floor=0),
            CheckpointInput(checkpoint_id=reward.id, export_id=export.id),
        ]
    )
    _evaluate(session, project, evaluation)
    return {
        "job_id": [job.id],
        "checkpoint_id": [new.id, base.id],
        "evaluation_id": [evaluation.id],
        "number": [1],
    }


def _models_at_work(
    session: Session, project: Project, ada: User, ids: dict[str, list[int | str]]
) -> dict[str, list[int | str]]:
    """Make a chat, scored responses, and a judge with a judgment."""
    moment, model = now(session), int(ids["checkpoint_id"][0])
    chat = Chat(
        project_id=project.id,
        user_id=ada.id,
        first_id=model,
        instruction="",
        sampling=asdict(Sampling()),
        created_at=moment,
    )
    scoring = Scoring(
        project_id=project.id,
        title="",
        source="",
        scorer=asdict(RewardPart(PartKind.FORMAT, pattern="x")),
        sides=[],
        rows=1,
        created_at=moment,
        finished_at=moment,
    )
    setup = JudgeSetup("judge", "http://127.0.0.1:1", "model")
    judge = Judge(
        project_id=project.id,
        name="judge",
        pseudonym="J1",
        setup=asdict(setup),
        limits=asdict(JudgeLimits()),
        alone_by_id=ada.id,
        alone_at=moment,
        created_at=moment,
    )
    of_project = select(Comparison.id).where(Comparison.project_id == project.id)
    compared = session.scalars(of_project.order_by(Comparison.id).limit(2)).all()
    turn = ChatTurn(n=1, text="", created_at=moment)
    session.add_all([chat, scoring, judge])
    session.flush()
    turn.chat_id = chat.id
    session.add(turn)
    session.flush()
    session.add_all(
        [
            ModelReply(turn_id=turn.id, side=0, state=ReplyState.DONE),
            ScoredRow(scoring_id=scoring.id, place=0, messages=[], texts=["", ""], scores=[1, 0]),
            *(
                AiJudgment(
                    project_id=project.id,
                    judge_id=judge.id,
                    comparison_id=comparison_id,
                    outcome=outcome,
                    kind=JudgmentKind.PICK,
                    ranking=[1, 2] if outcome is AiOutcome.JUDGED else None,
                    guidelines_version=1,
                    instruction_version=1,
                    created_at=moment,
                )
                for comparison_id, outcome in zip(
                    compared, (AiOutcome.JUDGED, AiOutcome.MALFORMED), strict=True
                )
            ),
        ]
    )
    return {"chat_id": [chat.id], "scoring_id": [scoring.id], "judge_id": [judge.id]}


def _evaluate(session: Session, project: Project, evaluation: Evaluation) -> None:
    made = sample_votes.make_comparison(
        session, project, purpose=Purpose.EVALUATION, evaluation_id=evaluation.id
    )
    rows = session.scalars(select(Completion).where(Completion.prompt_id == made.prompt_id))
    models = (evaluation.new_checkpoint_id, evaluation.old_checkpoint_id)
    for completion, model in zip(rows, models, strict=True):
        completion.checkpoint_id = model


def _people(session: Session, project: Project, ada: User) -> str:
    """Make a token, an identity and an invitation; return what its address ends with."""
    accounts.create_token(session, ada, name="x", scopes=["read"])
    session.add(LinkedIdentity(user_id=ada.id, issuer="x", subject="x", created_at=now(session)))
    return invitations.invite(
        session, project_id=project.id, role=Role.LABELER, email="x", actor_id=ada.id
    ).secret


def _results(session: Session, project: Project) -> list[int | str]:
    """Make two results files that answer the same prompt."""
    files = [
        ResultsFile(
            project_id=project.id, name="", sha256=str(at) * 64, rows=1, created_at=now(session)
        )
        for at in (0, 1)
    ]
    session.add_all(files)
    session.flush()
    session.add_all(
        ResultsRow(file_id=one.id, content_hash="0" * 64, messages=[], text="") for one in files
    )
    return [one.id for one in files]


def _project_of(session: Session, kind: str, ada: User) -> list[int | str]:
    """Make a project of a kind with a comparison that Ada judged and one for her to judge.

    Returns the comparison and the assignment of what she judged.
    """
    k, said = SAID[kind]
    project = projects.create(
        session, name=kind, slug=kind, owner=ada, judgment_kind=JudgmentKind(kind), k=k
    )
    texts = tuple(f"{kind} {at}" for at in range(k))
    judged = sample_votes.make_comparison(session, project, texts)
    judgment = sample_votes.vote(session, judged, ada, shown_order=tuple(range(k)), **said)
    sample_votes.make_comparison(session, project, texts)
    return [judged.id, judgment.assignment_id]


def _plant_columns(session: Session, places: Places) -> None:
    for table, column in columns():
        name = f"{table.name}.{column.name}"
        text = places.text(name)
        keys = list(table.primary_key.columns)
        for at, key in enumerate(session.execute(select(*keys)).all()):
            where = [one == value for one, value in zip(keys, key, strict=True)]
            value = f"{text}\n\n#{at}" if (table.name, column.name) in UNIQUE and at else text
            if name == "completion.text" and at % 2:  # so that two answers differ
                value = "\n\n".join(reversed(places.each(name)))
            session.execute(update(table).where(*where).values({column.name: value}))
    session.expire_all()


def _plant_json(session: Session, places: Places) -> None:
    text = places.text
    reasons, raws = places.each("import_run.rejects"), places.each("import_run.raw")
    for at, run in enumerate(session.scalars(select(ImportRun))):
        run.rejects = [
            {"line": line, "reason": reasons[line], "raw": raws[line]}
            for line in range(at * REJECTS, min((at + 1) * REJECTS, len(raws)))
        ]
    for model in session.scalars(select(Checkpoint)):
        model.config = {text("checkpoint.config"): text("checkpoint.config")}
        model.metrics = {text("checkpoint.metrics"): text("checkpoint.metrics")}
    for export in session.scalars(select(Export)):
        out = {"comparisons_out": {text("export.manifest"): 1}}
        export.manifest = {"counts": out, "x": text("export.manifest")}
        export.options = {text("export.options"): text("export.options")}
    for job in session.scalars(select(Job)):
        job.result = {"stop_reason": text("job.result")}
    for worker in session.scalars(select(WorkerHeartbeat)):
        worker.queues = [text("worker.queues")]
    for judgment in session.scalars(select(Judgment)):
        judgment.flags = [text("judgment.flags")]
        if judgment.ratings is not None:
            judgment.ratings = {text("judgment.ratings"): [1]}
    turns = [
        {"role": role, "content": text("prompt.messages")}
        for role in ("system", "user", "assistant", "user")
    ]
    for row in session.scalars(select(ResultsRow)):
        row.messages = turns
    for scoring in session.scalars(select(Scoring)):
        names = [text("scoring.sides"), f"{text('scoring.sides')} #1"]
        scoring.sides = [{"name": name, "checkpoint_id": None} for name in names]
        scoring.remarks = [text("scoring.remarks")]
    for scored in session.scalars(select(ScoredRow)):
        scored.messages = turns
        scored.texts = [text("scored_row.texts"), text("scored_row.texts")]
    for said in session.scalars(select(AiJudgment)):
        said.orders = [{"explanation": text("ai_judgment.orders")}]
    for prompt in session.scalars(select(Prompt)):
        prompt.messages = turns
        prompt.follow_up = [text("prompt.follow_up")]
    session.flush()
