"""A policy that a server samples: what it learns, and what happens when the server does not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from tests import sampling_server
from tests.sampling_server import BASE_NAME, SamplingServer
from tests.worker.rlhf import tiny
from tests.worker.rlhf.fixed_rollouts import LikesOneSide, prompts
from worker.rlhf.core.step_report import StepReport
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import saving
from worker.rlhf.model.roles import Roles
from worker.rlhf.policy import ppo, rloo, served_rollout
from worker.rlhf.policy.policy_watch import WatchConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.policy.rloo import RlooConfig
from worker.rlhf.sampling.served_policy import PublishConfig, ServedPolicy
from worker.rlhf.sampling.server import ServerConfig, ServerUnavailable
from worker.rlhf.sampling.token_server import TokenServer

CONFIG = PpoConfig(
    steps=3,
    episodes=4,
    epochs=1,
    policy_learning_rate=3e-2,
    value_learning_rate=3e-2,
    max_new_tokens=4,
    autocast=False,
    lora=tiny.LORA,
    watch=WatchConfig(every=2, prompts=2, rules=()),
)
UNWATCHED = replace(CONFIG.watch, prompts=0)
OPENED: list["Run"] = []
PROMPTS, HELDOUT = prompts(12), prompts(2, start=50)


class Ended(Exception):
    """The person had enough."""


@dataclass
class Host:
    """Hears what runs hear; ends the run after as many waits as it is given patience for."""

    waits: list[tuple[float, float]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    most: int = 100
    now: float = 0.0

    def go_on(self) -> None:
        """Go on."""

    def wait(self, seconds: float, away_s: float, reason: str) -> None:
        self.waits.append((seconds, away_s))
        self.now += seconds
        if len(self.waits) > self.most:
            raise Ended(reason)

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


@dataclass
class Run:
    """A run of PPO, or of RLOO, whose responses a server samples."""

    server: SamplingServer
    folder: Path
    attempt: str = "1"
    every: int = 1
    patience_s: float = 3600.0
    deviation_most: float = 0.1
    config: PpoConfig = CONFIG
    state: TrainingState = field(default_factory=TrainingState)
    host: Host = field(default_factory=Host)

    def __post_init__(self) -> None:
        self.roles = Roles(tiny.loaded())
        publishing = PublishConfig(
            self.folder / "job-1",
            self.attempt,
            f"job-1-{self.attempt}",
            self.every,
            self.patience_s,
            self.deviation_most,
        )
        server = TokenServer(
            ServerConfig(self.server.url, BASE_NAME, concurrency=4), self.roles.loaded
        )
        self.served = ServedPolicy(
            server,
            publishing,
            lambda folder: saving.save_adapter(self.roles, folder),
            self.state.values,
            self.host,
            clock=lambda: self.host.now,
        )
        OPENED.append(self)

    def ppo(self) -> Iterator[StepReport]:
        ppo.prepare(self.roles, self.config, reward=None)
        reward = LikesOneSide()
        return ppo.train(
            self.roles, PROMPTS, HELDOUT, reward, self.config, self.state, None, self.served
        )

    def rloo(self) -> Iterator[StepReport]:
        config = RlooConfig(2, self.config)
        rloo.prepare(self.roles, config)
        reward = LikesOneSide()
        return rloo.train(
            self.roles, PROMPTS, HELDOUT, reward, config, self.state, None, self.served
        )

    @property
    def weights(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.roles.parameters_of("policy")]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().served.close(is_over=False)


@pytest.fixture(scope="module")
def running() -> Iterator[SamplingServer]:
    with sampling_server.serving(tiny.loaded()) as made:
        yield made


@pytest.fixture
def server(running: SamplingServer) -> SamplingServer:
    running.requests.clear()
    running.loads.clear()
    running.unloads.clear()
    running.restart()
    running.failures, running.after, running.changes, running.without_ids = [], 0, {}, False
    return running


def asked(server: SamplingServer) -> list[tuple[int, tuple[int, ...]]]:
    """Return what was requested, in an order that does not depend on threads."""
    return sorted((one["seed"], tuple(one["prompt"])) for one in server.requests)


Undisturbed = tuple[list[torch.Tensor], list[tuple[int, tuple[int, ...]]]]
"""The weights of a run, and what it requested."""


@pytest.fixture(scope="module")
def undisturbed(running: SamplingServer, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    run = Run(running, tmp_path_factory.mktemp("undisturbed"), attempt="0")
    list(run.ppo())
    return run.weights, asked(running)


def assert_same(run: Run, weights: Sequence[torch.Tensor]) -> None:
    for one, expected in zip(run.weights, weights, strict=True):
        assert torch.equal(one, expected)


def test_each_step_samples_a_version_of_its_own(
    server: SamplingServer, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    server.requests.clear()
    run = Run(server, tmp_path)
    reports = list(run.ppo())
    weights, requested = undisturbed
    assert_same(run, weights)
    assert asked(server) == requested, "the same seeds make the same requests"
    names = [f"job-1-1-step-{step}" for step in range(4)]  # the last is for the evaluation
    assert [name for name, _ in server.loads] == names
    assert server.unloads == names[:-1]
    assert {one["model"] for one in server.requests} == set(names)
    for report in reports:
        assert report.metrics["sampler/age_steps"] == 0.0
        assert report.metrics["sampler/deviation"] < 1e-4, "of the policy before the step"
        assert report.metrics["policy/ratio"] == pytest.approx(1.0, abs=1e-4)
    folder = tmp_path / "job-1" / "1"
    assert [path.name for path in folder.iterdir()] == ["step-3"]
    run.served.close(is_over=True)
    assert "job-1-1-step-3" not in server.adapters
    assert not folder.parent.exists()


def test_a_server_lost_in_a_step_is_waited_for(
    server: SamplingServer, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    server.after, server.failures = 9, [0, 503, 0, 503, 503, 500, 0, 0, 0, 0]
    run = Run(server, tmp_path)
    list(run.ppo())
    assert_same(run, undisturbed[0])
    seconds = [pause for pause, _ in run.host.waits]
    assert seconds[:2] == [1.0, 2.0], "longer and longer"
    assert run.host.waits[1][1] == 1.0, "how long it has been away"
    keys = [(one["model"], one["seed"], tuple(one["prompt"])) for one in server.requests]
    assert len(keys) == len(set(keys)), "what was there already is not requested again"


def test_an_adapter_that_the_server_forgot_is_loaded_again(
    server: SamplingServer, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    run = Run(server, tmp_path)
    for report in run.ppo():
        if report.step == 1:
            server.restart()
        if report.step == 2:
            server.adapters.clear()
            server.after, server.failures = 2, [404, 404]
    assert_same(run, undisturbed[0])
    assert len(run.host.said) >= 1
    assert "lost the adapter; it is loaded again" in run.host.said[0]


def test_patience_ends_and_says_how_long_it_was(server: SamplingServer, tmp_path: Path) -> None:
    server.failures = [503] * 1000
    run = Run(server, tmp_path, patience_s=100.0)
    with pytest.raises(ServerUnavailable, match=r"away for 100 s, longer than .* 100 s; .* 503"):
        list(run.ppo())
    assert sum(pause for pause, _ in run.host.waits) == 100.0
    assert max(pause for pause, _ in run.host.waits) == 30.0


def test_a_person_may_end_the_wait(server: SamplingServer, tmp_path: Path) -> None:
    server.failures = [0] * 1000
    run = Run(server, tmp_path, host=Host(most=2))
    with pytest.raises(Ended):
        list(run.ppo())


def test_a_server_without_token_ids_is_refused(server: SamplingServer, tmp_path: Path) -> None:
    server.without_ids = True
    run = Run(server, tmp_path)
    with pytest.raises(ValueError, match="text without token ids"):
        list(run.ppo())
    assert run.host.waits == [], "waiting is of no use"


def test_a_run_that_resumes_goes_on_with_the_version_of_its_step(
    server: SamplingServer, tmp_path: Path
) -> None:
    config = replace(CONFIG, steps=5, watch=UNWATCHED)
    whole = Run(server, tmp_path / "whole", attempt="0", every=3, config=config)
    reports = list(whole.ppo())
    assert [report.metrics["sampler/age_steps"] for report in reports] == [0.0, 1.0, 2.0, 0.0, 1.0]
    assert reports[1].metrics["sampler/deviation"] > 1e-4, "the policy has moved since"

    killed = Run(server, tmp_path / "killed", every=3, config=config)
    loop = killed.ppo()
    for _ in range(2):
        next(loop)
    killed.state.save(tmp_path / "state")
    next(loop)  # its zombie goes on
    next(loop)
    state = TrainingState()
    state.restore(tmp_path / "state")
    resumed = Run(server, tmp_path / "killed", attempt="2", every=3, config=config, state=state)
    later = list(resumed.ppo())
    assert [report.metrics["sampler/age_steps"] for report in later] == [2.0, 0.0, 1.0]
    assert_same(resumed, whole.weights)
    roots = dict(server.loads)
    assert roots["job-1-2-step-0"].endswith("job-1/1/step-0"), "under a name of its own"
    assert not [name for name in server.adapters if name.startswith("job-1-1-")]


def test_a_version_that_is_gone_is_said(server: SamplingServer, tmp_path: Path) -> None:
    state = TrainingState()
    state.values["served_policy"] = {"step": -1, "folder": str(tmp_path / "gone")}
    run = Run(server, tmp_path, every=3, state=state)
    next(run.ppo())
    assert "step -1 is no longer in" in run.host.said[0]


def test_a_sampler_that_is_far_away_is_warned_of_once(
    server: SamplingServer, tmp_path: Path
) -> None:
    config = replace(CONFIG, watch=UNWATCHED)
    run = Run(server, tmp_path, every=100, deviation_most=1e-3, config=config)
    list(run.ppo())
    assert len(run.host.warned) == 1
    assert "above the bound of 0.001" in run.host.warned[0]


def test_rloo_samples_its_groups_from_the_server(server: SamplingServer, tmp_path: Path) -> None:
    report = next(Run(server, tmp_path, config=replace(CONFIG, steps=1, watch=UNWATCHED)).rloo())
    assert report.metrics["sampler/deviation"] < 1e-4
    assert len(server.requests) == 4
    assert len({tuple(one["prompt"]) for one in server.requests}) == 2


def test_importance_is_one_where_nothing_has_changed() -> None:
    roles = tiny.roles("policy", heads=())
    batch = served_rollout.collect(
        roles,
        prompts(4),
        LikesOneSide(),
        CONFIG.sampling,
        CONFIG.forward,
        with_values=False,
    )
    distance = served_rollout.distance_of(batch)
    assert distance.mean < 1e-4
    assert distance.importance < 1e-4
    moved = replace(batch, logprobs=batch.logprobs + torch.log(torch.tensor(1.5)))
    assert served_rollout.distance_of(moved).importance == pytest.approx(0.5, abs=1e-3)
