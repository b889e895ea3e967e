"""The files of an export: everything in the project is exported or counted with its reason."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database, now
from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import RoundState
from app.models import (
    Adjudication,
    Comparison,
    Demonstration,
    ExportedJudgments,
    Judgment,
    Project,
    Prompt,
    Purpose,
    Round,
    Split,
    User,
)
from app.services.datasets import export_options, export_rows, exports, judged_comparisons
from app.services.datasets.judged_comparisons import Aggregate, ExportOptions
from app.services.datasets.read_pace import ReadPace
from app.services.jobs import jobs
from app.services.queue import comparisons
from tests.services import sample_votes
from worker.runs import export
from worker.runs.export import Written
from worker.runs.process.job_context import JobContext


@dataclass
class Place:
    """The part of a job that writing needs."""

    database: Database
    workdir: Path
    notes: list[str] = field(default_factory=list)

    def report(self, done: int, total: int, note: str = "") -> None:
        """Keep what is said of the progress."""
        self.notes.append(note)


def settle(session: Session, comparison: Comparison, lead: User, preferred: str | None) -> None:
    settlement = Adjudication(
        project_id=comparison.project_id,
        comparison_id=comparison.id,
        adjudicator_id=lead.id,
        preferred=preferred,
        both_bad=preferred is None,
        reason="mistake",
        guidelines_version=1,
        created_at=now(session),
    )
    session.add(settlement)


@pytest.fixture
def project(database: Database) -> Project:
    """Give a project with one comparison of every fate."""
    with database.transaction() as session:
        project, people = sample_votes.make_project(session)

        def judged(*preferred: str | None, **changes: Any) -> Comparison:
            comparison = sample_votes.make_comparison(session, project)
            for labeler, side in zip(people, preferred, strict=False):
                is_bad = side is None
                sample_votes.vote(session, comparison, labeler, preferred=side, both_bad=is_bad)
            for name, value in changes.items():
                setattr(comparison, name, value)
            session.flush()
            return comparison

        judged("a", "a", "b")
        judged("a", "b")
        judged("a", None, None)
        judged("tie", "tie", "a")
        judged()
        settle(session, judged("a", "a", "a"), people[0], "b")
        settle(session, judged("a", "a"), people[0], None)
        for purpose in (Purpose.EVALUATION, Purpose.GOLD, Purpose.PRACTICE, Purpose.REPEAT):
            judged("a", purpose=purpose)
        session.get_one(Prompt, judged("a").prompt_id).split = Split.VALIDATION
        comparisons.withdraw(session, judged("b").id)
        taken_back = judged("a", "b", "b").id
        votes = select(Judgment).where(Judgment.comparison_id == taken_back)
        retracted, surplus, _ = session.scalars(votes.order_by(Judgment.id))
        retracted.is_retraction = surplus.is_surplus = True
        rounds = [
            Round(
                project_id=project.id,
                number=number,
                state=RoundState.PLANNED,
                plan={},
                created_at=now(session),
            )
            for number in (1, 2)
        ]
        session.add_all(rounds)
        session.flush()
        for round_ in rounds:
            judged("b", round_id=round_.id)
        for number, split in enumerate((Split.TRAIN, Split.TEST)):
            prompt = session.get_one(Prompt, judged("a").prompt_id)
            prompt.split = split
            session.add(
                Demonstration(
                    project_id=project.id,
                    prompt_id=prompt.id,
                    text=f"Answer {number}.",
                    content_hash=str(number),
                    created_at=now(session),
                )
            )
    return project


def write(
    database: Database, project: Project, tmp_path: Path, format: str, options: ExportOptions
) -> Written:
    context = cast(JobContext, Place(database, tmp_path))
    return export.write(context, project.id, format, options, "title")


@pytest.mark.parametrize(
    ("rests", "note"), [(False, "0 rows"), (True, "0 rows, slower while people label")]
)
def test_the_progress_says_why_an_export_is_slow(
    database: Database,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rests: bool,
    note: str,
) -> None:
    monkeypatch.setattr(ReadPace, "rests", rests)
    place = Place(database, tmp_path)
    export.write(cast(JobContext, place), project.id, "rich", ExportOptions(), "title")
    assert place.notes == [note]


def options_of(format: str) -> list[ExportOptions]:
    plain = [
        ExportOptions(),
        ExportOptions(rounds=(2,)),
        ExportOptions(purposes=(Purpose.GOLD, Purpose.EVALUATION)),
        ExportOptions(splits=(Split.VALIDATION, Split.TEST)),
        ExportOptions(include_adjudicated=False),
    ]
    if "aggregate" in export_options.applied(format):
        plain += [ExportOptions(aggregate=Aggregate.EACH_VOTE), ExportOptions(min_agreement=0.9)]
    return plain


@pytest.mark.parametrize("format", export_rows.TITLES)
def test_everything_in_the_project_is_exported_or_has_a_reason(
    database: Database, project: Project, tmp_path: Path, format: str
) -> None:
    with database.reader() as session:
        query = select(func.count(Comparison.id)).where(Comparison.project_id == project.id)
        all_comparisons = session.scalar(query)
        query = select(func.count(Judgment.id)).where(Judgment.project_id == project.id)
        all_judgments = session.scalar(query.where(Judgment.is_current))
    for options in options_of(format):
        written = write(database, project, tmp_path, format, options)
        counts = written.manifest["counts"]
        assert counts["comparisons"]["considered"] == all_comparisons
        assert counts["judgments"]["considered"] == all_judgments
        assert counts["judgments"]["exported"] == len(written.account.judgments)
        for name in counts.keys() - {"settled"}:
            unit = counts[name]
            assert unit["considered"] == unit["exported"] + sum(unit["excluded"].values())
        lines = (written.folder / export.DATA).read_bytes().splitlines()
        assert len(lines) == written.manifest["written"]
        stated = json.loads((written.folder / "export.json").read_bytes())
        assert stated["counts"] == counts
        assert stated["filter"] == export_options.filter_of(format, options)
        card = (written.folder / "README.md").read_text(encoding="utf-8")
        assert f"| Comparisons | {all_comparisons} |" in card


def test_each_fate_has_its_reason(database: Database, project: Project, tmp_path: Path) -> None:
    written = write(database, project, tmp_path, "trl-implicit", ExportOptions(rounds=(2,)))
    excluded = written.manifest["counts"]["comparisons"]["excluded"]
    assert {name: count for name, count in excluded.items() if "round" not in name} == {
        "purpose evaluation": 1,
        "purpose gold": 1,
        "purpose practice": 1,
        "purpose repeat": 1,
        "split validation": 1,
        "split test": 1,
    }
    assert (excluded["round 1"], written.manifest["counts"]["comparisons"]["exported"]) == (1, 1)
    assert excluded["in no round"] > 1
    written = write(database, project, tmp_path, "trl-implicit", ExportOptions())
    counts = written.manifest["counts"]
    for reason in (
        judged_comparisons.NO_MAJORITY,
        judged_comparisons.MOSTLY_NEITHER,
        judged_comparisons.TIED,
        judged_comparisons.UNJUDGED,
        judged_comparisons.WITHDRAWN,
        judged_comparisons.SETTLED_NEITHER,
    ):
        assert counts["comparisons"]["excluded"][reason] == 1
    assert counts["judgments"]["excluded"][judged_comparisons.RETRACTED] == 1
    assert counts["judgments"]["excluded"][judged_comparisons.SURPLUS] == 1
    assert counts["settled"] == 1
    shown = write(database, project, tmp_path, "demonstrations", ExportOptions()).manifest
    assert shown["counts"]["demonstrations"] == {
        "considered": 2,
        "exported": 1,
        "excluded": {"split test": 1},
    }


def test_ranks_and_ratings_are_read_alike_from_each_database(
    any_database: Database, tmp_path: Path
) -> None:
    with any_database.transaction() as session:
        project, people = sample_votes.make_project(session)
        ranked = sample_votes.make_comparison(
            session, project, ("x", "y", "z"), kind=JudgmentKind.RANK
        )
        sample_votes.vote(session, ranked, people[0], ranking=[2, 1, 3], shown_order=(2, 0, 1))
        rated = sample_votes.make_comparison(session, project, ("v", "w"), kind=JudgmentKind.RATE)
        sample_votes.vote(session, rated, people[0], ratings={"right": [1, 5]}, comment="so")
        picked = sample_votes.make_comparison(session, project, ("p", "q"))
        sample_votes.vote(session, picked, people[1], preferred="b", strength=2)
    lines: dict[str, list[dict[str, Any]]] = {}
    for format in ("trl-explicit", "rich", "training"):
        written = write(any_database, project, tmp_path, format, ExportOptions())
        text = (written.folder / export.DATA).read_text(encoding="utf-8")
        lines[format] = [json.loads(line) for line in text.splitlines()]
    chosen = [row["chosen"][0]["content"] for row in lines["trl-explicit"]]
    one, two, three = (
        [completion["text"] for completion in row["completions"]] for row in lines["rich"]
    )
    assert chosen == [one[1], one[0], one[1], two[1], three[1]]
    votes = [row["individual_preference"][0] for row in lines["rich"]]
    assert [vote["ranking"] for vote in votes] == [[2, 1, 3], [2, 1], [2, 1]]
    assert votes[0]["shown_order"] == [2, 0, 1]
    assert (votes[1]["ratings"], votes[1]["comment"]) == ({"right": [1, 5]}, "so")
    assert [row["context"][0]["role"] for row in lines["rich"]] == ["user"] * 3
    assert lines["training"][1]["absolutes"] == [[{"right": 1.0}, None], [{"right": 5.0}, None]]
    assert [pair[2] for pair in lines["training"][0]["pairs"]] == [0.0, 1.0, 1.0]


def test_the_judgments_of_an_export_are_linked_to_it(
    database: Database, project: Project, tmp_path: Path
) -> None:
    written = write(database, project, tmp_path, "rich", ExportOptions())
    with database.transaction() as session:
        job = jobs.enqueue(session, kind="reward", queue="gpu", payload={})
        row = exports.freeze(
            session,
            project.id,
            job_id=job.id,
            options=ExportOptions(),
            frozen=exports.Frozen(
                uri="x",
                filename="y",
                sha256=written.file.sha256,
                bytes=1,
                rows=1,
                manifest=written.manifest,
                summary="",
                judgments=written.account.judgments,
            ),
        )
    with database.reader() as session:
        linked = list(exports.judgments(session, row.id))
        assert linked == list(written.account.judgments) != []
        assert session.scalar(select(func.count()).select_from(ExportedJudgments)) == 1
