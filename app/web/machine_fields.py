"""Form fields for how a round is computed: sampling engine, servers, 4-bit weights, processes.

They do not change what is learned, except that a server's responses join the comparisons.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from app.domain import allowed_servers
from app.domain.allowed_servers import AllowedServers
from app.domain.plan import Engine, Parallel, RoundPlan, SftPlan
from app.domain.server_plan import ServerPlan
from app.errors import Invalid
from app.web import sampler_fields
from app.web.sampler_fields import SamplerFields

_VALID = ServerPlan("http://server", "model")


class MachineFields(SamplerFields):
    """The fields; without an address and a model name, no server is used."""

    engine: Engine = Engine.STATIC
    server_url: str = ""
    server_model: str = ""
    server_candidates: int = _VALID.candidates
    server_concurrency: int = _VALID.concurrency
    server_is_chat: bool = False
    four_bit: bool = False
    token_budget: int | None = None
    processes: int | None = None
    parallel: Parallel = Parallel.DATA

    @property
    def is_customized(self) -> bool:
        """Whether any of the fields differs from its default."""
        is_default = self.engine is Engine.STATIC and not self.four_bit
        is_open = self.processes is None and self.token_budget is None
        is_whole = self.parallel is Parallel.DATA
        is_here = not (self._has_server or self.has_sampler)
        return not (is_here and is_default and is_open and is_whole)

    @property
    def _has_server(self) -> bool:
        return bool(self.server_url.strip() or self.server_model.strip())

    def with_machines(self, plan: RoundPlan) -> RoundPlan:
        """Return the plan with the engine, server, precision, tokens and processes of the form.

        Raises:
            Invalid: a value breaks a rule.
        """
        return replace(
            plan,
            sampling=replace(plan.sampling, engine=self.engine),
            server=self._server() if self._has_server else None,
            sampling_server=self.sampling_server(),
            four_bit=self.four_bit,
            token_budget=self.token_budget,
            processes=self.processes,
            parallel=self.parallel,
        )

    def machine_problems(self, sft: SftPlan | None, servers: AllowedServers) -> dict[str, str]:
        """Return a message for each invalid field, checked one at a time; `sft` is the round's."""
        checks: dict[str, Callable[[], object]] = {
            "four_bit": partial(RoundPlan, four_bit=self.four_bit, sft=sft),
            "processes": partial(RoundPlan, processes=self.processes),
            "parallel": self._check_parallel,
            "token_budget": partial(RoundPlan, token_budget=self.token_budget),
        }
        if self._has_server:
            for name, value in self._values().items():
                checks[f"server_{name}"] = partial(replace, _VALID, **{name: value})
            checks["server_url"] = partial(self._check_address, servers)
        checks |= self.sampler_checks(servers)
        problems: dict[str, str] = {}
        for name, check in checks.items():
            try:
                check()
            except Invalid as error:
                problems[name] = str(error)
        return problems

    def _check_parallel(self) -> None:
        if self.processes is None or 1 <= self.processes <= 64:  # else that field has the problem
            RoundPlan(four_bit=self.four_bit, processes=self.processes, parallel=self.parallel)

    def _check_address(self, servers: AllowedServers) -> None:
        url = replace(_VALID, url=self.server_url.strip()).url
        allowed_servers.check_completions(url, servers.completions)

    def _server(self) -> ServerPlan:
        return ServerPlan(**self._values())

    def _values(self) -> dict[str, Any]:
        return {
            "url": self.server_url.strip(),
            "model": self.server_model.strip(),
            "candidates": self.server_candidates,
            "is_chat": self.server_is_chat,
            "concurrency": self.server_concurrency,
        }


def of(plan: RoundPlan) -> dict[str, Any]:
    """Return the values of `MachineFields` for a plan."""
    server = plan.server or _VALID
    return {
        "engine": plan.sampling.engine,
        "server_url": plan.server.url if plan.server else "",
        "server_model": plan.server.model if plan.server else "",
        "server_candidates": server.candidates,
        "server_concurrency": server.concurrency,
        "server_is_chat": server.is_chat,
        "four_bit": plan.four_bit,
        "token_budget": plan.token_budget,
        "processes": plan.processes,
        "parallel": plan.parallel,
        **sampler_fields.of(plan),
    }
