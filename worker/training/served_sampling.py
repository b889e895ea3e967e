"""A server as the sampler of a policy in training: opened from the plan, followed, and closed.

While the server is away, the run waits and says so in its progress; it obeys orders meanwhile. What
is published and requested is decided in `rlhf`.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from app.domain.plan import Algorithm, PolicyPlan
from app.domain.server_plan import SamplingServerPlan
from app.errors import Invalid, Unavailable
from worker.orders import Interrupted, Order, StoppedHere
from worker.rlhf.core.training_state import Json, TrainingState
from worker.rlhf.model import saving
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import BASE, POLICY, Roles
from worker.rlhf.sampling.served_engine import ServedEngine
from worker.rlhf.sampling.served_policy import PublishConfig, ServedPolicy
from worker.rlhf.sampling.server import ServerConfig, ServerUnavailable
from worker.rlhf.sampling.token_server import TokenServer, UnusableServer
from worker.training.training_loop import RunPlace

SETTING: Final = "ATTUNE_ADAPTER_FOLDER"
ONLINE: Final = (Algorithm.PPO, Algorithm.RLOO)
REQUEST_TIMEOUT_S: Final = 600.0
LOOK_S: Final = 1.0
TOKEN_BYTES: Final = 3


@dataclass(frozen=True, slots=True)
class ServerAccess:
    """A sampling server that this run may use, and the names under which it publishes there.

    `folder` is where adapters are put, `run` the name of the run among all that use it, and
    `attempt` that of this attempt.
    """

    plan: SamplingServerPlan
    folder: str
    run: str
    attempt: str
    key: str | None = field(default=None, repr=False)

    @property
    def record(self) -> dict[str, Any]:
        """What a trained model records of the server."""
        return {"sampling_server": asdict(self.plan)}

    @property
    def sampled_by(self) -> dict[str, Any]:
        """What a sampled completion records of the server."""
        return {"sampling_server": {"url": self.plan.url, "model": self.plan.model}}

    def open(self, loaded: LoadedModel) -> TokenServer:
        """Return the server.

        Raises:
            Invalid: servers of this kind do not have such models.
        """
        if loaded.is_encoder_decoder:
            raise Invalid(
                f"sampling_server needs a decoder-only model, and {loaded.path} is an "
                "encoder–decoder"
            )
        return TokenServer(
            ServerConfig(
                self.plan.url,
                self.plan.model,
                concurrency=self.plan.concurrency,
                timeout_s=REQUEST_TIMEOUT_S,
                api_key=self.key,
            ),
            loaded,
        )

    def publishing(self, model: str = "") -> PublishConfig:
        """Return where adapters are published; no other run or attempt has these names.

        `model` tells the models of one run apart, if there are several.

        Raises:
            Invalid: there is no folder for them.
        """
        if not self.folder:
            raise Invalid(
                f"a sampling server needs {SETTING}: a folder that the workers and the server see "
                "under the same path"
            )
        attempt = f"{self.attempt}-{secrets.token_hex(TOKEN_BYTES)}"
        run = f"attune-{self.run}{model and f'-{model}'}"
        return PublishConfig(
            Path(self.folder) / run,
            attempt,
            f"{run}-{attempt}",
            self.plan.publish_every,
            60.0 * self.plan.patience_minutes,
            self.plan.deviation_most,
        )


class WaitingPlace(Protocol):
    """What a run that waits needs of the place where it runs; a `RunPlace` has more."""

    @property
    def title(self) -> str:
        """The name of the run in messages."""

    @property
    def is_first(self) -> bool:
        """Whether this process publishes, if several share the run."""

    def report(self, done: int, total: int, note: str = "") -> None:
        """Show the progress of the run."""

    def flush(self) -> None:
        """Write buffered reports."""

    def should_stop(self) -> Order | None:
        """Return the order in force, if any."""

    def say(self, text: str) -> None:
        """Show or log a sentence for people."""


@dataclass(slots=True)
class WaitingRun:
    """A run that samples from a server, as `served_policy.Host`; it keeps the warnings."""

    place: WaitingPlace
    progress: Callable[[], tuple[int, int]]  # done, of how many
    keeps_steps: bool = False  # whether it can end after any step
    warnings: list[str] = field(default_factory=list)

    def go_on(self) -> None:
        """Return, or raise if the run was canceled.

        Raises:
            Interrupted: it was.
        """
        if self.place.should_stop() == "cancel":
            raise Interrupted(f"{self.place.title} was asked to stop")

    def wait(self, seconds: float, away_s: float, reason: str) -> None:
        """Wait for the server, and say so in the progress of the run.

        Raises:
            Interrupted: the run was asked to stop.
            StoppedHere: it was asked to stop after the steps that it has made.
        """
        began = time.monotonic()
        while (waited := time.monotonic() - began) < seconds:
            note = f"waiting for the sampling server, away for {away_s + waited:.0f} s ({reason})"
            self.place.report(*self.progress(), note)
            self.place.flush()
            order = self.place.should_stop()
            if order == "stop_here" and self.keeps_steps and self.progress()[0] > 0:
                raise StoppedHere
            if order in {"cancel", "preempt"}:
                raise Interrupted(
                    f"{self.place.title} was asked to stop while the sampling server was away"
                )
            time.sleep(max(0.0, min(LOOK_S, seconds - waited)))

    def say(self, text: str) -> None:
        """Say a sentence to people."""
        self.place.say(text)

    def warn(self, text: str) -> None:
        """Say a sentence now, and keep it for the result."""
        self.place.say(text)
        self.warnings.append(text)


@dataclass(frozen=True, slots=True)
class Served:
    """The server that samples a run's policy, if any, and what it was warned of."""

    policy: ServedPolicy | None = None
    run: WaitingRun | None = None

    @property
    def warnings(self) -> list[str]:
        """What is said beside the result."""
        return [] if self.run is None else self.run.warnings


