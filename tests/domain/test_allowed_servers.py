"""What a plan may call: completions, rewards and judges, each by its own list."""

import pytest

from app.domain.allowed_servers import AllowedServers
from app.domain.plan import RoundPlan
from app.domain.reward_parts import PartKind, RewardPart
from app.domain.reward_plan import RewardPlan
from app.domain.server_plan import SamplingServerPlan, ServerPlan
from app.errors import Invalid

LISTS = ("http://gpu/v1/, http://gpu-2/v1", "https://scorer/score", "http://judge/v1=KEY")
ALLOWED = AllowedServers.of(*LISTS)


def endpoint(url: str) -> RoundPlan:
    return RoundPlan(reward=RewardPlan(parts=(RewardPart(PartKind.ENDPOINT, url=url),)))


def judge(url: str) -> RoundPlan:
    part = RewardPart(PartKind.JUDGE, url=url, model="m", rubric="Be kind.")
    return RoundPlan(reward=RewardPlan(parts=(part,)))


def server(url: str) -> RoundPlan:
    return RoundPlan(server=ServerPlan(url, "m"))


def sampler(url: str) -> RoundPlan:
    return RoundPlan(sampling_server=SamplingServerPlan(url, "m"))


@pytest.mark.parametrize(
    "plan",
    [
        RoundPlan(),
        sampler("http://gpu/v1"),
        server("http://gpu/v1"),
        server("http://gpu-2/v1/"),
        endpoint("https://scorer/score/"),
        judge("http://judge/v1"),
    ],
)
def test_what_is_listed_may_be_called(plan: RoundPlan) -> None:
    ALLOWED.check(plan)


@pytest.mark.parametrize(
    ("plan", "setting", "listed"),
    [
        (server("http://judge/v1"), "ATTUNE_COMPLETION_SERVERS", "http://gpu/v1/, http://gpu-2/v1"),
        (sampler("http://x/v1"), "ATTUNE_COMPLETION_SERVERS", "http://gpu/v1/, http://gpu-2/v1"),
        (endpoint("http://gpu/v1"), "ATTUNE_REWARD_ENDPOINTS", "https://scorer/score"),
        (judge("https://scorer/score"), "ATTUNE_JUDGE_SERVERS", "http://judge/v1"),
    ],
)
def test_what_another_list_has_is_refused_with_the_setting_and_who_can_change_it(
    plan: RoundPlan, setting: str, listed: str
) -> None:
    called = plan.server or plan.sampling_server
    url = called.url if called else plan.reward.parts[0].url
    with pytest.raises(Invalid) as refused:
        ALLOWED.check(plan)
    message = str(refused.value)
    assert f"{url} is not among those that" in message
    assert f"({setting}: {listed}); the operator of this installation can add it" in message
    with pytest.raises(Invalid, match=r"none\); the operator"):
        AllowedServers().check(plan)
