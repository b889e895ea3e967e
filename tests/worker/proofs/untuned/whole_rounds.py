"""A round on one base model, launched with "balanced" alone, and what it is worth by the truth."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.demo import truth
from app.demo.truth import PolicyCompletions, PolicyTruth, RewardTruth, ScoredComparison
from app.domain.allowed_models import AllowedModels
from app.domain.gate_policies import GateOutcome
from app.domain.judgment_kinds import JudgmentBody, PickBody
from app.domain.measures import Interval
from app.models import (
    Checkpoint,
    Comparison,
    ComparisonCompletion,
    Completion,
    Project,
    Prompt,
    Role,
    Round,
    Split,
    User,
)
from app.services.checkpoints import base_models
from app.services.judging.submissions import Submission
from app.services.people import accounts
from app.services.project import projects, prompts
from app.services.project.prompts import NewPrompt
from app.services.queue import slot_leases
from app.services.rounds import (
    completion_pairs,
    evaluations,
    gate_views,
    judging_flow,
    launch_estimates,
    launch_plans,
    readiness,
    round_progress,
    rounds,
)
from app.simulation.labelers import ComparisonView, ShownCompletion, SimulatedLabeler, panel
from tests.worker.proofs.untuned.bases import Base
from tests.worker.runs import small
from worker.files import models
from worker.rlhf.core.examples import PromptItem, SampledCompletion
from worker.rlhf.model import saving
from worker.rlhf.reward import scoring
from worker.rlhf.reward.scoring import AdapterReward
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sampling.sampling import SamplingConfig
from worker.training import token_ids

LAUNCH: Final = {"choice": "balanced"}
LABELERS = 3
FLIPS = 0.15
CANDIDATES = 4
BOTH: Final = 2


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much a project has, and on how much the reward model is measured."""

    train: int = 500
    validation: int = 120
    test: int = 220
    measured: int = 120  # prompts


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round came to; a gate that stopped it says why.

    Attributes:
        reward: the reward model by the truth, on fresh responses of the start model.
        policy: the new policy against the old by the truth; None if the round stopped before.
        stopped: the gate at which the round waits, with its reason; empty if there is none.
        raised: what else the gates measured.
        estimated_s: what the launch said that the round would take.
        stages: seconds of each job.
    """

    reward: RewardTruth | None
    policy: PolicyTruth | None
    stopped: str
    raised: tuple[str, ...]
    estimated_s: float
    stages: tuple[tuple[str, float], ...]

    @property
    def took_s(self) -> float:
        """The time of all jobs."""
        return sum(seconds for _, seconds in self.stages)

    @property
    def beats_length(self) -> bool:
        """Whether the reward model's interval is above the better of both length rules."""
        if self.reward is None or not isinstance(self.reward.accuracy.interval, Interval):
            return False
        length = truth.value(self.reward.length_only) or 0.0
        return self.reward.accuracy.interval.low > max(length, 1.0 - length)

    @property
    def wins(self) -> bool:
        """Whether the lower end of the win rate is above one half."""
        if self.policy is None or not isinstance(self.policy.win_rate.interval, Interval):
            return False
        return self.policy.win_rate.interval.low > 0.5

    @property
    def holds(self) -> bool:
        """Whether the round learned, or a gate stopped it and said why."""
        return bool(self.stopped) or (self.beats_length and self.wins)


