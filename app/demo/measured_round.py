"""Measures a decided round of the demo, from what the public API returns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.client import ProjectClient
from app.demo import examples as drawn_examples
from app.demo import heldout_scores, taste, truth
from app.demo.examples import Examples
from app.demo.round_report import RoundReport
from app.demo.truth import PolicyCompletions, ScoredComparison, Utility
from app.simulation import expected
from app.simulation.expected import ComparedCompletions
from app.simulation.labelers import SimulatedLabeler


def of(
    project: ProjectClient,
    round_: Mapping[str, Any],
    panel: Sequence[SimulatedLabeler],
    utility: Utility,
    *,
    promoted: bool,
) -> RoundReport:
    """Return the figures of a round, without the times of its stages."""
    checkpoints = {checkpoint["kind"]: checkpoint for checkpoint in round_["checkpoints"]}
    scored = _scored_comparisons(project, checkpoints["reward"]["id"])
    compared = [ComparedCompletions(row.prompt, row.texts) for row in scored]
    answers = _answers(project, checkpoints["policy"]["id"])
    against_last = _completions(answers, "old")
    metrics = checkpoints["reward"]["metrics"]
    longer = metrics["heldout"]["length_rule"] == "longer"
    return RoundReport(
        number=round_["number"],
        promoted=promoted,
        agreement=project.get("/agreement", round=round_["number"]),
        people=metrics["people"],
        ceiling=expected.noise_ceiling(panel, compared, allows_ties=True),
        reward=truth.reward(scored, utility, longer_wins=longer),
        policy_metrics=checkpoints["policy"]["metrics"],
        policy=truth.policy(against_last, utility),
        against_sft=truth.policy(_completions(answers, "initial"), utility),
        default=truth.policy(against_last, taste.DEFAULT.utility),
        evaluation=round_["evaluation"],
        labeling=round_["labeling"],
        seconds={},
        failed_checks=failed_checks(round_),
    )


def examples(project: ProjectClient, report: RoundReport, utility: Utility, seed: int) -> Examples:
    """Draw held-out prompts with the responses of the SFT model and of a round's policy."""
    checkpoints = project.round(report.number)["checkpoints"]
    (policy,) = (each for each in checkpoints if each["kind"] == "policy")
    rows = _completions(_answers(project, policy["id"]), "initial")
    decision = "" if report.promoted else " (held)"
    return drawn_examples.draw(
        rows, utility, seed, before="the SFT model", after=f"{policy['name']}{decision}"
    )


def failed_checks(round_: Mapping[str, Any]) -> tuple[str, ...]:
    """Return each check that a round failed, with its figure."""
    failed = [gate for gate in round_["gates"] if gate["reason"]]
    return tuple(dict.fromkeys(f"{gate['title']}: {gate['measured']}" for gate in failed))


def _scored_comparisons(project: ProjectClient, checkpoint_id: int) -> list[ScoredComparison]:
    with TemporaryDirectory() as folder:
        archive = Path(folder) / "reward.tar"
        path = f"{project.path}/checkpoints/{checkpoint_id}/download"
        project.client.download(path, archive)
        return [
            ScoredComparison(_prompt(row["messages"]), tuple(row["texts"]), tuple(row["scores"]))
            for row in heldout_scores.read(archive)
        ]


def _answers(project: ProjectClient, policy_id: int) -> list[Mapping[str, Any]]:
    """Return the responses that the evaluation of a policy compared."""
    (evaluation,) = (
        each for each in project.get("/evaluations") if each["new_checkpoint_id"] == policy_id
    )
    answers: list[Mapping[str, Any]] = project.get(f"/evaluations/{evaluation['id']}/answers")
    return answers


def _completions(answers: Sequence[Mapping[str, Any]], before: str) -> list[PolicyCompletions]:
    return [
        PolicyCompletions(_prompt(row["messages"]), row[before], row["new"])
        for row in answers
        if row[before] is not None
    ]


def _prompt(messages: Sequence[dict[str, Any]]) -> str:
    return str(messages[-1]["content"])
