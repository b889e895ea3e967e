"""Jobs whose models a server samples: candidates, evaluations and policies, and what they say."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from sqlalchemy import select

from app.db import Database
from app.domain.plan import Algorithm, RoundPlan
from app.domain.server_plan import SamplingServerPlan
from app.errors import Invalid, Unavailable
from app.models import Checkpoint, CheckpointKind, Completion, Job, Metric, Round
from tests import sampling_server
from tests.sampling_server import BASE_NAME, SamplingServer
from tests.worker.rlhf import tiny
from tests.worker.runs import small
from worker.orders import Interrupted, Orders
from worker.runs import find
from worker.runs.process.job_context import JobContext
from worker.ticket import Servers

KEY = "server-key"
PLAN = small.plan(
    sft=replace(small.SFT, max_steps=2),
    policy=replace(small.PLAN.policy, max_steps=2, heldout_prompts=2),
)


@pytest.fixture
def server() -> Iterator[SamplingServer]:
    with sampling_server.serving(tiny.loaded()) as made:
        yield made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small.save_tiny_llama(tmp_path_factory.mktemp("base")))


@pytest.fixture
def folder(tmp_path: Path, database: Database, base: str) -> Path:
    """A round up to its policy, which has run without a server."""
    small.up_to(database, tmp_path, "policy", PLAN, base_model=base)
    return tmp_path


def give(database: Database, server: SamplingServer, **settings: Any) -> None:
    """Give the plan a server."""
    with database.transaction() as session:
        round_ = session.scalars(select(Round)).one()
        asked = SamplingServerPlan(server.url, BASE_NAME, **settings)
        round_.plan = replace(RoundPlan.from_json(round_.plan), sampling_server=asked).to_json()


def claimed(
    database: Database, folder: Path, server: SamplingServer, orders: Orders | None = None
) -> JobContext:
    context = small.claimed(database, folder, orders)
    adapters = folder / "adapters"
    adapters.mkdir(exist_ok=True)
    context.servers = Servers((server.url,), KEY, adapter_folder=str(adapters))
    return context


def test_a_policy_is_sampled_by_the_server_and_says_so(
    database: Database, folder: Path, server: SamplingServer
) -> None:
    give(database, server, deviation_most=0.0)
    context = claimed(database, folder, server)
    find("policy")(context)
    asked = {one["model"] for one in server.requests}
    assert len(asked) == 3, "before the first step, after it, and after the last"
    assert all(name.startswith(f"attune-job-{context.job_id}-{context.attempt}-") for name in asked)
    assert server.adapters == {}
    assert not list((folder / "adapters").iterdir())
    with database.reader() as session:
        row = session.scalars(
            select(Checkpoint).where(Checkpoint.kind == CheckpointKind.POLICY)
        ).one()
        names = set(session.scalars(select(Metric.name).where(Metric.job_id == context.job_id)))
        result = session.get_one(Job, context.job_id).result or {}
    assert {"sampler/deviation", "sampler/importance", "sampler/age_steps"} <= names
    assert row.config["training"]["sampling_server"]["model"] == BASE_NAME
    assert any("above the bound of 0" in remark for remark in result["remarks"])


def test_a_job_waits_for_a_lost_server_and_can_be_canceled_meanwhile(
    database: Database, folder: Path, server: SamplingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(database, server)
    orders = Orders()
    context = claimed(database, folder, server, orders)
    server.after, server.failures = 3, [503] * 1000
    notes: list[str] = []

    def report(done: int, total: int, note: str = "") -> None:
        notes.append(note)
        orders.give("cancel")

    monkeypatch.setattr(context, "report", report)
    with pytest.raises(Interrupted, match="while the sampling server was away"):
        find("policy")(context)
    assert notes == [f"waiting for the sampling server, away for 0 s ({status(503)})"]
    assert not list((folder / "adapters").iterdir()), "nothing is left of a canceled job"


def test_a_job_that_waits_for_a_lost_server_can_stop_where_it_is(
    database: Database, folder: Path, server: SamplingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(database, server)
    orders = Orders()
    context = claimed(database, folder, server, orders)
    steps: list[int] = []
    whole_report = context.report

    def report(done: int, total: int, note: str = "") -> None:
        whole_report(done, total, note)
        steps.append(done)
        if note.startswith("waiting"):
            orders.give("stop_here")
        elif done == 1:
            server.failures = [503] * 1000

    monkeypatch.setattr(context, "report", report)
    find("policy")(context)
    assert set(steps) <= {0, 1}
    with database.reader() as session:
        row = session.scalars(
            select(Checkpoint).where(Checkpoint.kind == CheckpointKind.POLICY)
        ).one()
        assert row.metrics["stop_reason"].startswith("stopped by a person")
        assert session.get_one(Job, context.job_id).state == "succeeded"


def status(code: int) -> str:
    message = f'{{"error": {{"message": "out of order", "type": "NotFoundError", "code": {code}}}}}'
    return f"status {code}: {message}"


def test_a_lost_server_returns_the_job_to_the_queue_when_patience_ends(
    database: Database, folder: Path, server: SamplingServer
) -> None:
    give(database, server, patience_minutes=0)
    server.failures = [0]
    with pytest.raises(Unavailable, match="longer than the patience of 0 s"):
        find("policy")(claimed(database, folder, server))


def test_a_worker_without_the_server_or_the_folder_says_what_is_missing(
    database: Database, folder: Path, server: SamplingServer
) -> None:
    give(database, server)
    context = claimed(database, folder, server)
    context.servers = replace(context.servers, urls=())
    with pytest.raises(Invalid, match="is not among those that rounds may use"):
        find("policy")(context)
    context.servers = Servers((server.url,))
    with pytest.raises(Invalid, match="needs ATTUNE_ADAPTER_FOLDER"):
        find("policy")(context)


def test_another_algorithm_says_that_it_does_not_use_the_server(
    database: Database, folder: Path, server: SamplingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(database, server)
    with database.transaction() as session:
        round_ = session.scalars(select(Round)).one()
        plan = RoundPlan.from_json(round_.plan)
        own = replace(plan.policy, algorithm=Algorithm.DPO, max_steps=1)
        round_.plan = replace(plan, policy=own).to_json()
    context = claimed(database, folder, server)
    said: list[str] = []
    monkeypatch.setattr(context, "say", said.append)
    find("policy")(context)
    assert server.requests == []
    assert any("sampling_server is not used" in text and "dpo" in text for text in said)


def test_candidates_are_sampled_by_the_server(
    database: Database,
    tmp_path: Path,
    base: str,
    server: SamplingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small.up_to(database, tmp_path, "generate", PLAN, base_model=base)
    give(database, server)
    server.after, server.failures = 5, [503]  # it comes back
    context = claimed(database, tmp_path, server)
    published: list[dict[str, Any]] = []
    load = server._load

    def keep(body: dict[str, Any]) -> sampling_server.Reply:
        published.append(load_file(Path(body["lora_path"]) / "adapter_model.safetensors"))
        return load(body)

    monkeypatch.setattr(server, "_load", keep)
    find("generate")(context)
    with database.reader() as session:
        rows = session.scalars(select(Completion)).all()
        sft = session.scalars(select(Checkpoint).where(Checkpoint.kind == CheckpointKind.SFT)).one()
    assert {row.checkpoint_id for row in rows} == {sft.id}
    assert all((row.sampling or {})["sampling_server"]["url"] == server.url for row in rows)
    keys = [(one["seed"], tuple(one["prompt"])) for one in server.requests]
    assert len(keys) == len(set(keys)) == len(rows)
    assert all(row.token_ids and row.logprob_sum is not None for row in rows)
    (loaded,) = server.loads[:1]
    assert loaded[0].startswith(
        f"attune-job-{context.job_id}-checkpoint-{sft.id}-{context.attempt}-"
    )
    assert server.adapters == {}
    own = load_file(tmp_path / "artifacts" / sft.uri / "adapter_model.safetensors")
    assert published[0].keys() == own.keys()
    assert all(bool((published[0][name] == own[name]).all()) for name in own)
