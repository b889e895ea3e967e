"""Files that come in: what they add, what they add a second time, and what is refused."""

import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.domain.splits import split_of
from app.errors import Invalid
from app.formats.manifest import Counts
from app.models import (
    Comparison,
    ComparisonCompletion,
    Completion,
    Demonstration,
    ImportRun,
    Judgment,
    Membership,
    Project,
    Prompt,
    Slot,
    Split,
    User,
)
from app.services.datasets import export_rows, imports, judged_comparisons
from app.services.datasets.judged_comparisons import Aggregate, ExportOptions, Ties
from app.services.people import accounts
from app.services.project import projects
from app.services.quality import agreement
from app.services.queue import comparisons
from tests.services import sample_votes

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def make_project(session: Session, **options: Any) -> Project:
    owner = accounts.create_user(session, email="o@example.org", name="O", password=None)
    return projects.create(session, name="Desk", owner=owner, **options)


def lines(*rows: object) -> io.BytesIO:
    return io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode())


def count(session: Session, table: type) -> int:
    return session.scalar(select(func.count()).select_from(table)) or 0


def take(session: Session, project: Project, file: io.BytesIO, name: str = "f.jsonl") -> ImportRun:
    return imports.run(session, project, file, filename=name)


MT_BENCH = {"question_id": 81, "category": "writing", "turns": ["Write a post.", "Shorten it."]}
HH_ROW = {
    "chosen": "\n\nHuman: Hello?\n\nAssistant: Good morning.",
    "rejected": "\n\nHuman: Hello?\n\nAssistant: What.",
}
VOTES: dict[str, Any] = {
    "context": [{"role": "user", "content": "When is it open?"}],
    "completions": [{"text": "Nine to six."}, {"text": "See the door."}],
    "individual_preference": [
        {"labeler": "L2", "ranking": [1, 2], "strength": 3},
        {"labeler": "L3", "ranking": [1, 2]},
        {"labeler": "L4", "ranking": [2, 1]},
    ],
}


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"prompt": "Is it open?"}, "prompts"),
        ({"input_text": "Is it open?"}, "vertex-prompts"),
        ({"instruction": "Summarize.", "input": "", "output": "Short."}, "alpaca"),
        (MT_BENCH, "mt-bench"),
        (HH_ROW, "hh"),
    ],
)
def test_the_format_is_told_by_the_rows(session: Session, row: object, format: str) -> None:
    run = take(session, make_project(session), lines(row))
    assert (run.format, run.counts["prompts_new"]) == (format, 1)


def test_the_second_turn_of_a_question_waits_for_the_answer_to_the_first(session: Session) -> None:
    take(session, make_project(session), lines(MT_BENCH))
    prompt = session.scalars(select(Prompt)).one()
    assert prompt.messages == [{"role": "user", "content": "Write a post."}]
    assert prompt.follow_up == ["Shorten it."]
    assert (prompt.source_key, prompt.meta) == ("81", {"category": "writing"})


def test_a_split_follows_from_the_content_alone(session: Session) -> None:
    project = make_project(session)
    take(session, project, lines(*({"prompt": f"Question {n}"} for n in range(60))))
    found = session.scalars(select(Prompt)).all()
    assert all(str(prompt.split) == str(split_of(prompt.content_hash)) for prompt in found)
    assert len({prompt.split for prompt in found}) == 3


def test_the_same_file_again_adds_nothing(session: Session) -> None:
    project = make_project(session)
    tables = (Prompt, Demonstration, Completion, Comparison, Judgment, Slot, User, Membership)
    files: Sequence[tuple[object, ...]] = (
        ({"prompt": "A"}, {"prompt": "B", "completion": "Yes."}),
        ({"prompt": "C", "completions": [{"source": "m1", "text": "x"}, {"output": "y"}]},),
        (HH_ROW, VOTES),
        (VOTES,),
    )
    for rows in files:
        take(session, project, lines(*rows))
    before = {table: count(session, table) for table in tables}
    for rows in files:
        take(session, project, lines(*rows))
    assert {table: count(session, table) for table in tables} == before
    assert count(session, ImportRun) == 2 * len(files)


def test_bad_lines_are_reported_by_number_and_the_rest_goes_in(session: Session) -> None:
    file = io.BytesIO(b'{"prompt": "A"}\n{"prompt": \n\n{"prompt": " "}\n{"prompt": "B"}\n')
    run = take(session, make_project(session), file)
    assert run.counts["prompts_new"] == 2
    assert [reject["line"] for reject in run.rejects] == [2, 4]
    assert all(reject["reason"] for reject in run.rejects)
    assert run.rejects[0]["raw"] == '{"prompt": '


def test_packed_files_are_unpacked(session: Session) -> None:
    packed = io.BytesIO(gzip.compress(b'{"prompt": "A"}\n'))
    assert take(session, make_project(session), packed).counts["prompts_new"] == 1


def test_an_empty_file_is_refused(session: Session) -> None:
    with pytest.raises(Invalid, match="empty"):
        take(session, make_project(session), io.BytesIO(b""))