@contextmanager
def serving(
    place: RunPlace,
    roles: Roles,
    plan: PolicyPlan,
    state: TrainingState,
    steps: int,
    access: ServerAccess | None,
) -> Iterator[Served]:
    """Open the server of a run for as long as it lasts; without access, the run samples itself.

    Raises:
        Invalid: the server is of no use to the run, or its adapters have no place.
        Unavailable: the server was away for longer than the plan's patience.
    """
    if access is None or plan.algorithm not in ONLINE:
        if access is not None:
            place.say(
                f"sampling_server is not used in this training: {plan.algorithm} learns from no "
                "responses of the current policy."
            )
        yield Served()
        return
    if roles.team.size > 1:
        raise Invalid(
            "a training that a sampling server draws for runs in one process, and this one has "
            f"{roles.team.size}: set processes to 1 in the plan, or --processes 1"
        )
    run = WaitingRun(place, lambda: (state.step, steps), keeps_steps=True)
    save = partial(saving.save_adapter, roles, role=POLICY)
    with _opened(place, roles, access, access.publishing(), save, state.values, run) as policy:
        yield Served(policy, run)


@contextmanager
def engine(
    place: WaitingPlace,
    roles: Roles,
    role: str,
    access: ServerAccess,
    model: str,
    progress: Callable[[], tuple[int, int]],
) -> Iterator[ServedEngine]:
    """Open the server for a model that is not trained: the base, or an adapter under its role.

    Raises:
        Invalid: the server is of no use to the run, or the adapter has no place.
        Unavailable: the server was away for longer than the plan's patience.
    """
    save = None if role == BASE else partial(saving.save_adapter, roles, role=role)
    run = WaitingRun(place, progress)
    with _opened(place, roles, access, access.publishing(model), save, {}, run) as served:
        yield ServedEngine(served)


@contextmanager
def _opened(
    place: WaitingPlace,
    roles: Roles,
    access: ServerAccess,
    publishing: PublishConfig,
    save: Callable[[Path], object] | None,
    values: dict[str, Json],
    run: WaitingRun,
) -> Iterator[ServedPolicy]:
    """Open and close a server, and turn its errors into those that people read."""
    server = access.open(roles.loaded)
    policy = ServedPolicy(server, publishing, save, values, run)
    is_over = False
    try:
        yield policy
        is_over = True
    except Interrupted:
        is_over = place.should_stop() == "cancel"
        raise
    except ServerUnavailable as error:
        raise Unavailable(str(error)) from error
    except UnusableServer as error:
        raise Invalid(str(error)) from error
    finally:
        policy.close(is_over=is_over) if place.is_first else server.close()
