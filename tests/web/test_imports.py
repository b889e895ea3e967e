"""Files over HTTP: small ones are imported by the request, large ones by a job, alike."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database
from app.domain.goals import Goal
from app.domain.judgment_kinds import JudgmentKind
from app.domain.states import JobState
from app.models import Job, Project, User
from app.services.datasets import import_jobs
from app.services.people import accounts
from app.services.project import criteria, projects
from app.services.project.criteria import CriterionSettings
from tests.worker.runs import small

SignIn = Callable[..., TestClient]
API = "/api/v1/projects/desk"
FILE = b'{"prompt": "Is it open?"}\n{"prompt": "May I renew?"}\nnot a row\n'


@pytest.fixture
def lead(sign_in: SignIn, database: Database) -> TestClient:
    browser = sign_in("lead")
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.name == "lead")).one()
        projects.create(session, name="Desk", owner=user, judgment_kind=JudgmentKind.PICK)
    return browser


@pytest.fixture
def jobs_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", 0)


def html(browser: TestClient, path: str) -> str:
    answer = browser.get(path, headers={"accept": "text/html"})
    assert answer.status_code == 200, (path, answer.text[:500])
    return answer.text


def upload(lead: TestClient) -> str:
    answer = lead.post("/p/desk/prompts", files={"file": ("q.jsonl", FILE)})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


@pytest.mark.usefixtures("jobs_for_all")
def test_a_large_upload_shows_its_progress_and_then_its_result(
    lead: TestClient, tmp_path: Path, database: Database
) -> None:
    page = upload(lead)
    waiting = html(lead, page)
    assert f'data-refresh="{page}/live"' in waiting
    assert "queued" in waiting
    assert "data-done" not in html(lead, f"{page}/live")
    assert "queued" in html(lead, "/p/desk/prompts")
    assert "data-done" not in html(lead, "/p/desk/prompts/imports/live")
    assert small.run_jobs(database, tmp_path) == ["import", "words"]
    done = html(lead, page)
    assert "not JSON" in done
    assert "data-refresh" not in done
    assert '"line": 3' in lead.get(f"{page}/rejects.jsonl").text
    assert "data-done" in html(lead, f"{page}/live")
    assert "data-done" in html(lead, "/p/desk/prompts/imports/live")
    with database.reader() as session:
        job_id = session.scalars(select(Job.id).where(Job.kind == "import")).one()
    assert page in html(lead, f"/p/desk/jobs/{job_id}")


def test_the_result_page_is_the_same_either_way(
    lead: TestClient, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = html(lead, f"{upload(lead)}/live")
    monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", 0)
    later = upload(lead)
    small.run_jobs(database, tmp_path)
    # Only what is new differs: the second import finds everything there.
    assert "New prompts" in at_once
    assert "All rows that could be read had already been imported" in html(lead, f"{later}/live")
    rejected = at_once[at_once.index("<thead>") : at_once.index("</table>")]
    assert rejected in html(lead, f"{later}/live")


def test_what_was_there_already_is_named_with_its_lines(lead: TestClient) -> None:
    again = b'{"prompt": "A?"}\n{"prompt": "B?"}\n{"prompt": "A?"}\n'
    page = ""
    for content in (b'{"prompt": "B?"}\n', again):
        answer = lead.post("/p/desk/prompts", files={"file": ("q.jsonl", content)})
        page = answer.headers["location"]
    text = " ".join(html(lead, f"{page}/live").split())
    assert "In the project already" in text
    assert "<small> line 2 </small>" in text
    assert "<small> line 3 </small>" in text
    found = lead.get(f"{API}/imports/{page.rsplit('/', 1)[-1]}").json()
    assert found["duplicates"] == [
        {"kind": "prompts", "where": "file", "count": 1, "lines": [3]},
        {"kind": "prompts", "where": "project", "count": 1, "lines": [2]},
    ]


def test_ratings_on_another_scale_are_named_on_the_page(
    lead: TestClient, database: Database
) -> None:
    with database.transaction() as session:
        project = projects.by_slug(session, "desk")
        criteria.arrange(session, project, [CriterionSettings("helpfulness")], actor_id=None)
    row = b'{"prompt": "A?", "response": "B.", "helpfulness": 3}'
    answer = lead.post("/p/desk/prompts", files={"file": ("q.jsonl", row)})
    assert "helpfulness (0–4)" in html(lead, answer.headers["location"])


@pytest.mark.usefixtures("jobs_for_all")
def test_a_failed_import_says_why_and_how_to_go_on(
    lead: TestClient, tmp_path: Path, database: Database
) -> None:
    page = upload(lead)
    with database.transaction() as session:
        job = session.scalars(select(Job)).one()
        job.state, job.error = JobState.FAILED, "the disk was full"
    text = html(lead, page)
    assert "the disk was full" in text
    assert "retry the job" in text
    assert "data-done" in text


def test_the_interface_answers_with_the_job_of_a_large_file(
    application: Any,
    database: Database,
    lead: TestClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with database.transaction() as session:
        user = session.scalars(select(User).where(User.name == "lead")).one()
        token = accounts.create_token(session, user, name="t", scopes=["write"]).secret
    headers = {"authorization": f"Bearer {token}"}
    with TestClient(application, base_url="http://127.0.0.1", headers=headers) as script:
        at_once = script.post(f"{API}/imports", content=FILE)
        assert (at_once.status_code, at_once.json()["state"]) == (201, "succeeded")
        monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", 0)
        started = script.post(f"{API}/imports", content=FILE)
        assert started.status_code == 202
        assert started.json() == script.get(started.headers["location"]).json()
        assert [one["state"] for one in script.get(f"{API}/imports").json()] == [
            "queued",
            "succeeded",
        ]
        small.run_jobs(database, tmp_path)
        job = script.get(started.headers["location"]).json()
        finished = script.get(f"{API}/imports/{job['result']['import_id']}").json()
    assert finished["job_id"] == job["id"]
    assert finished["rejects"] == at_once.json()["rejects"]
    assert json.dumps(finished["counts"]) == json.dumps(job["result"]["counts"])
    assert finished["counts"]["records"] == at_once.json()["counts"]["records"]
    assert finished["counts"]["prompts_new"] == 0


QUESTIONS = b"question;good;bad\nIs it open?;Yes.;No idea.\nMay I renew?;Once.;Hm.\n"
COLUMNS = "prompt=question\nchosen=good\nrejected=bad"


def test_columns_are_mapped_and_previewed_on_the_page_before_anything_is_imported(
    lead: TestClient,
) -> None:
    def send(action: str, columns: str = COLUMNS) -> Any:
        form = {"columns": columns, "action": action}
        return lead.post("/p/desk/prompts", data=form, files={"file": ("q.csv", QUESTIONS)})

    shown = send("preview")
    assert shown.status_code == 200
    assert "Is it open?" in shown.text
    assert "Nothing has been imported" in shown.text
    assert lead.get(f"{API}/imports").json() == []
    refused = send("import", "promt=question")
    assert refused.status_code == 422
    assert "There is no field &#39;promt&#39; to map to" in refused.text
    assert "promt=question</textarea>" in refused.text
    assert send("import").status_code == 303
    (run,) = lead.get(f"{API}/imports").json()
    assert run["counts"]["judgments_new"] == 2


@pytest.mark.parametrize("threshold", [0, 1 << 20], ids=["job", "immediate"])
def test_columns_are_mapped_through_the_api(
    lead: TestClient,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threshold: int,
) -> None:
    monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", threshold)
    maps = {"map": COLUMNS.splitlines()}
    answer = lead.post(f"{API}/imports/preview", params=maps, content=QUESTIONS)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown[0]["records"][0]["prompt"] == ["user: Is it open?"]
    assert shown[0]["lost"] == {}
    answer = lead.post(f"{API}/imports", params={**maps, "filename": "q.csv"}, content=QUESTIONS)
    assert answer.status_code == (201 if threshold else 202), answer.text
    if not threshold:
        assert small.run_jobs(database, tmp_path) == ["import", "words"]
    (run,) = lead.get(f"{API}/imports").json()
    assert run["counts"]["judgments_new"] == 2
    bad = lead.post(f"{API}/imports", params={"map": "question"}, content=QUESTIONS)
    assert bad.status_code == 422
    assert "field=column" in bad.json()["detail"]


def test_a_file_can_be_declared_an_evaluation_set(
    lead: TestClient, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead.post("/p/desk/prompts", files={"file": ("q.jsonl", FILE)})
    answer = lead.post(
        "/p/desk/prompts", files={"file": ("q.jsonl", FILE)}, data={"evaluation": "1"}
    )
    shown = html(lead, answer.headers["location"])
    assert "This file is an evaluation set" in shown
    moved = lead.get(f"{API}/imports").json()[0]
    assert moved["is_evaluation"]
    assert {one["split"] for one in lead.get(f"{API}/prompts").json()["prompts"]} == {"test"}
    assert html(lead, "/p/desk/prompts").count("evaluation set") == 3  # the file and two prompts
    prompt = lead.get(f"{API}/prompts").json()["prompts"][0]
    assert prompt["is_evaluation"]
    assert "evaluation set" in html(lead, f"/p/desk/prompts/{prompt['id']}")
    monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", 0)
    other = b"".join(json.dumps({"prompt": f"Q{n}"}).encode() + b"\n" for n in range(30))
    assert lead.post(f"{API}/imports?evaluation=true", content=other).status_code == 202
    assert small.run_jobs(database, tmp_path) == ["import", "words"]
    assert lead.get(f"{API}/imports").json()[0]["is_evaluation"]
    assert lead.get(f"{API}/prompts?split=test").json()["counts"]["test"] == 32


def test_a_preview_keeps_the_declaration(lead: TestClient) -> None:
    answer = lead.post(
        "/p/desk/prompts",
        files={"file": ("q.jsonl", FILE)},
        data={"evaluation": "1", "action": "preview"},
    )
    assert 'name="evaluation" value="1" checked' in answer.text


EXCEL = "prompt;response\r\nWie heißt du?;Ich heiße Jörg.\r\n".encode("cp1252")


def test_a_spreadsheet_that_is_not_utf8_is_read_and_named(lead: TestClient) -> None:
    file = {"file": ("excel.csv", EXCEL)}
    shown = lead.post("/p/desk/prompts", files=file, data={"action": "preview"}).text
    assert "Ich heiße Jörg." in shown
    assert "Read as Windows-1252" in shown
    imported = lead.post("/p/desk/prompts", files=file)
    assert "Read as Windows-1252" in html(lead, imported.headers["location"])


def test_an_encoding_can_be_chosen_on_the_page_and_in_the_api(lead: TestClient) -> None:
    file = {"file": ("excel.csv", EXCEL)}
    data = {"action": "preview", "encoding": "mac-roman"}
    page = lead.post("/p/desk/prompts", files=file, data=data).text
    assert "Ich heiße Jörg." not in page
    assert '<option value="mac-roman" selected>' in page
    wrong = lead.post("/p/desk/prompts", files=file, data={"encoding": "utf-8"})
    assert wrong.status_code == 422
    assert "file is not UTF-8: invalid continuation byte near byte 25" in wrong.text
    (part,) = lead.post(
        f"{API}/imports/preview", params={"encoding": "windows-1252"}, content=EXCEL
    ).json()
    assert part["records"][0]["completions"] == ["Ich heiße Jörg."]
    assert part["remarks"] == []
    answer = lead.post(f"{API}/imports", params={"encoding": "windows-1252"}, content=EXCEL)
    assert answer.json()["counts"]["demonstrations_new"] == 1
    refused = lead.post(f"{API}/imports", params={"encoding": "klingon"}, content=EXCEL)
    assert refused.status_code == 422
    assert "there is no encoding 'klingon'; there are utf-8," in refused.text


SURVEY = b"prompt;response_a;response_b;winner\nq1;a;b;a\nq2;a;b;b\nq3;a;b;maybe\n"


@pytest.mark.parametrize(("choice", "new"), [("", 1), ("same", 1), ("other", 3)])
def test_labelers_of_a_corrected_file_are_chosen_on_the_page(
    lead: TestClient, choice: str, new: int
) -> None:
    def send(data: bytes, action: str, labelers: str) -> Any:
        form = {"action": action, "labelers": labelers}
        return lead.post("/p/desk/prompts", data=form, files={"file": ("q.csv", data)})

    assert send(SURVEY, "import", "").status_code == 303
    mended = SURVEY.replace(b"maybe", b"a")
    shown = send(mended, "preview", choice).text
    assert ("2 of 3 votes without a labeler’s name repeat" in shown) == (choice != "other")
    assert f'<option value="{choice}" selected>' in shown
    assert send(mended, "import", choice).status_code == 303
    assert lead.get(f"{API}/imports").json()[0]["counts"]["judgments_new"] == new


@pytest.mark.parametrize("threshold", [0, 1 << 20], ids=["job", "immediate"])
@pytest.mark.parametrize(("choice", "new"), [(None, 1), (False, 3)])
def test_labelers_of_a_corrected_file_are_chosen_through_the_api(
    lead: TestClient,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threshold: int,
    choice: bool | None,
    new: int,
) -> None:
    assert lead.post(f"{API}/imports", content=SURVEY).status_code == 201
    monkeypatch.setattr(import_jobs, "IMMEDIATE_MOST_BYTES", threshold)
    mended = SURVEY.replace(b"maybe", b"a")
    options = {} if choice is None else {"same_labelers": choice}
    (part,) = lead.post(f"{API}/imports/preview", params=options, content=mended).json()
    assert any("repeat judgments" in remark for remark in part["remarks"]) == (choice is None)
    lead.post(f"{API}/imports", params=options, content=mended)
    if not threshold:
        assert small.run_jobs(database, tmp_path) == ["import", "words"]
    assert lead.get(f"{API}/imports").json()[0]["counts"]["judgments_new"] == new


def test_notes_of_a_prompt_are_on_its_page(lead: TestClient) -> None:
    lead.post(f"{API}/imports", content=b'{"prompt": "Why?", "<Quelle>": "S. 3", "page": 3}\n')
    (prompt,) = lead.get(f"{API}/prompts").json()["prompts"]
    page = html(lead, f"/p/desk/prompts/{prompt['id']}")
    assert "&lt;Quelle&gt;</th>" in page
    assert "S. 3</td>" in page
    assert "3</td>" in page


def test_overview_counts_every_split(lead: TestClient) -> None:
    rows = "".join(f'{{"prompt": "Question {n}?"}}\n' for n in range(40))
    lead.post(f"{API}/imports", content=rows.encode())
    counts = lead.get(f"{API}/prompts").json()["counts"]
    assert f"{counts['validation']} validation ·" in html(lead, "/p/desk")


def test_result_does_not_call_rejected_lines_imported_before(lead: TestClient) -> None:
    upload(lead)
    page = html(lead, upload(lead))
    assert "Everything in this file had already been imported" not in page
    assert "nothing was added, and" in page
    assert "1 line was rejected" in page


def archive() -> bytes:
    """Return an archive with prompts for two splits."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name in ("train.jsonl", "test.jsonl"):
            rows = [{"prompt": f"{name}: question {n}?"} for n in range(12)]
            made.writestr(name, "".join(json.dumps(row) + "\n" for row in rows))
    return file.getvalue()