@dataclass(frozen=True, slots=True)
class Proof:
    """One base model and seed, with the folder and database of its project."""

    base: Base
    model: Path
    seed: int
    sizes: Sizes
    database: Database
    folder: Path

    def run(self) -> Outcome:
        """Run a round to its decision, or to the gate that stops it."""
        project_id = self._project()
        small.run_jobs(self.database, self.folder)
        estimated_s = self._launch(project_id)
        for _ in range(BOTH):  # after the candidates, and after the evaluation's responses
            small.run_jobs(self.database, self.folder)
            self._judge(project_id)
        with self.database.reader() as session:
            round_ = round_progress.get(session, project_id, 1)
            views = gate_views.of_round(session, round_)
            jobs = round_progress.overview(session, round_).jobs
            waits = [view for view in views if view.is_waiting]
            return Outcome(
                self._reward(session, round_),
                self._policy(session, round_),
                " ".join(f"{view.title}: {view.verdict.reason}" for view in waits),
                tuple(
                    f"{view.title}: {view.verdict.figure}"
                    for view in views
                    if view.row.outcome != GateOutcome.PASSED and not view.is_waiting
                ),
                estimated_s,
                tuple(
                    (job.kind, (job.ended_at - job.started_at).total_seconds())
                    for job in jobs
                    if job.started_at and job.ended_at
                ),
            )

    def _project(self) -> int:
        sizes, world = self.sizes, self.base.world
        with self.database.transaction() as session:
            owner = _user(session, "owner")
            project = projects.create(
                session, name=world.name, owner=owner, base_model=str(self.model)
            )
            for labeler in self._panel():
                person = _user(session, labeler.name)
                accounts.add_member(session, project.id, person.id, Role.LABELER, actor_id=owner.id)
            asked = iter(world.prompts(sizes.train + sizes.validation + sizes.test, self.seed))
            counts = zip(Split, (sizes.train, sizes.validation, sizes.test), strict=True)
            added = {
                split: prompts.add(
                    session,
                    project,
                    [NewPrompt((("user", p),), split=split) for p in islice(asked, count)],
                ).prompts
                for split, count in counts
            }
            chance = random.Random(f"demonstrations/{world.name}/{self.seed}")
            shown = added[Split.TRAIN][: self.base.demonstrations]
            prompts.add_demonstrations(
                session, [(row, world.write(_text(row), chance)) for row in shown]
            )
            base_models.choose(session, project, AllowedModels(), actor_id=owner.id)
            return project.id

    def _launch(self, project_id: int) -> float:
        with self.database.transaction() as session:
            project = session.get_one(Project, project_id)
            plan = launch_plans.of_json(session, project, {**LAUNCH, "seed": self.seed})
            preview = readiness.preview(
                session, project, plan, launch_plans.data_of(session, project)
            )
            estimate = launch_estimates.of_plan(session, project, plan, preview)
            rounds.launch(session, project, plan, None)
            assert estimate.seconds is not None, estimate.basis
            return estimate.seconds

    def _panel(self) -> list[SimulatedLabeler]:
        one = SimulatedLabeler(
            "labeler", self.base.world.utility, flip_rate=FLIPS, tie_band=0.05, seed=self.seed
        )
        return panel(one, LABELERS)

    def _judge(self, project_id: int) -> None:
        for labeler in self._panel():
            while self._submit(project_id, labeler):
                pass

    def _submit(self, project_id: int, labeler: SimulatedLabeler) -> bool:
        with self.database.transaction() as session:
            project = session.get_one(Project, project_id)
            person = accounts.user_by_email(session, _email(labeler.name))
            assert person is not None
            assignment = slot_leases.claim(session, small.SECRET, project, person.id)
            if assignment is None:
                return False
            body = _body(labeler, session.get_one(Comparison, assignment.comparison_id), session)
            key = f"key-{assignment.id:08d}"
            submission = Submission(assignment.id, assignment.lease_token, key, body)
            judging_flow.submit(session, project, person.id, submission)
            return True

    def _reward(self, session: Session, round_: Round) -> RewardTruth | None:
        """Hold the reward model against the truth on fresh responses to test prompts."""
        if round_.reward_checkpoint_id is None:
            return None
        reward = session.get_one(Checkpoint, round_.reward_checkpoint_id)
        sft = session.get_one(Project, round_.project_id).sft_checkpoint_id
        start = str(self.model)
        if sft is not None:
            start = str(self._folder(session.get_one(Checkpoint, sft)))
        rows = session.scalars(
            select(Prompt)
            .where(Prompt.project_id == round_.project_id, Prompt.split == Split.TEST)
            .order_by(Prompt.id)
            .limit(self.sizes.measured)
        ).all()
        scored = _scored(start, self._folder(reward), reward, [_text(row) for row in rows])
        return truth.reward(scored, self.base.world.utility, longer_wins=True)

    def _policy(self, session: Session, round_: Round) -> PolicyTruth | None:
        evaluation = evaluations.of_round(session, round_.id)
        if evaluation is None or not evaluation.results.get("scores"):
            return None
        pairs = completion_pairs.of_evaluation(session, evaluation)
        rows = [PolicyCompletions(_text(p.prompt), p.old.text, p.new.text) for p in pairs]
        return truth.policy(rows, self.base.world.utility)

    def _folder(self, checkpoint: Checkpoint) -> Path:
        return self.folder / "artifacts" / checkpoint.uri


def _scored(
    start: str, folder: Path, reward: Checkpoint, asked: Sequence[str]
) -> list[ScoredComparison]:
    opened = models.open_model(start, "cpu")
    loaded = opened.roles.loaded
    turns = {one: [{"role": "user", "content": one}] for one in asked}
    ids = {one: token_ids.prompt_ids(loaded, turns[one], "") for one in asked}
    config = SamplingConfig(n=CANDIDATES, max_new_tokens=128, seed=90_001, batch_size=32)
    items = [PromptItem(one, ids[one]) for one in asked]
    said: dict[str, list[SampledCompletion]] = {one: [] for one in asked}
    for completion in sampling.generate(opened.roles, items, config, opened.role):
        said[completion.prompt_key].append(completion)
    names = tuple(reward.config["names"])
    for name in names:
        saving.load_reward(opened.roles, folder / name, name)
    function = AdapterReward(opened.roles, names, scoring.probe(opened.roles))
    branches = [Branches(ids[one], [each.token_ids for each in said[one]]) for one in asked]
    scores = iter(function.score(branches).raw.tolist())
    return [
        ScoredComparison(
            one, tuple(each.text for each in said[one]), tuple(next(scores) for _ in said[one])
        )
        for one in asked
    ]


def _body(labeler: SimulatedLabeler, comparison: Comparison, session: Session) -> JudgmentBody:
    rows = session.execute(
        select(ComparisonCompletion.position, Completion.text)
        .join(Completion, Completion.id == ComparisonCompletion.completion_id)
        .where(ComparisonCompletion.comparison_id == comparison.id)
        .order_by(ComparisonCompletion.position)
    ).all()
    shown = tuple(ShownCompletion(position, text) for position, text in rows)
    prompt = _text(session.get_one(Prompt, comparison.prompt_id))
    view = ComparisonView(str(comparison.id), prompt, shown, comparison.kind, allows_ties=True)
    best = labeler.judge(view).preferred
    positions = [one.key for one in shown]
    return PickBody("tie" if best is None else "ab"[positions.index(best)])


def _text(prompt: Prompt) -> str:
    return str(prompt.messages[-1]["content"])


def _email(name: str) -> str:
    return f"{name}@example.org"


def _user(session: Session, name: str) -> User:
    return accounts.create_user(
        session, email=_email(name), name=name, password="a long enough password"
    )
