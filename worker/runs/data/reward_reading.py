"""What the rewards of a round's plan read: prompts as turns, models of the installation, endpoints.

Which reward models a lead may use is checked when the round is launched.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from app.domain import allowed_servers
from app.domain.judges import servers
from app.domain.judges.prompts import Rubric
from app.domain.reward_parts import CheckpointName, PartKind, RewardPart
from app.domain.reward_plan import RewardPlan
from app.errors import Invalid
from app.models import Project, Prompt, Round
from app.services.checkpoints import reward_models
from app.services.judging import judges
from app.services.project import projects, prompt_search
from worker.judging import server_access
from worker.judging.chat_server import ChatConfig
from worker.judging.response_scores import JudgeAccess
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward.endpoint import EndpointConfig
from worker.runs.data import checkpoint_weights
from worker.runs.process.job_context import JobContext
from worker.training import reward_parts, reward_sources, token_ids
from worker.training.conversations import Turns
from worker.training.model_folders import RewardFolder
from worker.training.reward_sources import RewardReading, RewardSources


def check(context: JobContext, project: Project, plan: RewardPlan) -> None:
    """Refuse a plan with a reward that cannot be used, before anything else is computed.

    Raises:
        Invalid: the message names the part.
    """
    for part in plan.parts:
        is_loaded = part.kind is not PartKind.JUDGE and part.checkpoint is None  # not by name
        if part.model and is_loaded:
            context.allowed_models.check(part.model)
    context.once(lambda: reward_parts.check(plan, sources(context, project)))


def sources(context: JobContext, project: Project) -> RewardSources:
    """Return where the rewards of a project's rounds come from."""

    def find(name: CheckpointName) -> RewardFolder:
        return _folder(context, project.id, name)

    def endpoint(url: str) -> EndpointConfig:
        return _endpoint(context, url)

    def judge(part: RewardPart) -> JudgeAccess:
        return _judge(context, project, part)

    return RewardSources(find, endpoint, judge)


def of(
    context: JobContext,
    roles: Roles,
    plan: RewardPlan,
    prompts: Sequence[Prompt],
    instruction: str,
    asked: Mapping[int, Sequence[Turns]] | None = None,
) -> RewardReading:
    """Return the prompts as the rewards of the plan read them.

    `asked` has the conversations that prompts with follow-ups became, by the prompt's id.
    """
    turns_of = {prompt.id: (asked or {}).get(prompt.id, [prompt.messages]) for prompt in prompts}
    conversations = {}
    if reward_sources.reads_messages(plan.parts):
        turns = [turns for several in turns_of.values() for turns in several]
        conversations = token_ids.conversations(roles.loaded, turns, instruction)
    tagged: set[int] = set()
    if plan.safety_tags:
        tagged = context.once(lambda: _tagged(context, prompts, plan.safety_tags))
    safety_prompts = frozenset(
        token_ids.prompt_ids(roles.loaded, turns, instruction)
        for prompt_id in turns_of.keys() & tagged
        for turns in turns_of[prompt_id]
    )
    return RewardReading(roles, context.device, conversations, safety_prompts)


def _tagged(context: JobContext, prompts: Sequence[Prompt], tags: Sequence[str]) -> set[int]:
    with context.database.reader() as session:
        by_prompt = prompt_search.tags_by_prompt(session, [prompt.id for prompt in prompts])
    return {prompt_id for prompt_id, own in by_prompt.items() if set(own) & set(tags)}


def _folder(context: JobContext, project_id: int, name: CheckpointName) -> RewardFolder:
    """Return the files of a reward model, and the base that its adapters are put on."""

    def read() -> RewardFolder:
        with context.database.reader() as session:
            return _read(session, context, project_id, name)

    return context.once(read)


def _read(
    session: Session, context: JobContext, project_id: int, name: CheckpointName
) -> RewardFolder:
    checkpoint = reward_models.named(session, project_id, name)
    beneath = checkpoint_weights.layers(session, checkpoint)
    return RewardFolder(
        checkpoint_weights.fetch(context, checkpoint),
        checkpoint_weights.source(context, beneath.whole),
        tuple(checkpoint.config["names"]),
        dict(checkpoint.config),
    )


def _endpoint(context: JobContext, url: str) -> EndpointConfig:
    """Return how to call an endpoint.

    Raises:
        Invalid: it is not among those that this worker may call.
    """
    allowed_servers.check_reward(url, context.servers.reward_urls)
    return EndpointConfig(url, api_key=context.servers.reward_key)


def _judge(context: JobContext, project: Project, part: RewardPart) -> JudgeAccess:
    """Return the judge of a part, with its rubric or the project's guidelines.

    Raises:
        Invalid: its server is not on the operator's list, its key is missing, or it has nothing to
            go by.
    """
    server = servers.find(context.judges, part.url)
    config = ChatConfig(server.url, part.model, api_key=server_access.key_of(server))
    guidelines = part.rubric or context.once(lambda: _guidelines(context, project))
    if not guidelines.strip():
        raise Invalid("the project has no guidelines for a judge; write some, or give a rubric")
    return JudgeAccess(config, Rubric(guidelines=guidelines))


def _guidelines(context: JobContext, project: Project) -> str:
    """Return the guidelines at the launch of the round, for the same reward in all of its jobs."""
    with context.database.reader() as session:
        launched = None if context.round_id is None else session.get_one(Round, context.round_id)
        until = None if launched is None else launched.created_at
        return judges.text_of(projects.guidelines(session, project.id, until=until))
