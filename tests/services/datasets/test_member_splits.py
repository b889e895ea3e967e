"""An archive's file names set splits and sources, as far as that breaks no split there is."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Completion, Demonstration, ImportRun, Job, Project, Prompt, Split
from app.services.datasets import import_jobs, imports
from tests.services import sample

Row = Mapping[str, object]
SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)


def archive(files: Mapping[str, Sequence[Row]]) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, rows in files.items():
            made.writestr(name, "".join(json.dumps(row) + "\n" for row in rows))
    return file


def questions(start: int, count: int = 8) -> list[Row]:
    return [{"prompt": f"Question {n}?"} for n in range(start, start + count)]


FILES = {
    "train.jsonl": questions(0),
    "validation.jsonl": questions(20),
    "parts/test.jsonl": questions(40),
}


def take(
    session: Session, project: Project, file: io.BytesIO, choice: bool | None = None
) -> ImportRun:
    return imports.run(session, project, file, filename="all.zip", member_splits=choice)


def places(session: Session) -> dict[str, tuple[str, str]]:
    """Return the split and the source of each prompt, by its number."""
    return {
        prompt.messages[-1]["content"].split()[1].rstrip("?"): (prompt.split, prompt.source)
        for prompt in session.scalars(select(Prompt))
    }


def test_names_set_the_split_and_the_source_and_the_result_says_so(session: Session) -> None:
    run = take(session, sample.make_project(session), archive(FILES))
    found = places(session)
    assert {found[str(n)] for n in range(8)} == {("train", "train.jsonl")}
    assert {found[str(n)] for n in range(20, 28)} == {("validation", "validation.jsonl")}
    assert {found[str(n)] for n in range(40, 48)} == {("test", "test.jsonl")}
    assert (run.counts["splits_named"], run.counts["splits_kept"]) == (24, 0)
    assert any("parts/test.jsonl says test" in remark for remark in run.remarks)


def test_without_the_choice_or_with_one_split_alone_the_content_decides(session: Session) -> None:
    chosen = sample.make_project(session)
    run = take(session, chosen, archive({"a-train.jsonl": questions(0, 40), "b.jsonl": []}))
    assert len({split for split, _ in places(session).values()}) > 1
    assert "splits_named" not in run.counts
    again = take(session, chosen, archive(FILES), choice=False)
    assert "splits_named" not in again.counts
    assert any("though train.jsonl says train" in remark for remark in again.remarks)


def test_one_split_alone_is_used_if_it_is_chosen(session: Session) -> None:
    files = {"train/a.jsonl": questions(0, 20), "train/b.jsonl": questions(20, 20)}
    take(session, sample.make_project(session), archive(files), choice=True)
    assert {split for split, _ in places(session).values()} == {"train"}


def test_a_prompt_never_changes_its_split_and_those_that_begin_alike_stay_together(
    session: Session,
) -> None:
    project = sample.make_project(session)
    take(session, project, archive(FILES))
    turns = (("user", "Question 1?"), ("assistant", "Yes."), ("user", "And then?"))
    longer = [{"messages": [{"role": role, "content": content} for role, content in turns]}]
    moved = {"train.jsonl": questions(40, 2), "test.jsonl": [*questions(0, 1), *longer]}
    run = take(session, project, archive(moved))
    assert (run.counts["splits_named"], run.counts["splits_kept"]) == (0, 4)
    found = places(session)
    assert (found["40"][0], found["0"][0]) == ("test", "train")
    follow_up = session.scalars(select(Prompt).order_by(Prompt.id.desc())).first()
    assert follow_up is not None
    assert follow_up.split == Split.TRAIN, "as the prompt it continues"


def test_one_prompt_in_two_files_is_in_the_split_of_the_first(session: Session) -> None:
    files = {"train.jsonl": questions(0, 3), "test.jsonl": questions(2, 3)}
    run = take(session, sample.make_project(session), archive(files))
    assert places(session)["2"] == ("train", "train.jsonl")
    assert run.counts["splits_named"] + run.counts["splits_kept"] == 5


def test_an_evaluation_set_is_test_data_whatever_its_files_are_called(session: Session) -> None:
    imports.run(
        session,
        sample.make_project(session),
        archive(FILES),
        filename="all.zip",
        is_evaluation=True,
        member_splits=True,
    )
    assert {split for split, _ in places(session).values()} == {"test"}


def test_responses_that_name_no_source_have_that_of_their_file(session: Session) -> None:
    files: dict[str, list[Row]] = {
        "small.jsonl": [{"prompt": "Why?", "completions": [{"text": "So."}, {"text": "No."}]}],
        "large.jsonl": [
            {"prompt": "Why?", "completions": [{"text": "Because."}, {"text": "x", "source": "m"}]}
        ],
        "people.jsonl": [{"prompt": "How?", "completion": "Thus."}],
    }
    take(session, sample.make_project(session), archive(files))
    found = {one.text: one.source for one in session.scalars(select(Completion))}
    assert found == {
        "So.": "small.jsonl",
        "No.": "small.jsonl",
        "Because.": "large.jsonl",
        "x": "m",
    }
    assert [one.source for one in session.scalars(select(Demonstration))] == ["people.jsonl"]
    again = take(session, session.scalars(select(Project)).one(), archive(files))
    assert again.counts["completions_new"] == again.counts["prompts_new"] == 0


@pytest.mark.parametrize("choice", [None, True, False])
def test_a_job_is_given_the_choice(
    session: Session, choice: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", 1)
    import_jobs.start(
        session,
        sample.make_project(session),
        archive(FILES),
        filename="all.zip",
        format=None,
        author_id=None,
        member_splits=choice,
    )
    (job,) = session.scalars(select(Job))
    assert job.payload.get("member_splits") is choice
