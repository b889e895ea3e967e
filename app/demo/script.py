"""The course of the demo, from an empty project to the last round, through the public API only.

It starts no processes and creates no accounts: the command line passes in a lead's client and a
panel of labelers. The script watches the round, lets the panel judge whenever comparisons are
waiting, and decides by the interval of the labelers' votes; `measured_round` measures the results.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from app.client import Client, ProjectClient
from app.demo import grammar, measured_round, project, taste
from app.demo.plan import DemoPlan
from app.demo.report import DemoReport
from app.demo.round_report import RoundReport
from app.demo.truth import Utility
from app.errors import Unavailable
from app.simulation.labelers import SimulatedLabeler
from app.simulation.runner import Member, Panel

POLL_S = 0.5
STAGES = {
    "sft": "Train the starter model",
    "generate": "Sample candidates",
    "label": "Label the comparisons",
    "reward": "Train the reward model",
    "policy": "Train the policy (PPO)",
    "evaluate": "Sample from both policies",
    "judge": "Compare both policies blind",
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


class ProgressDisplay(Protocol):
    """What shows the progress of the run."""

    def stage(self, name: str) -> None:
        """Start showing a new stage."""

    def progress(self, done: int, total: int, note: str) -> None:
        """Update the progress of the current stage."""


@dataclass(frozen=True, slots=True)
class Panelist:
    """A simulated labeler with its credential."""

    labeler: SimulatedLabeler
    email: str
    token: str


@dataclass(frozen=True, slots=True)
class Setup:
    """The input of the run."""

    url: str
    lead: Client
    panel: Sequence[Panelist]
    taste: str
    seed: int
    plan: DemoPlan
    slug: str
    is_alive: Callable[[], bool] = lambda: True  # False if the web server or worker has stopped

    @property
    def project(self) -> ProjectClient:
        """The project's API with the lead's credential."""
        return self.lead.project(self.slug)

    @property
    def truth(self) -> Utility:
        """The panel's taste."""
        return taste.named(self.taste).utility


