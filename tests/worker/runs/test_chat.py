"""A chat job replies for each side, piece by piece, scores, and makes way for others."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Database
from app.domain.plan import Sampling
from app.domain.states import JobState
from app.errors import Conflict, Invalid, NotFound, TooMany
from app.models import Chat, ChatTurn, Checkpoint, CheckpointKind, Job, ModelReply, Project, User
from app.services.checkpoints import chat_replies, chats, checkpoints
from app.services.checkpoints.chats import ChatSetup
from app.services.checkpoints.checkpoints import CheckpointFiles
from app.services.jobs import jobs, workers
from app.services.jobs.workers import Description
from tests.worker.rlhf import tiny
from tests.worker.runs import small
from worker.artifacts import Artifacts
from worker.orders import Interrupted, Orders
from worker.rlhf.model import models, saving
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward.normalizer import Normalizer
from worker.runs import chat as chat_run
from worker.training.layout import ADAPTER

GREEDY = Sampling(temperature=0.01, max_new_tokens=8)


@pytest.fixture
def desk(any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Give a project with a base model, two policies and a reward model; chats end when idle."""
    monkeypatch.setattr(chat_run, "IDLE_S", -1)
    monkeypatch.setattr(chat_run, "STREAM_S", 0)
    base = small.save_tiny_llama(tmp_path / "base")
    roles = Roles(models.load(base))
    store = Artifacts(str(tmp_path / "artifacts"), tmp_path / "cache")
    for n, name in enumerate(("policy", "other", "reward")):
        roles.add_adapter(name, tiny.LORA, seed=n)
        for parameter in roles.parameters_of(name):
            parameter.data += 0.05 * (n + 1)
    roles.add_head("reward", seed=1)
    saving.save_policy(roles, tmp_path / "one")
    saving.save_policy(roles, tmp_path / "two", role="other")
    saving.save_reward(roles, tmp_path / "three" / "reward")
    with any_database.transaction() as session:
        project = small.make_project(session, base_model=str(base))
        whole = checkpoints.register_base(session, project, str(base))
        for folder, kind in (
            ("one", CheckpointKind.POLICY),
            ("two", CheckpointKind.POLICY),
            ("three", CheckpointKind.REWARD),
        ):
            published = store.publish(tmp_path / folder, folder)
            scale = {"names": ["reward"], "normaliser": Normalizer().to_json()}
            config = {"layout": ADAPTER, "over": whole.id, **scale}
            checkpoints.create(
                session,
                project_id=project.id,
                kind=kind,
                written=CheckpointFiles(published.uri, published.sha256, config, {}),
                parent_id=whole.id,
            )
    return any_database


def model(session: Session, name: str) -> int:
    return session.scalars(select(Checkpoint).where(Checkpoint.name == name)).one().id


def start(session: Session, *names: str, reward: bool = False, **setup: Any) -> Chat:
    project = session.scalars(select(Project)).one()
    owner = session.scalars(select(User).where(User.name == "owner")).one()
    ids = [model(session, name) for name in names]
    chosen = ChatSetup(
        ids[0],
        ids[1] if len(ids) > 1 else None,
        model(session, "Reward 1") if reward else None,
        sampling=GREEDY,
        **setup,
    )
    return chats.start(session, project, owner.id, chosen, "Answer shortly.")


def replies(session: Session) -> list[ModelReply]:
    return list(session.scalars(select(ModelReply).order_by(ModelReply.turn_id, ModelReply.side)))


def test_two_models_reply_side_by_side_and_are_scored(desk: Database, tmp_path: Path) -> None:
    with desk.transaction() as session:
        chat = start(session, "Policy 1", "Policy 2", reward=True)
        chats.say(session, chat, "How do I renew a book?")
    assert small.run_jobs(desk, tmp_path) == ["chat"]
    with desk.reader() as session:
        first, second = replies(session)
        assert (first.state, second.state) == ("done", "done")
        assert first.text != second.text
        assert first.tokens == second.tokens == 8
        assert first.score is not None
        assert second.score != first.score
        assert "Cut off after 8 tokens" in first.note
        assert session.scalars(select(Chat)).one().note == chat_run.IDLE_NOTE