def test_completions_that_fit_the_question_are_put_to_labelers(session: Session) -> None:
    project = make_project(session, overlap=2)
    two = {"prompt": "A", "completions": [{"source": "gpt-x", "text": "one"}, "two"]}
    three = {"prompt": "B", "completions": ["one", "two", "three"]}
    run = take(session, project, lines(two, three))
    comparison = session.scalars(select(Comparison)).one()
    assert (comparison.kind, comparison.overlap, comparison.open_slots) == ("pick", 2, 2)
    assert run.counts["kept_without_comparison"] == 1
    assert count(session, Completion) == 5
    assert "gpt-x" in session.scalars(select(Completion.source)).all()


def test_a_ranking_project_compares_all_completions_of_a_line(session: Session) -> None:
    project = make_project(session, judgment_kind=JudgmentKind.RANK, k=4)
    take(session, project, lines({"prompt": "B", "completions": ["one", "two", "three"]}))
    assert count(session, ComparisonCompletion) == 3


def test_a_files_comparisons_come_after_those_a_round_waits_for(session: Session) -> None:
    project = make_project(session, judgment_kind=JudgmentKind.RANK, k=2)
    row = {"prompt": "Q?", "completions": [{"source": "a", "text": "one"}, {"text": "two"}]}
    take(session, project, lines(row))
    (imported,) = session.scalars(select(Comparison)).all()
    judging_round = comparisons.create(
        session,
        project,
        imported.prompt_id,
        list(session.scalars(select(Completion.id))),
        natural_key="round-1-prompt-1-0",
        seed=1,
    )
    assert judging_round.priority > imported.priority


def test_an_imported_preference_is_training_data(any_database: Database) -> None:
    with any_database.transaction() as session:
        project = make_project(session)
        rows = [
            {"prompt": f"Question {n}?", "chosen": f"Good {n}", "rejected": f"Bad {n}"}
            for n in range(30)
        ]
        take(session, project, lines(*rows))
        options = ExportOptions(ties=Ties.HALF, splits=(Split.TRAIN,))
        judged = sample_votes.judged_rows(session, project.id, options, Counts())
        training = [judged_comparisons.training_row(comparison) for comparison in judged]
    assert training
    for row in training:
        assert row is not None
        (pair,) = row.pairs
        better = row.candidates[pair.first if pair.share > 0.5 else pair.second]
        assert better.text.startswith("Good")
        assert pair.share in (0.0, 1.0)


def test_named_labelers_of_a_file_agree_as_they_did_there(session: Session) -> None:
    project = make_project(session)
    take(session, project, lines(VOTES))
    comparison = session.scalars(select(Comparison)).one()
    assert (comparison.done_slots, comparison.open_slots, comparison.overlap) == (3, 0, 3)
    overall = agreement.report(session, project.id).overall
    assert (overall.labelers, overall.judgments) == (3, 3)
    assert overall.raw.value == pytest.approx(1 / 3)


def test_votes_far_apart_in_a_file_meet_in_one_comparison(session: Session) -> None:
    project = make_project(session)
    for vote in VOTES["individual_preference"]:
        take(session, project, lines(VOTES | {"individual_preference": [vote]}))
    comparison = session.scalars(select(Comparison)).one()
    assert (comparison.done_slots, comparison.open_slots, comparison.overlap) == (3, 0, 3)


def test_a_second_opinion_of_the_same_labeler_is_refused_with_the_reason(session: Session) -> None:
    project = make_project(session)
    vote = VOTES["individual_preference"][0] | {"labeler": "ann"}
    first = VOTES | {"individual_preference": [vote | {"ranking": [1, 2]}]}
    second = VOTES | {"individual_preference": [vote | {"ranking": [2, 1]}]}
    run = take(session, project, lines(first, second))
    assert run.counts["judgments_new"] == 1
    assert run.rejects[0]["line"] == 2
    assert "differently before" in run.rejects[0]["reason"]


def test_every_vote_without_a_name_is_kept_and_comes_in_only_once(session: Session) -> None:
    project = make_project(session)
    turned = {"chosen": HH_ROW["rejected"], "rejected": HH_ROW["chosen"]}
    file = lines(HH_ROW, turned, HH_ROW)
    run = take(session, project, file)
    assert (run.counts["judgments_new"], run.rejects) == (3, [])
    assert take(session, project, file).counts.get("judgments_new", 0) == 0
    comparison = session.scalars(select(Comparison)).one()
    assert comparison.done_slots == 3


def test_nobody_can_sign_in_as_a_labeler_of_a_file(session: Session) -> None:
    project = make_project(session)
    named = VOTES["individual_preference"][0] | {"labeler": "ann@example.org"}
    take(session, project, lines(VOTES | {"individual_preference": [named]}))
    user = session.scalars(select(User).where(User.id != 1)).one()
    assert not user.is_active
    assert user.password_hash is None
    assert "ann" not in user.email + user.name


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder with real inputs is not here")
def test_real_files_come_in_and_come_in_only_once(session: Session) -> None:
    project = make_project(session)
    found = sorted(p for p in DATA.rglob("*") if p.suffix in {".jsonl", ".gz", ".json", ".csv"})
    for path in found:
        if path.stat().st_size > 200_000:
            continue
        with path.open("rb") as file:
            try:
                first = imports.run(session, project, file, filename=path.name)
            except Invalid:
                continue
            second = imports.run(session, project, file, filename=path.name)
        assert first.counts.get("records", 0) + first.counts.get("rejected", 0) > 0
        new = {name: n for name, n in second.counts.items() if name.endswith("_new")}
        assert not any(new.values()), path.name


