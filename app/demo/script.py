"""The first run, from an empty project to a promoted policy, through the public API only.

It starts no process and makes no account: the command line hands in a client of a lead and a
panel of labelers. It watches the round, lets the panel judge whenever comparisons wait, decides
by the interval of the labelers' own votes, and measures everything against the panel's taste.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from app.client import Client, ProjectClient
from app.demo import grammar, heldout, project, taste, truth
from app.demo.plan import DemoPlan
from app.demo.report import Report
from app.demo.truth import Answered, Scored
from app.errors import Unavailable
from app.simulation import expected
from app.simulation.expected import Compared
from app.simulation.labelers import SimulatedLabeler
from app.simulation.runner import Member, Panel

POLL_S = 0.5
STAGES = {
    "sft": "train the starter model",
    "generate": "write candidates",
    "label": "labelers judge",
    "reward": "train the reward model",
    "policy": "train the policy (PPO)",
    "evaluate": "both policies answer",
    "judge": "labelers compare blind",
}
_OF_STATE = {
    "planned": "sft",
    "sft": "sft",
    "generating": "generate",
    "labeling": "label",
    "reward": "reward",
    "policy": "policy",
}
_OVER = {"deciding", "promoted", "held", "cancelled"}


class Watch(Protocol):
    """Whoever shows how far the run is."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def progress(self, done: int, total: int, note: str) -> None:
        """The present stage is so far."""


@dataclass(frozen=True, slots=True)
class Panelist:
    """A simulated labeler with its own credential."""

    labeler: SimulatedLabeler
    email: str
    token: str


@dataclass(frozen=True, slots=True)
class Setup:
    """What the first run is given."""

    url: str
    lead: Client
    panel: Sequence[Panelist]
    taste: str
    seed: int
    plan: DemoPlan
    slug: str
    is_alive: Callable[[], bool] = lambda: True  # False: the web server or the worker has ended

    @property
    def project(self) -> ProjectClient:
        """The project's API, as its lead."""
        return self.lead.project(self.slug)