def test_a_side_reads_its_own_responses(desk: Database, tmp_path: Path) -> None:
    with desk.transaction() as session:
        chat = start(session, "Policy 1", "Policy 2")
        chats.say(session, chat, "One?")
    small.run_jobs(desk, tmp_path)
    with desk.transaction() as session:
        chat = session.scalars(select(Chat)).one()
        chats.say(session, chat, "Two?")
        mine = replies(session)
        said = chat_replies.messages(session, chat.id, mine[3])
    assert [turn["content"] for turn in said] == ["One?", mine[1].text, "Two?"]
    assert small.run_jobs(desk, tmp_path) == ["chat"]


def test_a_reply_grows_and_can_be_stopped(
    desk: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def write(session: Session, reply_id: int, text: str, tokens: int) -> bool:
        seen.append(tokens)
        if tokens == 3:
            chats.stop(session, session.scalars(select(Chat)).one())
        return kept(session, reply_id, text, tokens)

    kept = chat_replies.write
    monkeypatch.setattr(chat_replies, "write", write)
    with desk.transaction() as session:
        chats.say(session, start(session, "Policy 1"), "Tell me everything.")
    small.run_jobs(desk, tmp_path)
    assert seen == [1, 2, 3]
    with desk.reader() as session:
        [reply] = replies(session)
        assert reply.state == "stopped"
        assert reply.tokens == 3
        assert reply.text


def test_generating_anew_draws_other_numbers(desk: Database, tmp_path: Path) -> None:
    with desk.transaction() as session:
        chat = start(session, "Policy 1")
        chat.sampling = {**chat.sampling, "temperature": 1.0}
        session.flush()
        chats.say(session, chat, "Say something.")
    texts = []
    for _ in range(2):
        small.run_jobs(desk, tmp_path)
        with desk.transaction() as session:
            texts.append(replies(session)[0].text)
            chats.again(session, session.scalars(select(Chat)).one())
    assert texts[0] != texts[1]


@pytest.mark.parametrize("held_s", [-1, 600])
def test_the_models_are_unloaded_when_other_work_waits(
    desk: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_s: int
) -> None:
    monkeypatch.setattr(chat_run, "IDLE_S", 3600)
    monkeypatch.setattr(chat_run, "WAITING_S", 0)
    monkeypatch.setattr(chat_run, "HELD_S", held_s)
    with desk.transaction() as session:
        chats.say(session, start(session, "Policy 1"), "Hello.")
        jobs.enqueue(session, kind="sft", queue="gpu", payload={})
    context = small.claimed(desk, tmp_path)
    chat_run.run(context)
    with desk.reader() as session:
        chat = session.scalars(select(Chat)).one()
        assert chat.note == chat_run.OTHERS_NOTE
        kinds = [job.kind for job in session.scalars(select(Job).order_by(Job.id))]
        if held_s > 0:
            assert kinds == ["chat", "sft"]
            assert replies(session)[0].state == "done"
        else:
            assert kinds == ["chat", "sft", "chat"], "what waits comes after the other job"
            assert replies(session)[0].state == "waiting"


def test_a_conversation_that_fills_the_context_is_told_so(desk: Database, tmp_path: Path) -> None:
    with desk.transaction() as session:
        chats.say(session, start(session, "Policy 1"), "word " * 100)
    small.run_jobs(desk, tmp_path)
    with desk.reader() as session:
        [reply] = replies(session)
        assert reply.state == "failed"
        assert "the model's context 256" in reply.note


def test_a_message_cannot_imitate_a_role(desk: Database, tmp_path: Path) -> None:
    with desk.transaction() as session:
        chats.say(session, start(session, "Policy 1"), "a</s>b\x00c")
        [turn] = session.scalars(select(ChatTurn))
        assert "\x00" not in turn.text
    assert small.run_jobs(desk, tmp_path) == ["chat"]


def test_models_that_cannot_be_loaded_fail_the_reply_with_the_reason(
    desk: Database, tmp_path: Path
) -> None:
    with desk.transaction() as session:
        chat = start(session, "Policy 1")
        session.get_one(Checkpoint, chat.first_id).sha256 = "0" * 64
        chats.say(session, chat, "Hello.")
    context = small.claimed(desk, tmp_path)
    with pytest.raises(Invalid, match="must have the hash"):
        chat_run.run(context)
    with desk.reader() as session:
        assert "cannot be loaded" in replies(session)[0].note


def test_a_worker_that_shuts_down_leaves_the_reply_to_the_next(
    desk: Database, tmp_path: Path
) -> None:
    with desk.transaction() as session:
        chats.say(session, start(session, "Policy 1"), "Hello.")
    orders = Orders()
    context = small.claimed(desk, tmp_path, orders)
    orders.give("preempt")
    with pytest.raises(Interrupted):
        chat_run.run(context)
    context.interrupt()
    assert small.run_jobs(desk, tmp_path) == ["chat"]
    with desk.reader() as session:
        assert replies(session)[0].state == "done"


def test_what_is_refused(desk: Database) -> None:
    with desk.transaction() as session:
        chat = start(session, "Policy 1")
        owner = chat.user_id
        project = session.get_one(Project, chat.project_id)
        for text, reason in (("  ", "is empty"), ("x" * 20_001, "up to 20,000 characters")):
            with pytest.raises(Invalid, match=reason):
                chats.say(session, chat, text)
        with pytest.raises(NotFound):
            chats.get(session, project.id, owner + 1, chat.id)
        with pytest.raises(NotFound):
            chats.get(session, project.id + 1, owner, chat.id)
        with pytest.raises(Invalid, match="Reward 1 is a reward model; it cannot chat"):
            start(session, "Reward 1")
        chats.say(session, chat, "Hello.")
        with pytest.raises(Conflict, match="still being replied to"):
            chats.say(session, chat, "Hello?")
        for _ in range(chats.MESSAGES_A_MINUTE - 1):
            chats.stop(session, chat)
            chats.say(session, chat, "Hello?")
        chats.stop(session, chat)
        with pytest.raises(TooMany):
            chats.say(session, chat, "Hello?")
        assert start(session, "Policy 2").id != chat.id
        assert not chat.is_open
        with pytest.raises(Conflict, match="has ended"):
            chats.say(session, chat, "Still there?")


def test_the_page_can_say_what_is_waited_for(desk: Database) -> None:
    with desk.transaction() as session:
        chat = start(session, "Policy 1")
        assert chats.waits_for(session, chat) == ""
        chats.say(session, chat, "Hello.")
        assert "no running worker" in chats.waits_for(session, chat)
        workers.seen(session, Description("gpu-1", ["gpu"], "", "1"), job_id=None)
        other = jobs.enqueue(session, kind="policy", queue="gpu", payload={})
        other.state, other.worker = JobState.RUNNING, "gpu-1"
        said = chats.waits_for(session, chat)
        assert said == "Waiting for a worker. Running now: training a policy."


def test_the_models_stay_where_the_waiting_job_is_of_another_worker(desk: Database) -> None:
    with desk.transaction() as session:
        chat = start(session, "Policy 1")
        chats.say(session, chat, "Hello.")
        assert chat.job_id is not None
        job = jobs.get(session, chat.job_id)
        job.state, job.worker = JobState.RUNNING, "gpu-1"
        jobs.enqueue(session, kind="export", queue="cpu", payload={})
        for queues, waits in ((["gpu"], False), (["gpu", "cpu"], True)):
            workers.seen(session, Description("gpu-1", queues, "", "1"), job_id=job.id)
            assert chat_replies.other_work_waits(session, job.id, waiting_s=0) is waits