@pytest.mark.parametrize("format", ["hh", "trl-explicit", "trl-implicit", "openai-preference"])
def test_what_was_exported_comes_back_as_the_same_bytes(session: Session, format: str) -> None:
    first, _ = sample_votes.make_project(session)
    rows = [
        {
            "chosen": f"\n\nHuman: Q{n}\n\nAssistant: good {n}",
            "rejected": f"\n\nHuman: Q{n}\n\nAssistant: bad",
        }
        for n in range(12)
    ]
    take(session, first, lines(*rows))
    written = exported(session, first, format)
    assert written.count(b"\n") == 12
    second, _ = sample_votes.make_project(session)
    take(session, second, io.BytesIO(written))
    assert exported(session, second, format) == written


RICH_ROWS: dict[str, dict[str, Any]] = {
    "rate": {
        "weights": {"kind": 1.0, "true": 3.0},
        "completions": [{"text": "Nine."}, {"text": "Ten."}],
        "ratings": {"kind": [1, 5], "true": [4, 2]},
        "ranking": [1, 2],
    },
    "thumbs": {"completions": [{"text": "Nine."}], "thumb": "down", "reasons": ["wrong"]},
    "edit": {"completions": [{"text": "Nine."}], "text": "At nine."},
    "write": {"completions": [], "text": "At nine, from Monday."},
}


@pytest.mark.parametrize("kind", RICH_ROWS)
def test_every_kind_of_answer_comes_back_from_its_file(session: Session, kind: str) -> None:
    said = RICH_ROWS[kind]
    k = len(said["completions"])
    row = {
        "context": [{"role": "user", "content": "When is it open?"}],
        "completions": said["completions"],
        "kind": kind,
        "weights": said.get("weights"),
        "individual_preference": [
            {"labeler": "L2", "shown_order": list(range(k)), "comment": "Hm."}
            | {name: said[name] for name in said if name not in {"completions", "weights"}}
        ],
    }
    first, _ = sample_votes.make_project(session)
    took = take(session, first, lines(row))
    assert (took.counts["judgments_new"], took.rejects) == (1, [])
    assert take(session, first, lines(row)).counts["judgments_new"] == 0
    written = exported(session, first, "rich")
    assert content(json.loads(written)) == content(row)
    second, _ = sample_votes.make_project(session)
    take(session, second, io.BytesIO(written))
    assert content(json.loads(exported(session, second, "rich"))) == content(row)


def content(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a rich row says, whatever order its completions are numbered in."""
    texts = [one["text"] for one in row["completions"]]
    (vote,) = row["individual_preference"]
    of_text = {
        name: dict(zip(texts, given, strict=True))
        for name, given in [*(vote.get("ratings") or {}).items(), ("ranking", vote.get("ranking"))]
        if given is not None
    }
    plain = {name: vote.get(name) for name in ("thumb", "reasons", "text", "comment")}
    return plain | of_text | {"kind": row["kind"], "weights": row.get("weights")}


def test_labels_of_a_file_are_thumbs_and_come_back_as_the_same_bytes(session: Session) -> None:
    first, _ = sample_votes.make_project(session)
    rows = [{"prompt": f"Q{n}", "completion": f"answer {n}", "label": n % 3 == 0} for n in range(9)]
    assert take(session, first, lines(*rows)).counts["judgments_new"] == 9
    written = exported(session, first, "unpaired")
    assert written.count(b"\n") == 9
    second, _ = sample_votes.make_project(session)
    take(session, second, io.BytesIO(written))
    assert exported(session, second, "unpaired") == written


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "guess"}, "the kind must be one of"),
        ({"kind": "thumbs"}, "takes 1 completions, not 2"),
        ({"kind": "rate"}, "has no ratings"),
        ({"individual_preference": [{"labeler": "x", "ratings": {"a": [1]}}]}, "1 ratings on 'a'"),
    ],
)
def test_a_vote_that_does_not_fit_its_comparison_is_reported(
    session: Session, changes: dict[str, Any], reason: str
) -> None:
    project = make_project(session)
    took = take(session, project, lines(VOTES | changes, {"prompt": "A"}))
    assert reason in took.rejects[0]["reason"]


def exported(session: Session, project: Project, format: str) -> bytes:
    options = ExportOptions(aggregate=Aggregate.EACH_VOTE, splits=tuple(Split))
    account = export_rows.Account()
    found = sample_votes.judged_rows(session, project.id, options, account.counts)
    return b"".join(export_rows.write(found, format, options, account))
