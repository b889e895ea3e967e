"""Form fields for the server that samples a round's own models instead of the workers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import BaseModel

from app.domain import allowed_servers
from app.domain.allowed_servers import AllowedServers
from app.domain.plan import RoundPlan
from app.domain.server_plan import SamplingServerPlan

_VALID = SamplingServerPlan("http://server", "model")


class SamplerFields(BaseModel):
    """The fields; without an address and a model name, the workers sample."""

    sampler_url: str = ""
    sampler_model: str = ""
    sampler_publish_every: int = _VALID.publish_every
    sampler_concurrency: int = _VALID.concurrency
    sampler_patience_minutes: int = _VALID.patience_minutes
    sampler_deviation_most: float = _VALID.deviation_most

    @property
    def has_sampler(self) -> bool:
        """Whether the form names a sampling server."""
        return bool(self.sampler_url.strip() or self.sampler_model.strip())

    def sampling_server(self) -> SamplingServerPlan | None:
        """Return the server of the form, if it names one.

        Raises:
            Invalid: a value breaks a rule.
        """
        return SamplingServerPlan(**self._settings()) if self.has_sampler else None

    def sampler_checks(self, servers: AllowedServers) -> dict[str, Callable[[], object]]:
        """Return a check of each field by its name, which raises `Invalid`."""
        if not self.has_sampler:
            return {}
        checks: dict[str, Callable[[], object]] = {
            f"sampler_{name}": partial(replace, _VALID, **{name: value})
            for name, value in self._settings().items()
        }
        return checks | {"sampler_url": partial(self._check_sampler, servers)}

    def _check_sampler(self, servers: AllowedServers) -> None:
        url = replace(_VALID, url=self.sampler_url.strip()).url
        allowed_servers.check_completions(url, servers.completions)

    def _settings(self) -> dict[str, Any]:
        return {
            "url": self.sampler_url.strip(),
            "model": self.sampler_model.strip(),
            "publish_every": self.sampler_publish_every,
            "concurrency": self.sampler_concurrency,
            "patience_minutes": self.sampler_patience_minutes,
            "deviation_most": self.sampler_deviation_most,
        }


def of(plan: RoundPlan) -> dict[str, Any]:
    """Return the values of `SamplerFields` for a plan."""
    server = plan.sampling_server
    shown = server or _VALID
    return {
        "sampler_url": server.url if server else "",
        "sampler_model": server.model if server else "",
        "sampler_publish_every": shown.publish_every,
        "sampler_concurrency": shown.concurrency,
        "sampler_patience_minutes": shown.patience_minutes,
        "sampler_deviation_most": shown.deviation_most,
    }
