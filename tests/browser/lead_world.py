"""A project in the middle of its work, as a lead sees it: models, judges, scores, a chat, a win."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import now
from app.domain.judgment_kinds import JudgmentKind
from app.domain.plan import RoundPlan
from app.domain.reward_parts import PartKind, RewardPart
from app.domain.states import JobState, RoundState
from app.models import (
    AiJudgment,
    AiOutcome,
    Checkpoint,
    CheckpointKind,
    Comparison,
    Evaluation,
    Judge,
    Project,
    Prompt,
    Purpose,
    Role,
    Round,
    ScoredRow,
    Split,
)
from app.services.checkpoints import chat_replies, chats, hub_pushes
from app.services.checkpoints.chats import ChatSetup
from app.services.checkpoints.hub_pushes import HubPush
from app.services.judging import judges
from app.services.people import accounts
from app.services.rounds import evaluations, scorings
from app.services.rounds.scorings import PromptChoice, ScorerChoice
from tests.services import sample
from tests.worker.runs import judged

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
CHECK = {
    "name": BASE,
    "model_type": "llama",
    "architecture": "LlamaForCausalLM",
    "parameters": 134_515_008,
    "trainable_parameters": 4_884_480,
    "trained_layers": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "context_tokens": 8192,
    "ends": {"2": "<|im_end|>", "0": "<|endoftext|>"},
    "template": {"exists": True, "system": True, "thinking": False},
    "sampling": {"engine": "fused"},
    "packing": {"is_exact": True, "window": None},
    "shared_prompts": {"is_exact": True, "window": None},
    "bytes_needed": 2 << 30,
    "bytes_here": 16 << 30,
}
RUDE = "That is **not** my problem. " * 6
KIND = "Gladly. You can renew it twice:\n\n- at the desk\n- online, with your card"


def furnish(session: Session, slug: str, user_id: int) -> dict[str, int]:
    """Make the project for a lead; return the ids of what its pages show."""
    project = sample.make_project(
        session, slug=slug, name="Library desk", overlap=1, base_model=BASE,
        instruction="Answer in a friendly way, in less than 50 words.",
    )  # fmt: skip
    accounts.add_member(session, project.id, user_id, Role.LEAD, actor_id=None)
    base, reward = (
        _checkpoint(session, project, kind, name)
        for kind, name in ((CheckpointKind.BASE, BASE), (CheckpointKind.REWARD, "Reward 1"))
    )
    base.config = {"check": CHECK, "ends": [{"id": 2, "token": "<|im_end|>"}]}
    evaluation = _evaluate(session, project, base)
    new, old = evaluation.new_checkpoint_id, evaluation.old_checkpoint_id
    judge = _judge(session, project, evaluation)
    return {
        "evaluation": evaluation.id,
        "judge": judge.id,
        "reward": reward.id,
        "policy": new,
        "push": _push(session, new),
        "scored": _score(session, project, [old, new], is_done=True),
        "queued": _score(session, project, [old, new], is_done=False),
        "chat": _chat(session, project, user_id, [new, old, reward.id]),
    }


def _checkpoint(session: Session, project: Project, kind: CheckpointKind, name: str) -> Checkpoint:
    row = Checkpoint(
        project_id=project.id,
        kind=kind,
        name=name,
        uri=name,
        sha256="5e" * 32,
        state="ready",
        config={"layout": "adapter"},
        created_at=now(session),
    )
    session.add(row)
    session.flush()
    return row


def _evaluate(session: Session, project: Project, base: Checkpoint) -> Evaluation:
    """Make a round whose evaluation people have judged."""
    evaluation = judged.make_evaluation(session, project, 6)
    for checkpoint_id in (evaluation.new_checkpoint_id, evaluation.old_checkpoint_id):
        policy = session.get_one(Checkpoint, checkpoint_id)
        policy.parent_id, policy.config = base.id, {"layout": "adapter"}
    round_ = Round(
        project_id=project.id,
        number=1,
        state=RoundState.PROMOTED,
        plan=RoundPlan().to_json(),
        policy_checkpoint_id=evaluation.new_checkpoint_id,
        created_at=now(session),
        ended_at=now(session),
    )
    session.add(round_)
    session.flush()
    evaluation.round_id, evaluation.state = round_.id, evaluations.COMPLETE
    session.get_one(Checkpoint, evaluation.new_checkpoint_id).round_id = round_.id
    project.policy_checkpoint_id = evaluation.new_checkpoint_id
    return evaluation


def _judge(session: Session, project: Project, evaluation: Evaluation) -> Judge:
    """Add a judge that has judged what people did, and decided the evaluation."""
    judged.make_comparisons(session, project, 12)
    judged.judge_by_people(session, project, sample.make_labelers(session, project, 1), 12)
    judge = judged.make_judge(session, project, "https://judges.example.org/v1", name="Strict")
    judges.let_alone(session, judge, "A pilot, compared by hand.", actor_id=None)
    own = select(Comparison).where(Comparison.project_id == project.id).order_by(Comparison.id)
    for at, comparison in enumerate(session.scalars(own).all()):
        is_read = at % 5 != 4 or comparison.purpose == Purpose.EVALUATION
        ranks = [1, 2] if at % 3 else [2, 1]
        orders = [
            {"order": order, "explanation": "The first is shorter, and says where to go."}
            for order in ([0, 1], [1, 0])
        ]
        session.add(
            AiJudgment(
                project_id=project.id,
                judge_id=judge.id,
                comparison_id=comparison.id,
                outcome=AiOutcome.JUDGED if is_read else AiOutcome.MALFORMED,
                error="" if is_read else "there is no JSON object in the reply",
                kind=JudgmentKind.PICK,
                ranking=ranks if is_read else None,
                is_consistent=at % 4 > 0,
                orders=orders if is_read else [],
                requests=2,
                tokens_in=900,
                tokens_out=120,
                cost=0.0021,
                guidelines_version=1,
                instruction_version=0,
                created_at=now(session),
            )
        )
    evaluation.results = {**evaluation.results, evaluations.DECIDED_BY: judge.id}
    session.flush()
    return judge


def _push(session: Session, policy_id: int) -> int:
    """Upload a model three times: one upload failed, one is done, and one is at work."""
    policy = session.get_one(Checkpoint, policy_id)
    first, second, third = (
        hub_pushes.request(session, policy, HubPush(f"desk/library-{n}"), user_id=None)
        for n in range(3)
    )
    first.state, first.error = JobState.FAILED, "there is no token for the hub: set HF_TOKEN"
    second.state = JobState.SUCCEEDED
    second.result = {"url": "https://huggingface.co/desk/library-1"}
    third.state, third.progress_done, third.progress_total = JobState.RUNNING, 130, 512
    third.progress_note = "uploading model-00001-of-00002.safetensors"
    return third.id


def _score(session: Session, project: Project, models: list[int], *, is_done: bool) -> int:
    prompts = session.scalars(select(Prompt).where(Prompt.project_id == project.id)).all()
    for prompt in prompts[:6]:
        prompt.split = Split.TEST
    session.flush()
    part = RewardPart(PartKind.FORMAT, name="politeness", pattern="[Gg]ladly")
    choice = ScorerChoice(part, 0.5, is_high_bad=False)
    scoring = scorings.create(session, project, choice, models, PromptChoice(count=6), user_id=None)
    if is_done:
        for row in session.query(ScoredRow).filter_by(scoring_id=scoring.id):
            row.texts = [RUDE, KIND]
            row.scores = [0.1 + 0.05 * row.place, 0.9 - 0.02 * row.place]
        scoring.finished_at = now(session)
        job = scorings.job_of(session, scoring)
        assert job is not None
        job.state = JobState.SUCCEEDED
    return scoring.id


def _chat(session: Session, project: Project, user_id: int, models: list[int]) -> int:
    """Start a chat with two models, and let both reply."""
    first, second, reward = models
    setup = ChatSetup(first, second, reward)
    chat = chats.start(session, project, user_id, setup, project.instruction)
    chats.say(session, chat, "How do I renew a book?")
    for reply in _waiting(session, chat.id):
        chat_replies.begin(session, reply.id)
        text = KIND if reply.side == 0 else RUDE
        chat_replies.finish(session, reply.id, text, 24, score=0.7 - reply.side)
    return chat.id


def _waiting(session: Session, chat_id: int) -> list[Any]:
    return [reply for one in chats.exchanges(session, chat_id, last=1) for reply in one.replies]
