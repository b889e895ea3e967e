"""Two sides' answers to the same prompts: what pairs, what is filtered, what is counted."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database, now
from app.errors import Invalid, NotFound
from app.models import (
    Checkpoint,
    CheckpointKind,
    Completion,
    Job,
    Project,
    ResultsFile,
    ResultsRow,
    Split,
)
from app.services.checkpoints import response_jobs, results_files, side_by_side
from app.services.checkpoints.side_by_side import Difference, Length, PairFilter
from app.services.project import prompts
from tests.services.sample_votes import make_project

ROWS = [("one", "alike", "alike"), ("two", "short", "a much longer answer"), ("three", "b", "cc")]


@pytest.fixture
def session(any_database: Database) -> Iterator[Session]:
    with any_database.transaction() as found:
        yield found


@pytest.fixture
def project(session: Session) -> Project:
    return make_project(session)[0]


def take(session: Session, project: Project, rows: Sequence[object], name: str) -> str:
    data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    stream = io.BytesIO(data)
    return (
        f"file-{results_files.add(session, project, stream, filename=name, user_id=None).file.id}"
    )


def two_files(session: Session, project: Project) -> PairFilter:
    first = [{"prompt": asked, "completions": [one]} for asked, one, _ in ROWS]
    second = [
        {"inputs": {"inputs_pretokenized": asked}, "prediction": two} for asked, _, two in ROWS
    ]
    extra = {"prompt": "only here", "completions": ["x"]}
    return PairFilter(
        take(session, project, [*first, extra], "untuned.jsonl"),
        take(session, project, second, "tuned.jsonl"),
    )


def model_of(session: Session, project: Project, name: str, answers: dict[str, str]) -> str:
    model = Checkpoint(
        project_id=project.id,
        kind=CheckpointKind.POLICY,
        name=name,
        uri=name,
        config={},
        metrics={},
        created_at=now(session),
    )
    session.add(model)
    given = [prompts.NewPrompt((("user", asked),)) for asked in answers]
    asked = prompts.add(session, project, given).prompts
    for prompt, text in zip(asked, answers.values(), strict=True):
        for index, said in enumerate((text, "a second answer")):
            session.add(
                Completion(
                    project_id=project.id,
                    prompt_id=prompt.id,
                    checkpoint_id=model.id,
                    source=name,
                    source_key=f"key-{name}",
                    sample_index=index,
                    text=said,
                    sampling={},
                    created_at=now(session),
                )
            )
            session.flush()
    return f"model-{model.id}"


def answers(found: side_by_side.SideBySidePage) -> list[tuple[str, str]]:
    return [(pair.first, pair.second) for pair in found.pairs]


def test_two_files_pair_by_what_the_prompts_say(session: Session, project: Project) -> None:
    found = side_by_side.page(session, project.id, two_files(session, project))
    assert answers(found) == [(one, two) for _, one, two in ROWS]
    assert [pair.messages[0]["content"] for pair in found.pairs] == ["one", "two", "three"]
    totals = found.totals
    assert (totals.pairs, totals.same, totals.only_first, totals.only_second) == (3, 1, 1, 0)
    assert (totals.longer_first, totals.longer_second) == (0, 2)
    assert totals.length_first == pytest.approx((5 + 5 + 1) / 3)


def test_a_model_and_a_file_pair_by_the_models_first_answer(
    session: Session, project: Project
) -> None:
    wanted = two_files(session, project)
    model = model_of(session, project, "Policy 1", {"two": "from the model", "four": "unasked"})
    found = side_by_side.page(session, project.id, replace(wanted, first=model))
    assert answers(found) == [("from the model", "a much longer answer")]
    assert (found.first.name, found.first.answers) == ("Policy 1", 2)


def test_an_answer_under_the_newest_instruction_comes_first(
    session: Session, project: Project
) -> None:
    sides = two_files(session, project)
    model = model_of(session, project, "Policy 1", {"two": "under version 1"})
    later = session.scalars(select(Completion).where(Completion.text == "a second answer")).one()
    later.instruction_version = 2
    session.flush()
    found = side_by_side.page(session, project.id, replace(sides, second=model))
    assert answers(found) == [("short", "a second answer")]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"difference": Difference.SAME}, ["one"]),
        ({"difference": Difference.DIFFERENT}, ["two", "three"]),
        ({"length": Length.FIRST}, []),
        ({"length": Length.SECOND}, ["two", "three"]),
        ({"length": Length.MUCH}, ["two", "three"]),
        ({"search": "LONGER"}, ["two"]),
        ({"search": "thr"}, ["three"]),
        ({"search": "100%"}, []),
        ({"by_length": True}, ["two", "three", "one"]),
        ({"search": "w", "difference": Difference.DIFFERENT}, ["two"]),
    ],
)
def test_pairs_are_found_by_difference_length_and_words(
    session: Session, project: Project, changes: dict[str, object], kept: list[str]
) -> None:
    wanted = replace(two_files(session, project), **changes)  # type: ignore[arg-type]
    found = side_by_side.page(session, project.id, wanted)
    assert [pair.messages[0]["content"] for pair in found.pairs] == kept
    assert found.found == len(kept)
    assert found.totals.pairs == 3, "totals are of all pairs"


def test_pages_hold_every_pair_once(session: Session, project: Project) -> None:
    rows = [{"prompt": f"q {n}", "completions": [f"a {n}"]} for n in range(45)]
    one = take(session, project, rows, "one.jsonl")
    other = take(session, project, [{**row, "id": "x"} for row in rows], "other.jsonl")
    pages = [
        side_by_side.page(session, project.id, PairFilter(one, other, number=n))
        for n in (1, 2, 3, 9)
    ]
    assert [len(found.pairs) for found in pages] == [20, 20, 5, 5]
    said = [pair.first for found in pages[:3] for pair in found.pairs]
    assert said == [f"a {n}" for n in range(45)]
    assert (pages[0].pages, pages[3].number) == (3, 3)


def test_the_same_file_comes_in_once_and_can_be_thrown_away(
    session: Session, project: Project
) -> None:
    key = two_files(session, project).first
    assert two_files(session, project).first == key
    assert session.scalar(select(func.count()).select_from(ResultsFile)) == 2
    file = results_files.get(session, project.id, int(key.removeprefix("file-")))
    results_files.remove(session, file, user_id=None)
    session.flush()
    assert session.scalar(select(func.count()).select_from(ResultsRow)) == 3
    with pytest.raises(NotFound, match="no results file"):
        side_by_side.page(session, project.id, PairFilter(key, key))


def test_lines_without_an_answer_are_counted_with_their_reason(
    session: Session, project: Project
) -> None:
    data = (
        b'{"prompt": "a", "completion": "b"}\n{"prompt": "c"}\n{"prompt": "a", "completion": "d"}'
    )
    taken = results_files.add(session, project, io.BytesIO(data), filename="r.jsonl", user_id=None)
    assert (taken.file.rows, taken.left_out) == (1, 2)
    assert taken.reason == "line 2: it has no response"
    with pytest.raises(Invalid, match="has no prompt with a response; line 1: it has no response"):
        take(session, project, [{"prompt": "c"}], "none.jsonl")


def test_a_side_of_another_project_is_not_found(session: Session, project: Project) -> None:
    stranger = make_project(session)[0]
    wanted = two_files(session, stranger)
    model = model_of(session, stranger, "Policy 1", {"two": "x"})
    for first in (wanted.first, model, "file-1x", "reward", "model-"):
        with pytest.raises(NotFound):
            side_by_side.page(session, project.id, replace(wanted, first=first))


def test_models_are_asked_by_a_job_and_files_cannot_be(session: Session, project: Project) -> None:
    one = model_of(session, project, "Policy 1", {"two": "x"})
    other = model_of(session, project, "Policy 2", {"two": "y"})
    job = response_jobs.enqueue(session, project, (one, other), 5, Split.TEST, user_id=None)
    assert session.get_one(Job, job.id).payload["prompts"] == 5
    with pytest.raises(Invalid, match="'file-1' is not a model"):
        response_jobs.enqueue(session, project, ("file-1", one), 5, Split.TEST, user_id=None)
    with pytest.raises(Invalid, match="1 to 2000 prompts here, not 0"):
        response_jobs.enqueue(session, project, (one, other), 0, Split.TEST, user_id=None)
