"""What rewards may use from the command line: any endpoint or judge that the person names."""

import os

from app.domain.judges import servers
from app.domain.judges.prompts import Rubric
from app.domain.judges.servers import AllowedServer
from app.domain.reward_parts import RewardPart
from app.errors import Invalid
from worker.judging import server_access
from worker.judging.chat_server import ChatConfig
from worker.judging.response_scores import JudgeAccess
from worker.training.reward_sources import RewardSources


def sources() -> RewardSources:
    """Return where the rewards of a command come from."""
    return RewardSources(judge=_judge)


def _judge(part: RewardPart) -> JudgeAccess:
    """Return the judge of a part, with the key that the operator's list names, if any.

    Raises:
        Invalid: the part has no rubric, or the key is not in the environment.
    """
    if not part.rubric.strip():
        raise Invalid("a judge needs a rubric here: rubric=TEXT, or rubric=@FILE to read it")
    url = part.url.rstrip("/")
    listed = servers.allowed(os.environ.get(servers.SETTING, ""))
    server = next((one for one in listed if one.url == url), AllowedServer(url))
    config = ChatConfig(url, part.model, api_key=server_access.key_of(server))
    return JudgeAccess(config, Rubric(guidelines=part.rubric))