@pytest.mark.parametrize(("choice", "is_named"), [("", True), ("names", True), ("content", False)])
def test_the_page_says_what_the_names_in_an_archive_do_and_lets_choose(
    lead: TestClient, choice: str, is_named: bool
) -> None:
    files = {"file": ("all.zip", archive())}
    form = {"splits": choice, "action": "preview"}
    shown = lead.post("/p/desk/prompts", data=form, files=files, headers={"accept": "text/html"})
    assert ("set the split: train.jsonl says train" in shown.text) is is_named
    assert f'<option value="{choice}" selected>' in shown.text
    made = lead.post("/p/desk/prompts", data={"splits": choice}, files=files)
    page = " ".join(html(lead, made.headers["location"]).split())
    assert ("24 prompts are in the split that the name of their file says" in page) is is_named
    listed = lead.get(f"{API}/prompts").json()["prompts"]
    wrong = [one for one in listed if one["split"] not in one["messages"][-1]["content"]]
    assert bool(wrong) is not is_named


@pytest.mark.parametrize("choice", [None, True, False])
def test_the_api_takes_the_choice_and_values(lead: TestClient, choice: bool | None) -> None:
    options = {} if choice is None else {"member_splits": choice}
    shown = lead.post(f"{API}/imports/preview", params=options, content=archive()).json()
    assert any("set the split" in said for said in shown[0]["remarks"]) is (choice is not False)
    made = lead.post(f"{API}/imports", params=options, content=archive()).json()
    assert made["counts"].get("splits_named", 0) == (0 if choice is False else 24)
    table = b"prompt,response_a,response_b,winner\nWhy?,Yes.,No.,A besser\n"
    params = {"map": "value=A besser=a"}
    judged = lead.post(f"{API}/imports", params=params, content=table).json()
    assert judged["counts"]["judgments_new"] == 1


