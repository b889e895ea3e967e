"""The fields of a form that say how a round is computed: engine, a server, 4 bits, processes.

None of them changes what is learned, but a server's answers take part in the comparisons.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import BaseModel

from app.domain.plan import Engine, RoundPlan, ServerPlan, SftPlan
from app.errors import Invalid

_SOUND = ServerPlan("http://server", "model")


class MachineFields(BaseModel):
    """An address and a model's name make a server; both empty: none is asked."""

    engine: Engine = Engine.STATIC
    server_url: str = ""
    server_model: str = ""
    server_candidates: int = _SOUND.candidates
    server_concurrency: int = _SOUND.concurrency
    server_is_chat: bool = False
    four_bit: bool = False
    processes: int | None = None

    @property
    def speaks_of_machines(self) -> bool:
        """Whether anything is other than usual."""
        is_usual = self.engine is Engine.STATIC and not self.four_bit and self.processes is None
        return self._has_server or not is_usual

    @property
    def _has_server(self) -> bool:
        return bool(self.server_url.strip() or self.server_model.strip())

    def with_machines(self, plan: RoundPlan) -> RoundPlan:
        """Return the plan with the engine, the server, the bits and the processes of the form.

        Raises:
            Invalid: a value breaks a rule.
        """
        return replace(
            plan,
            sampling=replace(plan.sampling, engine=self.engine),
            server=self._server() if self._has_server else None,
            four_bit=self.four_bit,
            processes=self.processes,
        )

    def machine_problems(self, sft: SftPlan | None) -> dict[str, str]:
        """Say which fields break a rule, each tried by itself; `sft` is the round's."""
        tried: dict[str, Callable[[], object]] = {
            "four_bit": partial(RoundPlan, four_bit=self.four_bit, sft=sft),
            "processes": partial(RoundPlan, processes=self.processes),
        }
        if self._has_server:
            for name, value in self._values().items():
                tried[f"server_{name}"] = partial(replace, _SOUND, **{name: value})
        found: dict[str, str] = {}
        for name, make in tried.items():
            try:
                make()
            except Invalid as error:
                found[name] = str(error)
        return found

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
    """Return the values of `MachineFields` as a plan fills them in."""
    asked = plan.server or _SOUND
    return {
        "engine": plan.sampling.engine,
        "server_url": plan.server.url if plan.server else "",
        "server_model": plan.server.model if plan.server else "",
        "server_candidates": asked.candidates,
        "server_concurrency": asked.concurrency,
        "server_is_chat": asked.is_chat,
        "four_bit": plan.four_bit,
        "processes": plan.processes,
    }
