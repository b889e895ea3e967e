"""The operator's lists of the servers that rounds, scores and AI judges may call.

The web server refuses at launch what is not listed, and a worker refuses it again before it calls:
both read the lists from their own environment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.domain.judges import servers
from app.domain.judges.servers import AllowedServer
from app.domain.plan import RoundPlan
from app.domain.reward_parts import PartKind, RewardPart
from app.errors import Invalid

COMPLETIONS: Final = "ATTUNE_COMPLETION_SERVERS"
REWARDS: Final = "ATTUNE_REWARD_ENDPOINTS"


@dataclass(frozen=True, slots=True)
class AllowedServers:
    """URLs that may be called for completions, for rewards, and by AI judges."""

    completions: tuple[str, ...] = ()
    rewards: tuple[str, ...] = ()
    judges: tuple[AllowedServer, ...] = ()

    @classmethod
    def of(cls, completions: str, rewards: str, judges: str) -> "AllowedServers":
        """Read the operator's settings, lists separated by commas.

        Raises:
            Invalid: an entry for judges is not a URL.
        """
        return cls(listed(completions), listed(rewards), servers.allowed(judges))

    @property
    def scoring(self) -> tuple[str, ...]:
        """The URLs of the endpoints and judges that can score responses."""
        return (*self.rewards, *(judge.url for judge in self.judges))

    def check(self, plan: RoundPlan) -> None:
        """Refuse a plan that calls a server which is not listed, for completions or rewards.

        Raises:
            Invalid: naming the server and the setting.
        """
        if plan.server is not None:
            check_completions(plan.server.url, self.completions)
        if plan.sampling_server is not None:
            check_completions(plan.sampling_server.url, self.completions)
        self.check_parts(plan.reward.parts)

    def check_parts(self, parts: Sequence[RewardPart]) -> None:
        """Refuse a reward or scorer on a server that is not listed.

        Raises:
            Invalid: naming the server and the setting.
        """
        for part in parts:
            if part.kind is PartKind.ENDPOINT:
                check_reward(part.url, self.rewards)
            elif part.kind is PartKind.JUDGE:
                servers.find(self.judges, part.url)


def listed(setting: str) -> tuple[str, ...]:
    """Return the URLs of a list separated by commas."""
    return tuple(url.strip() for url in setting.split(",") if url.strip())


def check_completions(url: str, allowed: Sequence[str]) -> None:
    """Refuse a server for completions that is not listed.

    Raises:
        Invalid: naming the server, the setting and the list.
    """
    _check(f"server {url}", "rounds may use", url, allowed, COMPLETIONS)


def check_reward(url: str, allowed: Sequence[str]) -> None:
    """Refuse an endpoint of a reward that is not listed.

    Raises:
        Invalid: naming the endpoint, the setting and the list.
    """
    _check(f"reward endpoint {url}", "rounds and scores may use", url, allowed, REWARDS)


def _check(what: str, use: str, url: str, allowed: Sequence[str], setting: str) -> None:
    if url.rstrip("/") not in [known.rstrip("/") for known in allowed]:
        raise Invalid(
            f"{what} is not among those that {use} ({setting}: {', '.join(allowed) or 'none'}); "
            f"{servers.REMEDY}"
        )
