"""Candidates of a model behind a server: asked for, kept once, compared with the policy's."""

import json
from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from app.db import Database
from app.domain.instruction_text import InstructionText
from app.domain.server_plan import ServerPlan
from app.errors import Invalid, Unavailable
from app.models import Comparison, ComparisonCompletion, Completion, Job, Prompt
from app.services.jobs import job_leases
from app.services.rounds import prompt_selection, rounds
from tests.worker.runs import small
from worker.rlhf.sampling.server import Server
from worker.runs import find
from worker.runs.data import server_completions
from worker.runs.process.job_context import JobContext
from worker.ticket import Servers

URL = "http://server.test/v1"
SHORTLY = InstructionText(1, "Answer shortly.")
PLAN = small.plan(server=ServerPlan(URL, "elsewhere", candidates=2, concurrency=1), candidates=1)


class Network:
    """A server that counts what it is asked, and does not answer while it is away."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_away = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.is_away:
            return httpx.Response(503)
        self.asked += 1
        body = json.loads(request.content)
        assert body["messages"][0] == {"role": "system", "content": "Answer shortly."}
        text = f"An answer from elsewhere, {body['seed']}."
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        return httpx.Response(200, json={"choices": [choice]})


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    patched = partial(Server, transport=httpx.MockTransport(made), pause=lambda _: None)
    monkeypatch.setattr(server_completions, "Server", patched)
    return made


@pytest.fixture
def generating(database: Database, tmp_path: Path) -> JobContext:
    """Bring a round to its generate job, and give that job to a worker that may ask the server."""
    with database.transaction() as session:
        rounds.launch(session, small.make_project(session), PLAN, None)
    small.run_jobs(database, tmp_path, lambda claimed: claimed.kind == "generate")
    with database.transaction() as session:
        claimed = job_leases.claim(session, "here", ["gpu"], lease_s=600)
    assert claimed is not None
    context = small.context_of(database, claimed, tmp_path)
    context.servers = Servers((f"{URL}/",), "key")
    return context


def test_served_candidates_are_compared_with_the_policys(
    generating: JobContext, network: Network
) -> None:
    find("generate")(generating)
    with generating.database.reader() as session:
        rows = session.scalars(select(Completion).where(Completion.source == "elsewhere")).all()
        assert len(rows) == network.asked == 2 * 9
        assert {(row.token_ids, row.checkpoint_id, row.is_finished) for row in rows} == {
            (None, None, True)
        }
        assert {row.instruction_version for row in rows} == {1}
        assert len({row.text for row in rows}) == 18
        shown = set(session.scalars(select(ComparisonCompletion.completion_id)))
        assert shown & {row.id for row in rows}
        assert session.scalar(select(func.count(Comparison.id)))
        prompt_ids = [row.prompt_id for row in rows]
        assert not prompt_selection.imported(session, prompt_ids, 5), "they did not come in a file"


def test_a_job_that_is_run_again_asks_only_for_what_is_missing(
    generating: JobContext, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runs.data.sampled_completions.CHUNK_PROMPTS", 2)

    def die(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generating, "report", die)
        with pytest.raises(KeyboardInterrupt):
            find("generate")(generating)
    assert network.asked == 4
    find("generate")(generating)
    assert network.asked == 18
    with generating.database.reader() as session:
        assert session.scalars(select(Job.state).where(Job.kind == "generate")).one() == "succeeded"


def test_a_server_that_is_away_makes_the_job_wait(generating: JobContext, network: Network) -> None:
    network.is_away = True
    with pytest.raises(Unavailable, match="failed 5 times; last error: status 503"):
        find("generate")(generating)


def test_a_server_that_nobody_allowed_is_not_asked(
    generating: JobContext, network: Network
) -> None:
    generating.servers = Servers(("http://server.test/v2",))
    with pytest.raises(Invalid, match=r"http://server\.test/v1 is not among those .*/v2"):
        find("generate")(generating)
    assert network.asked == 0


def test_the_key_of_the_rows_tells_models_and_settings_apart() -> None:
    wanted = server_completions.ServerRequest(
        PLAN.server or ServerPlan(), PLAN.sampling, 3, SHORTLY
    )
    others = [
        server_completions.ServerRequest(ServerPlan(URL, "another"), PLAN.sampling, 3, SHORTLY),
        server_completions.ServerRequest(
            ServerPlan("http://b", "elsewhere"), PLAN.sampling, 3, SHORTLY
        ),
        server_completions.ServerRequest(PLAN.server or ServerPlan(), PLAN.sampling, 4, SHORTLY),
        server_completions.ServerRequest(
            PLAN.server or ServerPlan(), PLAN.sampling, 3, InstructionText(2, "")
        ),
    ]
    assert len({each.source_key for each in (wanted, *others)}) == 5
    assert len(wanted.source_key) <= 160


def test_a_server_is_asked_the_follow_up_after_its_own_response(
    generating: JobContext, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversations: list[list[str]] = []

    def served(request: httpx.Request) -> httpx.Response:
        turns = json.loads(request.content)["messages"]
        conversations.append([turn["content"] for turn in turns])
        return network(request)

    transport = httpx.MockTransport(served)
    patched = partial(Server, transport=transport, pause=lambda _: None)
    monkeypatch.setattr(server_completions, "Server", patched)
    with generating.database.transaction() as session:
        for prompt in session.scalars(select(Prompt)):
            prompt.follow_up = ["Are you sure?"]
    find("generate")(generating)
    with generating.database.reader() as session:
        rows = session.scalars(select(Completion).where(Completion.source == "elsewhere")).all()
    assert len(conversations) == 2 * len(rows) == 2 * 2 * 9
    by_text = {row.earlier[0]["content"]: row for row in rows}
    second = [turns for turns in conversations if len(turns) > 2]
    assert len(by_text) == len(rows) == len(second)
    for turns in second:
        assert turns[-1] == "Are you sure?"
        assert turns[-2] in by_text