@dataclass(slots=True)
class _Clock:
    """How long each stage took, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.add(stage, time.monotonic() - start)

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


def run(setup: Setup, watch: Watch) -> Report:
    """Run the loop once and return what came of it.

    Raises:
        Unavailable: a stage failed; the message says which and why.
    """
    clock = _Clock()
    watch.stage("set up the project")
    with clock.timed("setup"):
        _make_project(setup)
    number = setup.project.launch_round(setup.plan.round_plan(setup.seed))["number"]
    round_ = _follow(setup, number, watch, clock)
    watch.stage("measure")
    with clock.timed("measure"):
        promoted = _decide(setup, number, round_)
        return _report(setup, number, round_, promoted, clock)


def _make_project(setup: Setup) -> None:
    rules, _, facts = project.guidelines().partition("## What is true at this library")
    cases = "\n".join(f"- **{case}** {answer}" for case, answer in project.EDGE_CASES)
    setup.lead.post(
        "/projects",
        {
            "name": project.NAME,
            "slug": setup.slug,
            "description": "The first run: a small library's help desk.",
            "instruction": project.INSTRUCTION,
            "judgment_kind": "rank",
            "k": setup.plan.k,
            "overlap": setup.plan.overlap,
            "allow_tie": True,
            "evaluation_rate": 0.3,
            "base_model": "starter",
            "rules": rules,
        },
    )
    setup.project.post(
        "/guidelines",
        {
            "rules": rules,
            "edge_cases": cases,
            "body": f"## What is true at this library{facts}",
            "summary": "Edge cases, and the facts to judge by.",
        },
    )
    for panelist in setup.panel:
        setup.lead.put(f"{setup.project.path}/members", {"email": panelist.email})
    asked = grammar.prompts(setup.plan.demonstrations + setup.plan.prompts, setup.seed)
    shown, fresh = asked[: setup.plan.demonstrations], asked[setup.plan.demonstrations :]
    rows = [
        {"prompt": one.prompt.text, "completion": one.answer}
        for one in grammar.demonstrations(shown, setup.seed)
    ]
    _upload(setup, "demonstrations.jsonl", rows)
    if fresh:
        _upload(setup, "prompts.jsonl", [{"prompt": one.text} for one in fresh])


def _upload(setup: Setup, name: str, rows: Sequence[dict[str, str]]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        done = setup.lead.import_file(setup.project.path, file)
    if done["rejects"]:
        raise Unavailable(
            f"{name}: {len(done['rejects'])} lines were refused: {done['rejects'][0]}"
        )


def _follow(setup: Setup, number: int, watch: Watch, clock: _Clock) -> Mapping[str, Any]:
    """Watch the round until it is to be decided; judge whenever comparisons wait."""
    stage, since = "", time.monotonic()
    while True:
        round_ = setup.project.round(number)
        now, moment = _stage(round_), time.monotonic()
        if now != stage:
            if stage:
                clock.add(stage, moment - since)
            stage, since = now, moment
            if stage:
                watch.stage(STAGES[stage])
        if round_["state"] in _OVER:
            return round_
        if round_["state"] == "failed":
            raise Unavailable(f"round {number} failed: {round_['reason']}")
        if not setup.is_alive():
            raise Unavailable("the web server or the worker has ended; see its log")
        if stage in {"label", "judge"}:
            _judge(setup, round_, watch)
        else:
            _show(round_, watch)
            time.sleep(POLL_S)


def _stage(round_: Mapping[str, Any]) -> str:
    state = str(round_["state"])
    if state != "evaluating":
        return _OF_STATE.get(state, "")
    waiting = round_["evaluation_labeling"]
    answered = any(j["kind"] == "evaluate" and j["state"] == "succeeded" for j in round_["jobs"])
    return "judge" if answered and waiting["done"] < waiting["wanted"] else "evaluate"


def _show(round_: Mapping[str, Any], watch: Watch) -> None:
    for job in round_["jobs"]:
        if job["state"] == "running":
            watch.progress(job["progress_done"], job["progress_total"], job["progress_note"])


def _judge(setup: Setup, round_: Mapping[str, Any], watch: Watch) -> None:
    waiting = round_["evaluation_labeling" if round_["state"] == "evaluating" else "labeling"]
    members = [Member(one.labeler, one.token) for one in setup.panel]
    panel = Panel(setup.url, setup.slug, members, stays=False)
    panel.start()
    while panel.is_working:
        watch.progress(waiting["done"] + panel.totals.judged, waiting["wanted"], "judgments")
        time.sleep(POLL_S / 2)
    panel.wait()


def _decide(setup: Setup, number: int, round_: Mapping[str, Any]) -> bool:
    low = (round_["evaluation"] or {}).get("low")
    promoted = low is not None and low > 0.5
    reason = (
        "the labelers prefer the new policy"
        if promoted
        else "the labelers' interval does not exclude an even match"
    )
    setup.project.post(f"/rounds/{number}/decide", {"promote": promoted, "reason": reason})
    return promoted


def _report(
    setup: Setup, number: int, round_: Mapping[str, Any], promoted: bool, clock: _Clock
) -> Report:
    utility = taste.DEFAULT.utility  # the truth everything is held against, whatever the panel
    panel = [one.labeler for one in setup.panel]
    wanted = taste.named(setup.taste).utility
    made = {one["kind"]: one for one in round_["checkpoints"]}
    scored = _scored(setup, made["reward"]["id"])
    compared = [Compared(row.prompt, row.texts) for row in scored]
    answers = _answers(setup)
    metrics = made["reward"]["metrics"]
    longer = metrics["heldout"]["length_rule"] == "longer"
    return Report(
        taste=setup.taste,
        seed=setup.seed,
        promoted=promoted,
        agreement=setup.project.get("/agreement", round=number),
        people=metrics["people"],
        ceiling=expected.noise_ceiling(panel, compared, allows_ties=True),
        reward=truth.reward(scored, wanted, longer_wins=longer, seed=setup.seed),
        policy_metrics=made["policy"]["metrics"],
        policy=truth.policy(answers, wanted, seed=setup.seed),
        default=truth.policy(answers, utility, seed=setup.seed),
        evaluation=round_["evaluation"],
        labeling=round_["labeling"],
        sizes={"demonstrations": setup.plan.demonstrations, "labelers": len(panel)},
        seconds=clock.seconds,
        examples=tuple(answers[:3]),
    )


def _scored(setup: Setup, checkpoint_id: int) -> list[Scored]:
    with TemporaryDirectory() as folder:
        archive = Path(folder) / "reward.tar"
        path = f"{setup.project.path}/checkpoints/{checkpoint_id}/download"
        setup.lead.download(path, archive)
        return [
            Scored(_prompt(row["messages"]), tuple(row["texts"]), tuple(row["scores"]))
            for row in heldout.read(archive)
        ]


def _answers(setup: Setup) -> list[Answered]:
    latest = setup.project.get("/evaluations")[0]["id"]
    return [
        Answered(_prompt(row["messages"]), row["old"], row["new"])
        for row in setup.project.get(f"/evaluations/{latest}/answers")
    ]


def _prompt(messages: Sequence[dict[str, Any]]) -> str:
    return str(messages[-1]["content"])
