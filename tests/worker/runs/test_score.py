"""The job of a scoring: models respond once, whatever scores them; files are scored as they are."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db import Database
from app.domain import shard_sizes
from app.domain.reward_parts import PartKind, RewardPart, ScoreForm
from app.errors import Invalid
from app.models import Checkpoint, Completion, Job, Project, Prompt, ScoredRow, Scoring, Shard
from app.services.checkpoints import checkpoints
from app.services.jobs import job_leases
from app.services.project import projects
from app.services.rounds import scoring_csv, scorings
from app.services.rounds.scorings import PromptChoice, ScorerChoice
from tests.worker import published
from tests.worker.runs import small, test_shared_draws
from worker.runs import answer, help, score
from worker.runs.process import shard_work
from worker.runs.process.job_context import JobContext
from worker.training import text_scores

PATTERN = RewardPart(PartKind.FORMAT, pattern="a")


@pytest.fixture
def project(any_database: Database, tmp_path: Path) -> Project:
    """Make a project with two whole models."""
    with any_database.transaction() as session:
        base = str(small.save_tiny_llama(tmp_path / "base"))
        made = small.make_project(session, base_model=base)
        checkpoints.register_base(session, made, base)
        other = small.save_tiny_llama(tmp_path / "other")
        session.add(
            Checkpoint(
                project_id=made.id,
                kind="base",
                name="Other",
                uri=str(other),
                created_at=made.created_at,
            )
        )
    return made


def ask(database: Database, part: RewardPart, chosen: PromptChoice | None = None) -> int:
    with database.transaction() as session:
        project = projects.by_slug(session, "small")
        ids = [model.id for model in scorings.models(session, project.id)]
        choice = ScorerChoice(part, threshold=0.5)
        wanted = chosen or PromptChoice(count=4)
        return scorings.create(session, project, choice, ids, wanted, user_id=None).id


def test_models_are_scored_on_the_same_prompts_and_sampled_once(
    project: Project, any_database: Database, tmp_path: Path
) -> None:
    toxic = published.save(tmp_path / "toxic", ("fine", "toxic"))
    part = RewardPart(
        PartKind.CLASSIFIER, model=str(toxic), label="toxic", score=ScoreForm.PROBABILITY
    )
    first = ask(any_database, part)
    assert small.run_jobs(any_database, tmp_path) == ["score"]
    with any_database.reader() as session:
        scoring = scorings.get(session, project.id, first)
        assert scoring.finished_at is not None, session.scalars(select(Job.error)).all()
        summary = scorings.figures(session, scoring)
        assert [side.spread.n for side in summary.sides] == [4, 4]
        assert summary.sides[1].change is not None
        cases, total = scorings.worst(session, scoring, 1, 0, 3)
        assert total == 4
        shown = [case.scores[1] for case in cases]
        assert shown == sorted((one for one in shown if one is not None), reverse=True)
        assert all(0.0 < score < 1.0 for case in cases for score in case.scores if score)
        lines = list(scoring_csv.lines(session, scoring))
        assert len(lines) == 1 + 8
        made = session.scalar(select(func.count()).select_from(Completion))
    second = ask(any_database, RewardPart(PartKind.LENGTH, longest=2))
    small.run_jobs(any_database, tmp_path)
    with any_database.reader() as session:
        scoring = scorings.get(session, project.id, second)
        assert scorings.figures(session, scoring).sides[0].spread.n == 4
        assert session.scalar(select(func.count()).select_from(Completion)) == made
    with any_database.transaction() as session:
        scorings.remove(session, scorings.get(session, project.id, first), user_id=None)
        assert session.scalar(select(func.count()).select_from(ScoredRow)) == 4


def test_a_job_that_is_run_again_scores_only_what_is_missing(
    project: Project, any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(any_database, PATTERN)
    with any_database.transaction() as session:
        row = session.scalars(select(ScoredRow).order_by(ScoredRow.place)).first()
        assert row is not None
        row.texts, row.scores = ["x", "y"], [7.0, 8.0]
    asked: list[int] = []
    score = text_scores.Scorer.score

    def counted(
        self: text_scores.Scorer, responses: list[text_scores.ScoredText]
    ) -> list[float | None]:
        asked.append(len(responses))
        return score(self, responses)

    monkeypatch.setattr(text_scores.Scorer, "score", counted)
    small.run_jobs(any_database, tmp_path)
    assert asked == [6]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[text_scores.ScoredText]:
    """What the scorer is asked about."""
    heard: list[text_scores.ScoredText] = []
    score = text_scores.Scorer.score

    def listening(
        self: text_scores.Scorer, responses: list[text_scores.ScoredText]
    ) -> list[float | None]:
        heard.extend(responses)
        return score(self, responses)

    monkeypatch.setattr(text_scores.Scorer, "score", listening)
    return heard


def test_a_response_to_a_follow_up_is_scored_after_the_turns_before_it(
    project: Project,
    any_database: Database,
    tmp_path: Path,
    asked: list[text_scores.ScoredText],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = replace(answer.SETTINGS, max_new_tokens=4)  # two responses fit into the tiny context
    monkeypatch.setattr(answer, "SETTINGS", short)
    with any_database.transaction() as session:
        for prompt in session.scalars(select(Prompt)):
            prompt.follow_up = ["And why?"]
    scoring_id = ask(any_database, PATTERN, PromptChoice(count=1))
    small.run_jobs(any_database, tmp_path)
    with any_database.reader() as session:
        scoring = session.get_one(Scoring, scoring_id)
        (case,), _ = scorings.worst(session, scoring, 0, 0, 1)
        table = "".join(scoring_csv.lines(session, scoring))
    for turns in case.earlier:
        assert [turn["role"] for turn in turns] == ["assistant", "user"]
    assert [list(text.messages) for text in asked] == [
        [*case.messages, *turns] for turns in case.earlier
    ]
    assert table.count("And why?") == 2


def test_responses_of_a_file_to_a_follow_up_are_scored_after_their_own_turns(
    project: Project,
    any_database: Database,
    tmp_path: Path,
    asked: list[text_scores.ScoredText],
) -> None:
    def said(*texts: str) -> str:
        roles = ("Human", "Assistant") * 2
        return "".join(f"\n\n{role}: {text}" for role, text in zip(roles, texts, strict=True))

    pair = {"chosen": said("Hi", "One", "More", "a"), "rejected": said("Hi", "Two", "More", "b")}
    with any_database.transaction() as session:
        made = projects.by_slug(session, "small")
        data = [json.dumps(pair).encode()]
        scorings.create_of_file(
            session, made, ScorerChoice(PATTERN), data, "hh.jsonl", user_id=None
        )
    small.run_jobs(any_database, tmp_path)
    assert [[turn["content"] for turn in text.messages] for text in asked] == [
        ["Hi", "One", "More"],
        ["Hi", "Two", "More"],
    ]


def test_judged_pairs_of_a_file_give_accuracy_by_subset(
    project: Project, any_database: Database, tmp_path: Path
) -> None:
    rows = [
        {"prompt": "one", "chosen": "a b", "rejected": "b", "subset": "chat"},
        {"prompt": "two", "chosen": "b", "rejected": "a", "subset": "safety"},
        {"prompt": "three", "chosen": "a", "rejected": "b", "subset": "safety"},
    ]
    data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    with any_database.transaction() as session:
        made = projects.by_slug(session, "small")
        scoring = scorings.create_of_file(
            session, made, ScorerChoice(PATTERN), [data], "bench.jsonl", user_id=None
        )
        scoring_id = scoring.id
    small.run_jobs(any_database, tmp_path)
    with any_database.reader() as session:
        scoring = session.get_one(Scoring, scoring_id)
        summary = scorings.figures(session, scoring)
        assert [(row.subset, row.accuracy.value) for row in summary.accuracies] == [
            ("", pytest.approx(2 / 3)),
            ("chat", 1.0),
            ("safety", 0.5),
        ]
        cases, _total = scorings.worst(session, scoring, 0, 0, 1)
        assert cases[0].texts == ["b", "a"], "the rejected response leads"


@pytest.mark.parametrize(
    ("part", "chosen", "message"),
    [
        (PATTERN, PromptChoice(category="none such"), "has no prompts"),
        (PATTERN, PromptChoice(count=0), "1 to 2000 prompts, not 0"),
        (PATTERN, PromptChoice(group="all"), "not 'all'"),
        (RewardPart(PartKind.REWARD_MODEL, model="Reward 9"), PromptChoice(), "no reward model"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_a_job(
    project: Project, any_database: Database, part: RewardPart, chosen: PromptChoice, message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        ask(any_database, part, chosen)
    with any_database.reader() as session:
        assert session.scalars(select(Job)).all() == []


@pytest.mark.parametrize("is_lost", [False, True])
def test_rows_that_a_helper_scores_are_those_that_one_worker_scores(
    project: Project,
    any_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_lost: bool,
) -> None:
    monkeypatch.setattr(score, "ROWS", 1)
    toxic = published.save(tmp_path / "toxic", ("fine", "toxic"))
    part = RewardPart(
        PartKind.CLASSIFIER, model=str(toxic), label="toxic", score=ScoreForm.PROBABILITY
    )
    first = ask(any_database, part)
    small.run_jobs(any_database, tmp_path)
    second = ask(any_database, part)
    test_shared_draws.two_workers(any_database)
    monkeypatch.setattr(shard_sizes, "START_S", -100.0)
    share = shard_work.share

    def interlude(*args: Any) -> None:
        share(*args)
        if is_lost:  # the job is, and its helper had no time yet
            raise _Killed
        helped.append(test_shared_draws.claim_helper(any_database, tmp_path))
        help.run(helped[0])

    helped: list[JobContext] = []
    monkeypatch.setattr(shard_work, "share", interlude)
    context = small.claimed(any_database, tmp_path)
    if is_lost:
        with pytest.raises(_Killed):
            score.run(context)
        helped.append(test_shared_draws.claim_helper(any_database, tmp_path))
        with any_database.transaction() as session:
            job_leases.died(session, context.job_id, context.lease_token, "killed")
        context = small.claimed(any_database, tmp_path)
    score.run(context)
    with any_database.reader() as session:
        rows: dict[int, list[Any]] = {
            key: [
                (row.texts, row.scores)
                for row in session.scalars(
                    select(ScoredRow)
                    .where(ScoredRow.scoring_id == key)
                    .order_by(ScoredRow.prompt_id)
                )
            ]
            for key in (first, second)
        }
        workers = set(session.scalars(select(Shard.worker)))
        remarks = [session.get_one(Scoring, key).remarks for key in (first, second)]
    assert rows[first] == rows[second]
    assert remarks[0] == remarks[1]
    assert workers == {"here" if is_lost else test_shared_draws.OTHER}


class _Killed(BaseException):
    """Stands for a kill within this process."""