@dataclass(slots=True)
class _Clock:
    """The time of each stage in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.add(stage, time.monotonic() - start)

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


def run(setup: Setup, display: ProgressDisplay) -> DemoReport:
    """Run the loop as many times as planned and return the report.

    Raises:
        Unavailable: a stage failed; the message says which and why.
    """
    clock = _Clock()
    display.stage("Set up the project")
    with clock.timed("setup"):
        _make_project(setup)
    reports = [_run_round(setup, at + 1, display) for at in range(setup.plan.rounds)]
    return DemoReport(
        setup.taste,
        setup.seed,
        {"demonstrations": setup.plan.demonstrations, "labelers": len(setup.panel)},
        clock.seconds["setup"],
        tuple(reports),
        measured_round.examples(setup.project, reports[-1], setup.truth, setup.seed),
    )


def _run_round(setup: Setup, nth: int, display: ProgressDisplay) -> RoundReport:
    clock = _Clock()
    plan = setup.plan.round_plan(setup.seed)
    number = setup.project.launch_round(plan)["number"]
    if setup.plan.rounds > 1:
        display.stage(f"Round {nth} of {setup.plan.rounds}")
    round_ = _follow(setup, number, display, clock)
    display.stage("Measure the results")
    with clock.timed("measure"):
        promoted = _decide(setup, number, round_)
        panel = [panelist.labeler for panelist in setup.panel]
        report = measured_round.of(setup.project, round_, panel, setup.truth, promoted=promoted)
    return replace(report, seconds=clock.seconds)


def _make_project(setup: Setup) -> None:
    rules, _, facts = project.guidelines().partition("## What is true at this library")
    cases = "\n".join(f"- **{case}** {answer}" for case, answer in project.EDGE_CASES)
    setup.lead.post(
        "/projects",
        {
            "name": project.NAME,
            "slug": setup.slug,
            "description": "The demo project: a small library's help desk.",
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
            "summary": "Added edge cases and the facts to judge by.",
        },
    )
    for panelist in setup.panel:
        setup.lead.put(f"{setup.project.path}/members", {"email": panelist.email})
    count = setup.plan.demonstrations
    questions = grammar.prompts(count + setup.plan.prompts, setup.seed)
    answered, unanswered = questions[:count], questions[count:]
    rows = [
        {"prompt": exchange.prompt.text, "completion": exchange.answer}
        for exchange in grammar.demonstrations(answered, setup.seed)
    ]
    _upload(setup, "demonstrations.jsonl", rows)
    if unanswered:
        _upload(setup, "prompts.jsonl", [{"prompt": question.text} for question in unanswered])


def _upload(setup: Setup, name: str, rows: Sequence[dict[str, str]]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        done = setup.lead.import_file(setup.project.path, file)
    if done["rejects"]:
        raise Unavailable(
            f"{name}: {len(done['rejects'])} lines were refused: {done['rejects'][0]}"
        )


def _follow(
    setup: Setup, number: int, display: ProgressDisplay, clock: _Clock
) -> Mapping[str, Any]:
    """Watch the round until it can be decided; judge whenever comparisons are waiting."""
    stage, since = "", time.monotonic()
    while True:
        round_ = setup.project.round(number)
        current_stage, now = _stage(round_), time.monotonic()
        if current_stage != stage:
            if stage:
                clock.add(stage, now - since)
            stage, since = current_stage, now
            if stage:
                display.stage(STAGES[stage])
        if round_["state"] in _OVER:
            return round_
        if round_["state"] == "failed":
            raise Unavailable(f"round {number} failed: {round_['reason']}")
        if round_["state"] == "gated":
            _override(setup, number, round_)
            continue
        if not setup.is_alive():
            raise Unavailable("the web server or a worker has stopped; see its log")
        if stage in {"label", "judge"}:
            _judge(setup, round_, display)
        else:
            _show_progress(round_, display)
            time.sleep(POLL_S)


def _override(setup: Setup, number: int, round_: Mapping[str, Any]) -> None:
    """Let the round go on, so that the demo shows all stages; the report names the check."""
    for gate in round_["gates"]:
        if gate["outcome"] == "waiting":
            note = "The demo goes on to show the other stages."
            setup.project.post(f"/rounds/{number}/gates/{gate['gate']}/override", {"note": note})


def _stage(round_: Mapping[str, Any]) -> str:
    state = str(round_["state"])
    if state != "evaluating":
        return _OF_STATE.get(state, "")
    labeling = round_["evaluation_labeling"]
    sampled = any(
        job["kind"] == "evaluate" and job["state"] == "succeeded" for job in round_["jobs"]
    )
    return "judge" if sampled and labeling["done"] < labeling["wanted"] else "evaluate"


def _show_progress(round_: Mapping[str, Any], display: ProgressDisplay) -> None:
    for job in round_["jobs"]:
        if job["state"] == "running":
            display.progress(job["progress_done"], job["progress_total"], job["progress_note"])


def _judge(setup: Setup, round_: Mapping[str, Any], display: ProgressDisplay) -> None:
    labeling = round_["evaluation_labeling" if round_["state"] == "evaluating" else "labeling"]
    members = [Member(panelist.labeler, panelist.token) for panelist in setup.panel]
    panel = Panel(setup.url, setup.slug, members, stays=False)
    panel.start()
    while panel.is_working:
        display.progress(labeling["done"] + panel.totals.judged, labeling["wanted"], "judgments")
        time.sleep(POLL_S / 2)
    panel.wait()


def _decide(setup: Setup, number: int, round_: Mapping[str, Any]) -> bool:
    low = (round_["evaluation"] or {}).get("low")
    promoted = low is not None and low > 0.5
    reason = (
        "labelers prefer the new policy"
        if promoted
        else "the interval of the labelers' win rate includes 50 %"
    )
    setup.project.post(f"/rounds/{number}/decide", {"promote": promoted, "reason": reason})
    return promoted