def test_a_text_with_one_prompt_per_line_is_imported(lead: TestClient) -> None:
    file = {"file": ("prompts.txt", b"Hello, is it open?\nMay I renew?\n")}
    answer = lead.post("/p/desk/prompts", files=file)
    assert answer.status_code == 303, answer.text
    result = html(lead, answer.headers["location"])
    assert "plain text, one prompt per line" in result
    page = html(lead, "/p/desk/prompts")
    assert "Hello, is it open?" in page
    assert "May I renew?" in page


@pytest.mark.parametrize(("base_model", "says"), [("starter", True), ("org/model", False)])
def test_the_prompts_page_of_a_starter_asks_for_demonstrations(
    lead: TestClient, database: Database, base_model: str, says: bool
) -> None:
    with database.transaction() as session:
        project = session.scalars(select(Project)).one()
        project.goal, project.base_model = Goal.TRAIN, base_model
    page = " ".join(html(lead, "/p/desk/prompts").split())
    assert ("trained from scratch on demonstrations" in page) == says
    assert ("one prompt per line is enough" in page) != says


def test_the_result_says_what_to_do_next(lead: TestClient) -> None:
    rows = ["prompt,model_a,model_b,response_a,response_b,winner"]
    rows += [f"Question {n}?,alpha,beta,Yes {n}.,No {n}.,model_a" for n in range(3)]
    with_votes = {"file": ("votes.csv", "\n".join(rows).encode())}
    assert lead.patch(API, json={"goal": "compare"}).status_code == 200
    page = html(lead, lead.post("/p/desk/prompts", files=with_votes).headers["location"])
    assert "Not enough to rank them" in page
    assert 'class="btn main" href="/p/desk/leaderboard"' in page
