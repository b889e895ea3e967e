"""Real input end to end: files and a model from outside the project, through the API."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from sqlalchemy import select
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.api_types import ApiAssignment, ApiJudgment, ApiSubmission
from app.client import Client, ProjectClient, new_key
from app.db import Database
from app.domain.ranking import Ranking
from app.models import Judgment, Project, Role
from app.services.people import accounts
from app.services.queue import practice_standing
from tests.acceptance import real
from tests.acceptance.real import Office
from tests.browser.desk import House, chromium, sit_down
from tests.worker.runs import small

pytestmark = real.needed

STEPS = 10
DEMONSTRATIONS = {"demonstrations", "demonstrations-text"}  # of what people wrote; nobody did here


@pytest.fixture
def office(application: Any, database: Database) -> Iterator[Office]:
    with real.opened(application, database) as found:
        yield found


@pytest.fixture
def rank(office: Office) -> Office:
    """Provide a project that ranks four completions of MT-Bench and the AlpacaEval slice."""
    office.make_project("rank", judgment_kind="rank", k=4, overlap=2)
    assert office.take_in("rank", real.MT_BENCH)["prompts_new"] == 80
    assert office.take_in("rank", real.ALPACA)["comparisons_new"] == 202
    return office


def judge(project: ProjectClient, count: int) -> list[ApiAssignment]:
    """Judge by length, one comparison at a time."""
    seen: list[ApiAssignment] = []
    while len(seen) < count:
        (leased,) = project.claim().assignments
        texts = [one.text for one in sorted(leased.candidates, key=lambda one: one.position)]
        ranks = Ranking.of_positions([-len(text) for text in texts]).ranks
        if leased.kind == "rank":
            answer = ApiJudgment(kind="rank", ranking=list(ranks))
        else:
            preferred = {(1, 2): "a", (2, 1): "b"}.get((ranks[0], ranks[1]), "tie")
            answer = ApiJudgment(kind="pick", preferred=preferred)
        project.submit(
            ApiSubmission(
                assignment_id=leased.id,
                lease_token=leased.lease_token,
                key=new_key(),
                answer=answer,
            )
        )
        seen.append(leased)
    return seen


def export(office: Office, slug: str, format: str, folder: Path, **options: Any) -> bytes:
    """Request an export, let a worker write it, and download it."""
    number = office.lead.project(slug).export(format, **options)["number"]
    small.run_jobs(office.database, folder)
    path = folder / f"{slug}-{number}"
    office.lead.download(f"/projects/{slug}/exports/{number}/download", path)
    done = office.lead.project(slug).get(f"/exports/{number}")
    assert done["state"] == "ready", done["error"]
    assert done["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    return path.read_bytes()


def test_the_same_files_again_add_nothing(rank: Office) -> None:
    for path in (real.MT_BENCH, real.ALPACA):
        counts = rank.take_in("rank", path)
        assert counts.pop("records") == len(real.rows(path))
        assert not any(counts.values()), counts


def test_four_real_completions_are_ranked_through_the_api(rank: Office) -> None:
    written = {
        row["instruction"]: sorted(each["output"] for each in row["completions"])
        for row in real.rows(real.ALPACA)
    }
    with Client(rank.url, rank.tokens["ada"]) as client:
        seen = judge(client.project("rank"), 3)
    for leased in seen:
        assert sorted(one.text for one in leased.candidates) == written[leased.messages[-1].content]


@pytest.mark.slow
def test_every_format_carries_what_was_ranked(rank: Office, tmp_path: Path) -> None:
    for token in rank.tokens.values():
        with Client(rank.url, token) as client:
            judge(client.project("rank"), 2)
    formats = rank.lead.project("rank").get("/exports/formats")
    everywhere = ["train", "validation", "test"]
    assert set(formats) >= DEMONSTRATIONS
    for format in set(formats) - DEMONSTRATIONS:
        lines = export(rank, "rank", format, tmp_path, splits=everywhere).splitlines()
        found = [json.loads(line) for line in lines]
        assert found, format
        # A table has one type per column.
        assert len({tuple((key, type(row[key])) for key in sorted(row)) for row in found}) == 1
    explicit, implicit = (
        export(rank, "rank", f"trl-{form}", tmp_path, splits=everywhere).splitlines()
        for form in ("explicit", "implicit")
    )
    for one, other in zip(map(json.loads, explicit), map(json.loads, implicit), strict=True):
        for side in ("chosen", "rejected"):
            assert one["prompt"] + one[side] == other[side]


@pytest.mark.slow
@pytest.mark.browser
def test_four_real_completions_are_ranked_in_a_browser_by_four_keys(rank: Office) -> None:
    with (
        chromium() as browser,
        sit_down(House(browser, rank.url, rank.database)) as desk,
    ):
        with rank.database.transaction() as session:
            project = session.scalars(select(Project).where(Project.slug == "rank")).one()
            accounts.add_member(session, project.id, desk.user_id, Role.LABELER, actor_id=None)
            practice_standing.dismiss_guide(session, project.id, desk.user_id)
        desk.prefix = ""
        desk.open("rank")
        for _ in range(2):
            before = desk.text()
            for key in "3142":  # the fourth ranks itself, and may be named all the same
                desk.page.keyboard.press(key)
            desk.page.keyboard.press("Enter")
            desk.page.wait_for_function(
                "() => [...document.querySelectorAll('.rank-select')].every((one) => !one.value)"
            )
            assert desk.text() != before
        for judgment in desk.saved("rank", 2):
            assert judgment.ranking is not None
            assert [judgment.ranking[one] for one in judgment.shown_order] == [2, 4, 1, 3]
        assert desk.problems == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
def test_imported_pairs_train_a_reward_model_and_ten_steps_of_ppo(
    office: Office, tmp_path: Path
) -> None:
    texts = [row[side] for row in real.rows(real.HH) for side in ("chosen", "rejected")]
    base = real.save_llama(tmp_path / "llama", texts)
    office.make_project("hh", judgment_kind="pick", k=2, overlap=1, base_model=str(base))
    assert office.take_in("hh", real.HH)["judgments_new"] == len(texts) / 2
    project = office.lead.project("hh")
    number = project.launch_round(plan().to_json())["number"]
    small.run_jobs(office.database, tmp_path)
    _judge_all(office)
    small.run_jobs(office.database, tmp_path)
    _judge_all(office)

    found = project.round(number)
    assert found["state"] == "deciding", found["reason"]
    made = {each["kind"]: each for each in found["checkpoints"]}
    curves = project.get(f"/rounds/{number}/metrics")
    points = [value for job in curves.values() for curve in job.values() for _, value in curve]
    assert all(map(math.isfinite, points))
    assert [step for step, _ in curves["policy"]["loss/policy"]] == list(range(1, STEPS + 1))
    assert curves["policy"]["kl/k1"][0][1] == pytest.approx(0.0, abs=1e-6)
    assert curves["policy"]["kl/k3"][-1][1] > 0
    _leads_back_to_the_file(office, made["policy"]["id"], made["reward"]["metrics"]["votes"])
    assert project.post(f"/rounds/{number}/decide", {"promote": True})["state"] == "promoted"

    adapter = real.unpacked(office, "hh", made["policy"]["id"], tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(base)
    ids = AutoTokenizer.from_pretrained(adapter)("Human: Hello?", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        before = plain(input_ids=ids).logits
        after = PeftModel.from_pretrained(plain, adapter)(input_ids=ids).logits
    metrics = made["policy"]["metrics"]
    moved = metrics["best_step"] > 0
    assert ("are the initial ones" in metrics["stop_reason"]) is not moved
    assert torch.equal(before, after) is not moved


def plan() -> Any:
    """Return a small plan of ten steps."""
    policy = replace(
        small.PLAN.policy,
        prompts=2 * STEPS,
        epochs=2,
        batch_size=4,  # 5 steps an epoch
        max_steps=STEPS,
        evaluate_every=5,
    )
    reward = replace(small.PLAN.reward, batch_size=16)
    return small.plan(sft=None, candidates=2, overlap=1, policy=policy, reward=reward)


def _judge_all(office: Office) -> None:
    """Let the labelers judge the comparisons of a round, one after the other."""
    for token in office.tokens.values():
        with Client(office.url, token) as client:
            project = client.project("hh")
            while project.queue().open:
                judge(project, 1)


def _leads_back_to_the_file(office: Office, policy_id: int, votes: int) -> None:
    """The lineage of every imported vote on a training prompt leads to the policy, and back."""
    project = office.lead.project("hh")
    lineage = project.get(f"/checkpoints/{policy_id}")["lineage"]
    assert lineage["judgments"] == votes
    with office.database.reader() as session:
        hh = session.scalars(select(Project).where(Project.slug == "hh")).one()
        imported = session.scalars(
            select(Judgment.id).where(
                Judgment.project_id == hh.id, Judgment.guidelines_version == 0
            )
        )
        from_file = set(imported)
    behind: set[int] = set()
    page = project.get(f"/checkpoints/{policy_id}/judgments")
    while page:
        behind |= set(page)
        page = project.get(f"/checkpoints/{policy_id}/judgments", after=page[-1])
    assert len(behind) == votes
    train = project.get("/prompts")["counts"]["train"]
    assert len(behind & from_file) == train
    names = [each["id"] for each in project.get(f"/judgments/{min(behind)}/checkpoints")]
    assert policy_id in names
